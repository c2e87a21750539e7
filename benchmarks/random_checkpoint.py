"""Writes a checkpoint of random float16 weights with the shapes of a published model.

    python benchmarks/random_checkpoint.py FOLDER [--preset glm2_6b] [--layers N]

For measuring size, memory and time where the real weights are not: 12.5 GB for glm2_6b. Every
tensor has a seed of its own, so the same command writes the same bytes, whatever the layers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from glmlite.checkpoint.safetensors_writer import write_safetensors
from glmlite.checkpoint.tensors_out import OutputTensor
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.model.presets import PRESETS
from glmlite.progress import NoProgress

SPREAD = 0.02


class RandomSource:
    """A `WeightSource` that draws every tensor when it is read."""

    def __init__(self, config: ModelConfig) -> None:
        self._shapes = parameter_shapes(config)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""
        return self._shapes

    def read(self, name: str) -> NDArray[np.float32]:
        """Normal values of a spread of 0.02; the norms' weights lie around 1."""
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        array = generator.standard_normal(self._shapes[name], np.float32)
        array *= np.float32(SPREAD)
        return array + np.float32(1) if "layernorm" in name else array


def to_config_json(config: ModelConfig, preset: str) -> dict[str, Any]:
    """What the official config.json says of these sizes."""
    return {
        "_name_or_path": f"random/{preset}",
        "model_type": "chatglm",
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_heads,
        "kv_channels": config.head_dim,
        "multi_query_attention": True,
        "multi_query_group_num": config.num_groups,
        "ffn_hidden_size": config.ffn_hidden_size,
        "padded_vocab_size": config.vocab_size,
        "seq_length": config.seq_length,
        "layernorm_epsilon": config.norm_eps,
        "add_qkv_bias": config.qkv_bias,
        "torch_dtype": "float16",
    }


def write(folder: Path, preset: str, layers: int | None = None) -> int:
    """Write the checkpoint; returns its parameters' bytes."""
    config = PRESETS[preset].config
    if layers:
        config = dataclasses.replace(config, num_layers=layers)
    folder.mkdir(parents=True)
    text = json.dumps(to_config_json(config, preset), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    source = RandomSource(config)
    tensors = {
        name: OutputTensor(source, name, "float16", shape)
        for name, shape in parameter_shapes(config).items()
    }
    write_safetensors(tensors, folder, NoProgress())
    return sum(2 * math.prod(shape) for shape in source.shapes().values())


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="glm2_6b", choices=sorted(PRESETS))
    parser.add_argument("--layers", type=int, help="the first so many layers only")
    arguments = parser.parse_args()
    started = time.monotonic()
    size = write(arguments.folder, arguments.preset, arguments.layers)
    print(f"{size / 1e9:.2f} GB of weights in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

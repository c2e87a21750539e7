"""Random weights of a ChatGLM in the formats of both peers; every value is the same in all files.

    python benchmarks/peers/write_models.py --output FOLDER [--preset glm2_6b] [--kinds q8_0 q4_0]

Writes `PRESET-KIND.ggml` (chatglm.cpp) and `PRESET-KIND.gguf` (llama.cpp). All matrices, embedding
and output layer included, have the kind; norms and biases are float32.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.blocks import quantize_q4_0, quantize_q8_0
from benchmarks.peers.ggml_file import GgmlFile
from benchmarks.peers.gguf_file import GgufFile
from glmlite.bench.random_bundle import SIZES
from glmlite.bench.random_weights import RandomWeights
from glmlite.checkpoint import WeightSource
from glmlite.model.config import ModelConfig

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "glmlite" / "demo" / "checkpoint" / "tokenizer.model"
KINDS = ("q8_0", "q4_0")


def encode(weight: NDArray[np.float32], kind: str) -> NDArray[np.generic]:
    """A tensor's data in the layout of `kind`."""
    if kind == "q8_0":
        return quantize_q8_0(weight)
    if kind == "q4_0":
        return quantize_q4_0(weight)
    return weight.astype({"f16": np.float16, "f32": np.float32}[kind])


def tensor_kinds(shapes: Mapping[str, tuple[int, ...]], kind: str) -> dict[str, str]:
    """Parameter name -> kind: that of the model for matrices, float32 for vectors."""
    return {name: kind if len(shape) == 2 else "f32" for name, shape in shapes.items()}


def paths(folder: Path, name: str, kind: str) -> tuple[Path, Path]:
    """Where a model's GGML and GGUF files lie."""
    return folder / f"{name}-{kind}.ggml", folder / f"{name}-{kind}.gguf"


def write_model(
    folder: Path, name: str, config: ModelConfig, source: WeightSource, kinds: Sequence[str]
) -> list[Path]:
    """Write every file that is not there yet; a tensor is read once for all of them.

    Returns:
        All files, GGML and GGUF of each kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shapes = source.shapes()
    wanted = [path for kind in kinds for path in paths(folder, name, kind)]
    missing = [kind for kind in kinds if not all(p.exists() for p in paths(folder, name, kind))]
    unfinished = {path: path.with_suffix(path.suffix + ".part") for path in wanted}
    with contextlib.ExitStack() as stack:
        open_files = {}
        for kind in missing:
            ggml, gguf = (unfinished[path] for path in paths(folder, name, kind))
            tensors = {n: (shapes[n], k) for n, k in tensor_kinds(shapes, kind).items()}
            open_files[kind] = (
                stack.enter_context(GgmlFile(ggml, config, kind, TOKENIZER.read_bytes())),
                stack.enter_context(GgufFile(gguf, config, kind, tensors)),
            )
        for tensor, shape in shapes.items() if missing else ():
            weight = source.read(tensor).astype(np.float32, copy=False)
            for kind, (ggml_file, gguf_file) in open_files.items():
                stored = kind if len(shape) == 2 else "f32"
                data = encode(weight, stored)
                ggml_file.add(tensor, shape, stored, data)
                gguf_file.add(tensor, data)
    for kind in missing:
        for path in paths(folder, name, kind):
            unfinished[path].replace(path)
    return wanted


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--preset", default="glm2_6b", choices=sorted(SIZES))
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=("f32", "f16", *KINDS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = SIZES[arguments.preset].config
    started = time.monotonic()
    source = RandomWeights(config, arguments.seed)
    for path in write_model(arguments.output, arguments.preset, config, source, arguments.kinds):
        print(f"{path}  {path.stat().st_size / 1e9:.2f} GB")
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

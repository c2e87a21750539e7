"""Above 1 GiB MindSpore writes weights beside the graph, once a graph: a bundle has them once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.bundle import Bundle
from glmlite.toolchain import mindir
from tests.engines.bundles import Bundles

HIDDEN, VOCAB, FFN, HEADS, HEAD_DIM = 1024, 132_096, 64, 4, 16
QKV = HEADS * HEAD_DIM * 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding and output layer alone take 1.01 GiB in float32."""
    folder = tmp_path_factory.mktemp("large")
    generator = np.random.default_rng(11)
    layer = "transformer.encoder.layers.0."
    block = (0.1 * generator.standard_normal((VOCAB // 64, HIDDEN), np.float32)).astype(np.float32)
    wide = np.concatenate([block * np.float32(1 + i / 64) for i in range(64)])
    small = {
        layer + "input_layernorm.weight": np.ones(HIDDEN),
        layer + "self_attention.query_key_value.weight": generator.normal(0, 0.05, (QKV, HIDDEN)),
        layer + "self_attention.query_key_value.bias": generator.normal(0, 0.1, QKV),
        layer + "self_attention.dense.weight": generator.normal(0, 0.1, (HIDDEN, QKV // 3)),
        layer + "post_attention_layernorm.weight": np.ones(HIDDEN),
        layer + "mlp.dense_h_to_4h.weight": generator.normal(0, 0.05, (2 * FFN, HIDDEN)),
        layer + "mlp.dense_4h_to_h.weight": generator.normal(0, 0.1, (HIDDEN, FFN)),
        "transformer.encoder.final_layernorm.weight": np.ones(HIDDEN),
    }
    tensors = {name: array.astype(np.float32) for name, array in small.items()}
    tensors["transformer.embedding.word_embeddings.weight"] = wide
    tensors["transformer.output_layer.weight"] = wide[::-1].copy()
    save_file(tensors, folder / "model.safetensors")
    config = {
        "_name_or_path": "THUDM/chatglm2-6b",
        "num_layers": 1,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "kv_channels": HEAD_DIM,
        "multi_query_attention": False,
        "ffn_hidden_size": FFN,
        "padded_vocab_size": VOCAB,
        "seq_length": 64,
        "add_qkv_bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _export_elsewhere(recipe: dict[str, Any]) -> tuple[Path, int]:
    """Export in a process of its own; the bundle, and the process's peak memory in bytes."""
    code = (
        "import json, sys; from glmlite.exporter.pipeline import run_export\n"
        "run_export(json.loads(sys.argv[1]))\n"
        # Not ru_maxrss: that one begins with what the process had before exec.
        "print(next(s.split()[1] for s in open('/proc/self/status') if s.startswith('VmHWM')))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(recipe)], check=True, capture_output=True
    )
    return Path(recipe["export"]["output"]), 1024 * int(result.stdout)


@pytest.mark.mindspore
@pytest.mark.timeout(600)
def test_weights_lie_on_disk_once(checkpoint: Path, tmp_path: Path, bundles: Bundles) -> None:
    bundles.require(False)
    recipe = {
        "model": {"checkpoint": str(checkpoint)},
        "export": {
            "output": str(tmp_path / "bundle"),
            "cache_length": 32,
            "prefill_tokens": [8],
        },
    }
    path, peak = _export_elsewhere(recipe)
    manifest = Bundle.open(path).manifest
    # One copy of the weights and one layer: here the embedding is the layer that counts.
    assert peak < 1.5 * manifest.weights.bytes
    assert manifest.weights.bytes > 1 << 30, "too small for MindSpore to split"
    on_disk = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    assert on_disk < 1.03 * manifest.weights.bytes
    for graph in manifest.graphs:
        places = mindir.list_parameters(path / graph.file)
        assert {p.location for p in places} == {"weights/data_0"}
    # The proof ran the graphs from the one file, through the engine.
    assert {entry.graph for entry in manifest.parity} == {g.file for g in manifest.graphs}
    assert max(entry.max_abs for entry in manifest.parity) < 2e-3

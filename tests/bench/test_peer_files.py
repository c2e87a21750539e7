"""The peers' model files, re-read by readers that glmlite did not write."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.agreement import NEW, check_agreement
from benchmarks.peers.blocks import (
    dequantize_q4_0,
    dequantize_q8_0,
    quantize_q4_0,
    quantize_q8_0,
)
from benchmarks.peers.runners import ROOT
from benchmarks.peers.write_models import TOKENIZER, paths, write_model
from glmlite.bench.random_weights import RandomWeights
from glmlite.model.config import ModelConfig, RopeConfig
from glmlite.model.parameters import EMBEDDING, OUTPUT, layer_prefix

CONFIG = ModelConfig(
    num_layers=2,
    hidden_size=64,
    num_heads=4,
    num_groups=2,
    head_dim=16,
    ffn_hidden_size=96,
    vocab_size=320,
    seq_length=128,
    rope=RopeConfig("base", 50.0),
)
KINDS = ("f32", "f16", "q8_0", "q4_0")
# Of the largest value of a block: half a step, and the rounding of its scale to float16.
ERRORS = {"f32": 0, "f16": 2**-11, "q8_0": 0.5 / 127 + 2**-11, "q4_0": 1 / 8 + 2**-11}
VENV = ROOT / "build" / "peers" / "venv"


@pytest.fixture(scope="module")
def source():
    return RandomWeights(CONFIG, 7)


@pytest.fixture(scope="module")
def files(tmp_path_factory, source) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    write_model(folder, "tiny", CONFIG, source, KINDS)
    return folder


@pytest.fixture(scope="module")
def gguf():
    return pytest.importorskip("gguf", reason="the package gguf is not installed")


def assert_near(found, wanted, kind):
    largest = np.abs(wanted).reshape(-1, 32).max(axis=1, keepdims=True)
    error = np.abs(found - wanted).reshape(-1, 32)
    assert (error <= ERRORS[kind] * largest).all()


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_blocks_are_ggmls(gguf, kind):
    """Byte for byte what ggml's own Python package makes, but for ties of rounding."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 128)).astype(np.float32)
    weight[3] = 0
    weight[5, 32:64] = 0.25
    weight[7, 0] = 900
    ours = {"q8_0": quantize_q8_0, "q4_0": quantize_q4_0}[kind](weight)
    number = gguf.GGMLQuantizationType[kind.upper()]
    theirs = gguf.quants.quantize(weight, number).reshape(ours.shape)
    scales = [np.ascontiguousarray(blocks[:, :2]).view(np.float16) for blocks in (ours, theirs)]
    np.testing.assert_array_equal(*scales)
    assert (ours[:, 2:] != theirs[:, 2:]).mean() < 1e-3
    read = {"q8_0": dequantize_q8_0, "q4_0": dequantize_q4_0}[kind](ours)
    np.testing.assert_array_equal(
        read.reshape(weight.shape), gguf.quants.dequantize(ours.reshape(48, -1), number)
    )
    assert_near(read.reshape(weight.shape), weight, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_is_read_by_the_package_gguf(gguf, files, source, kind):
    reader = gguf.GGUFReader(paths(files, "tiny", kind)[1])
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "chatglm"
    assert fields["chatglm.block_count"] == 2
    assert fields["chatglm.attention.head_count_kv"] == 2
    assert fields["chatglm.rope.dimension_count"] == 8
    assert fields["chatglm.rope.freq_base"] == 500_000
    pieces = fields["tokenizer.ggml.tokens"]
    assert len(pieces) == len(set(pieces)) == CONFIG.vocab_size
    assert len(fields["tokenizer.ggml.token_type"]) == CONFIG.vocab_size
    names = {EMBEDDING: "token_embd.weight", OUTPUT: "output.weight"}
    first, second = layer_prefix(0), layer_prefix(1)
    names[second + "mlp.dense_4h_to_h.weight"] = "blk.1.ffn_down.weight"
    names[first + "self_attention.query_key_value.bias"] = "blk.0.attn_qkv.bias"
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(source.shapes())
    for ours, theirs in names.items():
        wanted = source.read(ours)
        tensor = tensors[theirs]
        assert tuple(reversed(tensor.shape.tolist())) == wanted.shape
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
        assert_near(found, wanted, kind if wanted.ndim == 2 else "f32")


@pytest.mark.parametrize("kind", KINDS)
def test_ggml_holds_what_its_loader_expects(gguf, files, source, kind):
    """The order of the fields is that of chatglm.cpp's `read_state_dict` and `convert.py`."""
    data = paths(files, "tiny", kind)[0].read_bytes()
    assert data[:8] == b"ggml" + struct.pack("<i", 2)
    number = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}[kind]
    header = struct.unpack_from("<8ififiii", data, 8)
    assert header[:8] == (2, number, 320, 64, 4, 2, 2, 96)
    assert header[10:] == (500_000.0, 128, 2, 0)
    at = 8 + struct.calcsize("<8ififiii")
    (length,) = struct.unpack_from("<i", data, at)
    assert data[at + 4 : at + 4 + length] == TOKENIZER.read_bytes()
    at += 4 + length
    found = {}
    while at < len(data):
        (size,) = struct.unpack_from("<i", data, at)
        name = data[at + 4 : at + 4 + size].decode()
        (dimensions,) = struct.unpack_from("<i", data, at + 4 + size)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 8 + size)
        (stored,) = struct.unpack_from("<i", data, at + 8 + size + 4 * dimensions)
        at = -(-(at + 12 + size + 4 * dimensions) // 16) * 16
        layout = gguf.GGMLQuantizationType(stored)
        values, nbytes = gguf.GGML_QUANT_SIZES[layout]
        end = at + int(np.prod(shape)) // values * nbytes
        raw = np.frombuffer(data[at:end], np.uint8).reshape(shape[0], -1)
        if dimensions == 1:
            raw = raw.reshape(-1)
        if stored < 2:
            raw = raw.view(np.float32 if stored == 0 else np.float16)
        found[name] = gguf.quants.dequantize(raw, layout).reshape(shape)
        at = end
    assert list(found) == list(source.shapes())
    for name, array in found.items():
        wanted = source.read(name)
        if wanted.ndim == 2:
            assert_near(array, wanted, kind)
        else:
            np.testing.assert_array_equal(array, wanted)


def test_a_file_that_is_there_is_kept(files, source):
    before = {path: path.stat().st_mtime_ns for path in files.iterdir()}
    write_model(files, "tiny", CONFIG, source, KINDS)
    assert {path: path.stat().st_mtime_ns for path in files.iterdir()} == before


def test_the_peers_compute_the_same_function():
    python = VENV / "bin" / "python"
    if not python.exists():
        pytest.skip("the peers are not built; python benchmarks/peers/install.py does it")
    agreements = check_agreement(python, ("f32", "q8_0"), threads=1)
    assert len(agreements) == 4
    for agreement in agreements:
        assert agreement.holds, agreement
        if agreement.kind == "f32":
            assert agreement.equal_ids == NEW
            assert agreement.logits_error is None or agreement.logits_error < 1e-3


def test_the_table_puts_ours_beside_the_better_peer(capsys):
    from benchmarks.peers.table import Row, print_markdown

    row = Row("peer", "q8_0", "int8", 10**9, 1.0, 10.0, 3.0, None, 2**30, ours=False)
    ours = dataclasses.replace(
        row,
        engine="glmlite onnx",
        prefill=55.0,
        decode=6.0,
        decode_bytes=10**9,
        ours=True,
        decode_growth=0.1,
        second_turn_share=0.03,
    )
    slower = dataclasses.replace(row, prefill=11.0, decode=2.0)
    found = {
        "preset": "glm2_6b",
        "prompt_tokens": 512,
        "decode_context": 64,
        "threads": 2,
        "machine": {"cpu": "a cpu", "features": ["avx2"]},
        "bandwidth": {"bytes_per_second": 10e9, "all": [9e9, 10e9]},
    }
    print_markdown([row, slower, ours], [], found)
    printed = capsys.readouterr().out
    assert "55.00 tok/s (**5.00×**)" in printed
    assert "6.00 tok/s (**2.00×**)" in printed
    assert "| 6.0 GB/s | 60% | 1.0 GiB |" in printed
    beside = dataclasses.replace(ours, bandwidth_share=0.8)
    print_markdown([row, beside], [], found)
    assert "| 6.0 GB/s | 80% | 1.0 GiB |" in capsys.readouterr().out

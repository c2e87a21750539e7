"""Writes GGUF version 3, architecture `chatglm`, as llama.cpp reads it.

A GGUF file is a header, typed key-value pairs, a list of tensors (name, shape reversed, type,
offset), and the data, each tensor at a multiple of 32 bytes. Everything little-endian.
Source: ggml's docs/gguf.md. The vocabulary is made up: bytes and numbered pieces.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix

TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7}
# kind -> (values a block, bytes a block)
LAYOUT = {"f32": (1, 4), "f16": (1, 2), "q4_0": (32, 18), "q8_0": (32, 34)}
ALIGNMENT = 32
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # kinds of pieces

_LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attention.query_key_value.weight": "attn_qkv.weight",
    "self_attention.query_key_value.bias": "attn_qkv.bias",
    "self_attention.dense.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.dense_h_to_4h.weight": "ffn_up.weight",
    "mlp.dense_4h_to_h.weight": "ffn_down.weight",
}


def gguf_name(name: str) -> str:
    """llama.cpp's name of a parameter."""
    whole = {EMBEDDING: "token_embd.weight", FINAL_NORM: "output_norm.weight"}
    whole[OUTPUT] = "output.weight"
    if name in whole:
        return whole[name]
    layer = int(name.removeprefix(layer_prefix(0)[:-2]).split(".")[0])
    return f"blk.{layer}.{_LAYER_NAMES[name.removeprefix(layer_prefix(layer))]}"


def stored_bytes(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor's data."""
    values, size = LAYOUT[kind]
    return math.prod(shape) // values * size


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Any) -> tuple[int, bytes]:
    """GGUF's type number and bytes; an array must be of one kind."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _string(value)
    if isinstance(value, np.ndarray):
        number = {"float32": 6, "int32": 5}[value.dtype.name]
        return 9, struct.pack("<IQ", number, len(value)) + value.tobytes()
    return 9, struct.pack("<IQ", 8, len(value)) + b"".join(_string(text) for text in value)


def metadata(config: ModelConfig, kind: str) -> dict[str, Any]:
    """The key-value pairs of a ChatGLM2/3."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = (pieces + [f"piece{i}" for i in range(config.vocab_size)])[: config.vocab_size]
    kinds = np.full(config.vocab_size, _NORMAL, np.int32)
    kinds[0], kinds[1:3], kinds[3:259] = _UNKNOWN, _CONTROL, _BYTE
    return {
        "general.architecture": "chatglm",
        "general.name": "random weights",
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
        "general.alignment": ALIGNMENT,
        "chatglm.context_length": config.seq_length,
        "chatglm.embedding_length": config.hidden_size,
        "chatglm.feed_forward_length": config.ffn_hidden_size,
        "chatglm.block_count": config.num_layers,
        "chatglm.attention.head_count": config.num_heads,
        "chatglm.attention.head_count_kv": config.num_groups,
        "chatglm.attention.key_length": config.head_dim,
        "chatglm.attention.value_length": config.head_dim,
        "chatglm.attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "chatglm.rope.dimension_count": config.rotary_dim,
        "chatglm.rope.freq_base": float(config.rope.effective_base),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": -np.arange(config.vocab_size, dtype=np.float32),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }


class GgufFile:
    """A file whose tensors are announced first and then added in that order; a context manager.

    Args:
        path: of the new file.
        config: of the model.
        kind: of its matrices, a key of `TYPES`.
        tensors: parameter name -> (shape, kind), all that will be added.
    """

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        kind: str,
        tensors: dict[str, tuple[tuple[int, ...], str]],
    ) -> None:
        pairs = metadata(config, kind)
        header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
        for key, value in pairs.items():
            number, data = _value(value)
            header += _string(key) + struct.pack("<I", number) + data
        offset = 0
        for name, (shape, stored) in tensors.items():
            header += _string(gguf_name(name))
            header += struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
            header += struct.pack("<IQ", TYPES[stored], offset)
            offset += -(-stored_bytes(shape, stored) // ALIGNMENT) * ALIGNMENT
        self._announced = iter(tensors.items())
        self._file = path.open("wb")
        self._file.write(header + bytes(-len(header) % ALIGNMENT))

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, name: str, data: NDArray[np.generic]) -> None:
        """Append the next tensor's data, in the layout of its kind."""
        expected, (shape, kind) = next(self._announced)
        if name != expected or data.nbytes != stored_bytes(shape, kind):
            raise ValueError(f"{name} is not what was announced: {expected}, {shape}, {kind}")
        self._file.write(np.ascontiguousarray(data).data.cast("B"))
        self._file.write(bytes(-data.nbytes % ALIGNMENT))

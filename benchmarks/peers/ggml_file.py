"""Writes the model file of chatglm.cpp 0.4: header, tokenizer, then one tensor after the other.

The order of the header is that of `chatglm_cpp/convert.py`: everything little-endian, int32 unless
said otherwise; each tensor has its name, its shape, its type, and data at a multiple of 16 bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig

MODEL_TYPES = {"glm2": 2, "glm3": 3}
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
ALIGNMENT = 16
CONFIG_VERSION = 2
EOS, PAD = 2, 0


class GgmlFile:
    """A file that grows tensor by tensor; a context manager.

    Args:
        path: of the new file.
        config: of the model.
        kind: of its matrices, a key of `TYPES`.
        tokenizer: a SentencePiece model's bytes; measuring feeds ids, so any will do.
        family: whose prompts: "glm2" or "glm3".
    """

    def __init__(
        self, path: Path, config: ModelConfig, kind: str, tokenizer: bytes, family: str = "glm2"
    ) -> None:
        self._file = path.open("wb")
        self._file.write(b"ggml" + struct.pack("<i", MODEL_TYPES[family]))
        self._file.write(
            struct.pack(
                "<8i f i f 3i",
                CONFIG_VERSION,
                TYPES[kind],
                config.vocab_size,
                config.hidden_size,
                config.num_heads,
                config.num_groups,
                config.num_layers,
                config.ffn_hidden_size,
                config.norm_eps,
                0,  # P-Tuning slots
                config.rope.effective_base,
                config.seq_length,
                EOS,
                PAD,
            )
        )
        self._file.write(struct.pack("<i", len(tokenizer)) + tokenizer)

    def __enter__(self) -> GgmlFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, name: str, shape: tuple[int, ...], kind: str, data: NDArray[np.generic]) -> None:
        """Append a tensor of that shape, whose data has the layout of `kind`."""
        encoded = name.encode()
        self._file.write(struct.pack("<i", len(encoded)) + encoded)
        self._file.write(struct.pack(f"<{2 + len(shape)}i", len(shape), *shape, TYPES[kind]))
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        self._file.write(np.ascontiguousarray(data).data.cast("B"))

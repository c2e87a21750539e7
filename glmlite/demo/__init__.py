"""A tiny GLM2 that the project trains itself: corpus, tokenizer, trainer, weights, demonstration.

`CHECKPOINT` is an ordinary Hugging Face folder; recipes name it `glmlite://demo/checkpoint`.
"""

from __future__ import annotations

from pathlib import Path

from glmlite.demo.dialogues import Dialogue, Turn, load_corpus

CHECKPOINT = Path(__file__).parent / "checkpoint"

__all__ = ["CHECKPOINT", "Dialogue", "Turn", "load_corpus"]

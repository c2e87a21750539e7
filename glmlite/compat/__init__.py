"""MindFormers' names for what glmlite does, so that a script runs with one changed import line.

    from mindformers import AutoConfig, AutoModel, AutoTokenizer   # before
    from glmlite.compat import AutoConfig, AutoModel, AutoTokenizer   # after

A model is a bundle: its folder, or a name such as "glm2_6b" that stands for one (`locate.py`).
`max_length` counts the prompt, results are lists of ids that begin with the prompt, and sampling
has MindFormers' defaults. docs/migrating-from-mindformers.md has every snippet of its pages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmlite.compat.configs import AutoConfig, ChatGLM2Config
    from glmlite.compat.models import AutoModel, ChatGLM2ForConditionalGeneration
    from glmlite.compat.pipelines import TextGenerationPipeline, pipeline
    from glmlite.compat.replies import process_response
    from glmlite.compat.tokenizers import AutoTokenizer, ChatGLM2Tokenizer, ChatGLM3Tokenizer
    from glmlite.compat.trainer import Trainer
    from glmlite.compat.transforms import transform_checkpoints

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoTokenizer",
    "ChatGLM2Config",
    "ChatGLM2ForConditionalGeneration",
    "ChatGLM2Tokenizer",
    "ChatGLM3Tokenizer",
    "TextGenerationPipeline",
    "Trainer",
    "pipeline",
    "process_response",
    "transform_checkpoints",
]

_MODULES = {
    "AutoConfig": "configs",
    "AutoModel": "models",
    "AutoTokenizer": "tokenizers",
    "ChatGLM2Config": "configs",
    "ChatGLM2ForConditionalGeneration": "models",
    "ChatGLM2Tokenizer": "tokenizers",
    "ChatGLM3Tokenizer": "tokenizers",
    "TextGenerationPipeline": "pipelines",
    "Trainer": "trainer",
    "pipeline": "pipelines",
    "process_response": "replies",
    "transform_checkpoints": "transforms",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"glmlite.compat.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'glmlite.compat' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Completion shows what is loaded on demand, and not what this module itself imports.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

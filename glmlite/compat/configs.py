"""`AutoConfig`: a bundle's settings under MindFormers' names, free to be changed as there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmlite.bundle import Bundle
from glmlite.compat.locate import is_bundle, locate_bundle

# What a MindFormers YAML may say about generation, and MindFormers' own defaults.
_GENERATION: dict[str, Any] = {
    "do_sample": False,
    "top_k": 1,
    "top_p": 1.0,
    "temperature": 1.0,
    "repetition_penalty": 1.0,
}


class ChatGLM2Config:
    """Settings that scripts read and set; ChatGLM3 has the same class, as in MindFormers.

    `seq_length` limits prompt and answer together, the generation settings are the defaults of
    `generate`. Everything else may be set as in MindFormers and changes nothing: the bundle's
    graphs are what they are.

    Attributes:
        checkpoint_name_or_path: the bundle: its folder, or a name that stands for one.
        seq_length: at most the bundle's cache length.
    """

    def __init__(self, checkpoint_name_or_path: str | None = None, **settings: Any) -> None:
        self.checkpoint_name_or_path = checkpoint_name_or_path
        self.seq_length: int | None = None
        self.use_past = True
        self.do_sample = bool(_GENERATION["do_sample"])
        self.top_k: Any = _GENERATION["top_k"]
        self.top_p: Any = _GENERATION["top_p"]
        self.temperature: Any = _GENERATION["temperature"]
        self.repetition_penalty: Any = _GENERATION["repetition_penalty"]
        for name, value in settings.items():
            setattr(self, name, value)

    if TYPE_CHECKING:  # any attribute may be set, and those of `settings` are there

        def __setattr__(self, name: str, value: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...


class AutoConfig:
    """`from_pretrained` alone."""

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **settings: Any) -> ChatGLM2Config:
        """The configuration of a bundle.

        Args:
            name: the bundle's folder, a name that stands for one, or a MindFormers YAML that leads
                to one (see `glmlite.compat.locate`).
            **settings: replace what the file says.

        Raises:
            BundleError: there is no bundle.
        """
        folder = locate_bundle(name)
        manifest = Bundle.open(folder).manifest
        capacity = max(g.cache_length for g in manifest.graphs) - manifest.prefix_length
        model = manifest.model
        found: dict[str, Any] = {
            "seq_length": capacity,
            "batch_size": manifest.graphs[0].batch_size,
            "num_layers": model.num_layers,
            "hidden_size": model.hidden_size,
            "num_attention_heads": model.num_heads,
            "multi_query_group_num": model.num_groups,
            "kv_channels": model.head_dim,
            "ffn_hidden_size": model.ffn_hidden_size,
            "padded_vocab_size": model.vocab_size,
            "vocab_size": model.vocab_size,
            "compute_dtype": manifest.weights.dtype,
        }
        if not is_bundle(Path(name)):
            found |= read_settings(Path(name))
        return ChatGLM2Config(str(folder), **{**found, **settings})


def read_settings(path: Path) -> dict[str, Any]:
    """`seq_length` and generation settings of a MindFormers YAML; {} for anything else."""
    if path.suffix not in (".yaml", ".yml"):
        return {}
    from glmlite.exporter.includes import read_with_includes

    model = read_with_includes(path).get("model")
    section = model.get("model_config") if isinstance(model, Mapping) else None
    if not isinstance(section, Mapping):
        return {}
    known = ("seq_length", *_GENERATION)
    return {key: section[key] for key in known if section.get(key) not in (None, "None")}

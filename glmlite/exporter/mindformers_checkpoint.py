"""Which weights and which tokenizer a MindFormers YAML means."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.schema import Where
from glmlite.i18n import _

NAME_KEY = "model.model_config.checkpoint_name_or_path"
LOAD_KEY = "load_checkpoint"
# Where from_pretrained() of MindFormers keeps what it downloaded.
_DOWNLOADS = "checkpoint_download"


def find_checkpoint(data: Mapping[str, Any], section: Mapping[str, Any], file: str) -> str:
    """The path of the weights.

    Raises:
        ConfigError: none is named, two are, a pattern fits no file or several, or it is a name that
            MindFormers would download.
    """
    given = {
        key: schema.text(Where(file, key), value)
        for key, value in (
            (NAME_KEY, section.get("checkpoint_name_or_path")),
            (LOAD_KEY, data.get("load_checkpoint")),
        )
        if value not in (None, "")
    }
    found = {key: _resolve(value, key, file) for key, value in given.items()}
    paths = {key: path for key, path in found.items() if path is not None}
    if len(set(paths.values())) > 1:
        raise ConfigError(
            "{file}: {first} is {one}, {second} is {other}.",
            hint="Say which is meant: --checkpoint PATH",
            file=file,
            first=NAME_KEY,
            second=LOAD_KEY,
            one=paths[NAME_KEY],
            other=paths[LOAD_KEY],
        )
    if paths:
        return next(iter(paths.values()))
    if given:
        key, value = next(iter(given.items()))
        raise ConfigError(
            "{file}: {key} is {name}, a name that MindFormers would download.",
            hint="Name the weights on this machine: --checkpoint PATH",
            file=file,
            key=key,
            name=value,
        )
    raise ConfigError(
        "{file}: {key} is not set.",
        hint="Name the trained model: --checkpoint PATH",
        file=file,
        key=NAME_KEY,
    )


def _resolve(value: str, key: str, file: str) -> str | None:
    """The path that is meant; None for a name that stands for a download."""
    path = Path(value).expanduser()
    if path.exists():
        return str(path)
    if glob.has_magic(value):
        matches = sorted(glob.glob(str(path)))
        if len(matches) == 1:
            return matches[0]
        raise ConfigError(
            "{file}: {key} is {found}, which fits {count} files.",
            hint="Name one: --checkpoint PATH. Several parts of one model are merged first: "
            "glmlite merge-checkpoint",
            file=file,
            key=key,
            found=value,
            count=len(matches),
        )
    if "/" in value or path.suffix:
        return str(path)  # the checkpoint's reader says what is missing
    downloaded = Path(_DOWNLOADS) / value.split("_")[0] / f"{value}.ckpt"
    return str(downloaded) if downloaded.is_file() else None


def find_tokenizer(
    tokenizer: Mapping[str, Any], checkpoint: str | None, file: str
) -> tuple[str | None, str]:
    """The tokenizer's file and a remark about it ("" for none); no file: leave it to the export.

    The YAMLs ship with placeholders in this place that MindFormers' export never read, so one that
    leads nowhere is passed over and said.
    """
    named = tokenizer.get("vocab_file")
    if named is not None:
        path = schema.path(Where(file, "processor.tokenizer.vocab_file"), named)
        if path.is_file():
            return str(path), ""
    beside = Path(checkpoint).expanduser() if checkpoint else None
    if beside is not None and beside.is_file():
        beside = beside.parent
    found = beside / "tokenizer.model" if beside else None
    here = str(found) if found and found.is_file() else None
    if named is None:
        return here, ""
    if here:
        return here, _(
            "processor.tokenizer.vocab_file: there is no {named}; {path} is used.",
            named=named,
            path=here,
        )
    return None, _(
        "processor.tokenizer.vocab_file: there is no {named}; name the file to chat: "
        "--set model.tokenizer=FILE",
        named=named,
    )

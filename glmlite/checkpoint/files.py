"""Reaching files of a checkpoint folder that somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glmlite.errors import CheckpointError

MAX_JSON_BYTES = 4 << 20


def inside(folder: Path, name: str) -> Path | None:
    """The regular file `name` of `folder` with links resolved, or None where there is none.

    Links may not lead out of the folder, with one exception: the Hugging Face cache, whose
    `snapshots/<revision>/` holds nothing but links into its own `blobs/`.

    Args:
        folder: a resolved folder.
        name: a relative path, as an index gives it.

    Raises:
        CheckpointError: `name` leads out of the folder, or is no regular file.
    """
    if "\0" in name or not name.isprintable() or Path(name).is_absolute():
        raise _outside(folder, name)
    path = folder / name
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise _outside(folder, name) from error
    allowed = [folder]
    if ".." not in Path(name).parts and folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")
    if not any(resolved.is_relative_to(root) for root in allowed):
        raise _outside(folder, name)
    if not resolved.exists():
        return None
    if not resolved.is_file():
        raise CheckpointError("{file} is not a regular file.", file=name)
    return resolved


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of moderate size.

    Raises:
        CheckpointError: unreadable, too large, or no JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CheckpointError(
                "{file} has {size} bytes; that is no configuration.", file=path.name, size=size
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            "{file} cannot be read: {reason}.",
            file=path.name,
            reason=error.strerror or type(error).__name__,
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            "{file} is not valid JSON: {reason}.", file=path.name, reason=str(error)[:200]
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError("{file} is not a JSON object.", file=path.name)
    return value


def _outside(folder: Path, name: str) -> CheckpointError:
    return CheckpointError(
        "{name} leads out of the checkpoint folder {folder}.",
        hint="Put the file itself into the folder; glmlite follows no path that leaves it.",
        name=name if name.isprintable() else ascii(name),
        folder=folder.name,
    )

"""Where weights come from, and whether they are the ones a configuration asks for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import is_ignored, parameter_shapes

Shape = tuple[int, ...]
_LISTED = 8  # problems of one kind that are spelled out


class WeightSource(Protocol):
    """Named tensors that are read one at a time; a checkpoint, or a bundle's weights."""

    def shapes(self) -> Mapping[str, Shape]:
        """Hugging Face names and shapes of all tensors, without reading any data."""

    def read(self, name: str) -> NDArray[Any]:
        """One tensor, float32 or float16 in memory of its own (bfloat16 becomes float32, exactly).

        Raises:
            CheckpointError: there is no such tensor, it cannot be read, or it holds NaN or Inf.
        """


def check_parameters(
    source: WeightSource, config: ModelConfig, *, accepted: Collection[str] = ()
) -> None:
    """Compare names and shapes with what the configuration needs.

    Args:
        source: a checkpoint, or anything else that names its tensors.
        config: sizes of the model.
        accepted: names that may be there besides the model's own, such as a P-Tuning prefix that
            was saved into the same file.

    Raises:
        CheckpointError: lists every kind of difference; renamed tensors get the nearest name.
    """
    expected = parameter_shapes(config)
    found = {
        name: tuple(shape)
        for name, shape in source.shapes().items()
        if not is_ignored(name) and name not in accepted
    }
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    reshaped = [name for name in expected if name in found and found[name] != expected[name]]
    if not (missing or unexpected or reshaped):
        return

    lines: list[str] = []
    renamed: set[str] = set()
    for name in missing[:_LISTED]:
        near = _nearest(name, expected[name], unexpected, found)
        if near:
            renamed.add(near)
            lines.append(_("missing: {name} (renamed? there is {near})", name=name, near=near))
        else:
            lines.append(_("missing: {name}", name=name))
    lines += _and_more(missing)
    strangers = [name for name in unexpected if name not in renamed]
    lines += [
        _("unexpected: {name} {shape}", name=name, shape=list(found[name]))
        for name in strangers[:_LISTED]
    ]
    lines += _and_more(strangers)
    lines += [
        _(
            "wrong shape: {name} is {found}, the configuration needs {expected}",
            name=name,
            found=list(found[name]),
            expected=list(expected[name]),
        )
        for name in reshaped[:_LISTED]
    ]
    lines += _and_more(reshaped)
    raise CheckpointError(
        "The checkpoint does not fit its model configuration ({missing} tensors missing, "
        "{unexpected} unexpected, {reshaped} of another shape):\n{problems}",
        hint="Check that config.json (or model.preset) belongs to these weights, and that every "
        "shard of the checkpoint is there.",
        missing=len(missing),
        unexpected=len(unexpected),
        reshaped=len(reshaped),
        problems="\n".join(f"  {line}" for line in lines),
    )


def _and_more(names: Collection[str]) -> list[str]:
    return [_("… and {count} more", count=len(names) - _LISTED)] if len(names) > _LISTED else []


def _nearest(
    name: str, shape: Shape, candidates: Collection[str], shapes: Mapping[str, Shape]
) -> str | None:
    """The unexpected tensor that `name` may have been renamed to.

    A tensor of the right shape is preferred: layers differ by one digit, so similarity of names
    alone would often point at a neighbour.
    """
    fitting = [other for other in candidates if shapes[other] == shape]
    for pool in (fitting, candidates):
        near = difflib.get_close_matches(name, pool, n=1, cutoff=0.6)
        if near:
            return near[0]
    return None

"""Engines that stay open for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.bundles import FORMATS, Bundles
from tests.engines.driving import Running


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, bundles: Bundles) -> Iterator[Running]:
    """A model on an engine; parametrized with `bundles.pairs`.

    A module's `EXPORT` holds the changes to the recipe, if it wants any.
    """
    name, kind = request.param
    subject = bundles.subject(name)
    changes = getattr(request.module, "EXPORT", {}) | FORMATS.get(kind, {})
    path = bundles.export(name, **changes)
    if kind == "onnx_grouped":
        path = bundles.with_grouped_decode(path)
    with bundles.open(path, kind) as engine:
        yield Running(subject, engine, kind)

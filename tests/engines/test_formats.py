"""Models exported straight from torch, MindSpore and quantized checkpoints, on every engine."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from glmlite.exporter.pipeline import run_export
from glmlite.runtime.engines.base import Engine
from tests.checkpoint.test_formats import write_ckpt, write_torch_shards
from tests.checkpoint.test_quantized import quantized_model
from tests.engines.bundles import Bundles, pairs
from tests.engines.driving import FP32, decode, prefill
from tests.engines.subjects import Case
from tests.fixtures.expected import expected
from tests.fixtures.models import MODELS
from tests.oracle import forward64


class Stages:
    """Progress that remembers the titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        self.titles.append(title)

    def advance(self, amount: float = 1.0) -> None:
        pass

    def done(self) -> None:
        pass


def make(form: str, folder: Path) -> tuple[Path, str, Case]:
    """A checkpoint, a word of what its export says, and what is expected of its long prompt."""
    model = MODELS["glm2"]
    config = model.config | ({"quantization_bit": 4} if form == "int4" else {})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    want = expected("glm2", "long")
    case = Case("long", want.prompt, want.greedy_ids, want.logits)
    if form == "ckpt":
        return write_ckpt(folder, model), "training state", case
    if form == "torch":
        return write_torch_shards(folder, model), "", case
    stored, real = quantized_model(model, 4)
    save_file(stored, folder / "model.safetensors")
    ids = forward64.greedy(real, model.config, want.prompt, 12)
    logits = forward64.forward(real, model.config, want.prompt + ids).logits
    return folder, "quantized (int4)", Case("long", want.prompt, ids, logits)


@functools.cache
def export(form: str, folder: Path, toolchain: str | None) -> tuple[Path, Case]:
    """Export a checkpoint of one format; checks what is said of it."""
    checkpoint, said, case = make(form, folder)
    export = {"output": str(folder / "bundle"), "cache_length": 80, "prefill_tokens": [32]}
    recipe: dict[str, Any] = {
        "model": {"checkpoint": str(checkpoint), "family": "glm2"},
        "export": export,
    }
    stages = Stages()
    report = run_export(recipe, toolchain=toolchain, progress=stages)
    assert any(said in title for title in stages.titles)
    quantization = "int4" if form == "int4" else None
    assert report.manifest.checkpoint.get("quantization") == quantization
    return report.path, case


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, bundles: Bundles) -> Iterator[tuple[Engine, Case]]:
    form, kind = request.param
    bundles.require(bundles.toolchain is not None)
    folder = bundles.folder / f"format-{form}"
    folder.mkdir(exist_ok=True)
    path, case = export(form, folder, bundles.toolchain)
    with bundles.open(path, kind) as opened:
        yield opened, case


@pytest.mark.parametrize(
    "engine", pairs(("ckpt", "torch", "int4"), ("mindspore", "lite_worker")), indirect=True
)
def test_greedy(engine: tuple[Engine, Case]) -> None:
    opened, case = engine
    cache = opened.new_cache()
    first = prefill(opened, cache, case, 32, FP32)
    assert decode(opened, cache, case, first, FP32) == case.greedy_ids

"""The golden model out of every format, and the official quantized ones, on every engine.

Graphs hold no weights: a bundle's weights lie in one file, the same for MindIR and ONNX. The bundle
of the golden safetensors runs on every engine in `test_one_row.py`; here every other format gives
that file to the last byte, and answers as the goldens do on ONNX Runtime, whose export is quick.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from glmlite.exporter.pipeline import run_export
from glmlite.runtime.engines.base import Engine
from tests.checkpoint.format_writers import WRITERS
from tests.checkpoint.test_quantized import quantized_model
from tests.engines.bundles import FORMATS, MARKS, Bundles
from tests.engines.driving import FP32, decode, prefill
from tests.engines.subjects import GOLDEN, Case
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


def weights_of(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (bundle / "weights").iterdir()}


def answers(engine: Engine, case: Case) -> None:
    """Greedy ids and the logits of every step are the expected ones."""
    cache = engine.new_cache()
    first = prefill(engine, cache, case, 32, FP32)
    assert decode(engine, cache, case, first, FP32) == case.greedy_ids


@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_is_the_golden_bundle(bundles: Bundles, tmp_path: Path, writer: str) -> None:
    golden = bundles.subject(GOLDEN)
    shutil.copyfile(golden.checkpoint / "config.json", tmp_path / "config.json")
    tensors = load_file(golden.checkpoint / "model.safetensors")
    recipe: dict[str, Any] = {
        "model": {"checkpoint": str(WRITERS[writer](tmp_path, tensors)), "family": "glm2"},
        "export": {"output": str(tmp_path / "bundle"), "cache_length": 112, "parity": "off"},
    }
    pytest.importorskip("onnxruntime")
    recipe["export"] |= {"format": "onnx", "prefill_tokens": [32]}
    stages = Stages()
    report = run_export(recipe, progress=stages)
    assert any("training state" in title for title in stages.titles) == ("ckpt" in writer)
    # The bundle that mindspore and lite run, where one of them is here.
    tested = bundles.export(GOLDEN) if bundles.can_export_mindir else report.path
    assert weights_of(report.path) == weights_of(tested)
    with bundles.open(report.path, "onnx") as engine:
        for case in golden.cases[1:3]:
            answers(engine, case)


QUANTIZED = {"int4": 4, "int8": 8}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((form, kind), id=f"{form}-{kind}", marks=MARKS[kind])
        for form in QUANTIZED
        for kind in ("mindspore", "lite_worker", "onnx")
    ],
)
def quantized(request: pytest.FixtureRequest, bundles: Bundles) -> Iterator[tuple[Engine, Case]]:
    """An official quantized checkpoint on an engine, and what the oracle says of its numbers."""
    form, kind = request.param
    model = MODELS["glm2"]
    stored, real = quantized_model(model, QUANTIZED[form])
    folder = bundles.folder / f"format-{form}"
    if not folder.exists():
        folder.mkdir()
        config = model.config | {"quantization_bit": QUANTIZED[form]}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(stored, folder / "model.safetensors")
    path = bundles.export("glm2", model__checkpoint=str(folder), **FORMATS.get(kind, {}))
    prompt = model.prompts["long"]
    ids = forward64.greedy(real, model.config, prompt, 12)
    logits = forward64.forward(real, model.config, prompt + ids).logits
    with bundles.open(path, kind) as opened:
        yield opened, Case("long", prompt, ids, logits)


def test_official_quantized_checkpoints(quantized: tuple[Engine, Case]) -> None:
    answers(*quantized)

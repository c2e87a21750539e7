"""Every kind of adapter by itself: who wrote it changes neither weights nor prefix by a byte.

One LoRA bundle runs on every engine; the same factors under the other names, and inside the
checkpoint, give the same file of weights. Prefixes with and without projection run on every engine
in `test_adapters.py` and `test_one_row.py`; here each naming of both gives the same cache, and is
compared with the oracle on ONNX Runtime, whose export is quick.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from glmlite.runtime.engines.base import Engine
from glmlite.runtime.session import Session
from tests.checkpoint.adapters.drawing import (
    MINDFORMERS,
    OFFICIAL,
    draw_encoder,
    draw_factors,
    encoded_cache,
    mindpet_tensors,
    named,
    terms,
    write_peft,
)
from tests.engines.bundles import FORMATS, MARKS, Bundles
from tests.engines.driving import FP32, close
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint, write_safetensors
from tests.oracle import forward64

MODEL = MODELS["glm2"]
FACTORS = draw_factors(MODEL, 8, seed=3)
SCALE = 32 / 8
ENCODER = draw_encoder(MODEL, 5, inner=20, seed=4)
PROMPT = MODEL.prompts["long"]
IDS = [*PROMPT, 7, 8, 9]


def oracle(**additions: Any) -> NDArray[np.float64]:
    """Logits of IDS; LoRA and prefix are computed beside the weights."""
    return forward64.forward(drawing.tensors(MODEL), MODEL.config, IDS, **additions).logits


def check(engine: Engine, wanted: NDArray[np.float64], plain: NDArray[np.float64]) -> None:
    """A prompt in chunks and three steps; and the adapter matters."""
    assert np.abs(wanted - plain).max() > 0.1
    session = Session(engine)
    close(session.feed(PROMPT), wanted[len(PROMPT) - 1], FP32, "prompt")
    for i, token in enumerate(IDS[len(PROMPT) :], len(PROMPT)):
        close(session.feed([token]), wanted[i], FP32, f"position {i}")


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The same LoRA as each library writes it: the name of the kind -> changes to the recipe."""
    folder = tmp_path_factory.mktemp("loras")
    write_peft(folder / "peft", FACTORS, r=8, lora_alpha=32)
    save_file(mindpet_tensors(FACTORS), folder / "upper.safetensors")
    save_file(mindpet_tensors(FACTORS, upper=False), folder / "lower.safetensors")
    write_checkpoint(MODEL, folder / "whole")
    tensors = drawing.tensors(MODEL) | mindpet_tensors(FACTORS)
    write_safetensors(folder / "whole" / "model.safetensors", tensors, "float32")
    halves = [{"path": str(folder / "peft"), "weight": w} for w in (0.25, 0.75)]
    return {
        "peft": {"model__adapter": str(folder / "peft")},
        "mindpet": {"model__adapter": str(folder / "upper.safetensors")},
        "mindpet in lower case": {"model__adapter": str(folder / "lower.safetensors")},
        "mindpet in the checkpoint": {"model__checkpoint": str(folder / "whole")},
        "two with weights": {"model__adapter": halves},
    }


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=MARKS[kind]) for kind in ("mindspore", "lite_worker", "onnx")],
)
def lora(
    request: pytest.FixtureRequest, bundles: Bundles, loras: dict[str, Any]
) -> Iterator[Engine]:
    path = bundles.export("glm2", **loras["peft"], **FORMATS.get(request.param, {}))
    with bundles.open(path, request.param) as opened:
        yield opened


def test_lora_alone(lora: Engine) -> None:
    check(lora, oracle(low_rank=terms(FACTORS, SCALE)), oracle())


def test_every_naming_gives_the_same_weights(bundles: Bundles, loras: dict[str, Any]) -> None:
    paths = {kind: bundles.export("glm2", **c, **FORMATS["onnx"]) for kind, c in loras.items()}
    data = {kind: (path / "weights" / "data_0").read_bytes() for kind, path in paths.items()}
    plain = bundles.export("glm2", **FORMATS["onnx"]) / "weights" / "data_0"
    assert data["peft"] != plain.read_bytes()
    for kind in set(data) - {"two with weights"}:  # 0.25 and 0.75 of it round differently
        assert data[kind] == data["peft"], kind
    if bundles.can_export_mindir:
        tested = bundles.export("glm2", **loras["peft"]) / "weights" / "data_0"
        assert tested.read_bytes() == data["peft"]
    with bundles.open(paths["two with weights"], "onnx") as engine:
        check(engine, oracle(low_rank=terms(FACTORS, SCALE)), oracle())


@pytest.mark.parametrize("projected", [True, False])
def test_both_namings_of_a_prefix(bundles: Bundles, tmp_path: Path, projected: bool) -> None:
    parts = ENCODER if projected else {"table": ENCODER["table"]}
    wanted = oracle(prefix=encoded_cache(MODEL, parts))
    caches = set()
    for name, names in (("official", OFFICIAL), ("mindformers", MINDFORMERS)):
        path = tmp_path / f"{name}.safetensors"
        save_file(named(parts, names), path)
        bundle = bundles.export("glm2", model__adapter=str(path), **FORMATS["onnx"])
        caches.add((bundle / "prefix_cache.npy").read_bytes())
        with bundles.open(bundle, "onnx") as engine:
            check(engine, wanted, oracle())
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["prefix_length"] == 5
    assert len(caches) == 1

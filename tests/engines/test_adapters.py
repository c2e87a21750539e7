"""LoRA and a projected prefix together, through every engine; the oracle keeps them apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from glmlite.bundle import Bundle
from glmlite.runtime.engines.base import Engine
from glmlite.runtime.session import Session
from tests.checkpoint.adapters.drawing import (
    MINDFORMERS,
    draw_encoder,
    draw_factors,
    encoded_cache,
    mindpet_tensors,
    named,
    terms,
    write_peft,
)
from tests.engines.bundles import EVERYWHERE, FORMATS, MARKS, Bundles
from tests.engines.driving import FP32, close
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.oracle import forward64

MODEL = MODELS["glm2"]
LENGTH = 5
PEFT, MINDPET = draw_factors(MODEL, 4), draw_factors(MODEL, 8, seed=1)
ENCODER = draw_encoder(MODEL, LENGTH, inner=20)


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What makes the recipe one of a model with two adapters and a prefix."""
    folder = tmp_path_factory.mktemp("adapters")
    write_peft(folder / "peft", PEFT, r=4, lora_alpha=8)
    save_file(mindpet_tensors(MINDPET), folder / "mindpet.safetensors")
    save_file(named(ENCODER, MINDFORMERS), folder / "prefix.safetensors")
    entries = [
        {"path": str(folder / "peft"), "weight": 0.5},
        {"path": str(folder / "mindpet.safetensors")},
        {"path": str(folder / "prefix.safetensors")},
    ]
    return {"model__adapter": entries, "export__score_tokens": 7}


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=MARKS[kind]) for kind in EVERYWHERE]
)
def engine(
    request: pytest.FixtureRequest, bundles: Bundles, changes: dict[str, Any]
) -> Iterator[Engine]:
    path = bundles.export("glm2", **changes, **FORMATS.get(request.param, {}))
    with bundles.open(path, request.param) as opened:
        yield opened


def oracle(ids: list[int]) -> NDArray[np.float64]:
    low_rank = {name: list(term) for name, term in terms(PEFT, 0.5 * 2).items()}
    for name, term in terms(MINDPET, 4.0).items():
        low_rank[name] += term
    return forward64.forward(
        drawing.tensors(MODEL),
        MODEL.config,
        ids,
        prefix=encoded_cache(MODEL, ENCODER),
        low_rank=low_rank,
    ).logits


def test_manifest(bundles: Bundles, changes: dict[str, Any]) -> None:
    manifest = Bundle.open(bundles.export("glm2", **changes)).manifest
    assert manifest.prefix_length == LENGTH
    adapters = manifest.checkpoint["adapters"]
    assert [a["kinds"] for a in adapters] == [["peft"], ["mindpet"], ["prefix"]]
    assert len({a["sha256"] for a in adapters}) == 3
    (parity,) = {p.reference for p in manifest.parity} if manifest.parity else {""}
    assert parity is not None


def test_a_conversation_with_rollback(engine: Engine) -> None:
    """Feed, go back into the middle, go back to the bare prefix, and score."""
    prompt, other = MODEL.prompts["long"], MODEL.prompts["short"]
    session = Session(engine)
    close(session.feed(prompt), oracle(prompt)[-1], FP32, "prompt")
    for token in (7, 8, 9):
        logits = session.feed([token])
    close(logits, oracle([*prompt, 7, 8, 9])[-1], FP32, "three steps")

    session.truncate(17)
    wanted = oracle([*prompt[:17], *other])
    close(session.feed(other), wanted[-1], FP32, "after going back to 17")

    session.truncate(0)
    close(session.feed(other), oracle(other)[-1], FP32, "after going back to the prefix")

    session.truncate(0)
    close(session.score(prompt), oracle(prompt), FP32, "scores")

"""The oracle itself, against what the official code computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.oracle import forward64

CASES = ("len1", "len5", "len17", "len64")


@pytest.fixture(scope="module")
def golden(golden_dir: Path):
    folder = golden_dir / "glm2_tiny"
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    with np.load(folder / stored["arrays"], allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return tensors, config, {case["name"]: case for case in stored["cases"]}, arrays


@pytest.mark.parametrize("name", CASES)
def test_logits_of_prompt_and_continuation(golden, name):
    tensors, config, cases, arrays = golden
    case = cases[name]
    prompt, reply = case["input_ids"], case["greedy_ids"]
    logits = forward64.forward(tensors, config, prompt + reply[:-1]).logits
    assert np.abs(logits[: len(prompt)] - arrays[case["prefill_logits"]]).max() < 5e-5
    assert np.abs(logits[len(prompt) - 1 :] - arrays[case["greedy_logits"]]).max() < 5e-5
    assert logits[len(prompt) - 1 :].argmax(-1).tolist() == reply
    found = forward64.margins(logits[len(prompt) - 1 :])
    assert np.allclose(found, case["greedy_margins"], atol=1e-4)


def test_greedy_without_any_cache(golden):
    tensors, config, cases, _ = golden
    found = forward64.greedy(tensors, config, cases["len5"]["input_ids"], 16)
    assert found == cases["len5"]["greedy_ids"][:16]


def test_cache_and_hidden_states(golden):
    tensors, config, cases, arrays = golden
    result = forward64.forward(tensors, config, cases["len17"]["input_ids"])
    # Stored as [layer, sequence, batch, group, channel].
    assert np.abs(np.stack(result.keys) - arrays["len17_kv_key"][:, :, 0]).max() < 2e-5
    assert np.abs(np.stack(result.values) - arrays["len17_kv_value"][:, :, 0]).max() < 2e-5
    states = np.stack(result.hidden_states)
    assert np.abs(states - arrays["len17_hidden_states"]).max() < 5e-5
    assert np.abs(result.final_hidden - arrays["len17_final_hidden"]).max() < 5e-5


@pytest.mark.parametrize("rope", [forward64.Rope("linear", 16), forward64.Rope("base", 50)])
def test_another_rotary_rule_shows(golden, rope):
    tensors, config, cases, arrays = golden
    logits = forward64.forward(tensors, config, cases["len17"]["input_ids"], rope=rope).logits
    assert np.abs(logits - arrays["len17_prefill_logits"]).max() > 1.0


def test_a_prefix_of_earlier_keys_and_values_is_the_same_as_earlier_tokens():
    """With no rotation at all (one huge ratio), a prefix and preceding tokens cannot differ."""
    model = MODELS["glm2"]
    tensors, still = drawing.tensors(model), forward64.Rope("linear", 1e18)
    ids = drawing.draw_ids(model, 12, seed=1)
    whole = forward64.forward(tensors, model.config, ids, rope=still)
    prefix = [
        (keys[:5].transpose(1, 0, 2), values[:5].transpose(1, 0, 2))
        for keys, values in zip(whole.keys, whole.values, strict=True)
    ]
    rest = forward64.forward(tensors, model.config, ids[5:], rope=still, prefix=prefix)
    assert np.abs(rest.logits - whole.logits[5:]).max() < 1e-9

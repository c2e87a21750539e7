"""adapter_config.json: what is understood, and what is refused rather than merged wrongly."""

from __future__ import annotations

import time
from typing import Any

import pytest

from glmlite.checkpoint.adapters.peft_config import parse_peft_config
from glmlite.errors import ConfigError

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 8, "lora_alpha": 16}
MODULE = "transformer.encoder.layers.3.self_attention.query_key_value"


def test_scale() -> None:
    config = parse_peft_config(PLAIN)
    assert config.scale(config.alpha_of(MODULE), config.rank_of(MODULE)) == 2.0
    config = parse_peft_config(PLAIN | {"use_rslora": True, "r": 16})
    assert config.scale(config.alpha_of(MODULE), config.rank_of(MODULE)) == 4.0


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("query_key_value", True),
        ("self_attention.query_key_value", True),
        ("key_value", False),  # PEFT matches whole parts of a name only
        (r".*\.3\..*", True),
        (r"layers\.[0-2]\..*", False),
        ("self_attention", False),
    ],
)
def test_patterns_match_as_in_peft(pattern: str, matches: bool) -> None:
    told = {"rank_pattern": {pattern: 4}, "alpha_pattern": {pattern: 1}}
    config = parse_peft_config(PLAIN | told)
    assert config.rank_of(MODULE) == (4 if matches else 8)
    assert config.alpha_of(MODULE) == (1.0 if matches else 16.0)


def test_the_first_pattern_counts() -> None:
    config = parse_peft_config(PLAIN | {"rank_pattern": {r".*\.3\..*": 2, "query_key_value": 4}})
    assert config.rank_of(MODULE) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "peft_type is 'PREFIX_TUNING'"),
        ({"peft_type": None}, "merges LORA only"),
        ({"use_dora": True}, "use_dora is True"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights is 'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "would come out wrong"),
        ({"r": 0}, "r is 0"),
        ({"r": "8"}, "r is '8'"),
        ({"r": True}, "r is True"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"rank_pattern": [1]}, "rank_pattern is"),
        ({"rank_pattern": {"q": 0}}, "q is 0"),
        ({"rank_pattern": {"(": 4}}, "a regular expression"),
        ({"rank_pattern": {"(a+)+": 4}}, "a simple pattern"),
        ({"alpha_pattern": {"x" * 300: 4}}, "a simple pattern"),
        ({"modules_to_save": "output_layer"}, "modules_to_save"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        parse_peft_config(PLAIN | change)


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_starts_that_leave_the_base_alone(start: object) -> None:
    parse_peft_config(PLAIN | {"init_lora_weights": start})


def test_no_pattern_keeps_the_matcher_busy() -> None:
    config = parse_peft_config(PLAIN | {"rank_pattern": {r".*a.*a.*b": 4}})
    started = time.monotonic()
    assert config.rank_of("a" * 512) == 8
    assert time.monotonic() - started < 5

"""Every key of Lite's run-time ini files that glmlite writes, what it may say, and who says so.

Sources, by their letters in the table:

    L  MindSpore Lite, "Ascend Conversion Tool Description" (2.0 … 2.7), tables 1 to 3
    S  MindSpore Lite's sources: tools/converter/config_parser/config_file_parser.cc,
       src/extendrt/delegate/ascend_ge/ge_graph_executor.cc, src/common/common.h
    G  CANN, "Ascend Graph API", options of GEInitialize, sessions and graphs
    M  MindFormers' lite.ini for ChatGLM2, ChatGLM3, Qwen and Baichuan2

A user's own ini may say more: its keys are Lite's to judge. What ships and what is generated may
not; a test holds both against this table.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

GLMLITE_SECTION = "glmlite"
MAX_GEARS = 100

_RANGES = re.compile(r"\[?\d+~\d+\]?(,\[?\d+~\d+\]?)*")
_SHAPES = re.compile(r"[^:;]+:(-1|\d+)(,(-1|\d+))*(;[^:;]+:(-1|\d+)(,(-1|\d+))*)*")
_DIMS = re.compile(r"\d+(,\d+)*(;\d+(,\d+)*)+")


def _one_of(*known: str) -> Callable[[str], bool]:
    return lambda text: text in known


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True)
class Key:
    """A documented key.

    Attributes:
        allowed: its values, in words.
        accepts: whether a text is such a value.
        source: letters of the module's head.
    """

    allowed: str
    accepts: Callable[[str], bool]
    source: str


_PRECISION = (
    "force_fp32",
    "force_fp16",
    "allow_fp32_to_fp16",
    "must_keep_origin_dtype",
    "allow_mix_precision",
)
_GE_PRECISION = Key(" | ".join(_PRECISION), _one_of(*_PRECISION), "LG")
_EXTERNAL_WEIGHT = Key("0 | 1", _one_of("0", "1"), "LGM")
_VARIABLES = Key("[first~last]: positions, from 0", _matches(_RANGES), "S")

KEYS: dict[str, dict[str, Key]] = {
    "ascend_context": {
        "provider": Key("ge", _one_of("ge"), "SM"),
        "precision_mode": Key(
            "enforce_fp32 | preferred_fp32 | enforce_fp16 | enforce_origin | preferred_optimal",
            _one_of(
                "enforce_fp32",
                "preferred_fp32",
                "enforce_fp16",
                "enforce_origin",
                "preferred_optimal",
            ),
            "L",
        ),
        "inputs_to_variable": _VARIABLES,
        "outputs_to_variable": _VARIABLES,
    },
    "ge_session_options": {
        "ge.exec.precision_mode": _GE_PRECISION,
        "ge.exec.formatMode": Key("0 | 1", _one_of("0", "1"), "M"),
        "ge.externalWeight": _EXTERNAL_WEIGHT,
        "ge.exec.atomicCleanPolicy": Key("0 | 1", _one_of("0", "1"), "GM"),
        "ge.exec.staticMemoryPolicy": Key("0 … 4", _one_of("0", "1", "2", "3", "4"), "GM"),
        "ge.event": Key("notify", _one_of("notify"), "M"),
    },
    "ge_graph_options": {
        "ge.inputShape": Key("name:dim,…;name:dim,…", _matches(_SHAPES), "SG"),
        "ge.dynamicDims": Key(f"dim,…;dim,…: 2 … {MAX_GEARS} gears", _matches(_DIMS), "SG"),
        "ge.dynamicNodeType": Key("0 | 1", _one_of("0", "1"), "GM"),
    },
    "acl_init_options": {"ge.externalWeight": _EXTERNAL_WEIGHT},
    "acl_build_options": {
        "ge.op_compiler_cache_mode": Key(
            "enable | force | disable", _one_of("enable", "force", "disable"), "L"
        ),
    },
    # Read by glmlite and never handed on.
    GLMLITE_SECTION: {
        "cache": Key(
            "device | variables | host", _one_of("device", "variables", "host"), "glmlite"
        ),
    },
}

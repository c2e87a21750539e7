"""Every key of a quantization config that glmlite knows, and what it may say.

Source: MindSpore Lite, "Post Training Quantization" and "Model Converter Tool" (1.x … 2.11). A
converter refuses keys that it does not know, and older ones know fewer: `since` is the version that
brought a key, as far as that could be told. In 2.0.0, `[weight_quant_param]` knows
`dequant_strategy` alone (run); a table with a test keeps the shipped recipes from saying more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

GLMLITE_SECTION = "glmlite"


def _whole(low: int, high: int) -> Callable[[str], bool]:
    return lambda text: text.isdecimal() and low <= int(text) <= high


def _one_of(*known: str) -> Callable[[str], bool]:
    return lambda text: text in known


_boolean = _one_of("true", "false", "True", "False")


@dataclasses.dataclass(frozen=True)
class Key:
    """A documented key.

    Attributes:
        allowed: its values, in words.
        accepts: whether a text is such a value.
        since: the first MindSpore Lite that takes it.
    """

    allowed: str
    accepts: Callable[[str], bool]
    since: str = "2.0"


KEYS: dict[str, dict[str, Key]] = {
    "common_quant_param": {
        "quant_type": Key("WEIGHT_QUANT | DYNAMIC_QUANT", _one_of("WEIGHT_QUANT", "DYNAMIC_QUANT")),
        # The document says 0 … 16; below 8 the converters fail on language models.
        "bit_num": Key("8", _one_of("8")),
        "min_quant_weight_size": Key("0 … 65535", _whole(0, 65535)),
        "min_quant_weight_channel": Key("0 … 65535", _whole(0, 65535)),
        "skip_quant_node": Key("a,b,…", lambda text: bool(text.strip(" ,"))),
        "enable_encode": Key("true | false", _boolean),
        "debug_info_save_path": Key("a path", bool),
    },
    "weight_quant_param": {
        "dequant_strategy": Key("ON_THE_FLY", _one_of("ON_THE_FLY")),
        "per_channel": Key("true | false", _boolean, since="2.1"),
        "bias_correction": Key("true | false", _boolean, since="2.1"),
    },
    "ascend_context": {
        "provider": Key("ge", _one_of("ge")),
    },
    # Read by glmlite and never handed on; the converters skip sections that they do not know.
    GLMLITE_SECTION: {
        "optimize": Key(
            "general | ascend_oriented[:CHIP]",
            lambda text: (
                text in ("none", "general", "ascend_oriented")
                or text.startswith("ascend_oriented:")
            ),
        ),
    },
}

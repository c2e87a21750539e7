"""Where the numbers of devices and engines come from, in words; see docs/planning.md."""

from __future__ import annotations

from glmlite.i18n import _


def source_words(source: str) -> str:
    """The words for a source's name."""
    return {
        "ascend910b2c": _("CANN's platform_config/Ascend910B2C.ini: 24 cores, 1.8 GHz"),
        "ascend910a": _("CANN's platform_config/Ascend910A.ini: 32 cores, 1.0 GHz"),
        "300i_duo": _(
            "half of an Atlas 300I Duo (408 GB/s, 280 int8 TOPS); memory: npu-smi on the card"
        ),
        "machine": _("measured on this machine, or given"),
        "products": _("ONNX Runtime's kernels, measured on this machine"),
        "products_assumed": _(
            "assumed from other machines: ONNX Runtime was not measured, because --compute was "
            "given, or the package onnxruntime or onnx is missing or does not run"
        ),
        "decode": _(
            "MindFormers' pages: llama_7b 22.4 and baichuan2_7b 20.54 tokens/s on 910A, "
            "baichuan2_7b 23.69 and baichuan2_13b 16.65 tokens/s on Atlas 800T A2"
        ),
        "decode_assumed": _("assumed: as on 910A and 910B"),
        "prefill_910a": _(
            "training on 910A in MindFormers' pages: llama_7b 1229, glm2_6b 815 tokens/s"
        ),
        "prefill_910b": _(
            "training on Atlas 800T A2 in MindFormers' pages: llama2_7b 4160, glm3_6b 3450 tokens/s"
        ),
        "prefill_assumed": _("assumed: as on 910A"),
        "int8_910b": _("MindFormers' page: 7 to 10 % on Atlas 800T A2"),
        "int8_assumed": _("assumed: nobody published one for this chip"),
        "reserve_assumed": _("assumed: driver, CANN and compiled operators"),
        "reserve_idle": _("what npu-smi shows in use on an idle card"),
        "layer_assumed": _("assumed: 0.2 ms a layer at least, to launch its operators"),
        "host_assumed": _("assumed: the weights twice"),
        "measured": _("measured: docs/planning.md"),
        "facts": _("measured on another machine: docs/planning.md"),
    }[source]

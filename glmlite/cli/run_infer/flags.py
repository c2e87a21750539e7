"""The flags of MindFormers' run_infer_main.py, with its types and defaults."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from glmlite.i18n import _


@dataclasses.dataclass(frozen=True)
class Flags:
    """What was given; see the help of each flag.

    Attributes:
        said: names of the flags that stand on the command line.
    """

    device_id: int
    rank_id: int
    model_dir: str | None
    model_name: str
    seq_length: int
    tokenizer_path: str | None
    prefill_model_path: str | None
    increment_model_path: str | None
    config_path: str | None
    do_sample: bool
    top_k: int
    top_p: float
    repetition_penalty: float
    temperature: float
    max_length: int
    max_output_length: int
    is_sample_acceleration: bool
    add_special_tokens: bool
    stream: bool
    prompt: str | None
    predict_data: str | None
    batch_size: int
    generated_time: int
    dynamic: bool
    paged_attention: bool
    pa_block_size: int
    pa_num_blocks: int
    distributed: bool
    said: frozenset[str]


def _help() -> dict[str, tuple[type, Any, str]]:
    """Flag -> its type, MindFormers' default, and what it does here."""
    idle = _("Accepted; has no meaning any more.")
    return {
        "device_id": (int, 0, _("Ascend device.")),
        "rank_id": (int, 0, _("Rank among several Ascend devices.")),
        "model_dir": (str, None, _("The bundle.")),
        "model_name": (str, "common", _("glm2_… or glm3_…: how bare graphs are prompted.")),
        "seq_length": (int, 2048, _("Tokens that prompt and answer may have together.")),
        "tokenizer_path": (str, None, _("tokenizer.model; default: the bundle's.")),
        "prefill_model_path": (str, None, _("Prefill graph, or a path inside the bundle.")),
        "increment_model_path": (str, None, _("Decode graph, or a path inside the bundle.")),
        "config_path": (str, None, _("MindSpore Lite's ini file, or PREFILL.ini,INCREMENT.ini.")),
        "do_sample": (bool, False, _("Sample; otherwise the likeliest token.")),
        "top_k": (int, 1, _("Sample among the K likeliest tokens; 0: among all.")),
        "top_p": (float, 1.0, _("Sample among the tokens that make up this probability.")),
        "repetition_penalty": (float, 1.0, _("Above 1: make tokens already there less likely.")),
        "temperature": (float, 1.0, _("Higher is more varied.")),
        "max_length": (int, 512, _("Tokens of prompt and answer together.")),
        "max_output_length": (int, 128, _("Tokens of the answer; default: as max_length says.")),
        "add_special_tokens": (bool, False, _("Put [gMASK] sop before the prompt.")),
        "stream": (bool, False, _("Show the answer while it is generated.")),
        "prompt": (str, None, _("Template; {} in it stands for the input.")),
        "predict_data": (str, None, _("Answer this and end, in place of asking.")),
        "generated_time": (int, 1, _("Answer so many times.")),
        "is_sample_acceleration": (bool, False, idle),
        "dynamic": (bool, False, idle),
        "paged_attention": (bool, False, idle),
        "pa_block_size": (int, 16, idle),
        "pa_num_blocks": (int, 512, idle),
        "distributed": (bool, False, idle),
        "batch_size": (int, 1, idle),
    }


def infer_flags() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """All flags; the command gets them as `flags: Flags`."""
    described = _help()
    kinds: dict[type, Any] = {
        int: click.INT,
        float: click.FLOAT,
        bool: click.BOOL,
        str: click.STRING,
    }
    lengths = ("seq_length", "max_length", "max_output_length")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.pass_context
        @functools.wraps(function)
        def wrapped(context: click.Context, /, **values: Any) -> Any:
            said = frozenset(
                name
                for name in described
                if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            )
            chosen = {name: values.pop(name) for name in described}
            return function(flags=Flags(**chosen, said=said), **values)

        result: Callable[..., Any] = wrapped
        for name, (kind, default, text) in reversed(described.items()):
            option = click.option(
                f"--{name}",
                type=click.IntRange(min=1) if name in lengths else kinds[kind],
                default=default,
                show_default=default is not None and name != "max_output_length",
                metavar={int: "N", float: "X", bool: "True|False"}.get(kind, "TEXT"),
                help=text,
            )
            result = option(result)
        return result

    return decorate


def idle_remarks(flags: Flags) -> list[str]:
    """One line for each flag that was given and has no meaning any more."""
    remarks = []

    def remark(names: tuple[str, ...], reason: str) -> None:
        found = [f"--{name}" for name in names if name in flags.said]
        if found:
            remarks.append(f"{' '.join(found)}: {reason}")

    remark(("is_sample_acceleration",), _("sampling runs beside the graph, in less than 1 ms."))
    remark(("dynamic",), _("a bundle holds graphs of several lengths; the cheapest is taken."))
    remark(
        ("paged_attention", "pa_block_size", "pa_num_blocks"),
        _("the cache is one block for each conversation; there are no pages to count."),
    )
    remark(("distributed",), _("one process on one device runs the whole model."))
    if flags.batch_size != 1:
        remark(("batch_size",), _("questions are answered one after the other."))
    return remarks

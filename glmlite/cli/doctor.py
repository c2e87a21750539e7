"""`glmlite doctor`: what this machine can export and run, and what is missing."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.formatting import format_bytes
from glmlite.cli.options import json_option, toolchain_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.cli.diagnosis import Advice, Candidate, Pair
    from glmlite.cli.onnx_diagnosis import OnnxState
    from glmlite.runtime.host import Host


@command(
    name="doctor",
    help=_(
        "Say what this machine can export and run, and what is missing.\n\n"
        "Looks at this interpreter, at the toolchain (--toolchain, GLMLITE_TOOLCHAIN, "
        "./.toolchain) and at the Pythons of pyenv and PATH that could become one."
    ),
    examples=[
        ("glmlite doctor", _("look around")),
        (
            "glmlite doctor --toolchain .toolchain/bin/python --import",
            _("prove that the toolchain's packages can be imported"),
        ),
        ("glmlite doctor --json", _("the same for a program, or for a bug report")),
    ],
)
@toolchain_option()
@click.option(
    "--import",
    "imports",
    is_flag=True,
    help=_("Also import each package that is found; takes a while."),
)
@json_option(_("Print one JSON object."))
def doctor(toolchain: str | None, imports: bool, as_json: bool) -> None:
    """Print the diagnosis."""
    from glmlite.cli.diagnosis import advise, find_interpreters, find_pairs
    from glmlite.cli.onnx_diagnosis import inspect_onnx
    from glmlite.runtime.host import inspect_host

    host = inspect_host()
    candidates = find_interpreters(sys.executable, toolchain, imports=imports)
    pairs = find_pairs(candidates)
    advice = advise(candidates, pairs)
    onnx = inspect_onnx(candidates[0].found, host.cpu_features)
    if as_json:
        from glmlite.cli.tables import print_json

        print_json(
            {
                "host": dataclasses.asdict(host),
                "interpreters": [dataclasses.asdict(candidate) for candidate in candidates],
                "mindir_pairs": [dataclasses.asdict(pair) for pair in pairs],
                "missing": [dataclasses.asdict(item) for item in advice],
                "onnx": dataclasses.asdict(onnx),
                "can_export": bool(pairs) or onnx.onnx is not None,
            }
        )
        return
    _print_host(host, onnx)
    _print_interpreters(candidates)
    _print_pairs(pairs)
    _print_advice(advice)


def _print_host(host: Host, onnx: OnnxState) -> None:
    from glmlite.cli.tables import print_pairs

    def size(count: int | None) -> str:
        return "" if count is None else format_bytes(count)

    memory = _(
        "{available} available of {total}",
        available=size(host.memory_available) or "?",
        total=size(host.memory_total) or "?",
    )
    if host.memory_limit is not None:
        memory += ", " + _("limited to {limit}", limit=size(host.memory_limit))
    click.secho(_("This machine"), bold=True)
    print_pairs(
        [
            (_("System"), host.system),
            (_("Processor"), _("{name}, {cores} cores", name=host.cpu or "?", cores=host.cores)),
            (_("Instructions"), " ".join(host.cpu_features) or "-"),
            (_("Engine onnx"), _describe_onnx(onnx)),
            (_("Memory"), memory),
            (_("Disk"), _("{free} free in this folder", free=size(host.disk_free))),
        ]
    )


def _describe_onnx(onnx: OnnxState) -> str:
    if onnx.onnxruntime is None:
        return _("not installed")
    return _(
        "ONNX Runtime {version}, threads: {threads}, int8 products: {int8}",
        version=onnx.onnxruntime,
        threads=onnx.threads,
        int8=onnx.int8 or "-",
    )


def _print_interpreters(candidates: Sequence[Candidate]) -> None:
    from glmlite.cli.tables import print_table

    packages = ("mindspore", "mindspore-lite", "onnxruntime", "numpy")
    rows = []
    for candidate in candidates:
        found = candidate.found
        versions = [(found.packages.get(p) if found else None) or "-" for p in packages]
        version = found.version if found else "-"
        origin = _("this one") if candidate.origin == "this" else candidate.origin
        rows.append([candidate.python, origin, version, *versions])
    click.echo()
    print_table(
        [_("Interpreter"), _("From"), "Python", "MindSpore", "Lite", "ONNX Runtime", "NumPy"],
        rows,
        title=_("Interpreters"),
    )
    for candidate in candidates:
        if candidate.problem:
            click.secho(f"{candidate.python}: {candidate.problem}", fg="red")
    if any(candidate.found and candidate.found.ascend for candidate in candidates):
        click.echo(_("An Ascend device is there."))


def _print_pairs(pairs: Sequence[Pair]) -> None:
    from glmlite.cli.tables import print_table

    if not pairs:
        return
    engines = {"mindspore": "MindSpore", "lite": "MindSpore Lite"}
    rows = [
        (
            f"MindSpore {pair.exporter_version}",
            f"{engines[pair.engine]} {pair.runner_version}",
            _verdict(pair),
        )
        for pair in pairs
    ]
    click.echo()
    print_table(
        [_("Exported by"), _("Run by"), ""], dict.fromkeys(rows), title=_("MindIR versions")
    )


def _verdict(pair: Pair) -> str:
    if not pair.fits:
        return _("no: the MindIR is too new")
    return _("fits") if pair.fits_float16 else _("fits at float32")


def _print_advice(advice: Sequence[Advice]) -> None:
    click.echo()
    if not advice:
        click.secho(_("Nothing is missing."), fg="green")
        return
    click.secho(_("Missing"), bold=True)
    for item in advice:
        mark = click.style("✗", fg="red") if item.needed else click.style("·", dim=True)
        click.echo(f"{mark} {item.text}\n    {item.command}")

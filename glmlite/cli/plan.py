"""`glmlite plan`: what a model will take and how fast it will be, before anything is exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.options import FiniteRange, json_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glmlite.planning import Device, Subject

_WEIGHTS = ("float32", "float16", "int8", "w8a8", "int4", "int4_w8a8")


@command(
    name="plan",
    help=_(
        "Estimate memory, disk, loading time and speed before anything is exported.\n\n"
        "TARGET is a bundle; without one, --config says what would be exported, and neither its "
        "checkpoint nor MindSpore is needed. The model behind the numbers, its sources and its "
        "error are in docs/planning.md. --write-config writes the ini files that MindSpore Lite "
        "would get for a bundle."
    ),
    examples=[
        (
            "glmlite plan --config glm2_6b --set model.dtype=float16 --device 910b",
            _("a ChatGLM2-6B on an Atlas 800T A2"),
        ),
        ("glmlite plan --config glm2_6b --device cpu --compare", _("all kinds of weights, here")),
        ("glmlite plan build/demo --device 310p --json", _("a bundle, for a program")),
        (
            "glmlite plan build/demo --write-config build/lite",
            _("prefill.ini and decode.ini for a runner of your own"),
        ),
    ],
)
@click.argument("target", type=click.Path(path_type=Path), metavar="[TARGET]", required=False)
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE|NAME",
    help=_("Recipe of an export; several are compared."),
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help=_("Replaces one value of the recipe; may be given several times."),
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help=_("910b, 910a, 310p or cpu; cpu measures this machine, which takes five seconds."),
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help=_("CPU threads."))
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    metavar="NAME",
    help=_("Of a CPU: mindspore, lite or onnx. auto: as the graphs' format wants."),
)
@click.option(
    "--weights",
    type=click.Choice(_WEIGHTS),
    help=_("Plan for other weights than the recipe's or the bundle's."),
)
@click.option("--compare", is_flag=True, help=_("Compare all kinds of weights."))
@click.option(
    "--memory",
    type=FiniteRange(min=0, min_open=True),
    metavar="GB",
    help=_("The device's memory, where it is another than known."),
)
@click.option(
    "--bandwidth",
    type=FiniteRange(min=0, min_open=True),
    metavar="GB/S",
    help=_("Its memory's bandwidth."),
)
@click.option(
    "--compute",
    type=FiniteRange(min=0, min_open=True),
    metavar="TFLOP/S",
    help=_(
        "Its arithmetic: float16 on Ascend, float32 on a CPU, whose kernels for integers are "
        "assumed then, not measured."
    ),
)
@click.option(
    "--write-config",
    metavar="DIR",
    help=_("Write MindSpore Lite's ini files for TARGET into DIR; - prints them."),
)
@click.option(
    "--engine-config",
    metavar="FILE|NAME",
    help=_("The ini that --write-config starts from. Default: ascend_ge."),
)
@click.option(
    "--gears",
    metavar="BxTxS,…",
    help=_("Sizes that a dynamic MindIR is compiled for, e.g. 1x32x512,1x128x512."),
)
@json_option(_("Print the estimates as one JSON object: bytes, seconds, tokens a second."))
def plan(
    target: Path | None,
    configs: tuple[str, ...],
    assignments: tuple[str, ...],
    device: str,
    threads: int | None,
    engine: str,
    weights: str | None,
    compare: bool,
    memory: float | None,
    bandwidth: float | None,
    compute: float | None,
    write_config: str | None,
    engine_config: str | None,
    gears: str | None,
    as_json: bool,
) -> None:
    """Plan, or write the ini files."""
    if (target is None) == (not configs):
        raise click.UsageError(_("Name a bundle, or a recipe: --config NAME"))
    if assignments and not configs:
        raise click.UsageError(_("--set changes a recipe; a bundle is as it is."))
    if write_config is not None:
        if target is None:
            raise click.UsageError(_("--write-config needs a bundle, or a MindIR with --gears."))
        _write(target, write_config, engine_config or "ascend_ge", gears, as_json)
        return
    if engine_config or gears:
        raise click.UsageError(_("--engine-config and --gears go with --write-config."))
    from glmlite.planning.storage import find_weights

    subjects = _subjects(target, configs, assignments)
    if weights is not None:
        subjects = [subject.with_weights(find_weights(weights)) for subject in subjects]
    place = _device(subjects, device, threads, memory, bandwidth, compute)
    _show(subjects, place, engine, compare, as_json)


def _subjects(
    target: Path | None, configs: tuple[str, ...], assignments: tuple[str, ...]
) -> list[Subject]:
    from glmlite.exporter.config import load_config
    from glmlite.exporter.keys import parse_overrides
    from glmlite.planning import from_bundle, from_config

    if target is not None:
        return [from_bundle(target)]
    overrides = parse_overrides(assignments)
    return [from_config(load_config(name, overrides), Path(name).stem) for name in configs]


def _device(
    subjects: Sequence[Subject],
    name: str,
    threads: int | None,
    memory: float | None,
    bandwidth: float | None,
    compute: float | None,
) -> Device:
    import dataclasses

    from glmlite.planning import find_device, kernels_asked

    if name.strip().lower() == "cpu":
        from glmlite.planning.machine import cpu_device, measured_cpu

        if memory and bandwidth and compute:
            found = cpu_device(bandwidth * 1e9, compute * 1e12, int(memory * 1e9))
        else:
            # A given float32 product of another machine says nothing of this one's kernels.
            found = measured_cpu(threads, () if compute else kernels_asked(subjects))
    else:
        found = find_device(name)
        if threads is not None:
            raise click.UsageError(_("--threads belongs to --device cpu."))
    return dataclasses.replace(
        found,
        memory=int(memory * 1e9) if memory else found.memory,
        bandwidth=bandwidth * 1e9 if bandwidth else found.bandwidth,
        flops=compute * 1e12 if compute else found.flops,
    )


def _show(
    subjects: Sequence[Subject], device: Device, engine: str, compare: bool, as_json: bool
) -> None:
    from glmlite.cli import plan_tables
    from glmlite.planning import estimate, make_room

    estimates = [estimate(subject, device, engine) for subject in subjects]
    rooms = make_room(subjects[0], device, engine) if len(subjects) == 1 else ()
    if as_json:
        from glmlite.cli.tables import print_json

        print_json(
            {
                "estimates": [found.to_dict() for found in estimates],
                "room": [
                    {
                        "weights": room.weights,
                        "largest_batch": room.largest_batch,
                        "longest_cache": room.longest_cache,
                        "estimate": room.estimate.to_dict(),
                    }
                    for room in rooms
                ],
                "factors": plan_tables.factors(estimates[0]),
            }
        )
    elif len(estimates) > 1:
        plan_tables.print_device(device)
        plan_tables.print_comparison(estimates)
    else:
        plan_tables.print_device(device)
        if not compare:
            plan_tables.print_estimate(estimates[0])
        plan_tables.print_rooms(rooms)
        plan_tables.print_advice(estimates[0], rooms)
        plan_tables.print_factors(estimates[0])


def _write(target: Path, folder: str, engine_config: str, gears: str | None, as_json: bool) -> None:
    from glmlite.planning.lite_files import bundle_files, graph_files, write_files

    if gears is None:
        files = bundle_files(target, engine_config)
    else:
        files = graph_files(target, engine_config, gears)
    if folder == "-":
        for name, text in files.items():
            click.echo(f"# {name}\n{text}")
        return
    written = write_files(Path(folder), files)
    if as_json:
        from glmlite.cli.tables import print_json

        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        click.echo(str(path))
    if {"prefill.ini", "decode.ini"} <= set(files):
        both = ",".join(str(Path(folder) / name) for name in ("prefill.ini", "decode.ini"))
        click.echo(_("Next: {command}", command=f"glmlite chat {target} --engine-config {both}"))

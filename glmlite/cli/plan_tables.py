"""What `glmlite plan` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from glmlite.cli.formatting import format_bytes
from glmlite.cli.tables import print_pairs, print_table
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.planning import Device, Estimate, Room
    from glmlite.planning.speed import Speed


def print_device(device: Device) -> None:
    """The device and its peaks."""
    rates = ", ".join(f"{kind} {rate / 1e12:.3g}" for kind, rate in device.products.items())
    click.secho(device.title, bold=True)
    print_pairs(
        [
            (_("Memory"), format_bytes(device.memory)),
            (_("Bandwidth"), _("{rate:.4g} GB/s at best", rate=device.bandwidth / 1e9)),
            (_("Arithmetic"), _("{rate:.4g} TFLOP/s at best", rate=device.flops / 1e12)),
            (
                _("Products in ONNX Runtime"),
                _("{rates} T operations/s at best", rates=rates) if rates else "",
            ),
        ]
    )


def _number(value: float) -> str:
    """Three digits, without an exponent: 0.0609, 31.9, 8,170."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _rate(speed: Speed) -> str:
    return _(
        "{value} tokens/s ({low} to {high}; at most {limit})",
        value=_number(speed.value),
        low=_number(speed.low),
        high=_number(speed.high),
        limit=_number(speed.limit),
    )


def _plan_words(found: Estimate) -> str:
    subject = found.subject
    return _(
        "{weights}, {format}, batch {batch}, cache {cache}, chunks of {chunk}",
        weights=subject.weights,
        format=subject.format,
        batch=subject.batch_size,
        cache=subject.cache_length,
        chunk=subject.chunk,
    )


def print_estimate(found: Estimate) -> None:
    """One plan in full."""
    memory = found.memory
    click.echo()
    click.secho(f"{found.subject.name}: {_plan_words(found)}", bold=True)
    host = found.host_memory
    load = found.load_seconds
    ascend = found.device.kind == "ascend"
    graphs = len(found.subject.graphs)
    print_pairs(
        [
            (_("Engine"), found.engine),
            (_("Weights"), format_bytes(memory.weights)),
            (_("Cache"), format_bytes(memory.cache)),
            (_("Workspace"), format_bytes(memory.workspace)),
            (_("Reserve"), format_bytes(memory.reserve)),
            (_("Together"), format_bytes(memory.total)),
            (
                _("While loading"),
                format_bytes(memory.peak) if memory.peak > memory.total else "",
            ),
            (_("Host, while loading"), format_bytes(host) if host else ""),
            (_("Bundle"), format_bytes(found.disk)),
            (_("Disk while exporting"), format_bytes(found.disk_peak)),
            (_("Memory while exporting"), format_bytes(found.export_memory)),
            (
                _("Loading"),
                _("{seconds} s", seconds=_number(load))
                if load is not None
                else _("minutes: GE compiles {count} graphs", count=graphs)
                if ascend
                else "",
            ),
            (_("Decode"), _rate(found.decode)),
            (_("Prefill"), _rate(found.prefill)),
        ]
    )
    _print_verdict(found)


def _print_verdict(found: Estimate) -> None:
    memory = found.memory
    words = {
        "needed": format_bytes(memory.needed),
        "capacity": format_bytes(memory.capacity),
        "device": found.device.name,
    }
    if not found.supported:
        click.secho(
            _(
                "MindSpore Lite has no kernels for {weights} in {format} on Ascend.",
                weights=found.subject.weights,
                format=found.subject.format,
            ),
            fg="yellow",
        )
    elif memory.fits:
        click.secho(_("Fits: {needed} of {capacity} on {device}.", **words), fg="green")
    else:
        click.secho(_("Does not fit: {needed}; {device} has {capacity}.", **words), fg="red")


def print_comparison(estimates: Sequence[Estimate]) -> None:
    """Several plans, one a line."""
    click.echo()
    print_table(
        [
            _("Plan"),
            _("Weights"),
            _("Batch"),
            _("Cache"),
            _("Memory"),
            _("Fits"),
            _("Bundle"),
            _("Decode, tokens/s"),
            _("Prefill, tokens/s"),
        ],
        [
            [
                found.subject.name,
                found.subject.weights,
                found.subject.batch_size,
                found.subject.cache_length,
                format_bytes(found.memory.needed),
                _("yes") if found.memory.fits else _("no"),
                format_bytes(found.disk),
                _number(found.decode.value),
                _number(found.prefill.value),
            ]
            for found in estimates
        ],
        right=(2, 3, 4, 6, 7, 8),
    )


def print_rooms(rooms: Sequence[Room]) -> None:
    """Each kind of weights, and how far batch and cache could grow."""
    click.echo()
    print_table(
        [
            _("Weights"),
            _("Engine"),
            _("Memory"),
            _("Fits"),
            _("Largest batch"),
            _("Longest cache"),
            _("Bundle"),
            _("Decode, tokens/s"),
            _("Prefill, tokens/s"),
        ],
        [
            [
                room.weights,
                room.estimate.engine,
                format_bytes(room.estimate.memory.needed),
                _("yes") if room.estimate.memory.fits else _("no"),
                room.largest_batch or "-",
                room.longest_cache or "-",
                format_bytes(room.estimate.disk),
                _number(room.estimate.decode.value),
                _number(room.estimate.prefill.value),
            ]
            for room in rooms
        ],
        title=_("What fits"),
        right=(2, 4, 5, 6, 7, 8),
    )


def advice(found: Estimate, rooms: Sequence[Room]) -> list[str]:
    """What would make a plan fit that does not; nothing for one that does."""
    if found.memory.fits:
        return []
    lines = []
    own = next(room for room in rooms if room.weights == found.subject.weights)
    if own.largest_batch:
        lines.append(_("a batch of {count} or less", count=own.largest_batch))
    if own.longest_cache:
        lines.append(_("a cache of {count} or less", count=own.longest_cache))
    lines += [
        _(
            "{weights} weights ({engine}): {size}",
            weights=room.weights,
            engine=room.estimate.engine,
            size=format_bytes(room.estimate.memory.needed),
        )
        for room in rooms
        if room.estimate.memory.fits and room.weights != found.subject.weights
    ]
    return lines


def print_advice(found: Estimate, rooms: Sequence[Room]) -> None:
    """What would fit, where the plan does not."""
    if found.memory.fits:
        return
    lines = advice(found, rooms)
    click.echo()
    if not lines:
        click.echo(
            _("Nothing here would make it fit; a device with more memory would: --device 910b.")
        )
        return
    click.secho(_("What would fit:"), bold=True)
    for line in lines:
        click.echo(f"  {line}")


def factors(found: Estimate) -> dict[str, dict[str, object]]:
    """Everything that is reckoned with and on no data sheet, with its source."""
    from glmlite.planning.estimate import shares
    from glmlite.planning.sources import source_words

    device = found.device
    result: dict[str, dict[str, object]] = {"peaks": {"source": source_words(device.source)}}
    if device.kind == "ascend":
        result["reserve"] = {"source": source_words(device.reserve_source)}
        result["layer_seconds"] = {"source": source_words("layer_assumed")}
        result["host_memory"] = {"source": source_words("host_assumed")}
    for name, share in shares(found).items():
        result[name] = {
            "value": share.value,
            "low": share.low,
            "high": share.high,
            "source": source_words(share.source),
        }
    return result


def _factor_words(entry: dict[str, object]) -> object:
    if "value" not in entry:
        return entry["source"]
    return "{value:.3g} ({low:.3g} … {high:.3g}): {source}".format_map(entry)


def print_factors(found: Estimate) -> None:
    """The factors in a few lines."""
    names = {
        "peaks": _("Peaks"),
        "reserve": _("Reserve"),
        "layer_seconds": _("Small models"),
        "host_memory": _("Host memory"),
        "read_share": _("Share of bandwidth"),
        "compute_share": _("Share of arithmetic"),
        "product": _("Kernels, of the arithmetic"),
        "value_flops": _("Beside products"),
        "int8_gain": _("Gain of int8"),
    }
    click.echo()
    click.secho(_("Reckoned with"), bold=True)
    print_pairs(
        [
            (
                names[name],
                _factor_words(entry),
            )
            for name, entry in factors(found).items()
        ]
    )
    click.echo(_("Estimates: see docs/planning.md for how far they were off."))

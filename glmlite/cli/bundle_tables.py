"""What a bundle holds, as tables: for `inspect`, and at the end of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from glmlite.cli.formatting import format_bytes
from glmlite.cli.tables import print_pairs, print_table
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bundle import Manifest
    from glmlite.tuning.settings import TunedSettings


def print_model(manifest: Manifest) -> None:
    """Print what the model is."""
    model, weights, tokenizer = manifest.model, manifest.weights, manifest.tokenizer
    attention = _(
        "{heads} heads of {size}, {groups} key-value groups",
        heads=model.num_heads,
        size=model.head_dim,
        groups=model.num_groups,
    )
    rope = model.rope.kind if model.rope.ratio == 1 else f"{model.rope.kind} × {model.rope.ratio:g}"
    prefix = _("{slots} slots", slots=manifest.prefix_length) if manifest.prefix_length else ""
    size = format_bytes(weights.bytes)
    formats = {f"{g.format}, {g.flavor}" if g.flavor else g.format for g in manifest.graphs}
    print_pairs(
        [
            (_("Family"), manifest.family),
            (_("Layers"), f"{model.num_layers} × {model.hidden_size}"),
            (_("Attention"), attention),
            (_("Rotary embedding"), rope),
            (_("Vocabulary"), model.vocab_size),
            (_("Tokenizer"), tokenizer.file if tokenizer else _("none: feed ids")),
            (_("Prefix"), prefix),
            (_("Weights"), f"{weights.dtype}, {weights.quantization}, {size}"),
            (_("Graphs"), "; ".join(sorted(formats))),
            (_("Made by"), ", ".join(f"{k} {v}" for k, v in manifest.producer.items())),
        ]
    )


def print_tuned(settings: TunedSettings) -> None:
    """Print the settings that `glmlite tune` found, and whether they count here."""
    click.echo()
    print_pairs(
        [
            (_("Tuned on"), settings.machine),
            (_("Threads"), settings.threads),
            (_("Chunk"), settings.prefill_chunk),
            (_("Spinning"), _("on") if settings.spinning else _("off")),
        ]
    )
    if not settings.is_for_this_machine:
        click.secho(
            _("This machine is another one, so these settings are ignored: glmlite tune BUNDLE"),
            fg="yellow",
        )


def print_graphs(manifest: Manifest) -> None:
    """Print the graphs and how closely each follows the reference."""
    rows = []
    for graph in manifest.graphs:
        found = [entry for entry in manifest.parity if entry.graph == graph.file]
        checked = ["-", "-", "-"]
        if found:
            checked = [
                f"{max(entry.max_abs for entry in found):.1e}",
                f"{min(entry.top1 for entry in found):.0%}",
                ", ".join(entry.engine for entry in found),
            ]
        rows.append(
            [
                graph.phase,
                graph.tokens or _("any"),
                graph.cache_length,
                graph.batch_size,
                graph.file,
                format_bytes(manifest.files[graph.file].size),
                *checked,
            ]
        )
    click.echo()
    print_table(
        [
            _("Phase"),
            _("Tokens"),
            _("Cache"),
            _("Batch"),
            _("File"),
            _("Size"),
            _("Max difference"),
            _("Top-1"),
            _("Checked with"),
        ],
        rows,
        title=_("Graphs"),
        right=(1, 2, 3, 5, 6, 7),
    )
    layers = {entry.layers for entry in manifest.parity}
    if not manifest.parity:
        click.secho(_("Parity was not checked: nobody compared these graphs."), fg="yellow")
    elif min(layers) < manifest.model.num_layers:
        click.echo(
            _(
                "Parity was checked on {layers} of {all} layers.",
                layers=min(layers),
                all=manifest.model.num_layers,
            )
        )


def total_size(manifest: Manifest) -> str:
    """Bytes of all files of the bundle, in words."""
    return format_bytes(sum(entry.size for entry in manifest.files.values()))


def next_command(manifest: Manifest, path: str, toolchain: str | None) -> str:
    """What to type to see the bundle answer."""
    import shlex

    place = shlex.quote(path)
    if toolchain:
        place += f" --toolchain {shlex.quote(toolchain)}"
    if manifest.tokenizer is None:
        return f"glmlite generate {place} --ids 1,2,3"
    if manifest.family == "base":
        return f"glmlite generate {place} --prompt 你好"
    return f"glmlite chat {place}"

"""The `glmlite` group: knows its commands by name, imports only the one that is called."""

from __future__ import annotations

import difflib
import importlib

import click

from glmlite.cli.base import GlmGroup, group
from glmlite.i18n import _


def summaries() -> dict[str, str]:
    """Every command and its line in `glmlite --help`, in the order of a user's first day.

    The command `x-y` is the attribute `x_y` of the module `glmlite.cli.x_y`.
    """
    return {
        "doctor": _("Say what this machine can export and run, and what is missing."),
        "export": _("Turn a trained checkpoint into a bundle of graphs."),
        "plan": _("Estimate memory, disk, loading time and speed before anything is exported."),
        "quantize": _("Make a bundle with int8 or int4 weights, and say what that costs."),
        "inspect": _("Show what a bundle holds; check its files."),
        "chat": _("Talk to a bundle in the terminal."),
        "generate": _("Continue one prompt, for scripts."),
        "bench": _("Measure how fast a bundle runs on this machine."),
        "tune": _("Find the fastest settings for a bundle on this machine, and keep them in it."),
        "convert": _("Write a checkpoint in another format: Hugging Face or MindSpore."),
        "convert-lite": _("Make a bundle for MindSpore Lite without MindSpore."),
        "merge-checkpoint": _("Merge the shards of a distributed training into one checkpoint."),
        "rank-table": _("Write and merge RANK_TABLE_FILE for Ascend servers."),
    }


class LazyGroup(GlmGroup):
    """A group whose commands are modules that are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `summaries`, not of the alphabet."""
        return list(summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in summaries():
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"glmlite.cli.{name}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 -- ours, not the user's
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        name = args[0]
        if name.startswith("-") or name in summaries() or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name.lower(), summaries(), n=1, cutoff=0.5)
        if near:
            problem = _(
                "No such command {name!r}. Did you mean {nearest!r}?", name=name, nearest=near[0]
            )
        else:
            problem = _(
                "No such command {name!r}. The commands are: {known}.",
                name=name,
                known=", ".join(summaries()),
            )
        raise click.UsageError(problem, ctx)

    def command_summaries(self) -> list[tuple[str, str]]:
        """Rows of the help page, without importing any command."""
        return list(summaries().items())


glmlite = group(
    LazyGroup,
    name="glmlite",
    help=_(
        "From a trained ChatGLM2 or ChatGLM3 to an answer: export prefill and decode graphs, "
        "run them with MindSpore Lite or MindSpore, chat."
    ),
    examples=[
        ("glmlite doctor", _("what can this machine do?")),
        ("glmlite export --config demo", _("export the small demo model to build/demo")),
        ("glmlite chat build/demo", _("talk to it")),
    ],
)

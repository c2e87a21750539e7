"""What every command has: examples in its help, `--debug`, `-h`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from glmlite import __version__
from glmlite.cli import click_messages
from glmlite.cli.formatting import WideHelpFormatter
from glmlite.i18n import _

click_messages.install()

Examples = Sequence[tuple[str, str]]


class GlmContext(click.Context):
    """Writes help with a formatter that knows how wide Chinese is."""

    formatter_class = WideHelpFormatter


class GlmCommand(click.Command):
    """A command with an examples section at the end of its help."""

    context_class = GlmContext
    examples: Examples = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples: what to type, and what it is for."""
        if self.examples:
            with formatter.section(_("Examples")):
                for line, meaning in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                    formatter.indent()
                    formatter.write_text(meaning)
                    formatter.dedent()


class GlmGroup(GlmCommand, click.Group):
    """A group that lists its commands with `command_summaries`."""

    def command_summaries(self) -> list[tuple[str, str]]:
        """(name, one line) for each command."""
        raise NotImplementedError

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section(_("Commands")):
            formatter.write_dl(self.command_summaries())


def debug_option() -> click.Option:
    """`--debug`; `glmlite.cli.run` looks for it among the arguments, parsed or not."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        help=_("Show the traceback of an error (also: GLMLITE_DEBUG=1)."),
    )


def _version_option() -> click.Option:
    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"glmlite {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=_("Show the version and exit."),
    )


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def group(cls: type[GlmGroup], *, name: str, help: str, examples: Examples) -> GlmGroup:  # noqa: A002
    """Build the top-level group."""
    built = cls(
        name=name,
        help=help,
        params=[_version_option(), debug_option()],
        context_settings=_SETTINGS,
        options_metavar=_("[OPTIONS]"),
        subcommand_metavar=_("COMMAND [ARGS]..."),
        no_args_is_help=True,
    )
    built.examples = examples
    return built


def command(
    *,
    name: str,
    help: str,  # noqa: A002
    examples: Examples = (),
) -> Callable[[Callable[..., Any]], GlmCommand]:
    """Decorator: a function with click options becomes a command."""

    def build(function: Callable[..., Any]) -> GlmCommand:
        built = click.command(
            name=name,
            cls=GlmCommand,
            help=help,
            context_settings=_SETTINGS,
            options_metavar=_("[OPTIONS]"),
        )(function)
        built.params.append(debug_option())
        built.examples = examples
        return built

    return build

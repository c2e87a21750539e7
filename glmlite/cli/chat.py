"""`glmlite chat`: talk to a bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.huge_pages import use_huge_pages
from glmlite.cli.options import (
    EngineChoice,
    GenerationChoice,
    bundle_argument,
    engine_options,
    generation_options,
)
from glmlite.errors import ConfigError
from glmlite.i18n import _


@command(
    name="chat",
    help=_(
        "Talk to a bundle in the terminal.\n\n"
        'Enter sends; Alt-Enter begins a new line; """ begins and ends a block of lines. Ctrl-C '
        "stops an answer; what was shown of it stays in the conversation. Ctrl-D leaves. /help "
        "lists the commands.\n\n"
        "In a pipe each line is a turn, and only the answers appear on standard output."
    ),
    examples=[
        ("glmlite chat build/demo", _("talk to the demo model")),
        ("echo 你好 | glmlite chat build/demo", _("one question, one answer, for scripts")),
        (
            "glmlite chat build/glm3 --temperature 0.8 --top-p 0.8 --overflow sliding",
            _("varied answers, and a conversation without end"),
        ),
    ],
)
@bundle_argument()
@click.option("--system", metavar="TEXT", help=_("System message (ChatGLM3)."))
@click.option("--no-history", is_flag=True, help=_("Do not remember questions on disk."))
@generation_options()
@engine_options()
def chat(
    bundle: Path,
    system: str | None,
    no_history: bool,
    generation: GenerationChoice,
    engine: EngineChoice,
) -> None:
    """Run the chat until the input ends."""
    use_huge_pages(bundle)
    from glmlite.cli.repl.answer import say
    from glmlite.cli.repl.loop import ChatLoop

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    with engine.load(bundle) as model:
        say(_("Engine: {name} ({reason})", name=model.engine_name, reason=model.engine_reason))
        loop = ChatLoop(model, generation, interactive=interactive)
        if system:
            loop.set_system(system)
        if not interactive:
            loop.run(_piped())
            return
        from glmlite.cli.repl.terminal import typed_lines

        say(_("/help lists the commands; Ctrl-D leaves."))
        loop.run(typed_lines(remember=not no_history))


def _piped() -> Iterator[str]:
    from glmlite.cli.repl.blocks import split_turns

    try:
        # A line is answered before the next one is read, so a program can hold a conversation.
        lines = iter(sys.stdin.buffer.readline, b"")
        yield from split_turns(line.decode("utf-8") for line in lines)
    except UnicodeDecodeError as error:
        raise ConfigError("Standard input is not UTF-8 text.") from error

"""The slash commands of the chat."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.formatting import display_width
from glmlite.cli.repl.answer import say
from glmlite.cli.repl.conversation import Conversation
from glmlite.errors import ConfigError
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.cli.repl.loop import ChatLoop

# "/usr/bin 是什么" is a question: a command is one lower-case word.
_SHAPE = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)
# ChatGLM's own demo is left with "stop" and emptied with "clear".
_PLAIN = {"clear": "clear", "stop": "exit"}


@dataclasses.dataclass(frozen=True)
class SlashCommand:
    """One command.

    Attributes:
        run: does it; False ends the chat.
        help: one line for `/help`.
        argument: what follows the name, as `/help` shows it.
        at_terminal: a person must have typed it; text from a pipe reads and writes no files.
    """

    run: Callable[[ChatLoop, str], bool]
    help: str
    argument: str = ""
    at_terminal: bool = False


def commands() -> dict[str, SlashCommand]:
    """All commands by name."""
    return {
        "clear": SlashCommand(_clear, _("forget the conversation (plain `clear` does it too)")),
        "undo": SlashCommand(_undo, _("forget the last question and its answer")),
        "retry": SlashCommand(_retry, _("answer the last question again")),
        "system": SlashCommand(
            _system, _("set the system message; without text: remove it"), _("TEXT")
        ),
        "save": SlashCommand(_save, _("save the conversation as JSON"), _("FILE"), True),
        "load": SlashCommand(_load, _("go on with a saved conversation"), _("FILE"), True),
        "stats": SlashCommand(_stats, _("show tokens, speed and engine")),
        "help": SlashCommand(_help, _("show this list")),
        "exit": SlashCommand(_exit, _("leave (plain `stop` and Ctrl-D do it too)")),
    }


def find_command(text: str, *, interactive: bool) -> tuple[SlashCommand | None, str]:
    """The command that `text` calls, and its argument; None where `text` is a question.

    Raises:
        ConfigError: it looks like a command but is none, or is one for people only.
    """
    stripped = text.strip()
    if stripped in _PLAIN:
        return commands()[_PLAIN[stripped]], ""
    # A leading space, or a block, makes any text a question.
    match = _SHAPE.fullmatch(text.rstrip())
    if match is None:
        return None, ""
    name, argument = match[1], (match[2] or "").strip()
    command = commands().get(name)
    if command is None:
        near = difflib.get_close_matches(name, commands(), n=1, cutoff=0.5)
        raise ConfigError(
            "There is no command /{name}.",
            hint="Nearest: /{nearest}. /help lists them; a space before it makes it a question.",
            name=name,
            nearest=near[0] if near else "help",
        )
    if command.at_terminal and not interactive:
        raise ConfigError("/{name} works only when typed at a terminal.", name=name)
    return command, argument


def _clear(loop: ChatLoop, argument: str) -> bool:
    loop.conversation.clear()
    loop.last = None
    if loop.interactive:
        say(_("The conversation is empty now."))
    return True


def _undo(loop: ChatLoop, argument: str) -> bool:
    if not loop.conversation.undo():
        say(_("There is nothing to undo."))
    elif loop.interactive:
        say(_("Forgotten. Rounds left: {rounds}.", rounds=loop.conversation.rounds))
    return True


def _retry(loop: ChatLoop, argument: str) -> bool:
    before = loop.conversation.snapshot()
    if loop.conversation.retry():
        loop.answer(before)
    else:
        say(_("There is no question yet."))
    return True


def _system(loop: ChatLoop, argument: str) -> bool:
    loop.set_system(argument)
    if loop.interactive:
        say(_("The system message is set.") if argument else _("There is no system message now."))
    return True


def _save(loop: ChatLoop, argument: str) -> bool:
    from glmlite.cli.repl.files import save_messages

    path = _path(argument, "save")
    save_messages(path, loop.conversation.messages)
    say(_("Saved {count} messages to {path}.", count=len(loop.conversation.messages), path=path))
    return True


def _load(loop: ChatLoop, argument: str) -> bool:
    from glmlite.cli.repl.files import load_messages

    path = _path(argument, "load")
    messages = load_messages(path)
    # The family's own template is the judge of whether a next question can follow.
    loop.model.require_template().chat_ids([*messages, {"role": "user", "content": "?"}])
    loop.conversation = Conversation(messages)
    loop.last = None
    say(_("Loaded {count} messages from {path}.", count=len(messages), path=path))
    return True


def _stats(loop: ChatLoop, argument: str) -> bool:
    from glmlite.cli.repl.stats import describe

    say(
        _("Engine: {name} ({reason})", name=loop.model.engine_name, reason=loop.model.engine_reason)
    )
    say(
        _(
            "Rounds: {rounds}; cache: {tokens} of {capacity} tokens",
            rounds=loop.conversation.rounds,
            tokens=len(loop.session.tokens),
            capacity=loop.session.capacity,
        )
    )
    if loop.last is not None and loop.last.stats is not None:
        say(_("Last answer: {stats}", stats=describe(loop.last.stats)))
    return True


def _help(loop: ChatLoop, argument: str) -> bool:
    rows = [(f"/{name} {command.argument}", command.help) for name, command in commands().items()]
    width = max(display_width(head) for head, _text in rows)
    for head, text in rows:
        click.echo(f"  {head}{' ' * (width - display_width(head))}  {text}", err=True)
    say(
        _(
            'Alt-Enter begins a new line; """ begins and ends a block of lines. Ctrl-C stops an '
            "answer (twice: leaves); what was shown of it stays in the conversation, until /undo."
        )
    )
    return True


def _exit(loop: ChatLoop, argument: str) -> bool:
    return False


def _path(argument: str, name: str) -> Path:
    if not argument:
        raise ConfigError(
            "/{name} needs a file name.", hint="For example: /{name} chat.json", name=name
        )
    return Path(argument).expanduser()

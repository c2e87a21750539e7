"""Line editing at a terminal: history, several lines, completion of commands and file names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings

from glmlite.cli.repl.answer import say
from glmlite.cli.repl.blocks import is_open
from glmlite.cli.repl.commands import commands
from glmlite.i18n import _

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyPressEvent

_FILE_COMMANDS = ("/save ", "/load ")


class CommandCompleter(Completer):
    """Completes `/co` to `/commands`, and file names after those that take one."""

    def __init__(self) -> None:
        self._commands = commands()
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Completions of the text before the cursor; none for a question."""
        text = document.text_before_cursor
        if text.startswith(_FILE_COMMANDS):
            rest = text.split(" ", 1)[1].lstrip()
            yield from self._paths.get_completions(Document(rest), complete_event)
        elif text.startswith("/") and " " not in text:
            for name, command in self._commands.items():
                if name.startswith(text[1:]):
                    yield Completion(
                        f"/{name}", start_position=-len(text), display_meta=command.help
                    )


def history_path() -> Path:
    """Where questions are remembered: `$XDG_STATE_HOME/glmlite/chat_history`."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "glmlite" / "chat_history"


def open_history() -> History:
    """The history file, readable by its owner only; in memory where none can be written."""
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def typed_lines(*, remember: bool = True) -> Iterator[str]:
    """What a person types, until Ctrl-D; Ctrl-C drops the line."""
    session: PromptSession[str] = PromptSession(
        history=open_history() if remember else InMemoryHistory(),
        completer=CommandCompleter(),
        complete_while_typing=True,
        key_bindings=_key_bindings(),
        multiline=True,
        prompt_continuation="  ",
        reserve_space_for_menu=5,
    )
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:  # noqa: PERF203 -- a line may be dropped
            say(_("Ctrl-D or /exit leaves."))
        except EOFError:
            return

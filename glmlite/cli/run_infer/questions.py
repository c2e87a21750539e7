r"""Raw input as MindFormers' users type it: one line with literal `\n`, or several pasted ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from glmlite.cli.repl.blocks import is_open, split_turns, unquote
from glmlite.errors import ConfigError
from glmlite.text.pasted import expand_newlines

_EXIT = "exit"


def ask(prompt: str, farewell: str) -> Iterator[str]:
    """Inputs until `exit` or the end; `prompt` appears before each of them.

    At a terminal a paste of several lines is one input; in a pipe a line is, or a whole template
    from `[Round 1]` to `答：`.
    """
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    turns = _typed(prompt) if interactive else _piped(prompt)
    for turn in turns:
        text = expand_newlines(unquote(turn))
        if text.strip() == _EXIT:
            print(farewell)
            return
        if text.strip():
            yield text


def _piped(prompt: str) -> Iterator[str]:
    def lines() -> Iterator[str]:
        # A line is answered before the next one is read, so a program can hold a conversation.
        for line in iter(sys.stdin.buffer.readline, b""):
            yield line.decode("utf-8")

    turns = split_turns(lines())
    while True:
        print(prompt, flush=True)
        try:
            turn = next(turns, None)
        except UnicodeDecodeError as error:
            raise ConfigError("Standard input is not UTF-8 text.") from error
        if turn is None:
            return
        yield turn


def _typed(prompt: str) -> Iterator[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    bindings = KeyBindings()

    @bindings.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(), key_bindings=bindings, multiline=True
    )
    while True:
        print(prompt)
        try:
            yield session.prompt("")
        except EOFError:
            return

"""The chat's turn-taking: a line is a command or a question; a question gets an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from glmlite.cli.repl.answer import Answer, say, show_answer
from glmlite.cli.repl.blocks import unquote
from glmlite.cli.repl.commands import find_command
from glmlite.cli.repl.conversation import Conversation, Message
from glmlite.cli.repl.stats import describe
from glmlite.errors import ConfigError, GlmliteError, WorkerDiedError
from glmlite.i18n import _
from glmlite.text.pasted import parse_template

if TYPE_CHECKING:
    from glmlite.cli.options import GenerationChoice
    from glmlite.runtime.model import Model


class ChatLoop:
    """One chat with one model.

    A stopped answer stays in the conversation as far as it was shown, for that is what the model
    has said; `/undo` and `/retry` drop it. A question that failed, or was stopped before the first
    word, leaves no trace.

    Args:
        model: from `glmlite.load`.
        generation: length and sampling.
        interactive: a person is typing: errors are shown and the chat goes on. Otherwise an error
            ends it.

    Raises:
        TokenizerError: the bundle has no tokenizer, or is a base model.
    """

    def __init__(self, model: Model, generation: GenerationChoice, *, interactive: bool) -> None:
        model.require_template()
        self.model = model
        self.generation = generation
        self.interactive = interactive
        self.session = model.session()
        self.conversation = Conversation()
        self.last: Answer | None = None

    def run(self, inputs: Iterable[str]) -> None:
        """Take lines until they end or a command ends the chat."""
        for text in inputs:
            try:
                if not self.take(text):
                    return
            except (GlmliteError, OSError) as error:  # noqa: PERF203 -- one turn may fail
                if not self.interactive or isinstance(error, WorkerDiedError):
                    raise
                click.secho(_("Error: {text}", text=str(error)), fg="red", err=True)

    def take(self, text: str) -> bool:
        """One line (or block of lines); False when the chat is over."""
        command, argument = find_command(text, interactive=self.interactive)
        if command is not None:
            return command.run(self, argument)
        question = unquote(text)
        if question.strip():
            self.ask(question)
        return True

    def set_system(self, text: str) -> None:
        """Set the system message, or remove it with an empty text.

        Raises:
            ConfigError: the family has none.
        """
        if self.model.bundle.manifest.family != "glm3":
            raise ConfigError(
                "ChatGLM2 was trained without a system message: its prompt has only questions and "
                "answers.",
                hint="Put instructions into the first question.",
            )
        self.conversation.set_system(text)

    def ask(self, question: str) -> None:
        """Put a question and answer it; a pasted prompt stands for what it holds."""
        before = self.conversation.snapshot()
        pasted = parse_template(question)
        if pasted is None:
            self.conversation.ask(question)
        elif len(pasted) == 1:
            say(_("The template [Round 1] 问：… was recognised; it is not applied twice."))
            self.conversation.ask(pasted[0]["content"])
        else:
            say(_("The pasted rounds are the conversation now; /clear begins a new one."))
            self.conversation.clear()
            self.conversation.messages += pasted
        self.answer(before)

    def answer(self, before: list[Message]) -> None:
        """Answer the last question; `before` is the conversation to return to if that fails."""
        answered = False
        try:
            pieces = self.model.chat(
                self.conversation.messages, session=self.session, **self.generation.keywords()
            )
            self.last = show_answer(pieces)
            if self.last.finish_reason != "interrupted":
                self.conversation.messages += self.last.reply
                answered = True
            elif self.last.text:
                self.conversation.messages += self._partial_reply(self.last)
                answered = True
        finally:
            if not answered:
                self.conversation = Conversation(before)
        if self.last.stats is None:
            say(_("(stopped)"))
            if not self.interactive:
                raise KeyboardInterrupt
        elif self.interactive:
            say(describe(self.last.stats))

    def _partial_reply(self, answer: Answer) -> tuple[Message, ...]:
        template = self.model.require_template()
        return template.parse_reply(answer.tokens, self.conversation.messages).messages

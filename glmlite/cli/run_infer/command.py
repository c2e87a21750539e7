"""The command behind MindFormers' flags: raw prompts in, `['prompt answer']` out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import ENGINES, toolchain_option
from glmlite.cli.run_infer.flags import Flags, idle_remarks, infer_flags
from glmlite.compat.options import count_new_tokens, sampling_params
from glmlite.compat.running import Running
from glmlite.errors import ConfigError, GlmliteError, WorkerDiedError
from glmlite.i18n import _
from glmlite.runtime.sampling import SamplingParams
from glmlite.text.pasted import expand_newlines, parse_template

# As MindFormers prints them; scripts wait for them, so they are not translated.
_ASK = "Please enter your predict data: "
_ASK_STREAM = "Please enter your predict data(input 'exit' to quit): "
_FAREWELL = "Task is over."
_FAREWELL_STREAM = "Quit now, this may take a while."


@command(
    name="run_infer",
    help=_(
        "Answer raw prompts as MindFormers' run_infer_main.py does.\n\n"
        "The input goes to the model as it is (--prompt adds a template; ChatGLM3 gets its roles); "
        "a literal \\n is a line break, and several pasted lines are one input. The answer is "
        "printed as ['prompt answer']. Without these flags run_infer is glmlite chat."
    ),
    examples=[
        (
            "run_infer --model_dir build/demo --model_name glm2_6b --add_special_tokens True",
            _("ask for prompts and answer them"),
        ),
        (
            "run_infer --prefill_model_path prefill.mindir --increment_model_path inc.mindir "
            "--model_name glm2_6b --tokenizer_path tokenizer.model --config_path lite.ini",
            _("two graphs that MindFormers exported"),
        ),
    ],
)
@click.argument("bundle", type=click.Path(path_type=Path), metavar="[BUNDLE]", required=False)
@infer_flags()
@click.option("--engine", type=click.Choice(ENGINES), default="auto", help=_("What runs it."))
@toolchain_option()
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help=_("Threads of it."))
def run_infer(
    bundle: Path | None, flags: Flags, engine: str, toolchain: str | None, threads: int | None
) -> None:
    """Answer until `exit` or the end of the input."""
    from glmlite.cli.repl.answer import say
    from glmlite.cli.run_infer.opening import open_named

    # Refused before a model is loaded.
    params = sampling_params(
        do_sample=flags.do_sample,
        top_k=flags.top_k,
        top_p=flags.top_p,
        temperature=flags.temperature,
        repetition_penalty=flags.repetition_penalty,
    )
    _check_prompt(flags.prompt)
    for remark in idle_remarks(flags):
        say(remark)
    running, remarks = open_named(flags, bundle, engine, toolchain, threads)
    try:
        for remark in remarks:
            say(remark)
        say(_("Engine: {name} ({reason})", name=running.engine_name, reason=running.engine_reason))
        answerer = _Answerer(running, flags, params)
        _answer_all(answerer, flags)
    finally:
        running.close()


def _check_prompt(prompt: str | None) -> None:
    if prompt and "{}" not in prompt:
        raise ConfigError(
            "--prompt {found!r} has no {{}} for the input.",
            hint="For ChatGLM2: --prompt '[Round 1]\\n\\n问：{{}}\\n\\n答：'",
            found=prompt,
        )


def _answer_all(answerer: _Answerer, flags: Flags) -> None:
    from glmlite.cli.run_infer.questions import ask

    if flags.predict_data is not None:
        text = expand_newlines(flags.predict_data)
        questions: Iterable[str] = [text] * max(flags.generated_time, 1)
    elif flags.stream:
        questions = ask(_ASK_STREAM, _FAREWELL_STREAM)
    else:
        questions = ask(_ASK, _FAREWELL)
    typed = flags.predict_data is None and sys.stdin.isatty()
    for text in questions:
        try:
            answerer.answer(text)
        except GlmliteError as error:  # noqa: PERF203 -- one prompt may be too long
            if not typed or isinstance(error, WorkerDiedError):
                raise
            click.secho(_("Error: {text}", text=str(error)), fg="red", err=True)


class _Answerer:
    """Answers one input after the other."""

    def __init__(self, running: Running, flags: Flags, params: SamplingParams) -> None:
        from glmlite.cli.repl.answer import say

        self._running, self._flags, self._params = running, flags, params
        self._tokenizer = running.require_tokenizer()
        self._limit = running.capacity
        if "seq_length" in flags.said:
            self._limit = min(self._limit, flags.seq_length)
            if flags.seq_length > running.capacity:
                said = _(
                    "--seq_length {asked}: the graphs hold {capacity} tokens.",
                    asked=flags.seq_length,
                    capacity=running.capacity,
                )
                say(said)
        if self._tokenizer.family != "glm3" and not flags.add_special_tokens:
            say(_("--add_special_tokens False: the prompt goes without [gMASK] sop."))

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of an input: a user's message for ChatGLM3, raw text otherwise."""
        if self._flags.prompt:
            text = expand_newlines(self._flags.prompt).replace("{}", text)
        if self._tokenizer.family == "glm3":
            messages = parse_template(text) or [{"role": "user", "content": text}]
            return self._tokenizer.chat_ids(messages)
        if self._flags.add_special_tokens:
            return self._tokenizer.prompt_ids(text)
        return self._tokenizer.encode(text)

    def answer(self, text: str) -> None:
        """Print the answer to one input."""
        flags = self._flags
        ids = self.prompt_ids(text)
        count = count_new_tokens(len(ids), self._limit, max_length=flags.max_length)
        if "max_output_length" in flags.said:
            count = min(count, flags.max_output_length)
        answer = self._generate(ids, count) if count > 0 else []
        print([self._tokenizer.decode([*ids, *answer])], flush=True)

    def _generate(self, ids: list[int], count: int) -> list[int]:
        from glmlite.cli.formatting import printable
        from glmlite.text import StreamingDetokenizer

        detokenizer = StreamingDetokenizer(self._tokenizer)
        for token in ids:
            detokenizer.push(token)
        answer = []
        for piece in self._running.continue_ids(ids, max_new_tokens=count, params=self._params):
            answer.append(piece.token)
            if self._flags.stream:
                part = detokenizer.push(piece.token)
                print(printable(part) if sys.stdout.isatty() else part, end="", flush=True)
        if self._flags.stream:
            print(detokenizer.flush())
        return answer

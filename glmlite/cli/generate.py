"""`glmlite generate`: continue one prompt, for scripts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmlite.cli.base import command
from glmlite.cli.huge_pages import use_huge_pages
from glmlite.cli.options import (
    EngineChoice,
    GenerationChoice,
    bundle_argument,
    engine_options,
    generation_options,
    json_option,
)
from glmlite.errors import ConfigError
from glmlite.i18n import _
from glmlite.text.pasted import expand_template, parse_template

if TYPE_CHECKING:
    from glmlite.runtime.model import Model


@command(
    name="generate",
    help=_(
        "Continue one prompt, for scripts.\n\n"
        "The prompt is fed as it is; --chat asks it as a user's question, with the prompt template "
        "of the model. The text appears while it is generated; with --json one object comes at the "
        "end: text, tokens, finish_reason, stats."
    ),
    examples=[
        ('glmlite generate build/demo --chat --prompt "你好"', _("one question, one answer")),
        (
            "cat prompt.txt | glmlite generate build/demo --prompt - --max-new-tokens 100",
            _("a prompt from standard input"),
        ),
        (
            "glmlite generate build/demo --ids 64790,64792,36474 --json",
            _("token ids, for a bundle without a tokenizer"),
        ),
    ],
)
@bundle_argument()
@click.option("--prompt", metavar="TEXT|-", help=_("The prompt; - reads standard input."))
@click.option("--ids", metavar="N,N,…", help=_("Token ids in place of a prompt."))
@click.option("--chat", is_flag=True, help=_("Ask the prompt as a user's question."))
@generation_options()
@engine_options()
@json_option(_("Print one JSON object, on one line, at the end."))
def generate(
    bundle: Path,
    prompt: str | None,
    ids: str | None,
    chat: bool,
    generation: GenerationChoice,
    engine: EngineChoice,
    as_json: bool,
) -> None:
    """Print the continuation."""
    use_huge_pages(bundle)
    source = _source(prompt, ids, chat)
    with engine.load(bundle) as model:
        _run(model, source, chat=chat, generation=generation, as_json=as_json)


def _source(prompt: str | None, ids: str | None, chat: bool) -> str | list[int]:
    """What to continue: text or ids."""
    if (prompt is None) == (ids is None):
        raise click.UsageError(
            _("Say what to continue: --prompt TEXT, --prompt - (standard input), or --ids 1,2,3.")
        )
    if ids is not None:
        if chat:
            raise click.UsageError(_("--chat needs a --prompt: ids are fed as they are."))
        try:
            return [int(part) for part in ids.replace(",", " ").split()]
        except ValueError:
            raise click.BadParameter(
                _("{found!r} is no list of numbers like 1,2,3.", found=ids), param_hint="--ids"
            ) from None
    assert prompt is not None  # noqa: S101 -- one of the two is given
    if prompt != "-":
        return prompt
    given = sys.stdin.buffer.read()
    if not given:
        raise ConfigError(
            "Standard input is empty, and --prompt - reads the prompt from it.",
            hint="To continue nothing, give an empty prompt: --prompt ''",
        )
    try:
        return given.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigError("Standard input is not UTF-8 text.") from error


def _run(
    model: Model,
    source: str | list[int],
    *,
    chat: bool,
    generation: GenerationChoice,
    as_json: bool,
) -> None:
    from glmlite.cli.repl.answer import say, show_answer

    keywords: dict[str, Any] = generation.keywords()
    if isinstance(source, str):
        source = expand_template(source)
    if chat:
        pasted = parse_template(source) if isinstance(source, str) else None
        pieces = model.chat(pasted or [{"role": "user", "content": source}], **keywords)
    else:
        pieces = model.generate(source, **keywords)
    if not as_json:
        say(_("Engine: {name} ({reason})", name=model.engine_name, reason=model.engine_reason))
        if show_answer(pieces).stats is None:
            raise KeyboardInterrupt
        return
    from glmlite.cli.tables import print_json

    collected = list(pieces)
    last = collected[-1]
    print_json(
        {
            "text": "".join(piece.text for piece in collected),
            "tokens": [piece.token for piece in collected],
            "finish_reason": last.finish_reason,
            "notices": [notice for piece in collected for notice in piece.notices],
            "engine": model.engine_name,
            "stats": last.stats.to_dict() if last.stats else None,
        },
        indent=None,
    )

"""`pipeline(task="text_generation", …)`: raw text in, prompt and answer out, as in MindFormers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from glmlite.compat.models import AutoModel, ChatGLM2ForConditionalGeneration
from glmlite.compat.tokenizers import AutoTokenizer, ChatGLM2Tokenizer
from glmlite.errors import ConfigError

_TASK = "text_generation"


class TextGenerationPipeline:
    """Text to text; no template is applied.

    Args:
        model: a model, or what `AutoModel.from_pretrained` takes.
        tokenizer: default: the bundle's own.
        **options: of `generate`, and add_special_tokens (default True).
    """

    def __init__(
        self,
        model: ChatGLM2ForConditionalGeneration | str | os.PathLike[str],
        tokenizer: ChatGLM2Tokenizer | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, ChatGLM2ForConditionalGeneration):
            model = AutoModel.from_pretrained(model)
        self.model = model
        self.tokenizer = tokenizer or AutoTokenizer.from_pretrained(model.running.path)
        self._options = options

    def __call__(self, inputs: str | Sequence[str], **options: Any) -> list[dict[str, list[str]]]:
        """Continue a text, or several.

        Returns:
            For each text {"text_generation_text": [the text and what was generated]}.
        """
        options = {**self._options, **options}
        special = bool(options.pop("add_special_tokens", True))
        results = []
        for text in [inputs] if isinstance(inputs, str) else inputs:
            ids = self.tokenizer(text, add_special_tokens=special)["input_ids"]
            outputs = self.model.generate(ids, **options)
            texts = self.tokenizer.batch_decode(outputs, skip_special_tokens=True)
            results.append({f"{_TASK}_text": texts})
        return results


def pipeline(
    task: str = _TASK,
    model: ChatGLM2ForConditionalGeneration | str | os.PathLike[str] | None = None,
    tokenizer: ChatGLM2Tokenizer | None = None,
    **options: Any,
) -> TextGenerationPipeline:
    """A pipeline for a task.

    Args:
        task: "text_generation".
        model: see `TextGenerationPipeline`.
        tokenizer: likewise.
        **options: likewise.

    Raises:
        ConfigError: another task, or no model.
    """
    if task != _TASK or model is None:
        raise ConfigError(
            "pipeline(task={task!r}, model={model!r}): glmlite has text_generation with a model.",
            hint='pipeline(task="text_generation", model="BUNDLE")',
            task=task,
            model=model,
        )
    return TextGenerationPipeline(model, tokenizer, **options)

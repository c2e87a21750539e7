"""`Trainer.predict`: all of MindFormers' Trainer that needs no training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NoReturn

from glmlite.compat.models import ChatGLM2ForConditionalGeneration
from glmlite.compat.pipelines import TextGenerationPipeline, pipeline
from glmlite.errors import ConfigError


class Trainer:
    """Takes MindFormers' arguments; only `task` and `model` count.

    Args:
        task: "text_generation".
        model: what `pipeline` takes.
        **_datasets: train_dataset, eval_dataset, pet_method, …
    """

    def __init__(
        self,
        task: str = "text_generation",
        model: ChatGLM2ForConditionalGeneration | str | os.PathLike[str] | None = None,
        **_datasets: Any,
    ) -> None:
        self._task, self._model = task, model
        self._pipeline: TextGenerationPipeline | None = None

    def predict(
        self, input_data: str | Sequence[str], **options: Any
    ) -> list[dict[str, list[str]]]:
        """Continue a text, or several; see `TextGenerationPipeline`."""
        if self._pipeline is None:
            self._pipeline = pipeline(self._task, self._model)
        return self._pipeline(input_data, **options)

    def train(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not yet.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "Trainer.{name}: glmlite does not do that yet.",
            hint="Train and evaluate with MindFormers, then export the checkpoint.",
            name="train",
        )

    def finetune(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not yet; see `train`."""
        raise ConfigError(
            "Trainer.{name}: glmlite does not do that yet.",
            hint="Train and evaluate with MindFormers, then export the checkpoint.",
            name="finetune",
        )

    def evaluate(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not yet; see `train`."""
        raise ConfigError(
            "Trainer.{name}: glmlite does not do that yet.",
            hint="Train and evaluate with MindFormers, then export the checkpoint.",
            name="evaluate",
        )

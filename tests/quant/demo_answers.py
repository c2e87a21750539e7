"""The demo model's own answers: how well a set of weights still knows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glmlite.bundle.weights import BundleWeights
from glmlite.checkpoint import WeightSource, open_checkpoint
from glmlite.demo import CHECKPOINT, load_corpus
from glmlite.demo.data import NOT_LEARNED, row
from glmlite.exporter.weights import INDEX
from glmlite.model import reference
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.model.layer import DOWN, QKV, UP, Observer
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix
from glmlite.progress import NoProgress
from glmlite.quant.activations import rounder, rounding_of
from glmlite.quant.calibration import collect
from glmlite.quant.cpu_recipe import parse_cpu_recipe
from glmlite.quant.cpu_weights import write_cpu_weights
from glmlite.quant.sample import text_sample
from glmlite.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class Found:
    """Perplexity of the answers, and the likeliest id at each place."""

    perplexity: float
    ids: np.ndarray


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class Answers:
    """Every n-th question of the corpus, asked as the model was trained."""

    def __init__(self, every: int) -> None:
        self.checkpoint = open_checkpoint(CHECKPOINT)
        assert self.checkpoint.raw_config is not None
        self.config: ModelConfig = from_huggingface(self.checkpoint.raw_config)
        self.tokenizer = Tokenizer(CHECKPOINT / "tokenizer.model", "glm2")
        asked = [(d, q) for d in load_corpus() for q in d.wordings()]
        self.total = len(asked)
        rows = [row(d.ask(q), self.tokenizer) for d, q in asked]
        self.sequences = [ids for ids, _ in rows[::every]]
        self._each = [np.array(labels) for _, labels in rows[::every]]
        self._labels = np.concatenate(self._each)
        # Halves of one text: to measure on, and to calibrate with.
        self.text, self.calibration = text_sample(
            Tokenizer(CHECKPOINT / "tokenizer.model", "base"), self.config.vocab_size, None, 1500
        ).split()

    def judge(self, logits: np.ndarray) -> Found:
        """Of logits [tokens, V] of all sequences, one after the other."""
        wanted = self._labels != NOT_LEARNED
        rows, labels = logits[wanted], self._labels[wanted]
        loss = -log_softmax(rows)[np.arange(len(labels)), labels].mean()
        return Found(float(np.exp(loss)), rows.argmax(axis=1))

    def places(self) -> list[list[int]]:
        """For each sequence the places whose logits are judged, ascending."""
        return [np.flatnonzero(labels != NOT_LEARNED).tolist() for labels in self._each]

    @property
    def right(self) -> np.ndarray:
        """The ids of the answers."""
        return self._labels[self._labels != NOT_LEARNED]

    def run(self, source: WeightSource, observe: Observer | None = None) -> Found:
        """Ask the reference."""
        return self.judge(self._logits(source, self.sequences, observe))

    def read(self, source: WeightSource, observe: Observer | None = None) -> np.ndarray:
        """Logarithms of all probabilities on the text that is measured on."""
        return log_softmax(self._logits(source, self.text.windows, observe))

    def _logits(
        self, source: WeightSource, windows: Sequence[list[int]], observe: Observer | None
    ) -> np.ndarray:
        *_, hidden = reference.hidden_states(self.config, source, windows, observe=observe)
        x = reference.output_input(self.config, source, hidden, observe=observe)
        return x @ reference.read_weight(source, OUTPUT).T

    def quantized(
        self, folder: Path, source: WeightSource, recipe: dict[str, Any]
    ) -> tuple[WeightSource, Observer]:
        """Quantized weights, and what rounds activations as engines do."""
        first, _ = parse_cpu_recipe(recipe, "r", "r.yaml").resolve(self.config)
        stats = collect(self.config, source, self.calibration, None, NoProgress())
        index, _ = write_cpu_weights(source, self.config, first, None, stats, folder, NoProgress())
        return BundleWeights(folder / INDEX, folded=True), rounder(rounding_of(index.quantized))


class WithOutliers:
    """The same network with channels that are `factor` times the others, as large models have."""

    def __init__(self, answers: Answers, factor: float, every: int = 37) -> None:
        self._source, config = answers.checkpoint, answers.config
        self._norms, self._matrices = {FINAL_NORM}, {OUTPUT}
        for layer in range(config.num_layers):
            at = layer_prefix(layer)
            self._norms |= {
                at + "input_layernorm.weight",
                at + "post_attention_layernorm.weight",
            }
            self._matrices |= {at + QKV, at + UP}
        self._up = {layer_prefix(i) + UP for i in range(config.num_layers)}
        self._down = {layer_prefix(i) + DOWN for i in range(config.num_layers)}
        self._hidden, self._inner = np.ones(config.hidden_size), np.ones(config.ffn_hidden_size)
        self._hidden[5::every] = self._inner[7::every] = factor

    def shapes(self) -> Any:
        return self._source.shapes()

    def read(self, name: str) -> np.ndarray:
        array = self._source.read(name).astype(np.float64)
        if name in self._norms:
            array *= self._hidden
        if name in self._matrices:
            array /= self._hidden
        if name in self._up:
            array[len(self._inner) :] *= self._inner[:, None]
        if name in self._down:
            array /= self._inner
        assert name != EMBEDDING or array.ndim == 2
        return array.astype(np.float32)

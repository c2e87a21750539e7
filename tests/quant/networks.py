"""Tiny float networks, rounded ones, and what the oracle says of them."""

from __future__ import annotations

import numpy as np

from glmlite.model.config import from_huggingface
from glmlite.model.parameters import EMBEDDING
from glmlite.progress import NoProgress
from glmlite.quant.accuracy import AccuracyReport, Candidate, measure
from glmlite.quant.sample import Sample, cut
from tests.fixtures import drawing
from tests.fixtures.models import MODELS, TinyModel
from tests.oracle import forward64


class Tensors(dict[str, np.ndarray]):
    """Arrays by name, as any `WeightSource` gives them."""

    def shapes(self):
        return {name: tensor.shape for name, tensor in self.items()}

    def read(self, name):
        return self[name].copy()


class Network:
    """A tiny model, its float weights and rounded ones."""

    def __init__(self, model: TinyModel = MODELS["glm2"]) -> None:
        self.model = model
        self.config = from_huggingface(self.model.config)
        self.weights = Tensors(drawing.tensors(self.model))
        self.matrices = [
            n for n, s in self.weights.shapes().items() if len(s) == 2 and n != EMBEDDING
        ]
        self.rounded = self.rounded_to(0.02)

    def rounded_to(self, step: float) -> Tensors:
        """Every matrix in whole multiples of `step`."""
        changed = {n: np.rint(self.weights[n] / step) * np.float32(step) for n in self.matrices}
        return Tensors({**self.weights, **changed})

    def sample(self, count: int = 150) -> Sample:
        return cut("x", drawing.draw_ids(self.model, count, seed=2), [7, 8], window=64)

    def oracle(self, tensors, window) -> forward64.Forward:
        return forward64.forward(tensors, self.model.config, window, rope=self.model.rope)

    def measure(self, *candidates: Candidate, sample: Sample | None = None) -> list[AccuracyReport]:
        return measure(self.config, self.weights, candidates, sample or self.sample(), NoProgress())

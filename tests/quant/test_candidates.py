"""What the report simulates is what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmlite.exporter.weights import INDEX
from glmlite.model import reference
from glmlite.model.parameters import EMBEDDING, OUTPUT, parameter_shapes
from glmlite.progress import NoProgress
from glmlite.quant.accuracy import Candidate, measure
from glmlite.quant.activations import Rounding, rounder
from glmlite.quant.calibration import collect
from glmlite.quant.candidates import read_candidate
from glmlite.quant.cpu_recipe import Choice
from glmlite.quant.cpu_weights import write_cpu_weights
from glmlite.quant.sample import Sample
from glmlite.toolchain.weights import WeightsIndex
from tests.export.onnx_models import WIDE
from tests.fixtures import drawing
from tests.quant.networks import Network

CHOICES = {
    "int4": Choice("block", 4, 32),
    "int4_smoothed": Choice("block", 4, 32, symmetric=False, method="activation_aware"),
    "int8_exact": Choice("block", 8, 16, accuracy_level=0),
    "w8a8": Choice("column", 7),
    "w8a8_outliers": Choice("column", 7, smoothing=False, outliers=3),
}


class Subject(Network):
    def __init__(self, folder: Path, choice: Choice) -> None:
        super().__init__(WIDE["wide_glm2"])
        self.ids = drawing.draw_ids(self.model, 30, seed=4)
        self.folder = folder
        shapes = parameter_shapes(self.config)
        chosen = {n: choice for n, shape in shapes.items() if len(shape) == 2}
        chosen[EMBEDDING] = Choice("row")
        calibration = Sample("x", (drawing.draw_ids(self.model, 40, seed=5),), 2)
        stats = collect(self.config, self.weights, calibration, None, NoProgress())
        write_cpu_weights(
            self.weights, self.config, chosen, None, stats, folder / "weights", NoProgress()
        )
        self.index = WeightsIndex.read(str(folder / "weights" / INDEX))
        self.candidate = read_candidate("r", folder / "weights" / INDEX, self.config)

    def simulated(self, candidate: Candidate) -> np.ndarray:
        """Logits as the report computes them."""
        observe = rounder(candidate.rounding)
        states = reference.hidden_states(self.config, candidate.source, [self.ids], observe=observe)
        *_rest, hidden = states
        x = reference.output_input(self.config, candidate.source, hidden, observe=observe)
        return x @ candidate.source.read(OUTPUT).astype(np.float32).T

    def engine(self) -> np.ndarray:
        """Logits of the graph in ONNX Runtime."""
        ort = pytest.importorskip("onnxruntime")
        from glmlite.exporter.onnx_graph.emit import emit_graph

        kept = {"flavor": "ort", "cache_length": 32, "prefix_length": 0}
        emit_graph(self.folder, "model.onnx", self.config, self.index, **kept)
        session = ort.InferenceSession(str(self.folder / "model.onnx"))
        shape = (1, self.config.num_groups, 32, self.config.head_dim)
        feeds = {i.name: np.zeros(shape, np.float32) for i in session.get_inputs()[3:]}
        feeds |= {
            "input_ids": np.array([self.ids], np.int32),
            "position": np.zeros(1, np.int32),
            "valid_length": np.array([len(self.ids)], np.int32),
            "all_logits": np.array(1, np.int32),
        }
        return session.run(["logits"], feeds)[0].reshape(len(self.ids), -1)


@pytest.mark.parametrize("kind", CHOICES)
def test_the_engine_computes_what_is_simulated(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnx")
    subject = Subject(tmp_path, CHOICES[kind])
    found, expected = subject.engine(), subject.simulated(subject.candidate)
    blind = subject.simulated(Candidate("blind", subject.candidate.source))
    # A sum that differs in its last bit may be rounded the other way; all later tokens see that.
    error, without = (
        np.quantile(np.linalg.norm(found - logits, axis=1), 0.25) for logits in (expected, blind)
    )
    if kind == "int8_exact":
        assert subject.candidate.rounding == {}
        assert error < 1e-3
    else:
        assert error < 0.01 * without


def test_a_stored_network_is_described(tmp_path: Path) -> None:
    subject = Subject(tmp_path, CHOICES["w8a8"])
    (report,) = subject.measure(subject.candidate)
    assert report.bytes == sum(e["nbytes"] for e in subject.index.tensors.values())
    assert {t.scheme for t in report.tensors} == {"int8 columns (7 bits)"}
    assert report.entry.activations == "int8 per token"
    # Smoothing changes weights a lot, and what they stand for a little.
    assert max(t.weight_error for t in report.tensors) < 0.05
    smoothed = [n for n, s in subject.candidate.smoothing.items() if s.columns is not None]
    assert smoothed
    at = subject.weights[smoothed[0]]
    assert np.abs(subject.candidate.source.read(smoothed[0]) - at).max() > 0.05 * np.abs(at).max()


def test_a_second_set_is_measured_by_its_prefix(tmp_path: Path) -> None:
    network = Network()
    matrices = [n for n, s in parameter_shapes(network.config).items() if len(s) == 2]
    first = {n: Choice("block", 4, 32, method="round") for n in matrices} | {
        EMBEDDING: Choice("row")
    }
    second = {n: Choice("column", 7, smoothing=False) for n in matrices} | {
        EMBEDDING: Choice("share"),
        OUTPUT: Choice("share"),
    }
    write_cpu_weights(
        network.weights, network.config, first, second, {}, tmp_path / "w", NoProgress()
    )
    index = tmp_path / "w" / INDEX
    both = [read_candidate(p or "first", index, network.config, p) for p in ("", "prefill/")]
    assert both[0].rounding[matrices[1]] == Rounding(32)
    assert both[1].rounding[matrices[1]] == Rounding()
    assert both[1].rounding[OUTPUT] == Rounding(32)
    reports = measure(network.config, network.weights, both, network.sample(), NoProgress())
    assert reports[1].entry.kl_mean < reports[0].entry.kl_mean

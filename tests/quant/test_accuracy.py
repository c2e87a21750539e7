from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.accuracy import AccuracyEntry, TensorAccuracy
from glmlite.bundle.manifest import Manifest
from glmlite.errors import AccuracyError, BundleError
from glmlite.model.parameters import OUTPUT
from glmlite.progress import NoProgress
from glmlite.quant.accuracy import Candidate, measure
from glmlite.quant.activations import Rounding
from glmlite.quant.bar import check_bar
from glmlite.quant.divergence import Comparison
from glmlite.quant.sample import Sample
from glmlite.quant.tensor_errors import Smoothing
from tests.cli.conftest import write_bundle
from tests.fixtures import drawing
from tests.quant.networks import Network, Tensors


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("accuracy") / "demo"))


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


def test_each_number_from_whole_logits_in_float64(network: Network) -> None:
    sample = network.sample()
    assert [len(w) for w in sample.windows] == [64, 64, 28]
    (report,) = network.measure(Candidate("r", network.rounded))
    losses, kl, same, errors = [[], []], [], [], []
    for window in sample.windows:
        before, after = (network.oracle(t, window) for t in (network.weights, network.rounded))
        logp = [x.logits - np.log(np.exp(x.logits).sum(1, keepdims=True)) for x in (before, after)]
        for at in range(1, len(window) - 1):
            for number in (0, 1):
                losses[number].append(-logp[number][at, window[at + 1]])
            kl.append((np.exp(logp[0][at]) * (logp[0][at] - logp[1][at])).sum())
            same.append(before.logits[at].argmax() == after.logits[at].argmax())
            pairs = zip(before.hidden_states, after.hidden_states, strict=True)
            errors.append([np.linalg.norm(b[at] - a[at]) / np.linalg.norm(b[at]) for b, a in pairs])
    found = report.entry
    assert (report.name, found.activations) == ("r", "float32")
    assert found.tokens == len(kl) == 150
    assert found.window == 64
    assert found.perplexity_before == pytest.approx(np.exp(np.mean(losses[0])), rel=1e-5)
    assert found.perplexity == pytest.approx(np.exp(np.mean(losses[1])), rel=1e-5)
    assert found.kl_mean == pytest.approx(np.mean(kl), rel=1e-3)
    assert found.kl_max == pytest.approx(max(kl), rel=1e-3)
    assert found.top1 == np.mean(same) < 1
    assert found.layers[0] == 0
    np.testing.assert_allclose(found.layers, np.mean(errors, axis=0), rtol=1e-3)


def test_each_matrix_by_itself(network: Network) -> None:
    (report,) = network.measure(Candidate("r", network.rounded, schemes={OUTPUT: "int8"}))
    assert [t.name for t in report.tensors] == network.matrices
    passes = [network.oracle(network.weights, w).inputs for w in network.sample().windows]
    for tensor in report.tensors:
        rows = np.concatenate([p[tensor.name] for p in passes])
        before = network.weights[tensor.name].astype(np.float64)
        change = network.rounded[tensor.name] - before
        assert tensor.shape == before.shape
        assert tensor.weight_error == pytest.approx(
            np.linalg.norm(change) / np.linalg.norm(before), rel=1e-4
        )
        each = np.linalg.norm(rows @ change.T, axis=1) / np.linalg.norm(rows @ before.T, axis=1)
        # 128 of the 150 rows are taken.
        assert tensor.output_error == pytest.approx(each.mean(), rel=0.05)
        assert (tensor.weight_min, tensor.weight_max) == (before.min(), before.max())
        assert tensor.input_min == pytest.approx(rows.min(), rel=1e-4)
        assert tensor.input_max == pytest.approx(rows.max(), rel=1e-4)
        largest = np.abs(rows).max(axis=0)
        assert tensor.outlier == pytest.approx(largest.max() / np.median(largest), rel=1e-3)
        assert tensor.scheme == ("int8" if tensor.name == OUTPUT else "")
    worst = sorted(report.tensors, key=lambda t: -t.output_error)
    assert [t.name for t in report.entry.tensors] == [t.name for t in worst[:10]]


def test_equal_weights_cost_nothing(network: Network) -> None:
    (report,) = network.measure(Candidate("same", network.weights))
    found = report.entry
    assert found.kl_max == 0
    assert found.top1 == 1
    assert found.perplexity == found.perplexity_before
    assert found.layers == (0,) * (network.config.num_layers + 1)
    assert found.tensors == ()


def test_several_at_once_are_the_same_as_one_by_one(network: Network) -> None:
    candidates = [
        Candidate("fine", network.rounded_to(0.005), bytes=7),
        Candidate("coarse", network.rounded, {n: Rounding() for n in network.matrices}),
    ]
    together = network.measure(*candidates)
    assert together == [network.measure(c)[0] for c in candidates]
    assert [(r.name, r.bytes) for r in together] == [("fine", 7), ("coarse", None)]
    assert together[0].entry.kl_mean < together[1].entry.kl_mean


def test_rounded_activations_are_part_of_the_price(network: Network) -> None:
    """Against the oracle, with its products replaced by those of rounded rows."""
    rounding = {name: Rounding() for name in network.matrices}
    (report,) = network.measure(Candidate("r", network.weights, rounding))
    assert report.entry.activations == "int8 per token"
    assert report.entry.kl_mean > 0
    assert {t.weight_error for t in report.tensors} == {0}
    assert all(t.output_error > 1e-4 and t.rounding == "int8 per token" for t in report.tensors)
    (window, *_rest) = network.sample().windows
    inputs = network.oracle(network.weights, window).inputs
    name = network.matrices[0]
    step = np.abs(inputs[name]).max(axis=1, keepdims=True) / 127
    rows = np.rint(inputs[name] / step) * step
    weight = network.weights[name].astype(np.float64)
    exact = inputs[name] @ weight.T
    error = np.linalg.norm((rows - inputs[name]) @ weight.T, axis=1) / np.linalg.norm(exact, axis=1)
    assert report.tensors[0].output_error == pytest.approx(error.mean(), rel=0.1)


def test_a_smoothed_network_is_the_same_network(network: Network) -> None:
    """Factors in QKV's columns and its norm, and in the down matrix and half of the up matrix."""
    rng = np.random.default_rng(3)
    smoothed, smoothing = Tensors(network.weights), {}
    width, ffn = network.config.hidden_size, network.config.ffn_hidden_size
    for layer in range(network.config.num_layers):
        at = f"transformer.encoder.layers.{layer}."
        into, inner = (rng.uniform(0.5, 2, n).astype(np.float32) for n in (width, ffn))
        qkv, norm = at + "self_attention.query_key_value.weight", at + "input_layernorm.weight"
        up, down = at + "mlp.dense_h_to_4h.weight", at + "mlp.dense_4h_to_h.weight"
        smoothed[qkv] = smoothed[qkv] * into
        smoothed[norm] = smoothed[norm] / into
        smoothed[down] = smoothed[down] * inner
        divided = np.concatenate([np.ones(ffn, np.float32), inner])
        smoothed[up] = smoothed[up] / divided[:, None]
        smoothing[qkv] = Smoothing(columns=into)
        smoothing[down] = Smoothing(columns=inner)
        smoothing[up] = Smoothing(rows=divided)
    (report,) = network.measure(Candidate("s", smoothed, smoothing=smoothing))
    assert report.entry.kl_max < 1e-6
    assert max(t.weight_error for t in report.tensors) < 1e-6
    assert max(t.output_error for t in report.tensors) < 1e-5
    (blind,) = network.measure(Candidate("s", smoothed))
    assert max(t.weight_error for t in blind.tensors) > 0.1


def test_a_quantized_network_that_overflows_is_refused(network: Network) -> None:
    broken = Tensors(network.rounded)
    name = "transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"
    broken[name] = np.full_like(broken[name], np.inf)
    with (
        np.errstate(all="ignore"),
        pytest.raises(AccuracyError, match="bad: the quantized network overflows after layer 2"),
    ):
        network.measure(Candidate("bad", broken))


def test_a_distribution_by_hand() -> None:
    comparison = Comparison()
    before, after = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    comparison.add(before.astype(np.float32), after.astype(np.float32), np.array([0]))
    entry = comparison.to_entry("x", 3)
    assert entry.perplexity_before == pytest.approx(2)
    assert entry.perplexity == pytest.approx(4)
    assert entry.kl_mean == pytest.approx(0.25 * np.log(2))
    assert entry.top1 == 0


def test_far_logits_stay_finite() -> None:
    comparison = Comparison()
    far = np.array([[1e4, -1e4, 0]], np.float32)
    comparison.add(far, far[:, ::-1], np.array([1]))
    entry = comparison.to_entry("x", 3)
    assert entry.kl_mean == pytest.approx(1e4)
    assert entry.perplexity_before == pytest.approx(np.exp(700))


def test_one_layer_of_each_is_read_at_a_time(network: Network) -> None:
    order: list[tuple[str, str]] = []

    class Noting(Tensors):
        def __init__(self, label: str) -> None:
            super().__init__(network.weights)
            self.label = label

        def read(self, name):
            order.append((self.label, name))
            return super().read(name)

    sample, none = Sample("x", ([7, 8, 9, 10],), 2), NoProgress()
    measure(network.config, Noting("a"), [Candidate("r", Noting("b"))], sample, none)
    layers = [(who, n.split(".")[3]) for who, n in order if ".layers." in n]
    count = network.config.num_layers
    assert list(dict.fromkeys(layers)) == [(w, str(i)) for i in range(count) for w in "ab"]
    assert sorted(order) == sorted((w, n) for w in "ab" for n in network.weights)


def test_a_bar() -> None:
    worst = (TensorAccuracy("transformer.output_layer.weight", 0.1, 0.2),)
    entry = AccuracyEntry("my.txt", 99, 9, 10.0, 10.2, 0.1, 0.2, 0.9, tensors=worst)
    check_bar(entry, 2.1)
    with pytest.raises(AccuracyError, match=r"my\.txt rises from 10 to 10\.2, by 2 %; 1\.5 %") as e:
        check_bar(entry, 1.5)
    assert "transformer.output_layer.weight" in str(e.value)
    check_bar(dataclasses.replace(entry, perplexity=9.0), 0)


def test_only_answers_count(network: Network) -> None:
    """Two windows of which some places are predicted, against the oracle's logits at these."""
    windows = tuple(drawing.draw_ids(network.model, n, seed=9) for n in (20, 9))
    sample = Sample("x", windows, 0, ((3, 4, 17), (8,)))
    (report,) = network.measure(Candidate("r", network.rounded), sample=sample)
    losses = []
    for window, places in zip(windows, sample.predicted(), strict=True):
        logits = network.oracle(network.rounded, window).logits
        logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        losses += [-logp[place - 1, window[place]] for place in places]
    assert report.entry.tokens == len(losses) == 4
    assert report.entry.perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)


def test_the_manifest_keeps_it_and_old_ones_still_load(demo: Bundle) -> None:
    old = json.loads(demo.manifest.to_json())
    assert "accuracy" not in old
    assert "accuracy_report" not in old
    short = AccuracyEntry("x", 3, 3, 2.0, 2.5, 0.1, 0.2, 0.9)
    full = dataclasses.replace(
        short,
        activations="int8 per token",
        layers=(0.0, 0.1, 0.2),
        tensors=(TensorAccuracy("transformer.output_layer.weight", 0.01, 0.02),),
    )
    for entry in (short, full):
        data = old | {"accuracy": json.loads(json.dumps(dataclasses.asdict(entry)))}
        parsed = Manifest.from_json(json.dumps(data))
        assert parsed.accuracy == entry
        assert json.loads(parsed.to_json()) == data
    first_release = {k: v for k, v in vars(short).items() if k not in _ADDED}
    assert Manifest.from_json(json.dumps(old | {"accuracy": first_release})).accuracy == short


_ADDED = ("activations", "layers", "tensors")
_TENSOR = {"name": "x", "weight_error": 0.1, "output_error": 0.1}


@pytest.mark.parametrize(
    "change",
    [
        {"text": None},
        {"perplexity": float("nan")},
        {"perplexity": -1.0},
        {"perplexity_before": 0},
        {"layers": 3},
        {"layers": ["x"]},
        {"layers": [float("inf")]},
        {"tensors": [{"name": "x"}]},
        {"tensors": [_TENSOR | {"output_error": float("nan")}]},
        {"tensors": [_TENSOR] * 11},
        {"more": 1},
    ],
)
def test_a_manifest_with_another_accuracy_is_refused(demo: Bundle, change: dict) -> None:
    entry = dataclasses.asdict(AccuracyEntry("x", 3, 3, 2.0, 2.5, 0.1, 0.2, 0.9))
    data = json.loads(demo.manifest.to_json()) | {"accuracy": entry | change}
    with pytest.raises(BundleError):
        Manifest.from_json(json.dumps(data))


def test_a_report_that_is_no_file_of_the_bundle_is_refused(demo: Bundle) -> None:
    data = json.loads(demo.manifest.to_json())
    for path in ("report.html", "../report.html"):
        with pytest.raises(BundleError, match=r"report\.html"):
            Manifest.from_json(json.dumps(data | {"accuracy_report": path}))

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.accuracy import AccuracyEntry, TensorAccuracy
from glmlite.bundle.manifest import Manifest
from glmlite.errors import BundleError, ConfigError
from glmlite.model.reference import forward
from glmlite.progress import NoProgress
from glmlite.quant.accuracy import Comparison, log_softmax, measure
from glmlite.quant.job import Job, QuantizeOptions
from glmlite.quant.pipeline import measure_only
from glmlite.quant.sample import WINDOW, Sample, cut, make_sample
from glmlite.quant.weights import QuantizedSource
from tests.cli.conftest import write_bundle


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("accuracy") / "demo"))


def test_each_number_from_whole_logits_in_float64(demo: Bundle) -> None:
    model, weights = demo.manifest.model, demo.weights()
    names = [n for n, shape in weights.shapes().items() if len(shape) == 2 and "embed" not in n]
    quantized = QuantizedSource(weights, names)
    rng = np.random.default_rng(0)
    sample = cut("x", rng.integers(0, model.vocab_size, 150).tolist(), [7, 8], window=64)
    assert [len(w) for w in sample.windows] == [64, 64, 28]
    found = measure(model, weights, quantized, sample, NoProgress())
    losses, kl, same = [[], []], [], []
    for window in sample.windows:
        both = [forward(model, s, [window])[0].astype(np.float64) for s in (weights, quantized)]
        logp = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in both]
        for at in range(1, len(window) - 1):
            for number in (0, 1):
                losses[number].append(-logp[number][at, window[at + 1]])
            kl.append((np.exp(logp[0][at]) * (logp[0][at] - logp[1][at])).sum())
            same.append(both[0][at].argmax() == both[1][at].argmax())
    assert found.tokens == len(kl) == 150
    assert found.window == 64
    assert found.perplexity_before == pytest.approx(np.exp(np.mean(losses[0])), rel=1e-4)
    assert found.perplexity == pytest.approx(np.exp(np.mean(losses[1])), rel=1e-4)
    assert found.kl_mean == pytest.approx(np.mean(kl), rel=1e-2)
    assert found.kl_max == pytest.approx(max(kl), rel=1e-2)
    assert found.top1 == np.mean(same)
    assert 0 < found.kl_mean < found.kl_max


def test_equal_weights_cost_nothing(demo: Bundle) -> None:
    weights = demo.weights()
    found = measure(demo.manifest.model, weights, weights, make_sample(demo, None), NoProgress())
    assert found.kl_max == 0
    assert found.top1 == 1
    assert found.perplexity == found.perplexity_before


def test_a_distribution_by_hand() -> None:
    comparison = Comparison()
    before, after = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    comparison.add(before.astype(np.float32), after.astype(np.float32), np.array([0]))
    entry = comparison.to_entry("x", 3)
    assert entry.perplexity_before == pytest.approx(2)
    assert entry.perplexity == pytest.approx(4)
    assert entry.kl_mean == pytest.approx(0.25 * np.log(2))
    assert entry.top1 == 0
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4]], np.float32))).all()


def test_one_layer_of_each_is_read_at_a_time(demo: Bundle) -> None:
    order: list[tuple[str, str]] = []

    class Noting:
        def __init__(self, label: str) -> None:
            self.label, self.source = label, demo.weights()

        def shapes(self):
            return self.source.shapes()

        def read(self, name):
            order.append((self.label, name))
            return self.source.read(name)

    sample = Sample("x", ([7, 8, 9, 10],), 2)
    measure(demo.manifest.model, Noting("a"), Noting("b"), sample, NoProgress())
    layers = [(who, n.split(".")[3]) for who, n in order if ".layers." in n]
    assert list(dict.fromkeys(layers)) == [(w, str(i)) for i in range(3) for w in "ab"]
    assert len(order) == 2 * len(demo.weights().shapes())


def test_samples(demo: Bundle, tmp_path: Path) -> None:
    corpus = make_sample(demo, None)
    assert all(len(window) <= WINDOW for window in corpus.windows)
    gmask, sop = (demo.manifest.tokenizer.special_ids[t] for t in ("[gMASK]", "sop"))
    assert all(window[:2] == [gmask, sop] for window in corpus.windows)
    text = tmp_path / "my.txt"
    text.write_text("你好，glmlite！" * 20, encoding="utf-8")
    assert make_sample(demo, text).label == "my.txt"
    text.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="too short"):
        make_sample(demo, text)
    text.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="no UTF-8"):
        make_sample(demo, text)
    with pytest.raises(ConfigError, match="cannot be read"):
        make_sample(demo, tmp_path / "none.txt")


def test_without_a_tokenizer_ids_are_drawn(tiny: Path, tmp_path: Path, small_recipe) -> None:
    found = measure_only(Job.open(tiny, small_recipe(), QuantizeOptions()))
    assert found.text == "random ids"
    assert found.tokens == 511
    with pytest.raises(ConfigError, match="no tokenizer"):
        make_sample(Bundle.open(tiny), tmp_path / "my.txt")


def test_the_manifest_keeps_it_and_old_ones_still_load(demo: Bundle) -> None:
    old = json.loads(demo.manifest.to_json())
    assert "accuracy" not in old
    assert "accuracy_report" not in old
    short = AccuracyEntry("x", 3, 3, 2.0, 2.5, 0.1, 0.2, 0.9)
    full = dataclasses.replace(
        short,
        activations="token uint8",
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

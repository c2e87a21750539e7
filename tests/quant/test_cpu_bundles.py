"""`glmlite quantize` for CPUs, from a checkpoint or a bundle to answers on ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import glmlite
from glmlite.bundle import Bundle
from glmlite.cli.quantize import quantize
from glmlite.demo import CHECKPOINT, load_corpus
from glmlite.demo.data import NOT_LEARNED, row
from glmlite.errors import (
    ConfigError,
    ExportError,
)
from glmlite.quant.cpu_pipeline import RECIPE
from tests.cli.conftest import write_bundle
from tests.quant.demo_answers import Answers

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

CPU = ("cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8")
# Of the corpus' 727 answers, so many apart; all of them were asked once by hand.
EVERY = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, short_text: Path) -> Callable[[str], Path]:
    """Bundles of the demo checkpoint, each made once."""
    folder, found = tmp_path_factory.mktemp("made"), {}

    def make(recipe: str) -> Path:
        if recipe not in found:
            found[recipe] = glmlite.quantize(
                CHECKPOINT,
                recipe=recipe,
                output=folder / recipe,
                text=short_text,
                calibration=short_text,
                settings=["export.cache_length=512"],
            )
        return found[recipe]

    return make


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(EVERY)


@pytest.mark.parametrize("recipe", CPU)
def test_the_demo_keeps_its_answers(made: Any, answers: Answers, recipe: str) -> None:
    exact = answers.run(answers.checkpoint)
    with glmlite.load(made(recipe), engine="onnx") as model:
        logits = [model.session().score(ids) for ids in answers.sequences]
    found = answers.judge(np.concatenate(logits))
    agreement = (found.ids == exact.ids).mean()
    assert agreement >= (0.95 if "int4" in recipe else 0.99)
    assert found.perplexity < 1.05


@pytest.mark.parametrize("recipe", ["cpu_w8a8", "cpu_int4_w8a8"])
def test_the_demo_keeps_its_answers_in_prefill(made: Any, answers: Answers, recipe: str) -> None:
    """`score` above runs the graph that decodes; chunks of several ids run prefill's own."""
    exact = answers.run(answers.checkpoint)
    with glmlite.load(made(recipe), engine="onnx") as model:
        found, wanted, start = [], [], 0
        for ids, places in zip(answers.sequences, answers.places(), strict=True):
            session, fed = model.session(), 0
            # Every third place: a chunk of one id would be decoded.
            for number in range(len(places) % 3, len(places), 3):
                if places[number] - fed > 0:
                    found.append(session.feed(ids[fed : places[number] + 1]))
                    wanted.append(start + number)
                    fed = places[number] + 1
            start += len(places)
    assert len(wanted) > len(exact.ids) / 4
    agreement = (np.argmax(found, axis=1) == exact.ids[wanted]).mean()
    assert agreement >= 0.99
    two = {graph.file for graph in Bundle.open(made(recipe)).manifest.graphs}
    assert len(two) == (2 if recipe == "cpu_int4_w8a8" else 1)


@pytest.mark.parametrize("recipe", ["cpu_int4", "cpu_int4_w8a8"])
def test_the_demo_answers_right_in_int4(made: Any, recipe: str) -> None:
    turns = [d.turns[0] for d in load_corpus()]
    with glmlite.load(made(recipe), engine="onnx") as model:
        for turn in turns[:: len(turns) // 5]:
            messages = [{"role": "user", "content": turn.ask[0]}]
            pieces = model.chat(messages, temperature=0, max_new_tokens=120)
            assert "".join(piece.text for piece in pieces).strip() == turn.answer.strip()


@pytest.mark.parametrize("recipe", CPU)
def test_what_a_bundle_says_of_itself(made: Any, recipe: str) -> None:
    bundle = Bundle.open(made(recipe))
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.weights.quantization == recipe
    assert manifest.producer["recipe"] == recipe
    assert "scheme: " in (bundle.path / RECIPE).read_text(encoding="utf-8")
    phases = {graph.phase: graph for graph in manifest.graphs}
    assert set(phases) == {"prefill", "decode", "score"}
    assert {graph.cache_length for graph in manifest.graphs} == {512}
    two = recipe == "cpu_int4_w8a8"
    assert (phases["prefill"].file != phases["decode"].file) == two
    assert {entry.graph for entry in manifest.parity} == {g.file for g in manifest.graphs}
    for entry in manifest.parity:
        assert entry.cosine > 0.998
        assert entry.top1 > 0.9
    assert manifest.accuracy is not None
    assert manifest.accuracy.tensors
    assert (bundle.path / (manifest.accuracy_report or "")).stat().st_size > 1000


def test_without_rounded_activations_the_graph_is_exact(tmp_path: Path) -> None:
    """accuracy_level 0 computes in float32, so that only the weights were rounded."""
    recipe = tmp_path / "exact.yaml"
    recipe.write_text(
        "scheme: block\nbits: 4\nblock_size: 32\nsymmetric: false\naccuracy_level: 0\n"
        "tensors:\n  '*.layers.1.*': {keep: float32}\n"
        "  transformer.output_layer.weight: {accuracy_level: 0, bits: 8, block_size: 16}\n"
    )
    source = write_bundle(tmp_path / "float")
    path = glmlite.quantize(source, recipe=recipe, output=tmp_path / "out", accuracy=False)
    manifest = Bundle.open(path).manifest
    assert manifest.weights.quantization == "cpu_exact"
    assert manifest.accuracy is None
    (entry,) = manifest.parity
    assert entry.max_abs < 1e-3
    ids = [5, 200, 31, 7]
    with glmlite.load(path, "onnx") as model, glmlite.load(path, "reference") as reference:
        expected = reference.session().feed(ids)
        assert np.abs(model.session().feed(ids) - expected).max() < 1e-3
    before, after = Bundle.open(source).weights(), Bundle.open(path).weights()
    kept = "transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"
    assert (before.read(kept) == after.read(kept)).all()


def test_chunks_and_second_turns_agree(made: Any, answers: Answers) -> None:
    """Activations are rounded token by token, so how a prompt is cut changes next to nothing."""
    ids = answers.sequences[3][:40]
    with glmlite.load(made("cpu_w8a8"), engine="onnx") as model:
        whole = model.session().feed(ids)
        session = model.session()
        for id_ in ids:
            step = session.feed([id_])
        session.truncate(10)
        again = session.feed(ids[10:])
    for found in (step, again):
        assert np.abs(found - whole).max() < 0.02 * np.abs(whole).max()
        assert found.argmax() == whole.argmax()


def test_an_onnx_bundle_as_the_source(tmp_path: Path, short_text: Path) -> None:
    source = glmlite.export(
        "demo", output=tmp_path / "onnx", format="onnx", cache_length=256, parity="off"
    )
    path = glmlite.quantize(
        source, recipe="cpu_int8", output=tmp_path / "int8", text=short_text,
        calibration=short_text, parity=False,
    )  # fmt: skip
    manifest = Bundle.open(path).manifest
    assert manifest.graphs[0].cache_length == 256
    assert manifest.parity == ()
    with pytest.raises(ConfigError, match="quantized already"):
        glmlite.quantize(path, recipe="cpu_int4", output=tmp_path / "again")
    with pytest.raises(ConfigError, match="--set are for checkpoints"):
        glmlite.quantize(
            source, recipe="cpu_int4", output=tmp_path / "b", settings=["model.dtype=float16"]
        )
    assert not (tmp_path / "again").exists()


def command(*arguments: object) -> Any:
    return CliRunner().invoke(quantize, [str(a) for a in arguments])


def test_the_command(tmp_path: Path, short_text: Path) -> None:
    out = tmp_path / "out"
    common = ("--text", short_text, "--calibration", short_text, "--set", "export.cache_length=256")
    result = command(CHECKPOINT, "--recipe", "cpu_int4", "--output", out, "--json", *common)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["manifest"]["weights"]["quantization"] == "cpu_int4"
    (only,) = said["recipes"]
    assert only["recipe"] == "cpu_int4"
    assert only["accuracy"]["kl_mean"] == said["manifest"]["accuracy"]["kl_mean"]
    result = command(CHECKPOINT, "--recipe", "cpu_int4", "--output", out, *common)
    assert isinstance(result.exception, ExportError)
    result = command(
        CHECKPOINT, "--recipe", "cpu_int8", "--output", out, "--force", "--no-parity",
        "--no-accuracy", *common,
    )  # fmt: skip
    assert result.exit_code == 0
    assert "Worst" not in result.output
    assert Bundle.open(out).manifest.weights.quantization == "cpu_int8"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--recipe", "cpu_int4"),
        ("--recipe", "cpu_int4", "--recipe", "cpu_int8", "--output", "x"),
        ("--recipe", "cpu_int4", "--output", "x", "--print-command"),
        ("--recipe", "cpu_int4", "--output", "x", "--report", "r.html"),
        ("--recipe", "cpu_int4", "--accuracy-only", "--no-accuracy"),
        ("--recipe", "cpu_int4", "--output", "x", "--no-accuracy", "--max-ppl-increase", "1"),
        ("--recipe", "cpu_int4", "--output", "x", "--max-ppl-increase", "-1"),
        ("--recipe", "ascend_on_the_fly_quant", "--output", "x", "--no-parity"),
        ("--recipe", "ascend_on_the_fly_quant", "--output", "x", "--calibration", "t.txt"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...]) -> None:
    assert command(CHECKPOINT, *arguments).exit_code == 2


def test_labels_of_the_corpus_are_what_is_judged() -> None:
    """The oracle of this file: what it calls right is what the corpus says."""
    few = Answers(200)
    asked = [(d, q) for d in load_corpus() for q in d.wordings()][::200]
    wanted = [i for d, q in asked for i in row(d.ask(q), few.tokenizer)[1] if i != NOT_LEARNED]
    assert few.right.tolist() == wanted


def test_both_sets_of_weights_are_reported(tmp_path: Path, short_text: Path) -> None:
    arguments = (
        CHECKPOINT, "--recipe", "cpu_int4_w8a8", "--no-parity", "--tokens", 60,
        "--text", short_text, "--calibration", short_text, "--set", "export.cache_length=256",
    )  # fmt: skip
    result = command(*arguments, "--output", tmp_path / "json", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    first, second = said["recipes"]
    assert first["recipe"] == "cpu_int4_w8a8"
    assert second["recipe"] == "cpu_int4_w8a8 (prefill)"
    assert first["accuracy"]["kl_mean"] == said["manifest"]["accuracy"]["kl_mean"]
    assert second["accuracy"]["kl_mean"] != first["accuracy"]["kl_mean"]
    assert "int8 per token" in second["accuracy"]["activations"]
    result = command(*arguments, "--output", tmp_path / "screen")
    assert result.exit_code == 0, result.output
    assert "\ncpu_int4_w8a8 (prefill)\n" in result.output
    assert result.output.count("KL divergence") == 2

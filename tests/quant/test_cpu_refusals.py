"""`glmlite quantize` for CPUs: what is refused, in one sentence, with nothing left behind."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import glmlite
from glmlite.bundle import Bundle
from glmlite.cli.quantize import quantize
from glmlite.demo import CHECKPOINT
from glmlite.errors import AccuracyError, CheckpointError, ConfigError, GlmliteError, ParityError
from glmlite.model import layer
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix, parameter_shapes
from glmlite.quant import sample
from glmlite.quant.comparison import compare_recipes
from glmlite.quant.job import QuantizeOptions
from glmlite.quant.sample import read_text
from tests.cli.conftest import write_bundle
from tests.quant.demo_answers import Answers, WithOutliers

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

CPU = ("cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8")
UP, DOWN = (layer_prefix(1) + name for name in (layer.UP, layer.DOWN))


def refused(tmp_path: Path, error: type[GlmliteError], match: str, **options: Any) -> None:
    """Nothing is written, and nothing lies beside it."""
    folder = tmp_path / "place"
    folder.mkdir(exist_ok=True)
    options = {"recipe": "cpu_int4", **options}
    source = options.pop("source", CHECKPOINT)
    with pytest.raises(error, match=match):
        glmlite.quantize(source, output=folder / "out", **options)
    assert list(folder.iterdir()) == []


def test_bad_texts(tmp_path: Path, short_text: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    for name in ("calibration", "text"):
        other = {"text": short_text, "calibration": short_text}
        refused(tmp_path, ConfigError, "is empty", **{**other, name: empty})
        missing = tmp_path / "nowhere.txt"
        refused(tmp_path, ConfigError, "cannot be read", **{**other, name: missing})
    plain = tmp_path / "plain.yaml"
    plain.write_text("scheme: block\nbits: 8\n")
    refused(tmp_path, ConfigError, "no calibration", recipe=plain, calibration=short_text)


def test_a_model_below_the_bar_is_not_written(tmp_path: Path, short_text: Path) -> None:
    source = write_bundle(tmp_path / "spiky")
    spiky = WithOutliers(Answers(200), 200)
    index = json.loads((source / "weights" / "index.json").read_text())
    with (source / "weights" / index["file"]).open("r+b") as file:
        for name, entry in index["tensors"].items():
            file.seek(entry["offset"])
            file.write(spiky.read(name).astype(entry["dtype"]).tobytes())
    recipe = tmp_path / "coarse.yaml"
    recipe.write_text("scheme: column\nsmoothing: false\n")
    options = {"source": source, "text": short_text, "max_ppl_increase": 1}
    refused(tmp_path, AccuracyError, "rises from", recipe=recipe, **options)
    recipe.write_text("scheme: column\nsmoothing: true\n")
    path = glmlite.quantize(
        recipe=recipe, output=tmp_path / "good", calibration=short_text, parity=False, **options
    )
    assert Bundle.open(path).manifest.weights.quantization == "cpu_coarse"


def test_bad_sources(tmp_path: Path) -> None:
    refused(tmp_path, CheckpointError, "nothing", source=tmp_path / "nothing")
    refused(tmp_path, ConfigError, "no converter", toolchain="python")


def with_values(folder: Path, value: float, *names: str, whole: bool = False) -> Path:
    """The demo's bundle in float32 with another value in some tensors: one of each, or all."""
    source = write_bundle(folder, dtype="float32")
    index = json.loads((source / "weights" / "index.json").read_text())
    with (source / "weights" / index["file"]).open("r+b") as file:
        for name in names:
            entry = index["tensors"][name]
            count = entry["nbytes"] // 4 if whole else 1
            file.seek(entry["offset"])
            file.write(np.full(count, value, np.float32).tobytes())
    return source


def command(*arguments: object) -> Any:
    return CliRunner().invoke(quantize, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        (UP, np.nan, "NaN or infinity"),
        (UP, 1e30, "the value 1e+30"),
        (EMBEDDING, -np.inf, "NaN or infinity"),
        (FINAL_NORM, -1e30, "the value 1e+30"),
    ],
)
def test_weights_that_cannot_be_quantized(
    tmp_path: Path, short_text: Path, name: str, bad: float, said: str
) -> None:
    """The tensor itself is named, in one sentence, whatever the recipe does first."""
    source = with_values(tmp_path / "source", bad, name)
    plain = tmp_path / "plain.yaml"
    plain.write_text("scheme: block\nbits: 8\nmethod: round\n")
    match = re.escape(f"Tensor {name} holds {said}")
    common = {"source": source, "text": short_text, "tokens": 40, "parity": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for recipe in (*CPU, plain) if name == UP else (plain,):
            refused(tmp_path, CheckpointError, match, recipe=recipe, accuracy=False, **common)
        with pytest.raises(CheckpointError, match=match):
            compare_recipes(source, [plain], QuantizeOptions(text=short_text, tokens=40))


def test_a_network_that_overflows(tmp_path: Path, short_text: Path) -> None:
    """Weights that pass by themselves, and products of theirs that do not."""
    source = with_values(tmp_path / "source", 9e11, UP, whole=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for recipe in ("cpu_int4", "cpu_w8a8"):
            refused(tmp_path, CheckpointError, f"what enters {DOWN} reaches",
                    recipe=recipe, source=source, text=short_text, tokens=40)  # fmt: skip


def test_the_error_stands_alone(tmp_path: Path, glmlite_command: Any) -> None:
    source = with_values(tmp_path / "source", 1e30, UP)
    for more in ((), ("--no-parity", "--no-accuracy")):
        arguments = ("quantize", source, "--recipe", "cpu_int4_w8a8", "--output", tmp_path / "out")
        found = glmlite_command(*arguments, *more)
        assert found.returncode == 2
        lines = [line for line in found.stderr.splitlines() if line.strip()]
        assert lines[-2].endswith("so it cannot be quantized.")
        assert f"Tensor {UP} holds the value 1e+30" in lines[-2]
        assert not [line for line in lines if "Warning" in line or "calibration.py" in line]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recipe", ["cpu_int8", "cpu_w8a8", "cpu_int4_w8a8"])
def test_weights_of_zeros(tmp_path: Path, short_text: Path, recipe: str) -> None:
    """Logits of zeros have no direction; they are still what the reference computes."""
    shapes = parameter_shapes(Bundle.open(write_bundle(tmp_path / "a")).manifest.model)
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    for number, names in enumerate(([OUTPUT], matrices)):
        source = with_values(tmp_path / str(number), 0, *names, whole=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            path = glmlite.quantize(
                source, recipe=recipe, output=tmp_path / f"out{number}", text=short_text,
                calibration=short_text, tokens=40,
            )  # fmt: skip
        manifest = Bundle.open(path).manifest
        # ONNX Runtime takes zero points from sums, which leaves a last bit.
        assert all(e.max_abs < 1e-5 and e.cosine == 1 for e in manifest.parity)
        assert manifest.parity
        assert manifest.accuracy is not None
        assert manifest.accuracy.kl_max == 0


@pytest.mark.parametrize("option", ["--text", "--calibration"])
def test_what_is_no_file(tmp_path: Path, option: str) -> None:
    """Neither is read: a device would fill the memory, a pipe would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        result = command(
            CHECKPOINT, "--recipe", "cpu_int4", "--output", tmp_path / "x", option, path
        )
        assert "is not a regular file" in str(result.exception)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    result = command(CHECKPOINT, "--recipe", "cpu_int4", "--output", tmp_path / "x", option, empty)
    assert f"leave {option} out" in str(result.exception)


def test_a_text_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file system says of a size is not what counts."""
    monkeypatch.setattr(sample, "_MAX_BYTES", 100)
    text = tmp_path / "text.txt"
    text.write_bytes("字".encode() * 33 + b"\r\n\r")
    with pytest.raises(ConfigError, match="larger than"):
        read_text(text)
    text.write_bytes("字".encode() * 32 + b"\r\n\r")
    assert read_text(text) == "字" * 32 + "\n\n"


def test_a_graph_over_other_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_text: Path
) -> None:
    """What the file holds is not what the graph is told: the halves of every byte exchanged."""
    from glmlite.quant import packing

    straight = packing.pack
    monkeypatch.setattr(
        packing,
        "pack",
        lambda values, bits: (
            (p := straight(values, bits)) << 4 | p >> 4 if bits == 4 else straight(values, bits)
        ),
    )
    backwards = packing.unpack
    monkeypatch.setattr(
        packing,
        "unpack",
        lambda packed, bits: backwards(packed << 4 | packed >> 4 if bits == 4 else packed, bits),
    )
    options = {"text": short_text, "calibration": short_text, "accuracy": False}
    refused(tmp_path, ParityError, "cosine", **options)

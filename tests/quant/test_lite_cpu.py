"""Lite's dynamic int8 on the demo model, through the real converter and the real engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.errors import ConfigError, ExportError
from glmlite.model.parameters import EMBEDDING, FINAL_NORM
from glmlite.quant.job import Job, QuantizeOptions
from glmlite.quant.pipeline import run_quantize
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.toolchain.mindir import list_parameters
from tests.cli.conftest import write_bundle


@pytest.fixture(scope="module")
def source(toolchain: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from glmlite.exporter.pipeline import run_export

    output = tmp_path_factory.mktemp("lite") / "demo"
    changes = {"output": str(output), "cache_length": 128, "prefill_tokens": 32, "parity": "off"}
    overrides = {f"export.{key}": value for key, value in changes.items()}
    return run_export("demo", toolchain=toolchain, overrides=overrides).path


@pytest.fixture(scope="module")
def made(source: Path, toolchain: str) -> Path:
    job = Job.open(source, "lite_cpu_int8", QuantizeOptions(toolchain=toolchain))
    return run_quantize(job, source.parent / "int8").path


def test_it_answers_as_before(made: Path, toolchain: str) -> None:
    from glmlite.runtime.model import load

    answers = []
    for engine in ("lite", "reference"):
        with load(made, engine, toolchain=toolchain) as model:
            pieces = model.chat([{"role": "user", "content": "你好"}])
            answers.append("".join(piece.text for piece in pieces))
    assert answers[0] == answers[1]
    assert "glmlite" in answers[0]


def test_weights_lie_on_disk_once_and_are_a_quarter(source: Path, made: Path) -> None:
    manifest = Bundle.open(made).manifest
    before = Bundle.open(source).manifest.weights.bytes
    assert manifest.weights.quantization == "lite_dynamic_int8"
    assert manifest.weights.bytes < 0.28 * before
    for graph in manifest.graphs:
        places = [p.location for p in list_parameters(str(made / graph.file))]
        assert set(places) == {"weights/data_0"}
        assert len(places) > 20
    Bundle.open(made).verify()


def test_the_reference_reads_the_converters_own_integers(source: Path, made: Path) -> None:
    old, new = Bundle.open(source).weights(), Bundle.open(made).weights()
    assert set(old.shapes()) == set(new.shapes())
    for name, shape in old.shapes().items():
        found, wanted = new.read(name), old.read(name)
        assert found.shape == shape
        if len(shape) == 1:
            assert (found == wanted).all()
        else:
            # Half a step of the row's range; the embedding is asymmetric, the others are not.
            high, low = wanted.max(axis=1).clip(0), wanted.min(axis=1).clip(None, 0)
            step = (high - low) / 255
            if name != EMBEDDING:
                step = np.abs(wanted).max(axis=1) / 127
            assert (np.abs(found - wanted) <= 0.51 * step[:, None] + 1e-7).all()
            assert (found != wanted).any()
    assert new.read(FINAL_NORM).dtype == np.float32


def test_every_graph_ran_and_the_difference_is_on_record(made: Path) -> None:
    manifest = Bundle.open(made).manifest
    assert {(p.graph, p.engine) for p in manifest.parity} == {
        (g.file, "lite 2.0.0") for g in manifest.graphs
    }
    assert all(1e-4 < p.max_abs < 2 and p.cosine > 0.99 for p in manifest.parity)
    assert manifest.accuracy is not None
    assert manifest.accuracy.top1 > 0.97
    assert manifest.producer["converter"] == "mindspore_lite 2.0.0"


def test_only_lite_is_chosen_for_it(made: Path) -> None:
    from glmlite.runtime.engines import choose_engine

    def machine(ascend: bool = False, **packages: str) -> Interpreter:
        found = {name.replace("_", "-"): version for name, version in packages.items()}
        return Interpreter("python", "3.11", "Linux", ascend, {**found})

    bundle = Bundle.open(made)
    assert choose_engine(bundle, machine(mindspore_lite="2.0.0"))[0] == "lite"
    assert choose_engine(bundle, machine(mindspore="2.0.0"))[0] == "reference"


def test_graphs_that_are_too_new_for_this_lite(
    source: Path, toolchain: str, tmp_path: Path
) -> None:
    newer = shutil.copytree(source, tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text(encoding="utf-8"))
    manifest["producer"]["mindspore"] = "2.10.0"
    (newer / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    job = Job.open(newer, "lite_cpu_int8", QuantizeOptions(toolchain=toolchain))
    with pytest.raises(ExportError, match=r"MindSpore 2\.10\.0 exported .* Lite 2\.0\.0 cannot"):
        run_quantize(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_precision_is_refused(tmp_path: Path) -> None:
    half = write_bundle(tmp_path / "half", dtype="float16")
    with pytest.raises(ConfigError, match="needs a float32 bundle"):
        Job.open(half, "lite_cpu_int8", QuantizeOptions())
    with pytest.raises(ConfigError, match="--portable goes with"):
        Job.open(half, "lite_cpu_int8", QuantizeOptions(portable=True))

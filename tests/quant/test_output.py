"""Where a quantized bundle goes is seen to before any work: places, packages, room."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import glmlite
from glmlite.bundle import Bundle
from glmlite.cli.quantize import quantize
from glmlite.demo import CHECKPOINT
from glmlite.errors import ConfigError, EngineError, ExportError
from glmlite.exporter.weights import DATA, WEIGHTS
from glmlite.progress import NoProgress
from glmlite.quant import cpu_pipeline
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.job import Job, QuantizeOptions
from glmlite.quant.output import check_apart, chosen_bytes
from glmlite.quant.pipeline import rounded_bytes
from tests.cli.conftest import write_bundle
from tests.quant.conftest import Stages

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

# Nothing is measured; the weights alone are quick.
QUICK = {"accuracy": False, "parity": False}


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(*arguments: object) -> Any:
    return CliRunner().invoke(quantize, [str(argument) for argument in arguments])


@pytest.mark.parametrize("kind", ["cpu", "ascend"])
@pytest.mark.parametrize("place", ["same", "inside", "around", "link", "link inside"])
def test_the_source_is_not_written_to(
    tmp_path: Path, plain: Path, small_recipe: Any, kind: str, place: str
) -> None:
    around = write_bundle(tmp_path / "around")
    source = write_bundle(around / "float" if place == "around" else tmp_path / "float")
    (tmp_path / "link").symlink_to(source)
    output = {
        "same": source,
        "inside": source / "sub" / "int8",
        "around": around,
        "link": tmp_path / "link",
        "link inside": tmp_path / "link" / "int8",
    }[place]
    recipe = plain if kind == "cpu" else small_recipe()
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="the same or lie in each other"):
        glmlite.quantize(source, recipe=recipe, output=output, overwrite=True)
    result = run(source, "--recipe", recipe, "--output", output, "--force")
    assert isinstance(result.exception, ConfigError)
    assert contents(tmp_path) == before
    assert not (source / "sub").exists()


def test_a_checkpoint_is_not_written_to(tmp_path: Path, plain: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    for output in (tmp_path, tmp_path / "checkpoint"):
        with pytest.raises(ConfigError, match="Name another --output, beside it"):
            glmlite.quantize(tmp_path / "checkpoint", recipe=plain, output=output, **QUICK)
    file = tmp_path / "checkpoint" / "model.safetensors"
    with pytest.raises(ConfigError, match="lie in each other"):
        check_apart(file, file / "int8")
    # A name that only begins alike is another place.
    before = contents(tmp_path / "checkpoint")
    for output in (tmp_path / "checkpoint-int8", tmp_path / "checkpoint" / "build" / "int8"):
        path = glmlite.quantize(tmp_path / "checkpoint", recipe=plain, output=output, **QUICK)
        Bundle.open(path).verify()
    assert before.items() <= contents(tmp_path / "checkpoint").items()


def test_a_folder_that_has_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mounts give it, and disks on which upper and lower case are one."""
    source = write_bundle(tmp_path / "float")
    found = Path.stat
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **how: found(Path(str(path).replace("FLOAT", "float")), **how),
    )
    for output in (tmp_path / "FLOAT", tmp_path / "FLOAT" / "int8"):
        with pytest.raises(ConfigError, match="the same or lie in each other"):
            check_apart(source, output)
    with pytest.raises(ConfigError, match="the same or lie in each other"):
        check_apart(source / "weights", tmp_path / "FLOAT")
    check_apart(source, tmp_path / "FLOAT-int8" / "x")


@pytest.mark.parametrize(
    ("package", "error"), [("onnx", ExportError), ("onnxruntime", EngineError)]
)
def test_a_missing_package_is_seen_first(
    float_bundle: Path,
    tmp_path: Path,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    error: type[Exception],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    stages = Stages()
    job = CpuJob.open(float_bundle, plain, QuantizeOptions(accuracy=False))
    with pytest.raises(error, match=r"pip install 'glmlite\[onnx\]'"):
        cpu_pipeline.run_cpu(job, tmp_path / "place" / "out", progress=stages)
    assert stages.told == []
    assert not (tmp_path / "place").exists()


def test_onnxruntime_is_not_needed_where_nothing_is_compared(
    float_bundle: Path, tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    glmlite.quantize(float_bundle, recipe=plain, output=tmp_path / "out", **QUICK)


@pytest.mark.parametrize("kind", ["cpu", "ascend"])
def test_a_full_disk_is_seen_first(
    float_bundle: Path,
    tmp_path: Path,
    plain: Path,
    small_recipe: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    if kind == "cpu":
        job = CpuJob.open(float_bundle, plain, QuantizeOptions())
        needed = chosen_bytes(job.source.model, job.first)
    else:
        ascend = Job.open(float_bundle, small_recipe(), QuantizeOptions())
        needed = rounded_bytes(ascend.bundle.manifest.model, ascend.names, "float32")
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    stages = Stages()
    place = tmp_path / "place"
    with pytest.raises(ExportError, match=r"Quantizing needs \d.*\d MB of disk"):
        glmlite.quantize(
            float_bundle,
            recipe=plain if kind == "cpu" else small_recipe(),
            output=place / "out",
            progress=stages,
        )
    assert stages.told == []
    assert list(place.iterdir()) == []
    if kind == "cpu":
        usage = usage._replace(free=needed)
        glmlite.quantize(float_bundle, recipe=plain, output=place / "out", **QUICK)


@pytest.mark.parametrize("recipe", ["cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8", "mine"])
def test_the_room_that_is_asked_for_is_what_the_weights_take(
    float_bundle: Path, tmp_path: Path, short_text: Path, recipe: str
) -> None:
    if recipe == "mine":
        path = tmp_path / "mine.yaml"
        path.write_text(
            "scheme: block\nbits: 4\nblock_size: 32\nsymmetric: false\nmethod: round\n"
            "tensors:\n  '*.layers.0.*': {keep: float32}\n"
            "  '*.layers.1.*': {scheme: column, outliers: 1024}\n"
        )
        recipe = str(path)
    made = glmlite.quantize(
        float_bundle,
        recipe=recipe,
        output=tmp_path / "out",
        tokens=100,
        calibration=short_text,
        **QUICK,
    )
    job = CpuJob.open(float_bundle, recipe, QuantizeOptions())
    sets = [job.first] if job.second is None else [job.first, job.second]
    found = (made / WEIGHTS / DATA).stat().st_size
    assert 0.93 * found < chosen_bytes(job.source.model, *sets) <= found


def test_the_room_that_ascend_needs_at_least(tmp_path: Path, small_recipe: Any) -> None:
    from glmlite.quant.weights import write_quantized

    source = write_bundle(tmp_path / "half", dtype="float16")
    job = Job.open(source, small_recipe(), QuantizeOptions())
    model = job.bundle.manifest.model
    write_quantized(
        job.bundle.weights(), model, job.names, "int8", None, tmp_path / WEIGHTS, NoProgress()
    )
    found = (tmp_path / WEIGHTS / DATA).stat().st_size
    assert 0.93 * found < rounded_bytes(model, job.names, "float16") <= found

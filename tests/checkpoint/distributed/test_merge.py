"""Shards that MindSpore wrote come back together, bit by bit, and go on into an export."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.adapters import adapt
from glmlite.checkpoint.distributed import MergeReport, merge_checkpoint
from glmlite.cli.app import glmlite
from glmlite.errors import CheckpointError
from glmlite.exporter.pipeline import run_export
from glmlite.model.config import from_huggingface
from glmlite.runtime.model import load as open_bundle
from tests.checkpoint.adapters.drawing import draw_factors, mindpet_tensors, terms
from tests.compat.seed_pages import EARLY, GLM2, GLM3, SEEDS, command, snippet
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.oracle import forward64

MODEL = MODELS["glm2"]
PREFIX = "glm2_6b"
# Which axis tensor parallelism cuts; everything else is whole in every rank.
CUT = {
    "query_key_value.weight": 0,
    "query_key_value.bias": 0,
    "self_attention.dense.weight": 1,
    "dense_h_to_4h.weight": 0,
    "dense_4h_to_h.weight": 1,
    "embedding_table": 0,
    "output_layer.weight": 0,
    "mindpet_delta_lora_b": 0,
}


def tensors() -> dict[str, Any]:
    """The model in MindFormers' naming, with LoRA beside it."""
    drawn = drawing.tensors(MODEL)
    table = drawn.pop("transformer.embedding.word_embeddings.weight")
    lora = mindpet_tensors(draw_factors(MODEL, 8), upper=False)
    return {"transformer.embedding.embedding_table": table, **drawn, **lora}


def layout(name: str, ndim: int) -> list[int]:
    axis = next((a for part, a in CUT.items() if name.endswith(part)), None)
    return [0 if i == axis else -1 for i in range(ndim)]


def write_shards(folder: Path, python: str, *, devices: int = 2, stages: int = 1) -> Path:
    """`folder/strategy`, `folder/shards/rank_N` and `folder/whole`, written by `python`."""
    arrays = tensors()
    by_stage: list[dict[str, list[int]]] = [{} for _ in range(stages)]
    for name, array in arrays.items():
        late = "layers.1." in name or "final" in name or "output" in name
        by_stage[-1 if late else 0][name] = layout(name, array.ndim)
    folder.mkdir()
    np.savez(folder / "arrays.npz", **arrays)
    job = {
        "folder": str(folder),
        "arrays": str(folder / "arrays.npz"),
        "devices": devices,
        "stages": by_stage,
        "prefix": "shard",
    }
    (folder / "job.json").write_text(json.dumps(job))
    script = Path(__file__).with_name("writing.py")
    subprocess.run([python, script, folder / "job.json"], check=True, capture_output=True)
    for file in (folder / "shards").rglob("*.ckpt"):  # as a training names its tenth step
        file.rename(file.with_name(f"{PREFIX}_{file.parent.name}-3_10.ckpt"))
    return folder


def check(path: Path) -> None:
    """One file with every tensor as it was."""
    merged = open_checkpoint(path)
    for name, array in tensors().items():
        name = name.replace("embedding_table", "word_embeddings.weight")
        found = merged.read(name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert len(merged.shapes()) == len(tensors())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks, sliced by the MindSpore of this interpreter."""
    pytest.importorskip("mindspore")
    return write_shards(tmp_path_factory.mktemp("sharded") / "two", sys.executable)


def merge(folder: Path, destination: Path, **options: Any) -> MergeReport:
    given = {"prefix": PREFIX, "strategy": folder / "strategy"} | options
    return merge_checkpoint(folder / "shards", destination, **given)


@pytest.fixture(scope="module")
def merged(two: Path, tmp_path_factory: pytest.TempPathFactory) -> MergeReport:
    """The two ranks merged; a merge starts MindSpore, so tests that only want one share it."""
    return merge(two, tmp_path_factory.mktemp("merged") / "merged")


@pytest.mark.mindspore
def test_the_shards_are_slices(two: Path) -> None:
    """Otherwise merging them back would prove nothing."""
    whole = tensors()
    for rank in range(2):
        (file,) = (two / "shards" / f"rank_{rank}").iterdir()
        shard = open_checkpoint(file)
        name = "transformer.encoder.layers.0.self_attention.dense.weight"
        np.testing.assert_array_equal(shard.read(name), np.split(whole[name], 2, axis=1)[rank])
        name = "transformer.encoder.layers.1.mlp.dense_h_to_4h.weight"
        np.testing.assert_array_equal(shard.read(name), np.split(whole[name], 2)[rank])


@pytest.mark.mindspore
def test_merge(merged: MergeReport) -> None:
    report = merged
    assert (report.ranks, report.files) == (2, (f"rank_0/{PREFIX}0.ckpt",))
    assert report.nbytes == (report.path / report.files[0]).stat().st_size
    path = report.path / report.files[0]
    check(path)
    assert [p.name for p in report.path.parent.iterdir()] == ["merged"]
    # The LoRA in it is merged by an export.
    adapted = adapt(open_checkpoint(path), from_huggingface(MODEL.config))
    (record,) = adapted.fingerprint()["adapters"]
    assert record["kinds"] == ["mindpet"]


@pytest.mark.mindspore
def test_what_was_merged_runs(merged: MergeReport, tmp_path: Path) -> None:
    """Exported for ONNX Runtime, the base and the LoRA in it say what the oracle says."""
    pytest.importorskip("onnxruntime")
    (file,) = shutil.copytree(merged.path, tmp_path / "merged").rglob("*.ckpt")
    (file.parent / "config.json").write_text(json.dumps(MODEL.config))
    recipe = {
        "model": {"checkpoint": str(file), "family": "glm2"},
        "export": {"output": str(tmp_path / "bundle"), "format": "onnx", "cache_length": 80},
    }
    recipe["export"]["prefill_tokens"] = 32  # type: ignore[assignment]
    ids = MODEL.prompts["long"]
    low_rank = terms(draw_factors(MODEL, 8), 32 / 8)
    wanted = forward64.forward(drawing.tensors(MODEL), MODEL.config, ids, low_rank=low_rank).logits
    with open_bundle(run_export(recipe).path, engine="onnx") as model:
        np.testing.assert_allclose(model.session().score(ids), wanted, atol=2e-3, rtol=0)


@pytest.mark.mindspore
def test_two_pipeline_stages_of_two(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "four", sys.executable, stages=2)
    assert len(list((folder / "shards").iterdir())) == 4
    # What transform_ckpt.py leaves behind is not one more stage.
    (folder / "strategy" / "merged_ckpt_strategy.ckpt").write_bytes(b"old")
    report = merge(folder, tmp_path / "merged")
    assert report.ranks == 4
    check(report.path / report.files[0])
    assert sorted(p.name for p in (folder / "strategy").iterdir()) == [
        "ckpt_strategy_rank_0.ckpt",
        "ckpt_strategy_rank_1.ckpt",
        "merged_ckpt_strategy.ckpt",
    ]


def test_in_the_toolchain(toolchain: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "old", toolchain)
    report = merge(folder, tmp_path / "merged", toolchain=toolchain)
    check(report.path / report.files[0])


@pytest.mark.mindspore
def test_the_flags_of_transform_ckpt(two: Path, tmp_path: Path) -> None:
    """A whole checkpoint sliced with --dst_ckpt_strategy, and merged again."""
    strategy = str(two / "strategy" / "ckpt_strategy_rank_0.ckpt")

    def run(source: Path, name: str, *flags: str) -> list[str]:
        arguments = ["--src_ckpt_dir", str(source), "--dst_ckpt_dir", str(tmp_path / name)]
        result = CliRunner().invoke(glmlite, ["merge-checkpoint", *arguments, *flags])
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    sliced = run(
        two / "whole", "sliced", "--src_ckpt_strategy", "", "--dst_ckpt_strategy", strategy
    )
    assert sliced == [str(tmp_path / f"sliced/rank_{r}/checkpoint_{r}.ckpt") for r in range(2)]
    (merged,) = run(tmp_path / "sliced", "merged", "--src_ckpt_strategy", strategy, "--prefix", "x")
    assert merged == str(tmp_path / "merged/rank_0/x0.ckpt")
    check(Path(merged))


@pytest.mark.mindspore
@pytest.mark.skipif(not SEEDS.is_dir(), reason="MindFormers' pages are not here")
@pytest.mark.parametrize("how", ["command", "python"])
def test_as_mindformers_pages_merge(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """transform_ckpt.py with the command word changed; transform_checkpoints with its import."""
    shutil.copytree(two / "shards", tmp_path / "output" / "checkpoint")
    shutil.copytree(two / "strategy", tmp_path / "output" / "strategy")
    shutil.copy(two / "strategy" / "ckpt_strategy_rank_0.ckpt", tmp_path / "ckpt_stragery.ckpt")
    monkeypatch.chdir(tmp_path)
    if how == "command":
        line = command(GLM2, "transform_ckpt.py", "merge-checkpoint").replace("{path}", ".")
        assert line.replace("glm2", "glm3") == command(
            GLM3, "transform_ckpt.py", "merge-checkpoint"
        ).replace("{path}", ".")
        result = CliRunner().invoke(glmlite, shlex.split(line.replace("\\\n", " ")))
        assert result.exit_code == 0, result.output
        check(tmp_path / "target_checkpoint" / "rank_0" / "glm2_6b0.ckpt")
    else:
        exec(snippet(EARLY, "transform_checkpoints("), {})  # noqa: S102 - a page's own example
        check(tmp_path / "target_checkpoint" / "rank_0" / "glm2-6b0.ckpt")


@pytest.mark.mindspore
def test_the_newest_step_counts(two: Path, tmp_path: Path) -> None:
    """By name alone, step 9 would come after step 10."""
    folder = tmp_path / "copy"
    shutil.copytree(two, folder)
    for rank in range(2):
        (folder / "shards" / f"rank_{rank}" / f"{PREFIX}_rank_{rank}-3_9.ckpt").write_bytes(b"old")
    report = merge(folder, tmp_path / "merged")
    check(report.path / report.files[0])
    assert f"{PREFIX}_rank_0-3_10.ckpt is used" in report.notes[0]


@pytest.mark.mindspore
def test_what_is_there_already(two: Path, merged: MergeReport, tmp_path: Path) -> None:
    shutil.copytree(merged.path, tmp_path / "merged")
    with pytest.raises(CheckpointError, match="There are shards at"):
        merge(two, tmp_path / "merged")
    report = merge(two, tmp_path / "merged", overwrite=True, prefix="again_")
    assert report.files == ("rank_0/again_0.ckpt",)
    assert [p.name for p in (tmp_path / "merged" / "rank_0").iterdir()] == ["again_0.ckpt"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(CheckpointError, match="is left alone"):
        merge(two, tmp_path / "mine", overwrite=True)
    with pytest.raises(CheckpointError, match="holds the shards that are to be merged"):
        merge(two, two / "shards", overwrite=True)
    with pytest.raises(CheckpointError, match="no file name"):
        merge(two, tmp_path / "x", prefix="../x")


@pytest.mark.mindspore
def test_without_a_strategy(two: Path, tmp_path: Path) -> None:
    """MindSpore would take rank 0 for the whole model."""
    with pytest.raises(CheckpointError, match="nobody knows how their tensors are sliced"):
        merge(two, tmp_path / "merged", strategy=None)


@pytest.mark.mindspore
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f / "shards" / "rank_0"), "up to rank_1, but rank_0 is not there"),
        (lambda f: shutil.rmtree(f / "shards"), "There is no folder"),
        (lambda f: [p.unlink() for p in (f / "shards").rglob("*.ckpt")], "rank_0 holds no check"),
        (lambda f: (f / "shards" / "rank_1").rename(f / "x"), "rank1 is needed .*missing"),
        (
            lambda f: (f / "strategy" / "ckpt_strategy_rank_0.ckpt").write_bytes(b""),
            "ckpt_strategy_rank_0.ckpt is empty",
        ),
        (
            lambda f: (f / "strategy" / "ckpt_strategy_rank_0.ckpt").write_bytes(b"\xff" * 40),
            "MindSpore cannot merge these shards",
        ),
        (lambda f: (f / "strategy" / "x.json").write_text("{}"), "two formats"),
        (lambda f: shutil.rmtree(f / "strategy"), "no strategy file"),
        (
            lambda f: (f / "shards" / "rank_1" / f"{PREFIX}_rank_1-3_10.ckpt").write_bytes(b"x"),
            "MindSpore cannot merge these shards",
        ),
        (
            lambda f: (f / "shards" / "rank_1" / f"{PREFIX}_rank_1-3_11.ckpt").write_bytes(b"x"),
            "different steps: rank_0/glm2_6b_rank_0-3_10.ckpt and rank_1/glm2_6b_rank_1-3_11",
        ),
    ],
)
def test_errors(two: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(two, folder)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        merge(folder, tmp_path / "merged")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy"]

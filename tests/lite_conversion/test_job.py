"""What a conversion is asked to make, and what it refuses before anything is written."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import ConfigError
from glmlite.lite_conversion import ConversionOptions, LiteJob
from glmlite.lite_conversion.job import input_shapes, plan_graphs
from tests.cli.conftest import write_bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MindIR bundle whose one graph is no graph, B = 1, S = 4096."""
    return write_bundle(tmp_path_factory.mktemp("job") / "demo")


@pytest.fixture(scope="module")
def manifest(source: Path) -> Manifest:
    return Bundle.open(source).manifest


def sizes(graphs: tuple[GraphEntry, ...]) -> list[tuple[str, int, int, int]]:
    return [(g.phase, g.tokens, g.cache_length, g.batch_size) for g in graphs]


def with_graphs(manifest: Manifest, *graphs: tuple[str, int, int, int]) -> Manifest:
    entries = [GraphEntry(p, t, s, b, "mindir", "decode.mindir", (), ()) for p, t, s, b in graphs]
    return dataclasses.replace(manifest, graphs=tuple(entries))


def test_the_sizes_of_a_mindir_bundle_are_kept(manifest: Manifest) -> None:
    some = with_graphs(
        manifest,
        *(("prefill", 32, s, 2) for s in (64, 256)),
        *(("decode", 1, s, 2) for s in (64, 256)),
        ("score", 16, 64, 2),
    )
    assert sizes(plan_graphs(some, ConversionOptions())) == [
        ("prefill", 32, 64, 2), ("decode", 1, 64, 2), ("score", 16, 64, 2),
        ("prefill", 32, 256, 2), ("decode", 1, 256, 2), ("score", 16, 256, 2),
    ]  # fmt: skip


def test_dynamic_graphs_get_sizes(source: Path, onnx_bundle: Callable[..., Path]) -> None:
    dynamic = Bundle.open(onnx_bundle("glm2")).manifest
    assert sizes(plan_graphs(dynamic, ConversionOptions())) == [
        ("prefill", 96, 96, 1),  # 128 do not fit
        ("decode", 1, 96, 1),
    ]
    chosen = ConversionOptions((64, 1), (128, 100), 3, 8)
    assert sizes(plan_graphs(dynamic, chosen))[:3] == [
        ("prefill", 64, 100, 3), ("decode", 1, 100, 3), ("score", 8, 100, 3),
    ]  # fmt: skip
    assert len(plan_graphs(dynamic, chosen)) == 6


def test_every_input_gets_a_shape(manifest: Manifest) -> None:
    (prefill, _) = plan_graphs(manifest, ConversionOptions((8,), (64,), 2))
    shapes = input_shapes(prefill, manifest)
    assert shapes["input_ids"] == (2, 8)
    assert shapes["position"] == shapes["valid_length"] == (2,)
    model = manifest.model
    assert shapes["past.1.value"] == (2, model.num_groups, 64, model.head_dim)
    assert len(shapes) == 3 + 2 * model.num_layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefill_tokens": (65,), "cache_length": (64, 256)}, r"--cache-length 65"),
        ({"score_tokens": 65, "cache_length": (64,)}, r"chunk of 65 tokens"),
        ({"prefill_tokens": (0,)}, r"--prefill-tokens is 0"),
        ({"batch_size": 5000}, r"--batch-size is 5000; .* 1 and 1024"),
        ({"cache_length": (1 << 21,)}, r"--cache-length is 2097152"),
    ],
)
def test_sizes_that_do_not_fit(source: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LiteJob.open(source, ConversionOptions(**options))


@pytest.mark.parametrize("scheme", ["portable_int8", "lite_dynamic_int8"])
def test_quantized_bundles_are_refused(source: Path, tmp_path: Path, scheme: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    data = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    data["weights"]["quantization"] = scheme
    (copy / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{scheme}.*integer weights.\nConvert the float bundle"):
        LiteJob.open(copy, ConversionOptions())


def test_integer_weights_are_refused_whatever_the_manifest_says(
    source: Path, tmp_path: Path
) -> None:
    from glmlite.quant.cpu_job import CpuJob
    from glmlite.quant.cpu_pipeline import run_cpu
    from glmlite.quant.job import QuantizeOptions

    pytest.importorskip("onnx")
    options = QuantizeOptions(accuracy=False, parity=False)
    made = run_cpu(CpuJob.open(source, "cpu_int8", options), tmp_path / "int8").path
    manifest = made / "manifest.json"
    data = json.loads(manifest.read_text(encoding="utf-8"))
    assert data["weights"]["quantization"] != "none"
    data["weights"]["quantization"] = "none"
    manifest.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="is quantized"):
        LiteJob.open(made, ConversionOptions())

"""Caches that stay on the device: real Lite computes, host memory stands for the device's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.graphs import GraphSet
from tests.engines.bundles import Bundles
from tests.engines.driving import FP32, close
from tests.engines.subjects import Case

PACKAGE = Path(__file__).parents[2] / "glmlite"
SCRIPT = Path(__file__).with_name("lite_device_run.py")


@pytest.fixture(scope="module")
def bundle(bundles: Bundles) -> Bundle:
    return Bundle.open(bundles.export("glm2"))


@pytest.fixture(scope="module")
def case(bundles: Bundles) -> Case:
    return max(bundles.subject("glm2").cases, key=lambda c: len(c.prompt))


def _steps(case: Case, count: int, cache: str = "one", **extra: Any) -> list[dict[str, Any]]:
    """A prompt in chunks of 7, then `count` of its greedy ids one by one."""
    steps = []
    for start in range(0, len(case.prompt), 7):
        piece = case.prompt[start : start + 7]
        ids = piece + [9] * (7 - len(piece))
        steps.append(_step(cache, ids, start, len(piece), **extra))
    for i in range(count):
        at = len(case.prompt) + i
        steps.append(_step(cache, [case.greedy_ids[i]], at, 1, **extra))
    return steps


def _step(cache: str, ids: list[int], position: int, valid: int, **extra: Any) -> dict[str, Any]:
    rows = {"input_ids": [ids], "position": [position], "valid_length": [valid]}
    return {"cache": cache, **rows, **extra}


def _run(
    toolchain: str, bundle: Bundle, steps: list[dict[str, Any]], folder: Path, name: str
) -> tuple[list[np.ndarray], list[int], list[bool]]:
    manifest = bundle.manifest
    graphs = GraphSet(
        bundle.path,
        manifest.graphs,
        manifest.model,
        manifest.weights.dtype,
        manifest.prefix_length,
        manifest.prefix_cache,
        "2.0.0",
    )
    options = EngineOptions(device="ascend", engine_config=name).resolve("lite", has_ascend=True)
    job = graphs.job("lite", options) | {"steps": steps}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    subprocess.run(
        [toolchain, SCRIPT, folder / "job.json", folder / "out.npz", PACKAGE],
        env={"PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", "GLOG_v": "3"},
        check=True,
        timeout=120,
    )
    with np.load(folder / "out.npz") as out:
        logits = [out[f"arr_{i}"] for i in range(len(steps))]
        return logits, out["crossings"].tolist(), out["places"].tolist()


def _compare(case: Case, steps: list[dict[str, Any]], logits: list[np.ndarray]) -> None:
    for step, found in zip(steps, logits, strict=True):
        held = step["position"][0] + step["valid_length"][0]
        close(found[0], case.logits[held - 1], FP32, f"{held} tokens")


def test_the_cache_stays_on_the_device(
    toolchain: str, bundle: Bundle, case: Case, tmp_path: Path
) -> None:
    steps = _steps(case, 6)
    logits, crossings, places = _run(toolchain, bundle, steps, tmp_path, "ascend_ge")
    _compare(case, steps, logits)
    caches = 2 * bundle.manifest.model.num_layers
    sizes = [len(step["input_ids"][0]) for step in steps]
    firsts = {sizes.index(size) for size in set(sizes)}
    for i, count in enumerate(crossings):
        # A graph's first run goes through the host; after that nothing but ids and logits does.
        assert count == (2 * caches if i in firsts else 0), (i, crossings)
    assert all(places)


def test_two_caches_do_not_mix(toolchain: str, bundle: Bundle, case: Case, tmp_path: Path) -> None:
    one, other = _steps(case, 4), _steps(case, 4, cache="other")
    steps = [step for pair in zip(one, other, strict=True) for step in pair]
    logits, _, _ = _run(toolchain, bundle, steps, tmp_path, "ascend_acl")
    _compare(case, steps, logits)


def test_a_lite_that_refuses_goes_on_through_the_host(
    toolchain: str, bundle: Bundle, case: Case, tmp_path: Path
) -> None:
    steps = _steps(case, 6)
    for step in steps[-3:]:
        step["refuses"] = True
    logits, _, places = _run(toolchain, bundle, steps, tmp_path, "ascend_ge")
    _compare(case, steps, logits)
    assert places == [True] * (len(steps) - 3) + [False] * 3


def test_host_means_host(toolchain: str, bundle: Bundle, case: Case, tmp_path: Path) -> None:
    config = tmp_path / "mine.ini"
    config.write_text("[glmlite]\ncache=host\n[ascend_context]\nprovider=ge\n", encoding="utf-8")
    steps = _steps(case, 2)
    logits, crossings, places = _run(toolchain, bundle, steps, tmp_path, str(config))
    _compare(case, steps, logits)
    assert not any(places)
    assert not any(crossings)

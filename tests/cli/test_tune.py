"""`glmlite tune` on the command line, and what `inspect` then shows."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys

import pytest

from glmlite.runtime.chunks import LARGEST_DYNAMIC_CHUNK
from tests.engines.bundles import FORMATS

pytest.importorskip("onnxruntime")

QUICK = ["--threads-up-to", "1", "--repeats", "1", "--prompt-tokens", "40", "--new-tokens", "8"]


@pytest.fixture
def bundle(bundles, tmp_path):
    return shutil.copytree(bundles.export("prefix_wide", **FORMATS["onnx"]), tmp_path / "bundle")


def test_table_and_inspect(glmlite_command, bundle):
    ran = glmlite_command("tune", bundle, *QUICK)
    assert ran.returncode == 0, ran.stderr
    for words in ("A prompt of 40 tokens, an answer of 8", "Prefill, tokens/s", "*", "are in the"):
        assert words in ran.stdout
    assert "Measuring chunks" in ran.stderr
    shown = glmlite_command("inspect", bundle, "--verify")
    assert shown.returncode == 0, shown.stderr
    assert "Tuned on" in shown.stdout
    assert "ignored" not in shown.stdout
    data = json.loads(glmlite_command("inspect", bundle, "--json").stdout)
    assert data["tuned"]["applies"] is True
    assert data["tuned"]["threads"] == 1
    assert data["tuned_settings"] == "runtime/tuned.json"


def test_json_of_a_dry_run_in_chinese(glmlite_command, bundle):
    ran = glmlite_command("tune", bundle, *QUICK, "--dry-run", "--json", GLMLITE_LANG="zh")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["written"] is False
    assert {m["prefill_chunk"] for m in report["measurements"]} == {32, LARGEST_DYNAMIC_CHUNK}
    assert report["settings"]["prompt_tokens"] == 40
    *_before, other, untuned = report["measurements"]
    assert untuned["prefill_chunk"] == LARGEST_DYNAMIC_CHUNK, "measured beside the other chunk"
    saved = 1 - other["prefill"]["median"] / untuned["prefill"]["median"]
    assert report["best"] == (other if saved > 0.03 else untuned), "what is listed is what decided"
    assert "测量分块大小" in ran.stderr
    assert not (bundle / "runtime").exists()


def test_bundles_that_cannot_be_tuned(glmlite_command, demo_bundle, bundle):
    ran = glmlite_command("tune", demo_bundle)
    assert ran.returncode == 2
    assert "holds MindIR graphs" in ran.stderr
    assert "Traceback" not in ran.stderr
    ran = glmlite_command("tune", bundle, "--prompt-tokens", "1000000")
    assert ran.returncode == 2
    assert "has room for" in ran.stderr
    assert not list(bundle.glob(".*"))


def obey_permissions():
    """Root ignores modes while it has these two capabilities; programs it starts then do not."""
    prctl, drop_from_bounding_set = ctypes.CDLL(None).prctl, 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux capabilities")
def test_a_read_only_bundle(bundle, environment):
    for path in [*bundle.rglob("*"), bundle]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def tune(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "glmlite.cli", "tune", bundle, *QUICK, *arguments],
            preexec_fn=obey_permissions,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    try:
        ran = tune()
        assert ran.returncode == 2
        assert "cannot be written: Permission denied" in ran.stderr
        assert "Measuring" not in ran.stderr
        assert tune("--dry-run").returncode == 0
    finally:
        for path in [*bundle.rglob("*"), bundle]:
            path.chmod(0o755 if path.is_dir() else 0o644)

"""MindSpore Lite's converter reads graphs of the flavor standard, and Lite computes them right."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.onnx_models import ALL, TOLERANCE, export, logits_of
from tests.fixtures import drawing

pytest.importorskip("onnx")

SCRIPT = Path(__file__).with_name("lite_conversion.py")


def test_one_dynamic_graph_is_converted_once_for_each_phase(toolchain: str, tmp_path: Path) -> None:
    """A model with a prefix, in rows at different positions of which some idle."""
    model = ALL["wide_prefix"]
    bundle = export(model, tmp_path / "made", "standard")
    ids = drawing.draw_ids(model, 45, 7)
    arrays = tmp_path / "arrays.npz"
    np.savez(
        arrays,
        ids=np.array(ids, np.int32),
        logits=logits_of(model, ids).astype(np.float32),
        prefix=np.array(bundle.prefix_cache() or []),
    )
    job: dict[str, Any] = {
        "bundle": str(bundle.path),
        "folder": str(tmp_path),
        "arrays": str(arrays),
        "model": bundle.manifest.model.to_dict(),
        "prefix_length": bundle.manifest.prefix_length,
        "batch": 3,
        "slots": 64,
    }
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [toolchain, SCRIPT, tmp_path / "job.json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FOUND" in done.stdout, done.stdout + done.stderr
    worst = json.loads(done.stdout.partition("FOUND")[2].splitlines()[0])
    assert set(worst) == {"prefill", "score", "decode"}
    assert min(worst.values()) > 0
    assert max(worst.values()) < TOLERANCE

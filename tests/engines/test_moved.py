"""A bundle is a folder that can be moved anywhere and needs no write access."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import glmlite
from tests.engines.bundles import FORMATS, KINDS, Bundles

_SCRIPT = """
import json, sys
import glmlite
from glmlite.bundle import Bundle

path, prompt, engines = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
for name in ("new_file", "manifest.json", "weights/data_0"):
    try:
        open(path + "/" + name, "ab").close()
    except PermissionError:
        continue
    sys.exit("the folder is writable after all")
Bundle.open(path).verify()
answers = []
for engine, toolchain in engines:
    with glmlite.load(path, engine, toolchain=toolchain) as model:
        answers.append([piece.token for piece in model.generate(prompt, max_new_tokens=24)])
print("ANSWERS" + json.dumps(answers))
"""


def _obey_permissions() -> None:
    """Root ignores modes while it has these two capabilities; programs it starts then do not."""
    prctl, drop_from_bounding_set = ctypes.CDLL(None).prctl, 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux capabilities")
def test_moved_and_read_only(bundles: Bundles, tmp_path: Path) -> None:
    subject = bundles.subject("glm3")
    original = tmp_path / "first" / "bundle"
    shutil.copytree(bundles.export("glm3"), original)
    (tmp_path / "另一个 folder").mkdir()
    moved = original.rename(tmp_path / "另一个 folder" / "搬走的 bundle")
    for path in [*moved.rglob("*"), moved]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    engines = [
        (name, bundles.toolchain if in_toolchain else None)
        for kind, (name, in_toolchain) in KINDS.items()
        if kind not in FORMATS and (in_toolchain == bool(bundles.toolchain) or name == "reference")
    ]
    case = subject.cases[1]
    try:
        found = subprocess.run(
            [sys.executable, "-c", _SCRIPT, moved, json.dumps(case.prompt), json.dumps(engines)],
            preexec_fn=_obey_permissions,
            cwd=tmp_path / "first",
            env=os.environ | {"PYTHONPATH": str(bundles.root)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path in [moved, *moved.rglob("*")]:
            path.chmod(0o755)
    assert found.returncode == 0, found.stderr
    answers = json.loads(found.stdout.partition("ANSWERS")[2])
    assert answers == [case.greedy_ids] * len(engines)


@pytest.mark.skipif(sys.platform != "linux", reason="folders have names in Unicode there")
def test_a_folder_whose_name_is_no_unicode(bundles: Bundles, tmp_path: Path) -> None:
    """Such as one that was named in GBK."""
    pytest.importorskip("onnxruntime")
    plain = bundles.export("prefix_wide", **FORMATS["onnx"])
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + "模型".encode("gbk")))
    shutil.copytree(plain, folder)
    before = set(os.listdir("/proc/self/fd"))
    found = []
    for path in (plain, folder):
        with glmlite.load(path, engine="onnx") as model:
            found.append(model.session().feed([5, 200, 31]))
    assert (found[0] == found[1]).all()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_every_file_is_readable_by_all(bundles: Bundles) -> None:
    path = bundles.export("glm3")
    for file in path.rglob("*"):
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode == (0o755 if file.is_dir() else 0o644), file.name


def test_no_path_of_the_machine_is_inside(bundles: Bundles) -> None:
    """Neither the checkpoint's nor the staging folder's place may matter later."""
    path = bundles.export("glm3")
    needle = str(bundles.folder).encode()
    for file in path.rglob("*"):
        if file.is_file():
            assert needle not in file.read_bytes(), file.name

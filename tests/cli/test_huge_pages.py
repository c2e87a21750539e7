"""The program starts itself again for huge pages: once, and only where it gains from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmlite.cli import huge_pages

PROGRAM = """
import os, sys
from pathlib import Path
from glmlite.cli import huge_pages
huge_pages.is_program = True
print(os.getpid(), os.environ.get("GLIBC_TUNABLES", "-"), sys.argv[1:], flush=True)
huge_pages.use_huge_pages(Path(sys.argv[1]))
"""


def write_bundle(folder: Path, form: str, size: int) -> Path:
    folder.mkdir()
    manifest = {"graphs": [{"format": form}], "weights": {"bytes": size}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def starts(path: Path, **environment: str) -> list[str]:
    """What the program printed, one line for each time it started."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), "--flag", "a b"],
        env={k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_it_starts_again_once_with_its_arguments(tmp_path):
    if not huge_pages._asks_for_huge_pages():
        pytest.skip("this kernel or C library gives no huge pages on demand")
    first, second = starts(write_bundle(tmp_path / "large", "onnx", huge_pages.LEAST_BYTES))
    assert " - " in first
    assert "glibc.malloc.hugetlb=1" in second
    assert first.split()[0] == second.split()[0]  # the same process
    assert first.split("[")[1] == second.split("[")[1]


def test_settings_of_the_user_stay(tmp_path):
    if not huge_pages._asks_for_huge_pages():
        pytest.skip("this kernel or C library gives no huge pages on demand")
    path = write_bundle(tmp_path / "large", "onnx", huge_pages.LEAST_BYTES)
    assert len(starts(path, GLIBC_TUNABLES="glibc.malloc.hugetlb=0")) == 1
    again = starts(path, GLIBC_TUNABLES="glibc.malloc.arena_max=2")
    assert "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1" in again[1]


@pytest.mark.parametrize(("form", "size"), [("mindir", 1 << 40), ("onnx", 1 << 20)])
def test_others_start_once(tmp_path, form, size):
    assert len(starts(write_bundle(tmp_path / "bundle", form, size))) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"graphs": 3}', '{"graphs": [{}], "weights": {}}'])
def test_what_is_wrong_with_a_bundle_is_left_to_its_loader(tmp_path, text):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    assert len(starts(folder)) == 1
    assert len(starts(tmp_path / "nothing")) == 1

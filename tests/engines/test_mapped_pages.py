"""Mapped weights are given back while a graph opens, and nothing but them."""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import glmlite
from glmlite.runtime.engines import mapped_pages
from glmlite.runtime.engines.mapped_pages import give_back, pages_given_back
from tests.engines.bundles import FORMATS, Bundles

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SIZE = 8 * 2**20


def mapped(path: Path) -> mmap.mmap:
    """A private mapping that could be written to, as ONNX Runtime's are, with all pages read."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    assert sum(pages[::4096]) == 0
    return pages


def held(path: Path) -> int:
    """Bytes of a file that are in this process's memory."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Rss:":
            found += 1024 * int(words[1])
    return found


def test_what_was_read_is_given_back_and_can_be_read_again(tmp_path: Path) -> None:
    pages = mapped(tmp_path / "bundle" / "data_0")
    assert held(tmp_path / "bundle" / "data_0") == SIZE
    give_back(tmp_path / "bundle")
    assert held(tmp_path / "bundle" / "data_0") == 0
    assert pages[:256] == pages[-256:] == bytes(range(256))


def test_a_link_to_the_folder(tmp_path: Path) -> None:
    pages = mapped(tmp_path / "bundle" / "data_0")
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    give_back(tmp_path / "link")
    assert held(tmp_path / "bundle" / "data_0") == 0
    pages.close()


def test_what_was_written_is_kept(tmp_path: Path) -> None:
    pages = mapped(tmp_path / "bundle" / "data_0")
    pages[4096] = 77
    give_back(tmp_path / "bundle")
    assert pages[4096] == 77
    assert held(tmp_path / "bundle" / "data_0") > SIZE / 2


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    pages = mapped(tmp_path / "bundle-2" / "data_0")
    give_back(tmp_path / "bundle")
    assert held(tmp_path / "bundle-2" / "data_0") == SIZE
    pages.close()


def test_it_happens_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_pages, "LIMIT", SIZE // 2)
    with pages_given_back(tmp_path / "bundle") as can:
        assert can
        time.sleep(5 * mapped_pages.SECONDS)
        pages = mapped(tmp_path / "bundle" / "data_0")
        for _ in range(500):
            if not held(tmp_path / "bundle" / "data_0"):
                break
            time.sleep(0.01)
        else:
            pytest.fail("nothing was given back")
    assert sum(pages[::4096]) == 0
    time.sleep(5 * mapped_pages.SECONDS)
    assert held(tmp_path / "bundle" / "data_0") > 0, "it ends with the block"


@pytest.mark.parametrize("kind", ["prefix_wide", "glm2"])
def test_a_graph_opens_the_same(
    bundles: Bundles, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything given back all the time, and with one thread that keeps it."""
    pytest.importorskip("onnxruntime")
    path = bundles.export(kind, **FORMATS["onnx"])
    monkeypatch.setattr(mapped_pages, "LIMIT", -(2**60))
    monkeypatch.setattr(mapped_pages, "SECONDS", 0)
    found = []
    for readable in ("/proc/self/smaps", "/nowhere"):
        monkeypatch.setattr(mapped_pages, "_SMAPS", readable)
        with glmlite.load(path, engine="onnx") as model:
            found.append(model.session().score([5, 200, 31, 7]))
    np.testing.assert_array_equal(found[0], found[1])

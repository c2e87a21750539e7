"""Every command and every snippet in README and docs/ runs, and prints what the page says."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.blocks import SHELL, Block, read_blocks, without_comments, without_fences
from tests.engines.bundles import Bundles

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRANSLATED = [
    (page, page.with_suffix(".zh-CN.md"))
    for page in PAGES
    if page.with_suffix(".zh-CN.md").exists()
]
# A translation has the code of its original (tested below), so it is not run again.
RUN = [page for page in PAGES if not page.name.endswith(".zh-CN.md")]
IN_TOOLCHAIN = [page for page in RUN if any(b.in_toolchain for b in read_blocks(page))]
EVERY = [*PAGES, ROOT / "README.zh-CN.md"]
_SEPARATOR = "\0"


def _ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(command: Sequence[str], folder: Path) -> str:
    """Standard output of a command that must succeed, run as a reader of the page would."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GLMLITE", "PYTEST"))}
    environment |= {
        "GLMLITE_LANG": "en",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONIOENCODING": "utf-8",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def run_page(blocks: Sequence[Block], folder: Path) -> dict[str, str]:
    """Run the shell blocks one by one, then the Python blocks as one program; their outputs."""
    printed = {
        block.where: run(["bash", "-euo", "pipefail", "-c", block.text], folder)
        for block in blocks
        if block.language in SHELL
    }
    python = [block for block in blocks if block.language == "python"]
    if python:
        program = folder / "page.py"
        program.write_text(f"print({_SEPARATOR!r}, end='')\n".join(b.text for b in python), "utf-8")
        outputs = run([sys.executable, str(program)], folder).split(_SEPARATOR)
        assert len(outputs) == len(python)
        printed |= {b.where: text for b, text in zip(python, outputs, strict=True)}
    return printed


def check_page(page: Path, folder: Path, *, in_toolchain: bool) -> None:
    """Run a page's blocks of one kind and compare the outputs that it shows."""
    blocks = [b for b in read_blocks(page) if not b.is_skipped and b.in_toolchain == in_toolchain]
    printed = run_page([b for b in blocks if b.is_code], folder)
    for before, block in itertools.pairwise(blocks):
        if block.is_output:
            assert printed[before.where] == block.text, f"{block.where} shows something else"


@pytest.fixture(scope="module")
def running(
    bundles: Bundles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[Path, bool], Future[None]]]:
    """Every page's run, by page and whether it is of the toolchain's blocks; two at a time."""
    pool = ThreadPoolExecutor(2)
    jobs = {}
    if bundles.toolchain:
        for page in IN_TOOLCHAIN:
            folder = tmp_path_factory.mktemp(f"{page.stem}-toolchain")
            (folder / ".toolchain").symlink_to(Path(bundles.toolchain).parent.parent)
            jobs[page, True] = pool.submit(check_page, page, folder, in_toolchain=True)
    if importlib.util.find_spec("mindspore"):
        demo = bundles.demo()
        for page in RUN:
            folder = tmp_path_factory.mktemp(page.stem)
            shutil.copytree(demo, folder / "build" / "demo")  # as `make demo` leaves it
            jobs[page, False] = pool.submit(check_page, page, folder, in_toolchain=False)
    yield jobs
    pool.shutdown(cancel_futures=True)


@pytest.mark.mindspore
@pytest.mark.parametrize("page", RUN, ids=_ids)
def test_a_page_runs(
    page: Path, bundles: Bundles, running: dict[tuple[Path, bool], Future[None]]
) -> None:
    bundles.require(False)
    running[page, False].result()


@pytest.mark.parametrize("page", IN_TOOLCHAIN, ids=_ids)
def test_a_page_runs_with_the_toolchain(
    page: Path, toolchain: str, running: dict[tuple[Path, bool], Future[None]]
) -> None:
    running[page, True].result()


def _commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if "<<" not in line]
    return [w[1:] for w in words if w[:1] == ["glmlite"]]


@pytest.mark.parametrize("page", EVERY, ids=_ids)
def test_commands_that_are_not_run_are_commands(page: Path) -> None:
    import click

    from glmlite.cli.app import glmlite

    for block in read_blocks(page):
        for name, *arguments in _commands(block) if block.is_skipped else []:
            command = glmlite.get_command(click.Context(glmlite), name)
            assert command is not None, f"{block.where}: glmlite {name}"
            command.make_context(name, arguments)


@pytest.mark.parametrize("page", EVERY, ids=_ids)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page)):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links to {target}"


@pytest.mark.parametrize("pair", TRANSLATED, ids=lambda pair: _ids(pair[1]))
def test_a_translation_says_the_same(pair: tuple[Path, Path]) -> None:
    english, chinese = pair
    assert _outline(english) == _outline(chinese)
    ours, theirs = read_blocks(english), read_blocks(chinese)
    assert [(b.language, b.marker) for b in ours] == [(b.language, b.marker) for b in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert without_comments(one.text) == without_comments(other.text), other.where


def _outline(page: Path) -> dict[str, list[str] | int]:
    """What translations share: heading levels, list items, table rows, the places linked to."""
    text = without_fences(page)
    links = [_place(page, link) for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    return {
        "headings": re.findall(r"^#+(?= )", text, flags=re.M),
        "items": len(re.findall(r"^- ", text, flags=re.M)),
        "rows": re.findall(r"^\|", text, flags=re.M).count("|"),
        "links": sorted(links),
    }


def _anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, in order."""
    headings = re.findall(r"^#+ (.+)$", without_fences(page), flags=re.M)
    return [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


def _place(page: Path, link: str) -> str:
    """What a link and its translation share: the file, and which of its headings is meant."""
    path, _, anchor = link.partition("#")
    heading = _anchors(page.parent / path if path else page).index(anchor) if anchor else "top"
    return f"{path.replace('.zh-CN', '')}#{heading}"


def test_every_page_is_translated() -> None:
    assert {english for english, _ in TRANSLATED} == set(RUN)


def test_a_stale_output_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\necho new\n```\n\n<!-- test: output -->\n```text\nold\n```\n", encoding="utf-8"
    )
    with pytest.raises(AssertionError, match="shows something else"):
        check_page(page, tmp_path, in_toolchain=False)


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nfalse\ntrue\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        check_page(page, tmp_path, in_toolchain=False)

"""glmlite's own graphs, given as two files without their bundle."""

from __future__ import annotations

import shutil

import pytest

from glmlite.errors import EngineError
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.bare import open_pair, read_pair
from glmlite.runtime.session import Session
from tests.engines.driving import FP32, close
from tests.engines.subjects import make_fixture


def _alone(bundle, folder, phase, tokens):
    """One graph of a bundle and its weights, in another folder under another name."""
    from glmlite.bundle import Bundle

    graphs = Bundle.open(bundle).manifest.graphs
    graph = next(g for g in graphs if g.phase == phase and g.tokens == tokens)
    path = folder / f"{phase}_graph.mindir"
    shutil.copyfile(bundle / graph.file, path)
    if (bundle / "weights").is_dir() and not (folder / "weights").exists():
        shutil.copytree(bundle / "weights", folder / "weights")
    return path


@pytest.mark.mindspore
@pytest.mark.parametrize("kind", ["mindspore", "lite"])
def test_own_graphs_without_a_bundle(kind, bundles, tmp_path):
    in_toolchain = kind == "lite"
    bundles.require(in_toolchain)
    bundle = bundles.export("glm3", where="toolchain" if in_toolchain else "here")
    prefill, decode = (
        _alone(bundle, tmp_path, phase, tokens) for phase, tokens in (("prefill", 7), ("decode", 1))
    )
    pair = read_pair(prefill, decode)
    assert pair.prefill.contract == "explicit"
    toolchain = bundles.toolchain if in_toolchain else None
    opened = open_pair(pair, kind, EngineOptions(toolchain=toolchain))
    try:
        case = make_fixture("glm3", tmp_path / "model").cases[0]
        session = Session(opened.engine)
        start = len(case.prompt)
        close(session.feed(case.prompt), case.logits[start - 1], FP32, "prompt")
        for position in range(start, start + 8):
            logits = session.feed([case.ids[position]])
            close(logits, case.logits[position], FP32, f"position {position}")
    finally:
        opened.engine.close()


@pytest.mark.mindspore
def test_the_reference_does_not_run_bare_graphs(bundles, tmp_path):
    bundles.require(False)
    bundle = bundles.export("glm3", where="here")
    pair = read_pair(_alone(bundle, tmp_path, "prefill", 7), _alone(bundle, tmp_path, "decode", 1))
    with pytest.raises(EngineError, match="not on 'reference'"):
        open_pair(pair, "reference")

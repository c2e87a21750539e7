"""Lite's ini files: what ships, what is generated from a manifest, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry
from glmlite.errors import EngineError
from glmlite.exporter.recipes import list_recipes
from glmlite.model.presets import PRESETS
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.lite_config import (
    gear_options,
    load_lite_config,
    render,
    variable_options,
)
from glmlite.runtime.engines.lite_config.build import lite_choices, load_configs
from glmlite.runtime.engines.lite_config.keys import GLMLITE_SECTION, KEYS
from glmlite.toolchain.exporter import signature
from glmlite.toolchain.mindir_names import cache_names, output_names
from glmlite.toolchain.mindir_nodes import list_nodes
from tests.engines.bundles import Bundles
from tests.engines.lite_options import GEARS, all_documented, dynamic_inputs

SHIPPED = sorted(list_recipes("runtime"))
PHASES = {"/b/p.mindir": "prefill", "/b/d.mindir": "decode"}


def test_what_ships() -> None:
    assert SHIPPED == ["ascend_acl", "ascend_ge", "cpu"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_key_is_documented(name: str) -> None:
    config = load_lite_config(name)
    all_documented(config.sections)
    all_documented({GLMLITE_SECTION: {"cache": config.cache or ""}})
    assert config == load_lite_config(str(list_recipes("runtime")[name]))


def test_sources_are_named() -> None:
    letters = {letter for keys in KEYS.values() for key in keys.values() for letter in key.source}
    assert letters <= set("LSGM") | set("glmlite")


def test_lites_own_library_knows_the_ge_options(toolchain: str) -> None:
    """Names in Lite 2.0.0's library; what came later or was never declared is listed here."""
    folder = Path(toolchain).parents[1] / "lib/python3.7/site-packages/mindspore_lite/lib"
    data = (folder / "libmslite_shared_lib.so").read_bytes()
    known = set(re.findall(rb"(?<![\w.])ge\.[A-Za-z_.]+(?=\0)", data))
    used = {key for keys in KEYS.values() for key in keys if key.startswith("ge.")}
    assert {key for key in used if key.encode() not in known} == {"ge.exec.formatMode", "ge.event"}


_BUILD = """
import sys, mindspore_lite as lite
context = lite.Context()
context.target = ["cpu"]
context.cpu.thread_num = 1
model = lite.Model()
model.build_from_file(sys.argv[1], lite.ModelType.MINDIR, context, config_path=sys.argv[2])
print(len(model.get_inputs()))
"""


def test_lite_2_0_reads_the_generated_files(
    toolchain: str, bundles: Bundles, tmp_path: Path
) -> None:
    """Its parser takes every line; a CPU has no use for them, so the graph stays what it is."""
    bundle = Bundle.open(bundles.export("glm2"))
    graph = next(g for g in bundle.manifest.graphs if g.phase == "decode")
    sections = load_lite_config("ascend_ge").merged(
        {
            "ascend_context": variable_options(graph, "float32", 0),
            "ge_graph_options": gear_options(dynamic_inputs(), GEARS),
        }
    )
    config = tmp_path / "decode.ini"
    config.write_text(render(sections), encoding="utf-8")
    result = subprocess.run(
        [toolchain, "-c", _BUILD, str(bundle.path / graph.file), str(config)],
        env={"PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", "GLOG_v": "2"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    assert result.stdout.split()[-1] == str(len(graph.inputs))
    assert "config" not in result.stderr.lower()


# --- choosing --------------------


def test_ascend_takes_a_recipe_by_itself() -> None:
    choices = lite_choices(None, "ascend", PHASES)
    assert [(c["name"], c["provider"], c["cache"]) for c in choices] == [
        ("ascend_ge", "ge", "device"),
        ("ascend_acl", None, "device"),
    ]
    assert lite_choices(None, "cpu", PHASES) == []


def test_a_recipe_by_name_and_a_file_by_path(tmp_path: Path) -> None:
    (choice,) = lite_choices("ascend_ge", "ascend", PHASES)
    assert set(choice["graphs"]) == set(PHASES)
    assert all(GLMLITE_SECTION not in g["sections"] for g in choice["graphs"].values())
    mine = tmp_path / "mine.ini"
    mine.write_text("; as written\n[ascend_context]\nprovider=ge\nnew_key=1\n", encoding="utf-8")
    (choice,) = lite_choices(str(mine), "ascend", PHASES)
    assert {g["path"] for g in choice["graphs"].values()} == {str(mine)}
    assert (choice["provider"], choice["cache"]) == ("ge", "device")


def test_prefill_and_decode_files(tmp_path: Path) -> None:
    for name in ("p", "d"):
        text = f"[ge_graph_options]\nge.mark={name}\n"
        (tmp_path / f"{name}.ini").write_text(text, encoding="utf-8")
    (choice,) = lite_choices(f"{tmp_path}/p.ini,{tmp_path}/d.ini", "ascend", PHASES)
    assert {p: g["path"] for p, g in choice["graphs"].items()} == {
        "/b/p.mindir": f"{tmp_path}/p.ini",
        "/b/d.mindir": f"{tmp_path}/d.ini",
    }


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "d.ini").write_text("[glmlite]\ncache=host\n[a]\nb=1\n", encoding="utf-8")
    with pytest.raises(EngineError, match="must agree on cache; they say device and host"):
        load_configs(f"ascend_ge,{tmp_path}/d.ini")
    with pytest.raises(EngineError, match="must agree on provider"):
        load_configs("ascend_ge,ascend_acl")
    with pytest.raises(EngineError, match="takes one ini, or PREFILL,DECODE"):
        load_configs("ascend_ge,ascend_ge,ascend_ge")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[glmlite]\ncache=disk\n", r"cache=disk is not known; it can say: cache=device"),
        ("[glmlite]\ncash=host\n", "cash=host is not known"),
        ("[a]\nb=1\n continued\n", "runs over several lines"),
        ("[a]\nb=1\nb=2\n", "no ini file"),
        ("", "has no section"),
        ("[a]\n" + "#" * (2 << 20), "too large"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.ini"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=message):
        load_lite_config(str(path))


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(EngineError, match="Did you mean ascend_ge"):
        EngineOptions(device="ascend", engine_config="ascend_gee")


def test_a_cpu_has_no_device_cache() -> None:
    with pytest.raises(EngineError, match="needs an Ascend device"):
        lite_choices("ascend_ge", "cpu", PHASES)
    (choice,) = lite_choices("cpu", "cpu", PHASES)
    assert choice["cache"] == "host"
    assert all(g["sections"] == {} for g in choice["graphs"].values())


# --- the cache as variables --------------------


def _graph(layers: int, **changes: object) -> GraphEntry:
    names = signature(layers)
    entry = GraphEntry(
        "decode", 1, 2048, 1, "mindir", "d.mindir", tuple(names["inputs"]), tuple(names["outputs"])
    )
    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


def test_positions_of_the_6b_model() -> None:
    layers = PRESETS["glm2_6b"].config.num_layers
    found = variable_options(_graph(layers), "float32", 0)
    # Three rows in front of 56 caches, one output in front of them; both counted from 0.
    assert found == {"inputs_to_variable": "[3~58]", "outputs_to_variable": "[1~56]"}
    all_documented({"ascend_context": found})


def test_what_cannot_live_in_variables() -> None:
    graph = _graph(2)
    with pytest.raises(EngineError, match="past the end of a float16 variable"):
        variable_options(graph, "float16", 0)
    with pytest.raises(EngineError, match="no place for a prefix of 8 slots"):
        variable_options(graph, "float32", 8)
    for changes in (
        {"inputs": ()},
        {"outputs": tuple(reversed(graph.outputs))},
        {"inputs": graph.inputs[:-1]},
        {"inputs": (*graph.inputs[:4], "odd", *graph.inputs[4:])},
    ):
        with pytest.raises(EngineError, match="does not list its cache"):
            variable_options(_graph(2, **changes), "float32", 0)


def _set(bundle: Bundle) -> GraphSet:
    m = bundle.manifest
    return GraphSet(
        bundle.path, m.graphs, m.model, m.weights.dtype, m.prefix_length, m.prefix_cache, "?"
    )


@pytest.mark.parametrize("where", ["toolchain", "here"])
def test_exported_graphs_are_fit_for_variables(
    bundles: Bundles, where: str, tmp_path: Path
) -> None:
    """MindSpore 2.0.0's and this interpreter's graphs: what Lite's pass needs to find in them."""
    here = where == "here"
    bundle = Bundle.open(bundles.demo() if here else bundles.export("glm2", where=where))
    graphs, layers = bundle.manifest.graphs, bundle.manifest.model.num_layers
    for graph in graphs:
        path = str(bundle.path / graph.file)
        assert output_names(path)[1:] == cache_names(layers, graph.cache_length)
        nodes = list_nodes(path)
        writers = {value: node for node in nodes for value in node.outputs}
        # The pass takes output → Depend → MakeTuple → logits apart by position.
        assert nodes[-1].kind == "Depend"
        assert writers[nodes[-1].inputs[0]].kind == "MakeTuple"
        names = [node.name for node in nodes if node.name]
        assert all(names.count(name) == 1 for name in output_names(path))
    if bundle.manifest.weights.dtype != "float32":
        return
    config = tmp_path / "v.ini"
    config.write_text("[glmlite]\ncache=variables\n[ascend_context]\nprovider=ge\n")
    options = EngineOptions(device="ascend", engine_config=str(config))
    (choice,) = _set(bundle).choices("lite", options.resolve("lite", has_ascend=True))
    wanted = {"inputs_to_variable": f"[3~{2 + 2 * layers}]"}
    for entry in choice["graphs"].values():
        assert entry["sections"]["ascend_context"].items() >= wanted.items()
        all_documented(entry["sections"])


def test_graphs_of_other_names_are_refused(bundles: Bundles, tmp_path: Path) -> None:
    from glmlite.toolchain.mindir_names import name_outputs

    bundle = Bundle.open(bundles.export("glm2"))
    graphs, layers = bundle.manifest.graphs, bundle.manifest.model.num_layers
    for number, graph in enumerate(graphs):
        source, target = bundle.path / graph.file, tmp_path / graph.file
        name_outputs(str(source), str(target), cache_names(layers, 1000 + number))
    moved = dataclasses.replace(_set(bundle), folder=tmp_path)
    with pytest.raises(EngineError, match="under different names"):
        moved.variables()


def test_variables_need_ge_and_a_bundle(tmp_path: Path) -> None:
    path = tmp_path / "v.ini"
    path.write_text("[glmlite]\ncache=variables\n[a]\nb=1\n")
    with pytest.raises(EngineError, match="needs provider=ge"):
        lite_choices(str(path), "ascend", PHASES, dict)
    path.write_text("[glmlite]\ncache=variables\n[ascend_context]\nprovider=ge\n")
    with pytest.raises(EngineError, match="needs a bundle"):
        lite_choices(str(path), "ascend", PHASES)


# --- gears --------------------

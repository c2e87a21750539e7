"""What glmlite asks of MindSpore Lite 2.0, 2.1 and 2.7, up to the call that needs the device.

The classes here have the signatures that each version documents and record what they are given;
they compute nothing. The arithmetic of a real Lite is tested in tests/engines.
"""

from __future__ import annotations

import inspect
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from glmlite.errors import ConfigError, EngineError
from glmlite.runtime.engines.options import EngineOptions
from glmlite.toolchain.errors import ToolchainError
from glmlite.toolchain.lite_backend import LiteBackend
from tests.toolchain.files import write_mindir


def _lite(version: str) -> tuple[types.SimpleNamespace, list[tuple[str, Any]]]:
    """A module with the documented surface of one version, and the record of its calls."""
    newer = version != "2.0.0"
    calls: list[tuple[str, Any]] = []

    class Ascend:
        __slots__ = ("device_id", "precision_mode", *(("provider", "rank_id") if newer else ()))

        def __init__(self) -> None:
            self.device_id = 0
            if newer:
                self.provider, self.rank_id = "", 0

    class Context:
        def __init__(self) -> None:
            self.target: list[str] = []
            self.ascend = Ascend()
            self.cpu = types.SimpleNamespace(thread_num=1)

    class OldModel:
        def build_from_file(self, model_path, model_type, context=None, config_path="") -> None:
            calls.append(("build", (self, model_path, context, {"config_path": config_path})))

    class NewModel:
        def build_from_file(
            self, model_path, model_type, context, config_path="", config_dict=None
        ) -> None:
            calls.append(("build", (self, model_path, context, {"config_path": config_path})))

    class ModelGroup:
        def __init__(self, flags) -> None:
            calls.append(("group", flags))

        def add_model(self, models) -> None:
            calls.append(("add_model", models))

    lite = types.SimpleNamespace(
        __version__=version,
        Context=Context,
        Model=NewModel if newer else OldModel,
        ModelType=types.SimpleNamespace(MINDIR=0),
    )
    if newer:
        lite.ModelGroup = ModelGroup
        lite.ModelGroupFlag = types.SimpleNamespace(SHARE_WEIGHT=1)
    return lite, calls


@pytest.fixture
def graphs(tmp_path: Path) -> list[dict[str, Any]]:
    """Two graphs, as a job lists them; their files are the smallest MindIRs there are."""
    found = []
    for phase in ("prefill", "decode"):
        write_mindir(tmp_path / phase, version=1)
        found.append({"phase": phase, "path": str(tmp_path / phase), "producer": "2.0.0"})
    return found


@pytest.mark.parametrize("version", ["2.1.0", "2.7.0", "2.11.0"])
def test_ascend_settings_and_shared_weights(version: str, graphs: list[dict[str, Any]]) -> None:
    lite, calls = _lite(version)
    backend = LiteBackend(
        {
            "device": "ascend",
            "device_id": 3,
            "rank_id": 1,
            "choices": [
                {
                    "name": "mine",
                    "provider": "ge",
                    "cache": "host",
                    "graphs": {g["path"]: {"path": f"{g['phase']}.ini"} for g in graphs},
                }
            ],
        },
        lite,
    )
    backend.declare(graphs)
    models = [backend.load(graph) for graph in graphs]
    assert calls[0] == ("group", 1)
    assert calls[1] == ("add_model", models), "the group has to know its models before they build"
    for model, graph, call in zip(models, graphs, calls[2:], strict=True):
        kind, (built, path, context, extra) = call
        assert (kind, built, path) == ("build", model, graph["path"])
        assert context.target == ["ascend"]
        assert (context.ascend.device_id, context.ascend.rank_id) == (3, 1)
        assert context.ascend.provider == "ge"
        assert extra == {"config_path": f"{graph['phase']}.ini"}


def test_lite_2_0_builds_without_what_it_lacks(graphs: list[dict[str, Any]]) -> None:
    lite, calls = _lite("2.0.0")
    backend = LiteBackend({"device": "ascend", "device_id": 2}, lite)
    backend.declare(graphs)
    for graph in graphs:
        backend.load(graph)
    assert [kind for kind, _ in calls] == ["build", "build"]
    assert calls[0][1][2].ascend.device_id == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [({"provider": "ge"}, "provider"), ({"rank_id": 1}, "rank_id")],
)
def test_lite_2_0_refuses_newer_ascend_settings(
    options: dict[str, Any], named: str, graphs: list[dict[str, Any]]
) -> None:
    backend = LiteBackend({"device": "ascend", **options}, _lite("2.0.0")[0])
    with pytest.raises(ToolchainError, match=named) as caught:
        backend.load(graphs[0])
    assert named in str(caught.value)


def test_threads_reach_the_context(graphs: list[dict[str, Any]]) -> None:
    lite, calls = _lite("2.7.0")
    LiteBackend({"device": "cpu", "threads": 3}, lite).load(graphs[0])
    context = calls[0][1][2]
    assert (context.target, context.cpu.thread_num) == (["cpu"], 3)


def test_a_mindir_that_is_too_new_is_refused_before_lite_sees_it(tmp_path: Path) -> None:
    lite, calls = _lite("2.0.0")
    write_mindir(tmp_path / "g", version=3)
    graph = {"phase": "decode", "path": str(tmp_path / "g"), "producer": "2.10.0"}
    with pytest.raises(ToolchainError) as caught:
        LiteBackend({"device": "cpu"}, lite).load(graph)
    assert "MindIR version 3 (written by MindSpore 2.10.0)" in str(caught.value)
    assert not calls


def test_a_file_that_is_no_mindir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(b"\xff" * 64)
    with pytest.raises(ToolchainError) as caught:
        LiteBackend({}, _lite("2.0.0")[0]).load({"phase": "decode", "path": str(tmp_path / "g")})
    assert "is no MindIR" in str(caught.value)


def test_the_classes_here_have_the_real_signatures(toolchain: str) -> None:
    """The one version at hand says whether its double is right."""
    code = (
        "import inspect, mindspore_lite as m;"
        "print(list(inspect.signature(m.Model.build_from_file).parameters)[1:],"
        " hasattr(m, 'ModelGroup'), hasattr(m.Context().ascend, 'provider'),"
        " hasattr(m.Context().ascend, 'rank_id'))"
    )
    result = subprocess.run([toolchain, "-c", code], capture_output=True, text=True, check=True)
    lite, _ = _lite("2.0.0")
    names = list(inspect.signature(lite.Model.build_from_file).parameters)[1:]
    assert result.stdout.split("\n")[-2] == f"{names} False False False"


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("mindspore", {"engine_config": True}),
        ("mindspore", {"device": "ascend"}),
        ("lite", {"device_id": 1}),
        ("lite", {"device": "cpu", "provider": "ge"}),
        ("reference", {"rank_id": 2}),
    ],
)
def test_an_option_without_effect_is_refused(
    engine: str, options: dict[str, Any], tmp_path: Path
) -> None:
    if "engine_config" in options:
        (tmp_path / "a.ini").write_text("[ascend_context]\nprovider=ge\n")
        options = {"engine_config": str(tmp_path / "a.ini")}
    with pytest.raises(EngineError, match="has no"):
        EngineOptions(**options).resolve(engine, has_ascend=False)


def test_auto_takes_ascend_where_its_driver_is() -> None:
    assert EngineOptions().resolve("lite", has_ascend=True).device == "ascend"
    assert EngineOptions(device_id=3).resolve("lite", has_ascend=True).device_id == 3
    assert EngineOptions().resolve("mindspore", has_ascend=True).device == "cpu"


@pytest.mark.parametrize("text", ["no section", "[a\nb", "", "[a]\nx=1\n[a]\n", "\xff"])
def test_what_is_no_ini_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text(text, encoding="latin-1")
    with pytest.raises(EngineError):
        EngineOptions(engine_config=str(tmp_path / "a.ini"))


def test_engine_options_are_checked() -> None:
    for bad in ({"device": "gpu"}, {"engine_config": "missing.ini"}):
        with pytest.raises(EngineError):
            EngineOptions(**bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threads"):
        EngineOptions(threads=0)

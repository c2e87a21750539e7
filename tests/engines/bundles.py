"""Exports and opens bundles for tests; an export costs seconds, so each is made once a session."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.subjects import GOLDEN, Subject, make_fixture, make_golden

# name -> (engine, whether it runs in the toolchain's interpreter)
KINDS = {
    "reference": ("reference", False),
    "mindspore": ("mindspore", False),
    "mindspore_worker": ("mindspore", True),
    "lite_worker": ("lite", True),
    "onnx": ("onnx", False),
    "onnx_standard": ("onnx", False),
    "onnx_grouped": ("onnx", False),
}
# What such a kind's bundle has in its recipe, where that is not MindIR.
FORMATS = {
    "onnx": {"export__format": "onnx"},
    "onnx_standard": {"export__format": "onnx", "export__flavor": "standard"},
    "onnx_grouped": {"export__format": "onnx"},
}
# Engines for any model; the attention of onnx_grouped is for heads of certain sizes.
EVERYWHERE = tuple(kind for kind in KINDS if kind != "onnx_grouped")
MARKS = {
    "reference": [],
    "mindspore": [pytest.mark.mindspore],
    "mindspore_worker": [pytest.mark.lite],
    "lite_worker": [pytest.mark.lite],
    "onnx": [],
    "onnx_standard": [],
    "onnx_grouped": [],
}


def pairs(names: tuple[str, ...], kinds: tuple[str, ...] | None = None) -> list[Any]:
    """Parameters (subject, kind) for the fixture `running`, marked with what they need.

    Without `kinds` these are all, and besides them the fused attention of ONNX Runtime, whose heads
    are not those of most fixtures.
    """
    chosen = [(name, kind) for name in names for kind in kinds or EVERYWHERE]
    if kinds is None:
        chosen += [("prefix_wide", "onnx"), ("prefix_wide", "onnx_grouped")]
    return [
        pytest.param((name, kind), id=f"{name}-{kind}", marks=MARKS[kind]) for name, kind in chosen
    ]


def _export_once(output: Path, recipe: dict[str, Any] | str, toolchain: str | None) -> None:
    """Export, unless another test process has done so, or is doing so, already."""
    from glmlite.exporter.pipeline import run_export

    with output.with_suffix(".once").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            run_export(recipe, toolchain=toolchain, overrides={"export.output": str(output)})


class Bundles:
    """The session's models and bundles.

    Args:
        folder: where checkpoints go.
        shared: where bundles go; several test processes may use it.
        root: the repository.
        toolchain: interpreter with MindSpore Lite, or None.
    """

    def __init__(self, folder: Path, shared: Path, root: Path, toolchain: str | None) -> None:
        self.folder, self.shared = folder, shared
        self.root, self.toolchain = root, toolchain
        self._subjects: dict[str, Subject] = {}
        self._paths: dict[tuple[Any, ...], Path] = {}

    def subject(self, name: str) -> Subject:
        """A model's checkpoint and expected values; skips where the goldens are absent."""
        if name not in self._subjects:
            if name == GOLDEN:
                golden = self.root.parent / "shared" / "golden"
                if not (golden / "glm2_tiny" / "cases.json").is_file():
                    pytest.skip("the golden data (../shared/golden) is not here")
                self._subjects[name] = make_golden(golden)
            else:
                self._subjects[name] = make_fixture(name, self.folder / "checkpoints")
        return self._subjects[name]

    def recipe(self, name: str, output: Path, **changes: Any) -> dict[str, Any]:
        """An export recipe as a dict; `changes` go to its sections by dotted keys."""
        subject = self.subject(name)
        model: dict[str, Any] = {"checkpoint": str(subject.checkpoint), "family": subject.family}
        if subject.adapter:
            model["adapter"] = str(subject.adapter)
        recipe: dict[str, Any] = {
            "model": model,
            "export": {
                "output": str(output),
                "cache_length": subject.cache_length,
                "prefill_tokens": [7, 32],
                # These tests prove more, and parity costs as long again.
                "parity": "off",
            },
        }
        for key, value in changes.items():
            section, _, rest = key.partition("__")
            recipe[section][rest] = value
        return recipe

    def export(self, name: str, *, where: str = "best", **changes: Any) -> Path:
        """A bundle of a model.

        Args:
            name: of the subject.
            where: "here" (this interpreter's MindSpore), "toolchain", or "best": the toolchain
                where there is one, for what it writes runs on every engine.
            **changes: see `recipe`, e.g. export__batch_size=3.
        """
        onnx = changes.get("export__format") == "onnx"
        if onnx:
            pytest.importorskip("onnx")
            pytest.importorskip("onnxruntime")
        if where == "best":
            where = "toolchain" if self.toolchain and not onnx else "here"
        if not onnx:
            self.require(where == "toolchain")
        key = (name, where, repr(sorted(changes.items())))
        if key not in self._paths:
            label = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
            output = self.shared / f"{name}-{where}-{label}"
            python = self.toolchain if where == "toolchain" else None
            _export_once(output, self.recipe(name, output, **changes), python)
            self._paths[key] = output
        return self._paths[key]

    def demo(self) -> Path:
        """The demo model's bundle, exported here from its shipped recipe."""
        self.require(False)
        key = ("demo",)
        if key not in self._paths:
            output = self.shared / "demo"
            _export_once(output, "demo", None)
            self._paths[key] = output
        return self._paths[key]

    def with_grouped_decode(self, path: Path) -> Path:
        """An ONNX bundle with a second file for decoding and scoring, as quantized ones have it."""
        from glmlite.bundle import Bundle
        from glmlite.bundle.contents import read_index
        from glmlite.exporter.onnx_graph import emit_graph

        output = path.with_name(f"{path.name}-grouped")
        with output.with_suffix(".once").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if output.exists():
                return output
            shutil.copytree(path, output)
            manifest = Bundle.open(path).manifest
            emit_graph(
                output,
                "decode.onnx",
                manifest.model,
                read_index(output / manifest.weights.index),
                flavor="ort",
                cache_length=manifest.graphs[0].cache_length,
                prefix_length=manifest.prefix_length,
                grouped=True,
            )
            data = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
            size = (output / "decode.onnx").stat().st_size
            data["files"]["decode.onnx"] = {"size": size, "sha256": "0" * 64}
            for graph in data["graphs"]:
                if graph["phase"] != "prefill":
                    graph["file"] = "decode.onnx"
            (output / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
        return output

    @property
    def can_export_mindir(self) -> bool:
        """Whether some interpreter has MindSpore."""
        return self.toolchain is not None or importlib.util.find_spec("mindspore") is not None

    def require(self, in_toolchain: bool) -> None:
        """Skip where an interpreter with MindSpore is missing."""
        if in_toolchain and self.toolchain is None:
            pytest.skip("no toolchain with MindSpore Lite 2.0.0; build it with `make toolchain`")
        if not in_toolchain and importlib.util.find_spec("mindspore") is None:
            pytest.skip("MindSpore is not installed here (pip install 'glmlite[mindspore]')")

    @contextmanager
    def open(self, path: Path, kind: str) -> Iterator[Any]:
        """An engine of one of the `KINDS` over a bundle."""
        from glmlite.bundle import Bundle
        from glmlite.runtime.engines import EngineOptions, open_engine

        name, in_toolchain = KINDS[kind]
        if name not in ("reference", "onnx"):
            self.require(in_toolchain)
        options = EngineOptions(toolchain=self.toolchain if in_toolchain else None, threads=1)
        opened = open_engine(Bundle.open(path), name, options)
        assert opened.name == opened.engine.spec.name == name
        try:
            yield opened.engine
        finally:
            opened.engine.close()

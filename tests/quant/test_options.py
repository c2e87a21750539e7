"""Options of `glmlite.quantize` and `glmlite.export`: what may be passed, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.errors import ConfigError
from glmlite.keywords import check_path
from glmlite.quant.job import QuantizeOptions

CPU, ASCEND = "cpu_int8", "ascend_on_the_fly_quant"


class Named:
    """Any `os.PathLike`, which need not be a `Path`."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        return self._path


def refused(tmp_path: Path, match: str, recipe: str = CPU, **options: Any) -> None:
    """Before anything is read: the source does not even exist."""
    with pytest.raises(ConfigError, match=match):
        glmlite.quantize(tmp_path / "no source", recipe=recipe, output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["text", "calibration", "converter"])
def test_paths_may_be_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("my.txt", Path("my.txt"), Named("my.txt")):
        assert getattr(QuantizeOptions(**{name: value}), name) == Path("my.txt")
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(QuantizeOptions(**{name: "~/my.txt"}), name) == Path("/home/me/my.txt")


def test_a_file_whose_name_begins_with_a_tilde() -> None:
    assert check_path("text", "~nobody-of-this-name.txt") == Path("~nobody-of-this-name.txt")


def test_an_interpreter_is_kept_as_it_was_named() -> None:
    """`./python` is a file; `python` is looked up."""
    assert QuantizeOptions(toolchain="./python").toolchain == "./python"


@pytest.mark.parametrize("name", ["text", "calibration", "converter", "toolchain", "config"])
@pytest.mark.parametrize("value", ["", 5, b"my.txt", Named(b"my.txt"), "my\0.txt", ["my.txt"]])
def test_what_is_no_path(tmp_path: Path, name: str, value: Any) -> None:
    """An empty text would be taken for none, and the demo's corpus for the user's."""
    refused(tmp_path, rf"^{name} is .*; it must be a path\.$", **{name: value})


@pytest.mark.parametrize("name", ["source", "output"])
def test_an_empty_path_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"source": tmp_path / "source", "output": tmp_path / "out", name: ""}
    with pytest.raises(ConfigError, match=f"^{name} is ''; it must be a path"):
        glmlite.quantize(paths["source"], recipe=CPU, output=paths["output"])


@pytest.mark.parametrize("recipe", [None, 3, "", b"cpu_int8"])
def test_a_recipe_is_a_path_or_a_name(tmp_path: Path, recipe: Any) -> None:
    refused(tmp_path, r"^recipe is .*; it must be a path\.$", recipe)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": -4}, "tokens is -4; it must be an integer of at least 16"),
        ({"tokens": 0}, "tokens is 0; it must be an integer of at least 16"),
        ({"tokens": 15}, "tokens is 15; it must be an integer of at least 16"),
        ({"tokens": "9"}, "tokens is '9'; it must be an integer"),
        ({"tokens": 99.0}, r"tokens is 99\.0; it must be an integer"),
        ({"tokens": True}, "tokens is True; it must be an integer"),
        ({"max_ppl_increase": "x"}, r"max_ppl_increase is 'x'; it must be a number in \[0, inf\)"),
        ({"max_ppl_increase": math.nan}, "max_ppl_increase is nan; it must be a number"),
        ({"max_ppl_increase": math.inf}, "max_ppl_increase is inf; it must be a number"),
        ({"max_ppl_increase": -0.1}, r"max_ppl_increase is -0\.1; it must be a number"),
        ({"timeout": 0}, r"timeout is 0; it must be a number in \(0, inf\)"),
        ({"timeout": "1h"}, "timeout is '1h'; it must be a number"),
        ({"overwrite": "no"}, "overwrite is 'no'; it must be True or False"),
        ({"accuracy": 0}, "accuracy is 0; it must be True or False"),
        ({"parity": None}, "parity is None; it must be True or False"),
        ({"portable": 1}, "portable is 1; it must be True or False"),
        (
            {"integer": "int4", "portable": True},
            "integer is 'int4'; it must be one of: int8, uint8",
        ),
        ({"settings": {"export.cache_length": 9}}, "settings is {.*; it must be a list of texts"),
        ({"settings": [3]}, r"settings is \[3\]; it must be a list of texts"),
        ({"settings": None}, "settings is None; it must be a list of texts"),
        (
            {"accuracy": False, "max_ppl_increase": 0.0},
            "max_ppl_increase is a bar .*accuracy=False",
        ),
        ({"portable": True, "converter": "x"}, "portable=True runs no converter"),
        ({"integer": "int8"}, "integer goes with portable=True only"),
    ],
)
def test_values_that_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    for recipe in (CPU, ASCEND):
        refused(tmp_path, f"^{said}", recipe, **options)


def test_values_that_are_taken() -> None:
    QuantizeOptions(
        tokens=16, max_ppl_increase=0, timeout=None, integer="uint8", portable=True, config="demo"
    )
    QuantizeOptions(tokens=np.int64(99), max_ppl_increase=np.float64(2), timeout=0.5)


def test_one_setting_may_be_text() -> None:
    one = QuantizeOptions(settings="export.cache_length=256")
    assert one.settings == QuantizeOptions(settings=["export.cache_length=256"]).settings
    assert one.settings == ("export.cache_length=256",)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"calibration": "my.txt"}, "calibration"),
        ({"config": "demo", "settings": ["export.cache_length=9"]}, "config, settings"),
        ({"accuracy": False, "parity": False}, "accuracy, parity"),
    ],
)
def test_what_a_converter_does_not_know(
    tmp_path: Path, options: dict[str, Any], names: str
) -> None:
    """It would be ignored, and the user none the wiser."""
    refused(tmp_path, f"^{names}: these go with recipes for CPUs", ASCEND, **options)


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("calibraton", "calibration"),
        ("max_ppl_increse", "max_ppl_increase"),
        ("over_write", "overwrite"),
        ("progres", "progress"),
    ],
)
def test_a_misspelt_option_of_quantize(tmp_path: Path, misspelt: str, nearest: str) -> None:
    said = rf"^There is no option '{misspelt}'; did you mean {nearest}\?$"
    for recipe in (CPU, ASCEND):
        refused(tmp_path, said, recipe, **{misspelt: "x"})


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("overwrit", "overwrite"),
        ("tolchain", "toolchain"),
        ("cache_lenght", "cache_length"),
        ("export.cache_lenght", "export.cache_length"),
    ],
)
def test_a_misspelt_option_of_export(misspelt: str, nearest: str) -> None:
    said = rf"^There is no option '{misspelt}'; did you mean {nearest}\?$"
    with pytest.raises(ConfigError, match=said):
        glmlite.export("demo", **{misspelt: 1})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"toolchain": ""}, "toolchain is ''; it must be a path"),
        ({"overwrite": "no"}, "overwrite is 'no'; it must be True or False"),
    ],
)
def test_options_of_export(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        glmlite.export("demo", output=tmp_path / "out", **options)


def test_exports_own_keys_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short ones, whole ones, and sections."""
    from glmlite.exporter import pipeline

    given: dict[str, Any] = {}

    def stop(*_arguments: Any, overrides: dict[str, Any], **_options: Any) -> None:
        given.update(overrides)
        raise InterruptedError

    monkeypatch.setattr(pipeline, "run_export", stop)
    asked = {
        "cache_length": 9, "export.batch_size": 1, "model.rope.kind": "ntk", "rope": {},
        "model": {"dtype": "float32"}, "output": tmp_path,
    }  # fmt: skip
    with pytest.raises(InterruptedError):
        glmlite.export("demo", **asked)
    assert given == asked


def test_texts_named_by_text_are_read(tmp_path: Path, short_text: Path) -> None:
    """And so is every other path."""
    pytest.importorskip("onnx")
    from glmlite.bundle import Bundle
    from glmlite.demo import CHECKPOINT

    path = glmlite.quantize(
        str(CHECKPOINT),
        recipe="cpu_int4",
        output=str(tmp_path / "out"),
        text=str(short_text),
        calibration=str(short_text),
        tokens=40,
        parity=False,
        settings="export.cache_length=256",
    )
    manifest = Bundle.open(path).manifest
    assert manifest.accuracy is not None
    assert (manifest.accuracy.text, manifest.accuracy.tokens) == (short_text.name, 40)

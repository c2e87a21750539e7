"""A manifest is read back as it was written, and a hostile one is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from glmlite.bundle.manifest import (
    FileEntry,
    GraphEntry,
    Manifest,
    ParityEntry,
    TokenizerEntry,
    WeightsEntry,
)
from glmlite.errors import BundleError
from glmlite.model.config import ModelConfig, RopeConfig


def manifest() -> Manifest:
    """A manifest that uses every field."""
    files = ["d.mindir", "weights/index.json", "tokenizer.model", "prefix_cache.npy"]
    return Manifest(
        model=ModelConfig(2, 32, 4, 2, 8, 48, 100, 64, rope=RopeConfig("linear", 16.0)),
        family="glm2",
        tokenizer=TokenizerEntry("tokenizer.model", {"[gMASK]": 90}),
        graphs=(
            GraphEntry("decode", 1, 64, 2, "mindir", "d.mindir", ("input_ids",), ("logits",), 1),
        ),
        weights=WeightsEntry("float32", "none", 1000, "weights/index.json"),
        files={name: FileEntry(3, "ab") for name in files},
        prefix_length=5,
        prefix_cache="prefix_cache.npy",
        parity=(ParityEntry("d.mindir", "lite 2.0.0", 12, 1e-5, 1.0, 1.0, 2),),
        producer={"glmlite": "0.1.0"},
        checkpoint={"sha256": "ff"},
    )


def test_round_trip() -> None:
    assert Manifest.from_json(manifest().to_json()) == manifest()


def _changed(**changes: Any) -> str:
    data = json.loads(manifest().to_json())
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = data
        for key in parents:
            at = at[int(key) if key.isdigit() else key]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "path",
    ["../d.mindir", "/etc/passwd", "a/../../b", "", "a//b", "./d.mindir", "a\\..\\b", "a\0b", 7],
)
def test_paths_stay_inside(path: object) -> None:
    for changes in ({"graphs__0__file": path}, {"weights__index": path}, {"tokenizer__file": path}):
        with pytest.raises(BundleError):
            Manifest.from_json(_changed(**changes))
    if isinstance(path, str):
        with pytest.raises(BundleError, match="not a plain path"):
            Manifest.from_json(_changed(files={path: {"size": 1, "sha256": "x"}}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "newer glmlite"),
        ({"schema_version": ...}, "schema version None"),
        ({"surprise": 1}, "surprise"),
        ({"graphs__0__surprise": 1}, "surprise"),
        ({"graphs": []}, "no graph"),
        ({"graphs": {}}, "no list"),
        ({"graphs__0__tokens": "1"}, "tokens"),
        ({"graphs__0__tokens": 0}, "no tokens"),
        ({"graphs__0__batch_size": True}, "batch_size"),
        ({"graphs__0__phase": "train"}, "phase"),
        ({"graphs__0__inputs": "abc"}, "inputs"),
        ({"graphs__0__cache_length": 5}, "prefix"),
        ({"files": []}, "files"),
        ({"files": {}}, "not among the files"),
        ({"family": "gpt"}, "family"),
        ({"model__num_layers": 0}, "num_layers"),
        ({"model__num_layers": 10**30}, "num_layers"),
        ({"model__rope": 3}, "rope"),
        ({"model__rope__kind": "yarn"}, "rope.kind"),
        ({"prefix_length": 0}, "prefix"),
        ({"weights": None}, "weights"),
        ({"parity": 5}, "parity"),
        ({"parity__0__max_abs": float("nan")}, "parity"),
        ({"parity__0__cosine": float("inf")}, "parity"),
        ({"parity__0__top1": 10**400}, "schema"),
        ({"producer": {"mindspore": 2}}, "producer"),
        ({"producer": []}, "schema"),
        ({"graphs__0__phase": "score"}, "score graphs only"),
        ({"graphs": [json.loads(manifest().to_json())["graphs"][0]] * 2}, "second graph"),
        ({"graphs__0__tokens": 2**20 + 1}, "bounds"),
        ({"graphs__0__cache_length": 2**20 + 1}, "bounds"),
        ({"graphs__0__batch_size": 1025}, "bounds"),
        ({"model__num_layers": 1025}, "num_layers"),
        ({"model__vocab_size": 2**22 + 1}, "vocab_size"),
    ],
)
def test_what_does_not_hold_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(_changed(**changes))
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"x"', "null"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        Manifest.from_json(text)

"""Settings in a bundle: applied on their machine, ignored on others, refused when damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.manifest import FileEntry
from glmlite.errors import BundleError
from glmlite.runtime.chunks import LARGEST_DYNAMIC_CHUNK
from glmlite.runtime.engines import onnx
from glmlite.runtime.threads import default_threads
from glmlite.tuning.settings import TunedSettings, read_settings
from tests.engines.driving import FP32
from tests.tuning.conftest import Keep

pytest.importorskip("onnxruntime")


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sessions of ONNX Runtime that are opened."""
    opened = []

    def open_session(*arguments: Any) -> Any:
        opened.append(onnx_open(*arguments))
        return opened[-1]

    onnx_open = onnx.open_session
    monkeypatch.setattr(onnx, "open_session", open_session)
    return opened


def spinning(session: Any) -> str:
    entry = session.get_session_options().get_session_config_entry
    return str(entry("session.intra_op.allow_spinning"))


def test_they_reach_engine_and_session(folder: Path, keep: Keep, sessions: list[Any]) -> None:
    ids = list(range(1, 24))
    with glmlite.load(folder, threads=1) as model:
        assert model.spec.preferred_chunk == LARGEST_DYNAMIC_CHUNK
        assert "tuned" not in model.engine_reason
        expected = model.session().feed(ids)
    assert spinning(sessions[-1]) == "1"
    keep()
    with glmlite.load(folder) as model:
        assert model.spec.preferred_chunk == 5
        assert "tuned: threads 3, chunks of 5, spinning off" in model.engine_reason
        lengths: list[int] = []
        step = model._engine.step

        def counted(input_ids: Any, *rest: Any) -> Any:
            lengths.append(input_ids.shape[1])
            return step(input_ids, *rest)

        model._engine.step = counted  # type: ignore[method-assign]
        found = model.session().feed(ids)
    assert lengths == [5, 5, 5, 5, 3]
    np.testing.assert_allclose(found, expected, atol=FP32)
    assert sessions[-1].get_session_options().intra_op_num_threads == 3
    assert spinning(sessions[-1]) == "0"


def test_the_users_threads_win(folder: Path, keep: Keep, sessions: list[Any]) -> None:
    keep()
    with glmlite.load(folder, threads=1) as model:
        assert model.spec.preferred_chunk == 5
        assert "threads 1 as asked for" in model.engine_reason
    assert sessions[-1].get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("change", [{"cpu": "Another CPU"}, {"cores": 4097}])
def test_another_machines_are_ignored(
    folder: Path, keep: Keep, sessions: list[Any], change: dict[str, Any]
) -> None:
    kept = keep(**change)
    with glmlite.load(folder) as model:
        assert model.spec.preferred_chunk == LARGEST_DYNAMIC_CHUNK
        assert f"tuned for another machine ({kept.machine}): ignored" in model.engine_reason
    assert sessions[-1].get_session_options().intra_op_num_threads == default_threads()
    assert spinning(sessions[-1]) == "1"


def put(folder: Path, content: bytes) -> None:
    """Replace the settings' file, and let the manifest say that this is right."""
    import hashlib

    manifest = Bundle.open(folder).manifest
    name = manifest.tuned_settings
    assert name
    (folder / name).write_bytes(content)
    entry = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    changed = dataclasses.replace(manifest, files={**manifest.files, name: entry})
    (folder / "manifest.json").write_text(changed.to_json(), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": 10**9}, "threads is 1000000000"),
        ({"threads": True}, "threads is True"),
        ({"threads": 2.0}, r"threads is 2\.0"),
        ({"threads": None}, "threads is None"),
        ({"prefill_chunk": -1}, "prefill_chunk is -1"),
        ({"prefill_chunk": 1 << 40}, "prefill_chunk is"),
        ({"spinning": 1}, "spinning is 1"),
        ({"cores": "2"}, "cores is '2'"),
        ({"cpu": ["x"]}, "cpu is"),
        ({"cpu": "x" * 1000}, "cpu is"),
        ({"cpu": "\x1b[2J"}, "cpu is"),
        ({"engine": "lite"}, "engine is 'lite'"),
        ({"schema_version": 2}, "schema_version is 2"),
        ({"decode_tokens_per_second": float("nan")}, "decode_tokens_per_second is nan"),
        ({"prefill_tokens_per_second": 10**400}, "prefill_tokens_per_second is"),
        ({"command": "rm"}, r"it has unknown keys \[command\]\."),
    ],
)
def test_absurd_values_are_refused(
    folder: Path, keep: Keep, change: dict[str, Any], fault: str
) -> None:
    settings = keep()
    put(folder, json.dumps(dataclasses.asdict(settings) | change).encode())
    with pytest.raises(BundleError, match=rf"not usable: .*{fault}") as caught:
        glmlite.load(folder)
    assert "glmlite tune BUNDLE" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Expecting value"),
        (b"[1]", "no JSON object"),
        (b"[" * 60000, "recursion"),
        (b"\xff\xfe", "utf-8"),
        (b"{}", "lacks"),
        (b" " * 70000, "70000 bytes"),
    ],
)
def test_what_is_no_settings_file(folder: Path, keep: Keep, content: bytes, fault: str) -> None:
    keep()
    put(folder, content)
    with pytest.raises(BundleError, match=f"not usable: .*{fault}"):
        glmlite.load(folder)


def test_a_changed_byte_is_found_at_once(folder: Path, keep: Keep) -> None:
    keep()
    path = folder / "runtime" / "tuned.json"
    path.write_bytes(path.read_bytes().replace(b'"threads": 3', b'"threads": 4'))
    with pytest.raises(BundleError, match="its sha256 is not the manifest's"):
        glmlite.load(folder)
    keep()  # measuring again repairs it
    assert read_settings(Bundle.open(folder)) is not None


def test_the_text_survives(settings: TunedSettings) -> None:
    assert TunedSettings.from_json(settings.to_json()) == settings

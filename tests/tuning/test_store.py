"""A bundle opens at every moment of being tuned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.errors import BundleError
from glmlite.runtime.engines.options import EngineOptions
from glmlite.tuning import store
from glmlite.tuning.options import TuneOptions
from glmlite.tuning.run import run_tune
from glmlite.tuning.settings import TunedSettings, apply_settings, read_settings
from tests.cli.conftest import write_bundle
from tests.tuning.conftest import Keep

pytest.importorskip("onnxruntime")

QUICK = TuneOptions(threads_up_to=1, prompt_tokens=20, repeats=1)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_tuning_leaves_a_bundle_that_verifies(folder: Path) -> None:
    before = everything(folder)
    for name in ("runtime/tuned.json", "runtime/tuned-2.json", "runtime/tuned.json"):
        report = run_tune(folder, QUICK)
        bundle = Bundle.open(folder)
        bundle.verify()
        assert bundle.manifest.tuned_settings == name
        assert read_settings(bundle) == report.settings
        assert report.settings.is_for_this_machine
        assert report.settings.threads == 1
        after = everything(folder)
        assert after.keys() == before.keys() | {name}
        changed = {path for path in before if before[path] != after[path]}
        assert changed == {"manifest.json"}


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    before = everything(folder)
    report = run_tune(folder, QUICK, dry_run=True)
    assert not report.written
    assert everything(folder) == before
    assert {m.prefill_chunk for m in report.measurements} == {256}


@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.parametrize("tuned", [False, True])
def test_an_interrupt_between_two_steps(
    folder: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch, moves: int, tuned: bool
) -> None:
    if tuned:
        keep()
    before = read_settings(Bundle.open(folder))
    real, done = store.move_into_place, []

    def interrupted(staged: Path, output: Path) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(output)
        real(staged, output)

    monkeypatch.setattr(store, "move_into_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keep(threads=7)
    bundle = Bundle.open(folder)
    bundle.verify()
    assert read_settings(bundle) == before
    assert not list(folder.glob(".*"))
    assert all(any(path.iterdir()) for path in folder.glob("runtime"))
    monkeypatch.undo()
    assert keep(threads=7) == read_settings(Bundle.open(folder))


def test_an_interrupt_while_measuring_leaves_no_folder(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store.updating(Bundle.open(folder)):
        raise KeyboardInterrupt
    assert not (folder / "runtime").exists()


@pytest.mark.parametrize("damage", ["longer", "other", "link", "gone"])
def test_damaged_settings_are_replaced(folder: Path, keep: Keep, damage: str) -> None:
    keep()
    file = folder / "runtime" / "tuned.json"
    content = file.read_bytes()
    if damage == "longer":
        file.write_bytes(content + b" ")
    elif damage == "other":
        file.write_bytes(content.replace(b"3", b"4"))
    else:
        file.unlink()
    if damage == "link":
        file.symlink_to("elsewhere")
    if damage == "gone":
        file.parent.rmdir()
    told_so = "symbolic link" if damage == "link" else "glmlite tune"
    with pytest.raises(BundleError, match=told_so) as told:
        apply_settings(Bundle.open(folder), EngineOptions())
    assert "opy" not in str(told.value)
    report = run_tune(folder, QUICK)
    bundle = Bundle.open(folder)
    bundle.verify()
    assert read_settings(bundle) == report.settings
    assert [path.name for path in (folder / "runtime").iterdir()] == ["tuned-2.json"]


def test_a_bundle_that_cannot_be_written(folder: Path) -> None:
    (folder / "runtime").write_bytes(b"in the way")
    with pytest.raises(BundleError, match=r"cannot be written(.|\n)*--dry-run"):
        run_tune(folder, QUICK)


def test_a_link_out_of_the_bundle_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "runtime").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="symbolic link"):
        run_tune(folder, QUICK)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_processes_do_not_tune_at_once(folder: Path, keep: Keep) -> None:
    with (
        store.updating(Bundle.open(folder)),
        pytest.raises(BundleError, match="another process is writing"),
    ):
        keep()


def test_a_bundle_that_was_changed_meanwhile(folder: Path, settings: TunedSettings) -> None:
    with store.updating(Bundle.open(folder)) as update:
        path = folder / "manifest.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        data["producer"]["glmlite"] = "another"
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(BundleError, match="was changed while it was being measured"):
            update(settings)
    assert Bundle.open(folder).manifest.tuned_settings is None


def test_mindir_is_refused_with_the_reason(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "mindir")
    with pytest.raises(BundleError, match=r"holds MindIR graphs(.|\n)*glmlite bench BUNDLE"):
        run_tune(folder, QUICK)
    assert not (folder / "runtime").exists()


def test_the_slot_must_name_a_file_of_the_bundle(folder: Path) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for name, fault in (("runtime/tuned.json", "not among the files"), ("../x", "plain path")):
        path.write_text(json.dumps(data | {"tuned_settings": name}), encoding="utf-8")
        with pytest.raises(BundleError, match=fault):
            Bundle.open(folder)

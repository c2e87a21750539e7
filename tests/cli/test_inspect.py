"""What a bundle says of itself."""

from __future__ import annotations

import json
import shutil

import pytest


def test_the_page(glmlite_command, demo_bundle):
    result = glmlite_command("inspect", demo_bundle)
    assert result.returncode == 0
    for text in ("glm2", "tokenizer.model", "decode.mindir", "Parity was not checked", "4 files"):
        assert text in result.stdout


def test_json_is_the_manifest(glmlite_command, demo_bundle):
    result = glmlite_command("inspect", demo_bundle, "--json", "--verify")
    data = json.loads(result.stdout)
    manifest = json.loads((demo_bundle / "manifest.json").read_text(encoding="utf-8"))
    assert data == {"path": str(demo_bundle.resolve()), "verified": True, **manifest}


@pytest.fixture
def copy(demo_bundle, tmp_path):
    return shutil.copytree(demo_bundle, tmp_path / "copy")


def test_a_flipped_byte_is_found_by_verify_only(glmlite_command, copy):
    path = copy / "tokenizer.model"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert glmlite_command("inspect", copy).returncode == 0
    result = glmlite_command("inspect", copy, "--verify")
    assert result.returncode == 2
    assert "Error: tokenizer.model was changed" in result.stderr
    assert result.stdout == ""


def test_names_from_the_manifest_cannot_steer_the_terminal(glmlite_command, copy):
    path = copy / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["producer"] = {"glmlite": "\x1b[2J[red]evil[/red]"}
    path.write_text(json.dumps(data), encoding="utf-8")
    result = glmlite_command("inspect", copy)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "[red]evil[/red]" in result.stdout


def test_no_bundle(glmlite_command, tmp_path):
    result = glmlite_command("inspect", tmp_path)
    assert result.returncode == 2
    assert "There is no bundle at" in result.stderr

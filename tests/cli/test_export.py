"""`glmlite export`, from the command line to a conversation."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.cli.terminal import PASTE_OFF, Terminal

SMALL = ["--set", "export.prefill_tokens=[8]", "--set", "export.cache_length=2048"]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("export") / "demo"


@pytest.mark.mindspore
def test_export_then_chat(glmlite_command, output, hello):
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed here (pip install 'glmlite[mindspore]')")
    result = glmlite_command("export", "--config", "demo", "--output", output, *SMALL)
    assert result.returncode == 0, result.stderr
    assert "prefill_t8_s2048_b1.mindir" in result.stdout
    assert "100%" in result.stdout
    assert result.stdout.splitlines()[-1] == f"Next: glmlite chat {output}"
    assert "Reading the checkpoint" in result.stderr
    again = glmlite_command("export", "--config", "demo", "--output", output, *SMALL)
    assert again.returncode == 2
    assert "There is a bundle at" in again.stderr
    chat = glmlite_command("chat", output, "--engine", "mindspore", stdin="你好\n")
    assert chat.stdout == f"{hello}\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing option '--config'"),
        (["--config", "nosuch"], "nosuch"),
        (["--config", "demo", "--set", "export.cache_lenght=5"], "export.cache_length"),
        (["--config", "demo", "--set", "nonsense"], "must read key=value"),
        (["--config", "demo", "--checkpoint", "/nowhere"], "/nowhere"),
        (["--config", "demo", "--toolchain", "/bin/true"], "/bin/true"),
        (["--config", "demo", "--adapter", "/nowhere"], "There is no adapter at /nowhere"),
        (["--config", "demo", "--adapter", "/one", "--adapter", "/two"], "no adapter at /one"),
    ],
)
def test_wrong_arguments_leave_nothing(glmlite_command, tmp_path, arguments, problem):
    result = glmlite_command("export", "--output", tmp_path / "out" / "bundle", *arguments)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "bundle").exists()
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.lite
def test_ctrl_c_spares_the_worker(glmlite_command, environment, toolchain, tmp_path):
    python = ["--toolchain", toolchain]
    parity = ["--set", "export.parity=off", "--json"]
    arguments = ["--config", "demo", "--output", tmp_path / "b", *SMALL, *parity, *python]
    report = json.loads(glmlite_command("export", *arguments).stdout)
    assert report["manifest"]["parity"] == []
    endless = ["--temperature", "1000", "--seed", "1", "--max-new-tokens", "9999"]
    chat = ["-m", "glmlite.cli", "chat", report["path"], *python, *endless, "--no-history"]
    with Terminal(chat, environment) as terminal:
        for question in ("你好", "再说一遍"):
            terminal.answer(f"{question}\r", PASTE_OFF)
            terminal.more(20)
            # As at a real terminal: the worker, in the same foreground group, gets it too.
            terminal.type("\x03")
            terminal.expect("(stopped)")
        terminal.answer("/stats\r", "Engine: lite")
        terminal.expect("Rounds: 2")
        terminal.answer("\x04", PASTE_OFF)
        assert terminal.wait() == 0

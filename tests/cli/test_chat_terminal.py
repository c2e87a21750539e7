"""`glmlite chat` at a real terminal, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import REFERENCE
from tests.cli.terminal import PASTE_OFF, Terminal


@pytest.fixture
def chat_at_terminal(environment, demo_bundle):
    def start(*arguments):
        return Terminal(
            ["-m", "glmlite.cli", "chat", str(demo_bundle), *REFERENCE, *arguments], environment
        )

    return start


# Uniform sampling: the answer goes on for thousands of tokens.
ENDLESS = [
    "--temperature",
    "1000",
    "--seed",
    "1",
    "--max-new-tokens",
    "9999",
    "--overflow",
    "sliding",
]


def test_a_chat_at_a_terminal(chat_at_terminal, tmp_path, hello):
    with chat_at_terminal() as terminal:
        terminal.answer("你好\r", hello)
        # Alt-Enter, then a bracketed paste, then a block: each one turn.
        terminal.answer("What is\x1b\rglmlite?\r", "tokens/s")
        terminal.answer("\x1b[200~你\n好\x1b[201~\r", "tokens/s")
        terminal.answer('"""\r你好\r"""\r', "tokens/s")
        terminal.answer("/stats\r", "Rounds: 4")
        terminal.answer("/help\r", "/system TEXT")
        terminal.answer("half a line\x03", "Ctrl-D or /exit leaves.")
        terminal.answer("\x04", PASTE_OFF)
        assert terminal.wait() == 0
    history = tmp_path / "state" / "glmlite" / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "+What is\n+glmlite?\n" in history.read_text(encoding="utf-8")


def test_ctrl_c_stops_the_answer_only(chat_at_terminal):
    with chat_at_terminal(*ENDLESS, "--no-history") as terminal:
        terminal.answer("你好\r", PASTE_OFF)
        shown = terminal.more(20)
        terminal.type("\x03")
        shown += terminal.expect("(stopped)")
        assert "Interrupted" not in shown
        # What was shown is in the conversation, and the chat goes on from there.
        terminal.answer("/stats\r", "Rounds: 1")
        terminal.answer("/undo\r", "Rounds left: 0")
        terminal.answer("\x04", PASTE_OFF)
        assert terminal.wait() == 0


def test_ctrl_c_in_a_pipe_ends_it(environment, demo_bundle):
    process = subprocess.Popen(
        [sys.executable, "-m", "glmlite.cli", "chat", str(demo_bundle), *REFERENCE, *ENDLESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("你好\n".encode())
    process.stdin.flush()
    assert process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Interrupted." in err
    assert b"Traceback" not in err

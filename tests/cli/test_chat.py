"""The chat: in pipes, at a terminal, and what each command does with a real model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from glmlite.cli.options import GenerationChoice
from glmlite.cli.repl.loop import ChatLoop
from glmlite.cli.repl.terminal import CommandCompleter
from glmlite.errors import CacheFullError, ConfigError, TokenizerError
from glmlite.runtime.model import load
from tests.cli.conftest import REFERENCE


def generation(**changes):
    values = {
        "max_new_tokens": 40,
        "stop": (),
        "overflow": "error",
        "speculate": "auto",
        "sampling": {},
    } | changes
    return GenerationChoice(**values)


@pytest.fixture(scope="module")
def demo(demo_bundle):
    with load(demo_bundle, "reference") as model:
        yield model


@pytest.fixture(scope="module")
def glm3(glm3_bundle):
    with load(glm3_bundle, "reference") as model:
        yield model


def contents(loop: ChatLoop) -> list[str]:
    return [message["content"] for message in loop.conversation.messages]


def test_a_pipe_gets_the_answer_and_nothing_else(glmlite_command, demo_bundle, hello):
    result = glmlite_command("chat", demo_bundle, *REFERENCE, stdin="你好\n")
    assert result.returncode == 0
    assert result.stdout == f"{hello}\n"
    assert result.stderr == "Engine: reference (as asked for)\n"


def test_lines_of_a_pipe_are_turns_of_one_conversation(glmlite_command, demo_bundle):
    stdin = '你好\n\n"""\n你好\n"""\n/stats\nstop\nnot read\n'
    result = glmlite_command("chat", demo_bundle, *REFERENCE, stdin=stdin)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert "Rounds: 2" in result.stderr
    assert "of it reused" in result.stderr


def test_a_pipe_can_hold_a_conversation(environment, demo_bundle):
    process = subprocess.Popen(
        [sys.executable, "-m", "glmlite.cli", "chat", str(demo_bundle), *REFERENCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for _turn in range(2):
        process.stdin.write("你好\n")
        process.stdin.flush()
        # The answer comes before the next question is there.
        assert process.stdout.readline().strip()
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        ("/save /tmp/x.json\n", "only when typed at a terminal"),
        ("/nosuch\n", "There is no command /nosuch."),
        ("你" * 5000 + "\n", "cache"),
    ],
)
def test_an_error_in_a_pipe_ends_it(glmlite_command, demo_bundle, stdin, problem):
    result = glmlite_command("chat", demo_bundle, *REFERENCE, stdin=stdin + "你好\n")
    assert result.returncode == 2
    assert result.stdout == ""
    assert problem in result.stderr
    assert "Traceback" not in result.stderr


def test_bytes_that_are_no_text(environment, demo_bundle):
    result = subprocess.run(
        [sys.executable, "-m", "glmlite.cli", "chat", str(demo_bundle), *REFERENCE],
        input=b"\xff\xfe\n",
        capture_output=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 2
    assert b"not UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("kind", "problem"), [("base_bundle", "base model"), ("mute_bundle", "no tokenizer")]
)
def test_what_cannot_chat_says_why(request, glmlite_command, kind, problem):
    bundle = request.getfixturevalue(kind)
    result = glmlite_command("chat", bundle, *REFERENCE, stdin="你好\n")
    assert result.returncode == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_the_second_turn_reuses_the_first(demo):
    loop = ChatLoop(demo, generation(), interactive=False)
    loop.take("你好")
    held = len(loop.session.tokens)
    loop.take("你好")
    assert loop.last is not None
    assert loop.last.stats is not None
    assert loop.last.stats.reused_tokens >= held


def test_undo_retry_and_clear(demo, capsys):
    loop = ChatLoop(demo, generation(), interactive=True)
    loop.take("你好")
    first = contents(loop)
    loop.take("What is glmlite?")
    loop.take("/undo")
    assert contents(loop) == first
    loop.take("/retry")
    assert contents(loop) == first
    loop.take("/clear")
    assert contents(loop) == []
    loop.take("/undo")
    loop.take("/retry")
    shown = capsys.readouterr().err
    assert "There is nothing to undo." in shown
    assert "There is no question yet." in shown


def test_a_question_that_fails_leaves_no_trace(demo):
    loop = ChatLoop(demo, generation(), interactive=True)
    loop.take("你好")
    before = contents(loop)
    with pytest.raises(CacheFullError):
        loop.take("你" * 5000)
    assert contents(loop) == before


def test_at_a_terminal_the_chat_goes_on_after_an_error(demo, capsys, hello):
    loop = ChatLoop(demo, generation(), interactive=True)
    loop.run(["/nosuch", "你好", "stop", "不会问到"])
    shown = capsys.readouterr()
    assert "There is no command /nosuch." in shown.err
    assert shown.out == f"{hello}\n"
    assert len(contents(loop)) == 2


def test_chatglm2_has_no_system_message(demo, glmlite_command, demo_bundle):
    loop = ChatLoop(demo, generation(), interactive=True)
    with pytest.raises(ConfigError, match="trained without a system message"):
        loop.take("/system 用英文回答")
    result = glmlite_command("chat", demo_bundle, *REFERENCE, "--system", "x", stdin="你好\n")
    assert result.returncode == 2
    assert "trained without a system message" in result.stderr


def test_chatglm3_has_one(glm3):
    loop = ChatLoop(glm3, generation(max_new_tokens=5), interactive=True)
    loop.take("/system 用英文回答")
    loop.take("你好")
    loop.take("/clear")
    assert contents(loop) == ["用英文回答"]
    loop.take("/system")
    assert contents(loop) == []


def test_save_and_load(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop = ChatLoop(demo, generation(), interactive=True)
    loop.take("你好")
    loop.take("/save chat.json")
    other = ChatLoop(demo, generation(), interactive=True)
    other.take("/load chat.json")
    assert other.conversation.messages == loop.conversation.messages
    with pytest.raises(ConfigError, match="needs a file name"):
        loop.take("/save")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        loop.take("/load missing.json")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        loop.take("/save missing/chat.json")


def test_a_file_of_another_family_changes_nothing(demo, tmp_path):
    path = tmp_path / "chat.json"
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    path.write_text(json.dumps(messages), encoding="utf-8")
    loop = ChatLoop(demo, generation(), interactive=True)
    loop.take("你好")
    before = contents(loop)
    with pytest.raises(TokenizerError, match="ChatGLM2 knows only user and assistant"):
        loop.take(f"/load {path}")
    assert contents(loop) == before


def test_completion():
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    def complete(text):
        found = CommandCompleter().get_completions(Document(text), CompleteEvent())
        return [completion.text for completion in found]

    assert complete("/s") == ["/system", "/save", "/stats"]
    assert complete("s") == []
    assert complete("/undo now") == []

"""What the commands do to a conversation, and conversations on disk."""

from __future__ import annotations

import json
import os

import pytest

from glmlite.cli.repl import files
from glmlite.cli.repl.blocks import is_open, split_turns, unquote
from glmlite.cli.repl.commands import commands, find_command
from glmlite.cli.repl.conversation import Conversation
from glmlite.cli.repl.files import load_messages, save_messages
from glmlite.errors import ConfigError

USER, REPLY = {"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}
SYSTEM = {"role": "system", "content": "S"}
RESULT = {"role": "observation", "content": "{}"}


def test_undo_drops_a_round_with_everything_in_it():
    conversation = Conversation([SYSTEM, USER, REPLY, USER, REPLY, RESULT, REPLY])
    assert conversation.undo()
    assert conversation.messages == [SYSTEM, USER, REPLY]
    assert conversation.undo()
    assert conversation.messages == [SYSTEM]
    assert not conversation.undo()
    assert conversation.messages == [SYSTEM]


def test_retry_keeps_the_question():
    conversation = Conversation([USER, REPLY, RESULT, REPLY])
    assert conversation.retry()
    assert conversation.messages == [USER]
    assert not Conversation([SYSTEM]).retry()


def test_clear_keeps_the_system_message():
    conversation = Conversation([SYSTEM, USER, REPLY])
    conversation.clear()
    assert conversation.messages == [SYSTEM]
    assert conversation.rounds == 0


def test_the_system_message_comes_first_and_only_once():
    conversation = Conversation([USER, REPLY])
    conversation.set_system("one")
    conversation.set_system("two")
    assert conversation.messages == [{"role": "system", "content": "two"}, USER, REPLY]
    conversation.set_system("")
    assert conversation.messages == [USER, REPLY]


def test_a_snapshot_does_not_change():
    conversation = Conversation([USER])
    before = conversation.snapshot()
    conversation.messages[0]["content"] = "other"
    assert before == [USER]


@pytest.mark.parametrize(
    ("lines", "turns"),
    [
        (["a\n", "b"], ["a", "b"]),
        (['"""a\n', "b\n", 'c"""\n', "d\n"], ["a\nb\nc", "d"]),
        (['"""one line"""\n'], ["one line"]),
        (['"""\n', "never ended\n"], ["never ended"]),
        (['say """ is a quote\n'], ['say """ is a quote']),
        (['"""""\n', 'x"""\n'], ['""\nx']),
        (["\ufeffa\r\n", "b\r\n"], ["a", "b"]),
        (
            ["[Round 1]\r\n", "\r\n", "问：a\r\n", "\r\n", "答：\r\n"],
            ["[Round 1]\n\n问：a\n\n答："],
        ),
    ],
)
def test_turns_and_blocks(lines, turns):
    assert [unquote(turn) for turn in split_turns(lines)] == turns


@pytest.mark.parametrize(("text", "expected"), [('"""', True), ('""""', True), ('"""a"""', False)])
def test_a_block_is_open_until_it_ends(text, expected):
    assert is_open(text) is expected


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("/undo", "undo", ""),
        ("/save  my chat.json ", "save", "my chat.json"),
        ("/system a\nb", "system", "a\nb"),
        ("clear", "clear", ""),
        ("stop\n", "exit", ""),
    ],
)
def test_commands_are_found(text, name, argument):
    found, rest = find_command(text, interactive=True)
    assert found is not None
    assert found.run is commands()[name].run
    assert rest == argument


@pytest.mark.parametrize(
    "text", ["/usr/bin 是什么", " /undo", "/Undo", '"""/undo"""', "/ a", "stop it", "clear?", "/"]
)
def test_other_text_is_a_question(text):
    assert find_command(text, interactive=True) == (None, "")


def test_an_unknown_command_names_the_nearest():
    with pytest.raises(ConfigError, match="Nearest: /retry"):
        find_command("/rety", interactive=True)


@pytest.mark.parametrize("name", ["/save x.json", "/load x.json"])
def test_a_pipe_touches_no_files(name):
    with pytest.raises(ConfigError, match="only when typed at a terminal"):
        find_command(name, interactive=False)


def test_saved_conversations_come_back(tmp_path):
    messages = [SYSTEM | {"tools": [{"name": "t"}]}, USER, REPLY | {"metadata": "t"}]
    path = tmp_path / "chat.json"
    save_messages(path, messages)
    assert load_messages(path) == messages
    assert "问" in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600
    save_messages(path, [USER])
    assert load_messages(path) == [USER]
    assert os.listdir(tmp_path) == ["chat.json"]


def test_saving_overwrites_no_other_file(tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="left alone"):
        save_messages(path, [USER])
    assert path.read_text(encoding="utf-8") == "years of work"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "chat.json"
    save_messages(path, [USER])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space"):
        save_messages(path, [USER, REPLY])
    assert load_messages(path) == [USER]
    assert os.listdir(tmp_path) == ["chat.json"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"{}", "no saved conversation"),
        (b'"text"', "no saved conversation"),
        (b"[1]", "no saved conversation"),
        (b'[{"role": "root", "content": "x"}]', "no saved conversation"),
        (b'[{"role": "user"}]', "no saved conversation"),
        (b'[{"role": "user", "content": 5}]', "no saved conversation"),
        (b'[{"role": "user", "content": "x", "__class__": "os"}]', "no saved conversation"),
        (b'[{"role": "user", "content": "\\ud800"}]', "no saved conversation"),
    ],
)
def test_hostile_files_are_refused(tmp_path, content, problem):
    path = tmp_path / "chat.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        load_messages(path)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([USER]), encoding="utf-8")
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        load_messages(path)


def test_a_named_pipe_does_not_block(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_messages(path)

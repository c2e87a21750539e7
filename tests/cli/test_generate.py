"""One prompt from a script."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import REFERENCE


def test_text_streams_to_stdout(glmlite_command, demo_bundle, hello):
    result = glmlite_command("generate", demo_bundle, *REFERENCE, "--chat", "--prompt", "你好")
    assert result.returncode == 0
    assert result.stdout == f"{hello}\n"


def test_json_is_one_object_on_one_line(glmlite_command, demo_bundle, hello):
    arguments = ["--chat", "--prompt", "-", "--json", "--max-new-tokens", "5"]
    result = glmlite_command("generate", demo_bundle, *REFERENCE, *arguments, stdin="你好\n")
    assert result.returncode == 0
    assert result.stdout.count("\n") == 1
    answer = json.loads(result.stdout)
    assert answer["finish_reason"] == "length"
    assert len(answer["tokens"]) == answer["stats"]["new_tokens"] == 5
    assert answer["engine"] == "reference"
    assert answer["text"]
    assert hello.startswith(answer["text"])


def test_a_stop_string_ends_the_text(glmlite_command, demo_bundle, hello):
    stop = hello[6:9]
    arguments = ["--chat", "--prompt", "你好", "--stop", stop, "--json"]
    answer = json.loads(glmlite_command("generate", demo_bundle, *REFERENCE, *arguments).stdout)
    assert answer["text"] == hello.partition(stop)[0].rstrip()
    assert answer["finish_reason"] == "stop"


def test_the_prompt_is_fed_as_it_is_without_chat(glmlite_command, demo_bundle):
    prompt = "[Round 1]\n\n问：你好\n\n答："
    arguments = ["--max-new-tokens", "5", "--json"]
    raw = glmlite_command("generate", demo_bundle, *REFERENCE, *arguments, "--prompt", prompt)
    chat = glmlite_command(
        "generate", demo_bundle, *REFERENCE, *arguments, "--chat", "--prompt", "你好"
    )
    assert json.loads(raw.stdout)["tokens"] == json.loads(chat.stdout)["tokens"]


def test_ids_need_no_tokenizer(glmlite_command, mute_bundle):
    arguments = ["--ids", "5, 6,7", "--max-new-tokens", "4", "--json"]
    result = glmlite_command("generate", mute_bundle, *REFERENCE, *arguments)
    answer = json.loads(result.stdout)
    assert answer["text"] == ""
    assert len(answer["tokens"]) == 4
    assert answer["stats"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Say what to continue"),
        (["--prompt", "x", "--ids", "1"], "Say what to continue"),
        (["--ids", "1,x"], "'1,x' is no list of numbers"),
        (["--ids", "1", "--chat"], "--chat needs a --prompt"),
        (["--prompt", "x", "--temperature", "-1"], "temperature"),
        (["--prompt", "x", "--top-p", "2"], "top_p"),
        (["--prompt", "x", "--stop", ""], "stop string"),
        (["--prompt", "x", "--engine-config", "/nowhere.ini", "--engine", "lite"], "nowhere.ini"),
        (["--ids", "999999"], "999999"),
        (
            ["--prompt", "x", "--toolchain", "/nowhere/python", "--engine", "lite"],
            "/nowhere/python",
        ),
    ],
)
def test_wrong_arguments_are_one_error(glmlite_command, demo_bundle, arguments, problem):
    result = glmlite_command("generate", demo_bundle, *REFERENCE, *arguments)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_argument_that_is_no_text(environment, demo_bundle):
    command = [sys.executable, "-m", "glmlite.cli", "generate", str(demo_bundle), *REFERENCE]
    result = subprocess.run(
        [*command, "--prompt", b"\xff"], capture_output=True, env=environment, check=False
    )
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""

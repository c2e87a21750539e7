"""The group: what it lists, how fast it stays, what it says to a typo."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from glmlite.cli import options
from glmlite.cli.app import glmlite, summaries
from glmlite.runtime import engines

HEAVY = ("numpy", "rich", "prompt_toolkit", "yaml", "sentencepiece", "safetensors", "mindspore")


def test_help_lists_the_commands_in_their_order():
    result = CliRunner().invoke(glmlite, ["--help"])
    assert result.exit_code == 0
    places = [result.output.index(f"\n  {name} ") for name in summaries()]
    assert places == sorted(places)
    assert places


@pytest.mark.parametrize("command", [[], *([name] for name in summaries())])
def test_every_help_page_has_examples(command):
    result = CliRunner().invoke(glmlite, [*command, "--help"])
    assert result.exit_code == 0
    assert "Examples:\n  " in result.output
    assert "--debug" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["exprot"]])
def test_help_imports_nothing_heavy(arguments, environment):
    code = (
        "import json, sys, atexit\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['glmlite', *{arguments!r}]\n"
        "from glmlite.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    loaded = set(json.loads(result.stderr.splitlines()[-1]))
    assert not loaded & set(HEAVY)
    assert not {f"glmlite.cli.{name.replace('-', '_')}" for name in summaries()} & loaded


@pytest.mark.parametrize("command", list(summaries()))
def test_help_of_a_command_imports_no_library(command, environment):
    command = command.replace("-", "_")
    code = (
        "import sys\n"
        f"from glmlite.cli.{command} import {command}\n"
        f"sys.exit(str([m for m in {HEAVY!r} if m in sys.modules] or ''))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stderr.strip() == ""


def test_a_typo_names_the_nearest_command():
    result = CliRunner().invoke(glmlite, ["exprot"])
    assert result.exit_code == 2
    assert "No such command 'exprot'. Did you mean 'export'?" in result.output


def test_nonsense_gets_the_list():
    result = CliRunner().invoke(glmlite, ["xyzzy"])
    assert result.exit_code == 2
    assert ", ".join(summaries()) in " ".join(result.output.split())


def test_version():
    from glmlite import __version__

    result = CliRunner().invoke(glmlite, ["--version"])
    assert result.output == f"glmlite {__version__}\n"


def test_the_engines_offered_are_the_engines():
    assert options.ENGINES == engines.ENGINES


def test_everything_speaks_chinese(glmlite_command):
    page = glmlite_command("chat", "--help", GLMLITE_LANG="zh").stdout
    for english in ("Usage", "Options", "Examples", "default", "Show", "Error"):
        assert english not in page
    assert "用法：" in page
    assert "示例:" in page
    wrong = glmlite_command("chat", "--nope", GLMLITE_LANG="zh")
    assert wrong.returncode == 2
    assert "没有选项" in wrong.stderr
    assert "错误：" in wrong.stderr
    assert "没有命令" in glmlite_command("exprot", GLMLITE_LANG="zh").stderr
    assert "错误：" in glmlite_command("inspect", "/nowhere", GLMLITE_LANG="zh").stderr


def test_run_infer_is_the_chat(environment):
    code = (
        "import sys; sys.argv = ['run_infer', '--help']\n"
        "from glmlite.cli import main_of_run_infer; main_of_run_infer()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "Usage: run_infer [OPTIONS] BUNDLE" in result.stdout

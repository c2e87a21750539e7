"""`glmlite convert-lite` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ["--prefill-tokens", "8", "--cache-length", "256"]


def test_convert_then_chat(glmlite_command, demo_bundle, toolchain, tmp_path, hello):
    pytest.importorskip("onnx")
    python, sizes = ["--toolchain", toolchain], ["--prefill-tokens", "1", "--cache-length", "256"]
    result = glmlite_command(
        "convert-lite", demo_bundle, "--output", tmp_path / "lite", *sizes, *python
    )
    assert result.returncode == 0, result.stderr
    assert "decode_t1_s256_b1.mindir" in result.stdout
    assert "lite 2.0.0" in result.stdout
    assert "Converting with mindspore_lite 2.0.0" in result.stderr
    assert "CONVERT RESULT SUCCESS" in result.stderr
    assert result.stdout.splitlines()[-1] == (
        f"Next: glmlite chat {tmp_path / 'lite'} --toolchain {toolchain}"
    )
    shown = glmlite_command("inspect", tmp_path / "lite", "--verify")
    assert "converter mindspore_lite 2.0.0" in shown.stdout
    chat = glmlite_command("chat", tmp_path / "lite", "--engine", "lite", *python, stdin="你好\n")
    assert chat.stdout == f"{hello}\n"
    again = glmlite_command(
        "convert-lite", demo_bundle, "--output", tmp_path / "lite", *SMALL, *python
    )
    assert again.returncode == 2
    assert "There is a bundle at" in again.stderr


def test_print_command_writes_nothing(glmlite_command, demo_bundle, toolchain, tmp_path):
    arguments = ["convert-lite", demo_bundle, *SMALL, "--toolchain", toolchain, "--print-command"]
    printed = glmlite_command(*arguments, "--output", tmp_path / "out")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.count("--fmk=ONNX") == 2
    assert f"--outputFile={tmp_path}/out/decode_t1_s256_b1" in printed.stdout
    assert "input_ids:1,8;" in printed.stdout
    assert "export.flavor=standard" in printed.stdout
    commands = json.loads(glmlite_command(*arguments, "--json").stdout)["commands"]
    assert [c["graph"] for c in commands] == [
        "prefill_t8_s256_b1.mindir", "decode_t1_s256_b1.mindir",
    ]  # fmt: skip
    assert commands[0]["argv"][0] == toolchain
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--output DIR"),
        (["--output", "OUT", "--prefill-tokens", "8;16"], "no list of numbers"),
        (["--output", "OUT", "--prefill-tokens", "300", "--cache-length", "256"], "no room"),
        (["--output", "OUT", "--converter", "/nowhere"], "no MindSpore Lite package"),
        (["--output", "OUT", "--toolchain", sys.executable], "mindspore-lite==2.0.0"),
    ],
)
def test_wrong_arguments_leave_nothing(glmlite_command, demo_bundle, tmp_path, arguments, problem):
    pytest.importorskip("onnx")
    arguments = [str(tmp_path / "out") if a == "OUT" else a for a in arguments]
    result = glmlite_command("convert-lite", demo_bundle, *arguments)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_ctrl_c_ends_the_converter_and_leaves_nothing(environment, demo_bundle, tmp_path):
    pytest.importorskip("onnx")
    tool = tmp_path / "lite" / "tools" / "converter" / "converter" / "converter_lite"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho started $$\nexec sleep 60\n", encoding="utf-8")
    tool.chmod(0o755)
    command = ["convert-lite", str(demo_bundle), "--converter", str(tmp_path / "lite")]
    command += ["--output", str(tmp_path / "made" / "out"), *SMALL]
    with subprocess.Popen(
        [sys.executable, "-m", "glmlite.cli", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("started"))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "Traceback" not in rest
    assert not [p for p in (tmp_path / "made").iterdir() if "partial" in p.name or p.name == "out"]
    for _ in range(50):
        if not _runs(int(line.split()[1])):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the converter lives on")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] != "Z"

"""Standard streams that are closed, full or nobody's: what was asked for is done all the same."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from glmlite.bundle import Bundle
from tests.cli.conftest import REFERENCE

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(environment) -> Shell:
    """Runs `glmlite` as a shell's command, its streams redirected as told."""

    def run(redirections: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = shlex.join([sys.executable, "-m", "glmlite.cli", *map(str, arguments)])
        return subprocess.run(
            ["sh", "-c", f"{command} {redirections}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "BUNDLE"],
        ["inspect", "BUNDLE", "--json"],
        ["plan", "--config", "demo"],
        ["generate", "BUNDLE", *REFERENCE, "--prompt", "hi", "--max-new-tokens", "2"],
        ["generate", "BUNDLE", *REFERENCE, "--prompt", "hi", "--max-new-tokens", "2", "--json"],
    ],
)
def test_nobody_wants_the_output(shell, demo_bundle, command):
    arguments = [demo_bundle if word == "BUNDLE" else word for word in command]
    ran = shell(">&-", *arguments)
    assert "Error" not in ran.stderr
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("redirections", ["<&-", "</dev/null"])
def test_an_input_that_is_not_there_is_empty(shell, demo_bundle, redirections):
    ran = shell(redirections, "generate", demo_bundle, *REFERENCE, "--prompt", "-")
    assert ran.stderr.startswith("Error: Standard input is empty")
    assert (ran.returncode, ran.stdout) == (2, "")
    ran = shell(redirections, "chat", demo_bundle, *REFERENCE)
    assert "Error" not in ran.stderr
    assert (ran.returncode, ran.stdout) == (0, "")


full = pytest.param(
    "2>/dev/full",
    marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full"),
)


@pytest.mark.parametrize("redirections", ["2>&-", full])
def test_remarks_that_cannot_be_written_are_lost(shell, demo_bundle, redirections):
    ran = shell(redirections, "inspect", demo_bundle, "--verify")
    assert "Every file is as it was made." in ran.stdout
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = shell(redirections, "inspect", "no/such/bundle")
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "")


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&- >&- 2>&-", full])
def test_a_bundle_is_made_whatever_the_streams_are(shell, demo_bundle, tmp_path, redirections):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    output = tmp_path / "int4"
    options = ["--recipe", "cpu_int4", "--no-accuracy", "--no-parity", "--output", output]
    ran = shell(redirections, "quantize", demo_bundle, *options)
    assert "Error" not in ran.stderr
    assert ran.returncode == 0
    Bundle.open(output).verify()


DESCRIPTORS = """
import os, subprocess, sys
from glmlite.cli.streams import prepare_streams
prepare_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    for number in (1, 2):
        os.write(number, b"from C")
    assert os.read(0, 1) == b""
    print("said")
    print("remarked", file=sys.stderr, flush=True)
    sys.stdout.flush()
    subprocess.run(["sh", "-c", "echo told; echo remarked >&2"], check=True)
    assert sys.stdin.read() == sys.stdin.buffer.read().decode() == ""
    file.write("content")
"""


def test_no_file_takes_the_place_of_a_closed_stream(environment, tmp_path):
    target = tmp_path / "file"
    command = shlex.join([sys.executable, "-c", DESCRIPTORS, str(target)])
    ran = subprocess.run(
        ["sh", "-c", f"{command} <&- >&- 2>&-"], env=environment, timeout=30, check=False
    )
    assert ran.returncode == 0
    assert target.read_text(encoding="utf-8") == "content"


def test_open_streams_stay_what_they_are(environment):
    code = (
        "import sys\n"
        "from glmlite.cli.streams import prepare_streams\n"
        "prepare_streams()\n"
        "print(sys.stdin.read(), end='')\n"
        "print('remarked', file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input="你好",
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "你好", "remarked\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_takes_a_part_is_an_error(environment, demo_bundle, tmp_path, unbuffered):
    resource = pytest.importorskip("resource", reason="there are no limits of a file's size")
    limit = 1024
    with open(tmp_path / "out.json", "wb") as output:
        ran = subprocess.run(
            [sys.executable, "-m", "glmlite.cli", "inspect", str(demo_bundle), "--json"],
            stdout=output,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**environment, "PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            timeout=60,
            check=False,
        )
    assert ran.stderr == "Error: Standard output: File too large\n"
    assert ran.returncode == 2
    assert (tmp_path / "out.json").stat().st_size == limit


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows always wait")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_does_not_wait_is_waited_for(environment, unbuffered):
    code = (
        "from glmlite.cli.streams import prepare_streams\n"
        "prepare_streams()\n"
        "print('x' * 300_000)\n"
        "print('end')\n"
    )
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**environment, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    time.sleep(0.3)  # the pipe fills
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"x" * 300_000 + b"\nend\n"
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, b"")

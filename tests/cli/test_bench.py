"""`glmlite bench` on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

QUICK = ["--engine", "reference", "--repeats", "1", "--prompt-tokens", "20", "--new-tokens", "4"]


def test_the_table_names_every_figure(glmlite_command, mute_bundle):
    ran = glmlite_command("bench", mute_bundle, *QUICK, "--contexts", "16,64")
    assert ran.returncode == 0, ran.stderr
    for words in (
        "Loading",
        "Time to first token",
        "Prefill",
        "Decode",
        "Host's work per token",
        "Second turn",
        "1500 tokens so far",
        "Weights read in decoding",
        "Read bandwidth of this machine",
        "Peak memory",
        "Tokens in the cache",
    ):
        assert words in ran.stdout, words
    assert "Measuring answers" in ran.stderr


def test_the_table_in_chinese(glmlite_command, mute_bundle):
    few = ["--contexts", "none", "--no-bandwidth"]
    ran = glmlite_command("bench", mute_bundle, *QUICK, *few, GLMLITE_LANG="zh")
    assert ran.returncode == 0, ran.stderr
    assert "首个词元延迟" in ran.stdout
    assert "缓存中的词元" not in ran.stdout
    assert "带宽" not in ran.stdout


def test_json_and_plot(glmlite_command, mute_bundle, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = tmp_path / "bench.png"
    ran = glmlite_command(
        "bench",
        mute_bundle,
        *QUICK,
        "--contexts",
        "8,16",
        "--no-bandwidth",
        "--json",
        "--plot",
        picture,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert [point["context"] for point in report["contexts"]] == [8, 16]
    assert report["bandwidth"] is None
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == ["bench.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contexts", "64,many"], "'64,many' is no list of numbers"),
        (["--contexts", "0"], "contexts is 0"),
        (["--contexts", "64,4090"], "A context of 4090 tokens"),
        (["--prompt-tokens", "4096", "--new-tokens", "9"], "do not fit into the bundle's cache"),
        (["--batch", "3"], "--batch 3 needs a bundle of that many rows"),
        (["--plot", "bench.doc"], "must end in one of: .png"),
        (["--plot", "no/such/folder/bench.png"], "the folder does not exist"),
        (["--engine", "none"], "none"),
    ],
)
def test_bad_options_are_one_clear_error(glmlite_command, mute_bundle, arguments, message):
    ran = glmlite_command("bench", mute_bundle, "--engine", "reference", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not ran.stdout


def test_ctrl_c_prints_what_was_measured(environment, demo_bundle):
    arguments = ["bench", demo_bundle, "--engine", "reference", "--repeats", "100000", "--json"]
    arguments += ["--no-bandwidth"]
    process = subprocess.Popen(
        [sys.executable, "-m", "glmlite.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )
    try:
        for line in process.stderr:
            if "Measuring answers" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        out, _err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    report = json.loads(out)
    assert report["interrupted"]
    assert report["warm_up_seconds"] > 0
    assert report["answers"] is None


def test_random_weights_are_made_measured_and_kept(glmlite_command, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    few = ["--repeats", "1", "--prompt-tokens", "20", "--new-tokens", "4", "--contexts", "none"]
    few += ["--no-bandwidth", "--json", "--recipe", "cpu_int4", "--keep", tmp_path / "kept"]
    ran = glmlite_command("bench", "--random", "tiny", *few)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["subject"]["engine"] == "onnx"
    assert report["subject"]["quantization"] == "cpu_int4"
    made = (tmp_path / "kept" / "manifest.json").stat().st_mtime_ns
    again = glmlite_command("bench", "--random", "tiny", *few)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "kept" / "manifest.json").stat().st_mtime_ns == made
    other = glmlite_command("bench", "--random", "tiny", *few, "--seed", "1")
    assert other.returncode == 2
    assert "holds another bundle" in other.stderr


def test_random_weights_leave_nothing_behind(glmlite_command, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    ran = glmlite_command(
        *["bench", "--random", "tiny", "--repeats", "1", "--prompt-tokens", "20"],
        *["--new-tokens", "2", "--contexts", "none", "--no-bandwidth"],
        TMPDIR=str(tmp_path),
    )
    assert ran.returncode == 0, ran.stderr
    assert "onnx" in ran.stdout
    assert not list(tmp_path.glob("glmlite-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a bundle, or random weights"),
        (["somewhere", "--random", "tiny"], "Name a bundle or --random PRESET, not both"),
        (["somewhere", "--recipe", "cpu_int4"], "--recipe and --keep go with --random only"),
        (["--random", "glm9_6b"], "'glm9_6b' is no preset; there are: glm2_6b"),
        (["--random", "tiny", "--recipe", "no_such"], "no_such"),
    ],
)
def test_what_to_measure_must_be_clear(glmlite_command, arguments, message):
    ran = glmlite_command("bench", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt-tokens", "2400"], "do not fit into the bundle's cache of 2304 tokens"),
        (["--contexts", "2300"], "A context of 2300 tokens"),
        (["--engine", "lite"], "the engine lite does not run"),
        (["--device", "ascend"], "has no device"),
        (["--threads", "100000"], "threads is 100000"),
        (["--keep", "taken.txt"], "Name another folder: --keep DIR"),
    ],
)
def test_nothing_is_made_that_could_not_be_measured(
    glmlite_command, tmp_path, monkeypatch, arguments, message
):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.txt").write_text("mine")
    (tmp_path / "temporary").mkdir()
    ran = glmlite_command(
        *["bench", "--random", "tiny", "--recipe", "cpu_int4", *arguments],
        TMPDIR=str(tmp_path / "temporary"),
    )
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Free some space" not in ran.stderr
    assert "Quantizing" not in ran.stderr
    assert (tmp_path / "taken.txt").read_text() == "mine"
    assert not list((tmp_path / "temporary").glob("glmlite-*"))

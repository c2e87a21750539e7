"""`run_infer` with MindFormers' flags: their meaning, and its manners."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from glmlite.cli.run import execute
from glmlite.cli.run_infer import FLAGS, choose_command
from glmlite.cli.run_infer.flags import Flags
from glmlite.runtime.model import load
from tests.cli.terminal import PASTE_OFF, PASTE_ON, Terminal

RUN = "from glmlite.cli import main_of_run_infer; main_of_run_infer()"
ASK = "Please enter your predict data: \n"
TEMPLATE = "[Round 1]\n\n问：{}\n\n答："
HELLO = TEMPLATE.format("你好")


@pytest.fixture
def run_infer(environment):
    """Runs `run_infer` on the NumPy engine, in a process of its own."""

    def run(*flags: object, stdin: str = "", engine: str = "reference"):
        return subprocess.run(
            [sys.executable, "-c", RUN, *map(str, flags), "--engine", engine],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def raw_answer(demo_bundle):
    """What the demo model continues a raw prompt with, as `['prompt answer']` holds it."""
    with load(demo_bundle, "reference") as model:

        def answer(text: str, **options: object) -> str:
            ids = model.tokenizer.prompt_ids(text)
            tokens = [piece.token for piece in model.generate(ids, **options)]
            return model.tokenizer.decode([*ids, *tokens])

        yield answer


def answers(result) -> list[str]:
    """The texts that were printed as Python lists."""
    assert result.returncode == 0, result.stderr
    return [
        text
        for line in result.stdout.splitlines()
        if line.startswith("[")
        for text in ast.literal_eval(line)
    ]


def test_the_pages_command_and_its_input(run_infer, demo_bundle, raw_answer):
    result = run_infer(
        *("--device_id", 0, "--model_name", "glm2_6b"),
        *("--prefill_model_path", demo_bundle / "glm2_6b_prefill_seq512_graph.mindir"),
        *("--increment_model_path", demo_bundle / "glm2_6b_inc_seq512_graph.mindir"),
        *("--is_sample_acceleration", False, "--seq_length", 512, "--add_special_tokens", True),
        stdin="[Round 1]\n\n问：你好\n\n答：\nexit\n你好\n",
    )
    assert result.stdout == f"{ASK}{[raw_answer(HELLO)]}\n{ASK}Task is over.\n"
    assert "The graphs are those of the bundle" in result.stderr
    assert "--is_sample_acceleration: sampling runs beside the graph" in result.stderr


@pytest.mark.parametrize(
    "typed", [r"[Round 1]\n\n问：你好\n\n答：", '"""\n' + HELLO + '\n"""'], ids=["literal", "block"]
)
def test_other_ways_to_type_lines(run_infer, demo_bundle, raw_answer, typed):
    result = run_infer(
        "--model_dir", demo_bundle, "--add_special_tokens", "true", stdin=typed + "\n"
    )
    assert answers(result) == [raw_answer(HELLO)]
    assert result.stdout.count(ASK) == 2  # the end of the input is asked for, too


def test_input_is_raw_and_without_special_tokens_unless_asked(run_infer, demo_bundle):
    result = run_infer("--model_dir", demo_bundle, "--max_length", 8, stdin="你好\n")
    with load(demo_bundle, "reference") as model:
        ids = model.tokenizer.encode("你好")
        tokens = [p.token for p in model.generate(ids, max_new_tokens=8 - len(ids))]
        assert answers(result) == [model.tokenizer.decode([*ids, *tokens])]
    assert "without [gMASK] sop" in result.stderr


@pytest.mark.parametrize("flag", ["--seq_length", "--max_length", "--max_output_length"])
def test_lengths_are_refused_before_a_model_is_looked_for(capsys, flag):
    command = choose_command([flag, "-5"])
    assert execute(command, "run_infer", ["nowhere", flag, "-5"]) == 2
    assert flag in capsys.readouterr().err


def test_max_length_counts_the_prompt(run_infer, demo_bundle, raw_answer):
    with load(demo_bundle, "reference") as model:
        prompt = len(model.tokenizer.prompt_ids(HELLO))
    common = ("--model_dir", demo_bundle, "--add_special_tokens", True, "--predict_data", HELLO)
    short = answers(run_infer(*common, "--max_length", prompt + 3))
    assert short == [raw_answer(HELLO, max_new_tokens=3)]
    assert answers(run_infer(*common, "--max_length", prompt - 1)) == [HELLO]
    assert answers(run_infer(*common, "--max_output_length", 2)) == [
        raw_answer(HELLO, max_new_tokens=2)
    ]
    long = run_infer(*common, "--seq_length", prompt - 1)
    assert long.returncode == 2
    assert f"The prompt has {prompt} tokens" in long.stderr


def test_prompt_is_a_template(run_infer, demo_bundle, raw_answer):
    common = ("--model_dir", demo_bundle, "--add_special_tokens", True)
    template = r"[Round 1]\n\n问：{}\n\n答："
    result = run_infer(*common, "--prompt", template, "--predict_data", "你好")
    assert answers(result) == [raw_answer(HELLO)]
    bad = run_infer(*common, "--prompt", "问：", "--predict_data", "你好")
    assert bad.returncode == 2
    assert "has no {} for the input" in bad.stderr


def test_generated_time_and_stream(run_infer, demo_bundle, raw_answer):
    common = ("--model_dir", demo_bundle, "--add_special_tokens", True, "--predict_data", HELLO)
    assert answers(run_infer(*common, "--generated_time", 2)) == [raw_answer(HELLO)] * 2
    streamed = run_infer(*common, "--stream", True)
    whole = raw_answer(HELLO)
    assert streamed.stdout == f"{whole.removeprefix(HELLO)}\n{[whole]}\n"


def test_sampling_options_count_only_with_do_sample(run_infer, demo_bundle, raw_answer):
    common = ("--model_dir", demo_bundle, "--add_special_tokens", True, "--predict_data", HELLO)
    greedy = run_infer(*common, "--top_k", 50, "--top_p", 0.9, "--temperature", 9)
    assert answers(greedy) == [raw_answer(HELLO)]
    default = run_infer(*common, "--do_sample", True)  # top_k is 1
    assert answers(default) == [raw_answer(HELLO)]
    assert len(answers(run_infer(*common, "--do_sample", "True", "--top_k", 0))) == 1
    wrong = run_infer(*common, "--do_sample", True, "--temperature", 0)
    assert wrong.returncode == 2
    assert "temperature" in wrong.stderr


def test_flags_without_meaning_are_accepted_with_one_line_each(run_infer, demo_bundle, tmp_path):
    for name in ("prefill.ini", "inc.ini"):
        (tmp_path / name).write_text("[ascend_context]\nprovider=ge\n")
    config = f"{tmp_path / 'prefill.ini'},{tmp_path / 'inc.ini'}"
    result = run_infer(
        *("--model_dir", demo_bundle, "--predict_data", "你好", "--max_length", 4),
        *("--config_path", config, "--device_id", 3, "--rank_id", 1),
        *("--dynamic", True, "--paged_attention", True, "--pa_block_size", 16),
        *("--pa_num_blocks", 512, "--distributed", True, "--batch_size", 4),
    )
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    for said in ("not read", "device_id 3, rank_id 1", "--dynamic:", "--distributed:"):
        assert sum(said in line for line in lines) == 1
    assert any(
        line.startswith("--paged_attention --pa_block_size --pa_num_blocks:") for line in lines
    )
    assert any(line.startswith("--batch_size:") for line in lines)


def test_chatglm3_gets_its_roles(run_infer, glm3_bundle):
    result = run_infer(
        *("--model_dir", glm3_bundle, "--model_name", "glm3_6b"),
        *("--predict_data", "你好", "--max_length", 20),
    )
    with load(glm3_bundle, "reference") as model:
        ids = model.tokenizer.chat_ids([{"role": "user", "content": "你好"}])
        tokens = [p.token for p in model.generate(ids, max_new_tokens=20 - len(ids))]
        assert answers(result) == [model.tokenizer.decode([*ids, *tokens])]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device_id", "0"], "Nothing says which model to run"),
        (["--model_dir", "{demo}", "--model_name", "glm3_6b"], "is a glm2"),
        (["--model_dir", "{demo}", "--model_name", "llama_7b"], "no ChatGLM2 or ChatGLM3"),
        (["--model_dir", "/nowhere"], "stands for no bundle"),
        (["--prefill_model_path", "/x/a.mindir"], "--increment_model_path"),
        (
            ["--prefill_model_path", "/x/a.mindir", "--increment_model_path", "/x/b.mindir"],
            "There is no graph /x/a.mindir",
        ),
        (["--model_dir", "{demo}", "--do_sample", "maybe"], "--do_sample"),
        (["--model_dir", "{demo}", "--config_path", "/x/lite.ini"], "/x/lite.ini"),
    ],
)
def test_wrong_flags(run_infer, demo_bundle, flags, said):
    result = run_infer(*[flag.replace("{demo}", str(demo_bundle)) for flag in flags])
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_without_those_flags_it_is_the_chat(run_infer, demo_bundle, hello):
    result = run_infer(demo_bundle, stdin="你好\n")
    assert (result.returncode, result.stdout) == (0, hello + "\n")
    assert choose_command(["x", "--temperature", "1", "--device-id", "0"]).name == "chat"
    assert choose_command(["x", "--device_id=0"]).name == "run_infer"


def test_every_flag_is_known():
    fields = {f"--{name}" for name in Flags.__dataclass_fields__} - {"--said"}
    assert fields - FLAGS == {"--temperature"}  # the chat has it, too
    assert fields >= FLAGS


def test_a_paste_at_a_terminal(environment, demo_bundle, raw_answer):
    flags = ["--model_dir", str(demo_bundle), "--add_special_tokens", "True"]
    arguments = ["-c", RUN, *flags, "--engine", "reference"]
    with Terminal(arguments, environment) as terminal:
        terminal.expect("Please enter your predict data:")
        terminal.expect(PASTE_ON)
        terminal.type(f"\x1b[200~{HELLO}\x1b[201~\r")
        terminal.expect(PASTE_OFF)
        terminal.expect(repr([raw_answer(HELLO)])[-12:])
        terminal.expect(PASTE_ON)
        terminal.type("exit\r")
        terminal.expect("Task is over.")
        assert terminal.wait() == 0


@pytest.mark.mindspore
def test_two_graphs_that_keep_the_cache_inside(run_infer, demo_bundle, raw_answer, tmp_path):
    pytest.importorskip("mindspore")
    from glmlite.bundle import Bundle
    from tests.engines.in_graph_network import export_pair

    bundle = Bundle.open(demo_bundle)
    prefill, increment = export_pair(
        bundle.manifest.model, bundle.weights(), tmp_path, seq_length=96
    )
    common = ("--prefill_model_path", prefill, "--increment_model_path", increment)
    named = ("--model_name", "glm2_6b", "--add_special_tokens", True)
    missing = run_infer(*common, *named, engine="mindspore")
    assert "there is no" in missing.stderr
    assert "tokenizer.model" in missing.stderr
    tokenizer = ("--tokenizer_path", demo_bundle / "tokenizer.model")
    result = run_infer(
        *(*common, *named, *tokenizer),
        stdin=f"{HELLO}\n[Round 1]\\n\\n问：你是谁\\n\\n答：\n",
        engine="mindspore",
    )
    assert answers(result) == [raw_answer(HELLO), raw_answer(TEMPLATE.format("你是谁"))]
    unnamed = run_infer(*common, *tokenizer, engine="mindspore")
    assert "bare graphs do not tell which family" in unnamed.stderr


def test_the_chat_recognises_a_pasted_template(glmlite_command, demo_bundle, hello):
    for stdin in (HELLO + "\n", HELLO.replace("\n", r"\n") + "\n"):
        result = glmlite_command("chat", demo_bundle, "--engine", "reference", stdin=stdin)
        assert (result.returncode, result.stdout) == (0, hello + "\n")


def test_pasted_rounds_become_the_conversation(glmlite_command, demo_bundle, hello):
    pasted = f"[Round 1]\n\n问：你好\n\n答：{hello}\n\n[Round 2]\n\n问：你是谁\n\n答：\n"
    one = glmlite_command("chat", demo_bundle, "--engine", "reference", stdin=pasted)
    other = glmlite_command("chat", demo_bundle, "--engine", "reference", stdin="你好\n你是谁\n")
    assert one.stdout.splitlines() == other.stdout.splitlines()[1:]


def test_generate_recognises_a_pasted_template(glmlite_command, demo_bundle, hello):
    common = ("generate", demo_bundle, "--engine", "reference", "--prompt")
    literal = HELLO.replace("\n", r"\n")
    for arguments in ((HELLO, "--chat"), (literal, "--chat"), (HELLO,), (literal,)):
        result = glmlite_command(*common, *arguments)
        assert result.stdout.strip() == hello.strip()


def test_the_locale_does_not_change_what_scripts_wait_for(run_infer, demo_bundle, environment):
    environment["GLMLITE_LANG"] = "zh"
    result = run_infer("--model_dir", demo_bundle, "--max_length", 4, stdin="exit\n")
    assert result.stdout == f"{ASK}Task is over.\n"
    assert "引擎" in result.stderr


def test_paths_lead_to_a_bundle(demo_bundle):
    from glmlite.compat.locate import bundle_of_graph

    folder = Path(demo_bundle)
    assert bundle_of_graph(folder / "decode.mindir") == folder
    assert bundle_of_graph(folder / "anything_graph.mindir") == folder
    assert bundle_of_graph(folder.with_suffix(".mindir")) == folder
    assert bundle_of_graph(folder.with_name(f"{folder.name}_graph.mindir")) == folder
    (folder / "stray.mindir").write_bytes(b"somebody else's")
    try:
        assert bundle_of_graph(folder / "stray.mindir") is None
    finally:
        (folder / "stray.mindir").unlink()

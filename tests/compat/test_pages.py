"""The Python of MindFormers' own pages with one changed import line, on the demo model.

As a ChatGLM3 the demo model has the same weights under the other prompts, which it was not trained
on: its answers mean nothing, and they are compared with what the NumPy engine says to the same
conversation. One script takes replies apart by their first line, as only a trained ChatGLM3 writes
it; it also runs, word for word, on a model that always says one well-formed reply (`parrot.py`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glmlite.runtime.model import Model, load
from tests.compat.parrot import REPLY, write_parrot
from tests.compat.seed_pages import EARLY, GLM2, GLM3, SEEDS, find, snippet
from tests.docs.blocks import read_blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "migrating-from-mindformers.md"
# As ChatGLM3's page has it; the file need not exist any more: its name stands for the bundle.
YAML = """\
run_mode: 'predict'
model:
  model_config:
    type: ChatGLM2Config
    seq_length: 256
    checkpoint_name_or_path: "/path/to/{name}.ckpt"
trainer:
  model_name: 'glm3_6b'
"""
# Runs programs one after the other, each in a namespace of its own, in one interpreter.
RUNNER = """
import contextlib, io, json, sys, traceback
results = {}
for name, text in json.load(open(sys.argv[1], encoding="utf-8")).items():
    printed, error = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(text, name, "exec"), {"__name__": "__main__"})
        except BaseException:
            error = traceback.format_exc()
    results[name] = [printed.getvalue(), error]
json.dump(results, open(sys.argv[2], "w", encoding="utf-8"))
"""
pytestmark = pytest.mark.mindspore
pages = pytest.mark.skipif(not SEEDS.is_dir(), reason="MindFormers' pages are not here")


def programs() -> dict[str, str]:
    """Everything that is run, by name."""
    ours = [b.text for b in read_blocks(PAGE) if b.language == "python" and b.is_skipped]
    result = {f"our {i}": text.replace("your.yaml", "demo.yaml") for i, text in enumerate(ours)}
    if not SEEDS.is_dir():
        return result
    pipelines = snippet(EARLY, "TextGenerationPipeline")
    trainer = snippet(GLM2, "trainer.evaluate()\n")
    roles = snippet(GLM3, "def process_response")
    generate = snippet(GLM3, "inputs_list=")
    result |= {
        "early autoclass": snippet(EARLY, "prompted_inputs"),
        "early pipeline": re.sub(r"^task_pipeline\(.*\)$", r"print(\g<0>)", pipelines, flags=re.M),
        "early infer.py": snippet(EARLY, "config.checkpoint_name_or_path = "),
        "autoclass": snippet(GLM2, "config.use_past = True                  #"),
        "pipelines": snippet(GLM2, "TextGenerationPipeline"),
        "infer.py": snippet(GLM2, "queries = "),
        "trainer": trainer,
        "trainer that predicts": trainer.replace("trainer.evaluate()\n", ""),
        "glm3 infer.py": generate.replace("your.yaml", "demo.yaml"),
        "glm3 roles": own_responses(roles).replace("your.yaml", "demo.yaml"),
        "parrot infer.py": generate.replace("your.yaml", "parrot.yaml"),
        "parrot roles": roles.replace("your.yaml", "parrot.yaml"),
    }
    return result


def own_responses(program: str) -> str:
    """The roles' script with glmlite's process_response, which runs no `eval`."""
    without = re.sub(r"^def process_response.*?^    return content, history\n", "", program,
                     flags=re.M | re.S)  # fmt: skip
    assert "eval(" not in without
    return without.replace("ChatGLM3Tokenizer\n", "ChatGLM3Tokenizer, process_response\n", 1)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, glm3_checkpoint) -> Path:
    """A user's folder: build/ with the bundles, and what the pages call /path/to."""
    pytest.importorskip("mindspore", reason="the pages' scripts import MindSpore")
    pytest.importorskip("onnxruntime")
    from glmlite.exporter.pipeline import run_export

    folder = tmp_path_factory.mktemp("scripts")
    parrot = write_parrot(folder / "parrot_checkpoint")
    checkpoints = {"glm2_6b": None, "glm3_6b": glm3_checkpoint, "parrot": parrot}
    for name, checkpoint in checkpoints.items():
        overrides: dict[str, Any] = {
            "export.output": str(folder / "build" / name),
            "export.format": "onnx",
            "export.cache_length": 1024,
            "export.parity": "off",
        }
        if checkpoint:
            overrides["model.checkpoint"] = str(checkpoint)
        run_export("demo", overrides=overrides)
    # A page names the file of another training: its bundle has that name.
    (folder / "build" / "glm2_6b_finetune").symlink_to("glm2_6b")
    (folder / "path" / "to").mkdir(parents=True)
    for name in ("demo", "parrot"):
        text = YAML.format(name="glm3_6b" if name == "demo" else name)
        (folder / "path" / "to" / f"{name}.yaml").write_text(text, encoding="utf-8")
    tokenizer = folder / "build" / "glm3_6b" / "tokenizer.model"
    (folder / "path" / "to" / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    return folder


@pytest.fixture(scope="module")
def printed(workspace: Path) -> Callable[[str], str]:
    """What a program printed; it must have succeeded."""
    opened = re.compile(r'"/(path/to/\w+\.(?:model|yaml))"')  # a .ckpt only stands for its bundle
    texts = {name: opened.sub(r'"\1"', text) for name, text in programs().items()}
    results = run_programs(texts, workspace)

    def get(name: str) -> str:
        output, error = results[name]
        assert not error, error
        return output

    get.results = results  # type: ignore[attr-defined]
    return get


def run_programs(texts: dict[str, str], folder: Path) -> dict[str, list[str]]:
    """Name -> what was printed, and the traceback if there was one."""
    (folder / "programs.json").write_text(json.dumps(texts), encoding="utf-8")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("GLMLITE", "PYTEST"))}
    result = subprocess.run(
        [sys.executable, "-c", RUNNER, "programs.json", "results.json"],
        cwd=folder,
        env=keep | {"GLMLITE_LANG": "en", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    loaded: dict[str, list[str]] = json.loads((folder / "results.json").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def glm2(workspace: Path) -> Iterator[Model]:
    with load(workspace / "build" / "glm2_6b", "reference") as model:
        yield model


@pytest.fixture(scope="module")
def glm3(workspace: Path) -> Iterator[Model]:
    with load(workspace / "build" / "glm3_6b", "reference") as model:
        yield model


def answer(model: Model, ids: list[int], most: int, *, without_last: bool = False) -> str:
    """What the NumPy engine continues ids with, as MindFormers' tokenizers decode it."""
    tokens = [piece.token for piece in model.generate(ids, max_new_tokens=most)]
    assert model.tokenizer is not None
    shown = model.tokenizer.family == "glm3"
    return model.tokenizer.decode(tokens[:-1] if without_last else tokens, show_special=shown)


def round_text(query: str, history: list[tuple[str, str]]) -> str:
    """The template of ChatGLM2."""
    rounds = [f"[Round {i}]\n\n问：{q}\n\n答：{a}\n\n" for i, (q, a) in enumerate(history, 1)]
    return "".join(rounds) + f"[Round {len(history) + 1}]\n\n问：{query}\n\n答："


@pages
def test_the_early_pages_autoclass(printed, glm2) -> None:
    prompt = round_text("你好", [])
    ids = glm2.tokenizer.prompt_ids(prompt)
    wanted = glm2.tokenizer.decode(ids) + answer(glm2, ids, 100 - len(ids))
    assert printed("early autoclass") == wanted + "\n"


@pages
def test_the_early_pages_pipeline(printed) -> None:
    assert printed("early pipeline").startswith("[{'text_generation_text': ['你好")


@pages
def test_the_early_pages_inference_after_training(printed, glm2) -> None:
    ids = glm2.tokenizer.prompt_ids(round_text("晚上睡不着应该怎么办", []))
    wanted = glm2.tokenizer.decode(ids) + answer(glm2, ids, 128 - len(ids))
    lines = printed("early infer.py").splitlines()
    assert str(ids) in lines
    assert str([wanted]) in lines


@pages
def test_the_pages_autoclass(printed) -> None:
    assert printed("autoclass").startswith("['你好")


@pages
def test_the_pages_pipelines(printed, glm2) -> None:
    ids = glm2.tokenizer.prompt_ids("你好")
    wanted = glm2.tokenizer.decode(ids) + answer(glm2, ids, 1024 - len(ids))
    assert printed("pipelines") == str([{"text_generation_text": [wanted]}]) + "\n"


@pages
def test_the_pages_conversation(printed, glm2) -> None:
    """`infer.py`: three questions, each answered with what came before."""
    (line,) = [x for x in find(GLM2, "queries = ").splitlines() if x.startswith("queries")]
    queries = re.findall(r'"([^"]*)"', line)
    assert len(queries) == 3
    history: list[tuple[str, str]] = []
    for query in queries:
        ids = glm2.tokenizer.prompt_ids(round_text(query, history))
        history.append((query, answer(glm2, ids, 1024 - len(ids))))
    assert printed("infer.py") == "".join(response + "\n" for _query, response in history)


@pages
def test_the_pages_trainer(printed, glm2) -> None:
    """Evaluation is no part of it, and that is said; everything else runs."""
    ids = glm2.tokenizer.prompt_ids("你好")
    wanted = glm2.tokenizer.decode(ids) + answer(glm2, ids, 1024 - len(ids))
    assert printed("trainer that predicts") == str([{"text_generation_text": [wanted]}]) + "\n"
    _output, error = printed.results["trainer"]
    assert "Trainer.evaluate: glmlite does not do that yet." in error


@pages
def test_the_chatglm3_pages_generate(printed, glm3) -> None:
    wanted = ""
    for text in ("你好", "请介绍一下华为"):
        ids = glm3.tokenizer.chat_ids([{"role": "user", "content": text}])
        wanted += answer(glm3, ids, 256 - len(ids)) + "\n"
    assert printed("glm3 infer.py") == wanted
    assert printed("parrot infer.py").split() == [REPLY, REPLY]


@pages
def test_the_chatglm3_pages_roles(printed, glm3) -> None:
    program = find(GLM3, "def process_response")
    said = re.findall(r'^role\s*=\s*"(\w+)"\ntext\s*=\s*"(.*)"$', program, flags=re.M)
    assert [role for role, _text in said] == ["system", "user", "user", "user"]
    messages: list[dict[str, Any]] = []
    lines = printed("glm3 roles").splitlines()
    shown = [line for line in lines if line != "history:" and not line.startswith("[{")]
    tokenizer = glm3.tokenizer
    for (role, text), line in zip(said, shown, strict=True):
        messages.append({"role": role, "content": text})
        ids = [*tokenizer.prefix_ids]
        for turn in messages:
            ids += tokenizer.template.message_ids(checked(turn))
        ids.append(tokenizer.special_ids["<|assistant|>"])
        reply = answer(glm3, ids, 256 - len(ids), without_last=True)
        assert line == reply
        messages.append({"role": "assistant", "content": reply.strip()})


def checked(message: dict[str, Any]) -> Any:
    from glmlite.text.messages import check_messages

    (turn,) = check_messages([message])
    return turn


@pages
def test_the_chatglm3_pages_roles_word_for_word(printed) -> None:
    """With the page's own process_response."""
    shown = printed("parrot roles")
    assert shown.count(REPLY) == 5  # four answers, and the history after the first
    assert "'role': 'assistant', 'metadata': '', 'content': '" + REPLY in shown


def test_our_chatglm3_snippets(printed, glm3) -> None:
    wanted = ""
    for text in ("你好", "请介绍一下华为"):
        ids = glm3.tokenizer.chat_ids([{"role": "user", "content": text}])
        wanted += answer(glm3, ids, 256 - len(ids)) + "\n"
    assert printed("our 0") == wanted
    assert len(printed("our 1").splitlines()) == 2

"""The ChatGLM3 snippets of our page, and the snippets of MindFormers' own pages with one changed
import line, run as programs.

Our page's ChatGLM2 snippets and commands run with the other pages (tests/docs).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.parrot import REPLY, write_parrot
from tests.docs.blocks import read_blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "migrating-from-mindformers.md"
SEEDS = ROOT.parent / "shared" / "seeds"

YAML = """\
run_mode: 'predict'
model:
  model_config:
    type: ChatGLM2Config
    seq_length: 256
    checkpoint_name_or_path: "glm3_6b"
trainer:
  model_name: 'glm3_6b'
"""
pytestmark = pytest.mark.mindspore


@pytest.fixture(scope="module")
def workspace(bundles, tmp_path_factory) -> Path:
    """build/glm2_6b is the demo model, build/glm3_6b a ChatGLM3 with one reply."""
    bundles.require(False)
    from glmlite.exporter.pipeline import run_export

    folder = tmp_path_factory.mktemp("scripts")
    (folder / "build").mkdir()
    (folder / "build" / "glm2_6b").symlink_to(bundles.demo())
    checkpoint = write_parrot(folder / "checkpoint")
    run_export(
        {
            "model": {"checkpoint": str(checkpoint)},
            "export": {
                "output": str(folder / "build" / "glm3_6b"),
                "cache_length": 256,
                "prefill_tokens": [32],
                "parity": "off",
            },
        }
    )
    (folder / "your.yaml").write_text(YAML, encoding="utf-8")
    return folder


def run(program: str, folder: Path) -> str:
    """Standard output of a program that must succeed."""
    program = program.replace("/path/to/your.yaml", "your.yaml")
    program = program.replace("/path/to/tokenizer.model", "build/glm3_6b/tokenizer.model")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("GLMLITE", "PYTEST"))}
    environment = keep | {"GLMLITE_LANG": "en", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_our_chatglm3_snippets(workspace):
    blocks = [b for b in read_blocks(PAGE) if b.language == "python" and b.is_skipped]
    assert len(blocks) == 2
    assert run(blocks[0].text, workspace) == f"\n {REPLY}\n".replace(" ", "") * 2
    assert run(blocks[1].text, workspace) == f"{REPLY}\n" * 2


def original(page: str, phrase: str) -> str:
    """The Python block of one of MindFormers' pages that holds a phrase.

    The import line is changed, and lines that ask MindSpore for an Ascend device are left out: this
    machine has none.
    """
    path = SEEDS / page
    if not path.is_file():
        pytest.skip("MindFormers' pages (../shared/seeds) are not here")
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    (block,) = [b for b in blocks if phrase in b]
    block = re.sub(r"^(?:>>> )", "", block, flags=re.M)
    changed = re.sub(r"\bfrom mindformers import\b", "from glmlite.compat import", block)
    changed = re.sub(r"\bfrom mindformers.trainer import\b", "from glmlite.compat import", changed)
    assert changed != block
    lines = changed.splitlines()
    return "\n".join(line for line in lines if 'device_target="Ascend"' not in line) + "\n"


def test_the_early_pages_autoclass(workspace):
    program = original("mindformers_glm2_early.md", "prompted_inputs")
    assert run(program, workspace).startswith("[Round 1]\n\n问：你好\n\n答：你好！")


def test_the_early_pages_pipeline(workspace):
    program = original("mindformers_glm2_early.md", "TextGenerationPipeline")
    program = program.replace("task_pipeline('你好')", "print(task_pipeline('你好'))")
    shown = re.sub(r"^\[\{.*$", "", program, flags=re.M)  # what the page shows as the result
    assert run(shown, workspace).startswith("[{'text_generation_text': ['你好")


def test_the_early_pages_inference_after_training(workspace):
    program = original("mindformers_glm2_early.md", "glm2_6b_finetune.ckpt")
    program = program.replace("/path/to/glm2_6b_finetune.ckpt", "build/glm2_6b")  # the bundle of it
    shown = run(program, workspace)
    assert r"['[Round 1]\n\n问：请介绍一下华为\n\n答：" in shown


def test_the_pages_autoclass(workspace):
    program = original("mindformers_glm2.md", "config.use_past = True                  #")
    assert run(program, workspace).startswith("['你好")


def test_the_pages_pipelines(workspace):
    program = original("mindformers_glm2.md", "TextGenerationPipeline")
    assert "text_generation_text" in run(program, workspace)


def test_the_chatglm3_pages_generate(workspace):
    program = original("mindformers_glm3.md", "inputs_list=")
    assert run(program, workspace).split() == [REPLY, REPLY]


def test_the_chatglm3_pages_roles(workspace):
    program = original("mindformers_glm3.md", "def process_response")
    shown = run(program, workspace)
    assert shown.count(REPLY) == 5  # four answers, and the history after the first
    assert "'role': 'assistant', 'metadata': '', 'content': '" + REPLY in shown

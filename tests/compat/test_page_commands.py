"""The commands of MindFormers' own pages with one changed word, on the demo model.

Merging shards, with the page's command and its Python, is in tests/checkpoint/distributed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.names import to_mindspore
from glmlite.runtime.model import load
from tests.checkpoint import torch_zip
from tests.compat.parrot import DEMO
from tests.compat.seed_pages import EARLY, GLM2, GLM3, SEEDS, blocks, command, find
from tests.export.mindformers_files import EXPORT_08
from tests.quant.conftest import Package

ROOT = Path(__file__).parents[2]
ONNX = "glmlite export --set export.format=onnx --set export.parity=off"
pytestmark = pytest.mark.skipif(not SEEDS.is_dir(), reason="MindFormers' pages are not here")

# Phrase of a block -> where it is tested, or why it is not: training and evaluation stay with
# MindFormers, and some blocks are listings or settings of an Ascend machine.
FATE = {
    "hccl_tools.py": "test_rank_tables",
    "merge_hccl.py": "test_rank_tables",
    "torch.save(": "glmlite reads the folder itself",
    "ms.save_checkpoint(": "test_the_script_that_writes_a_ckpt",
    "git clone": "a download",
    "transform_ckpt.py": "tests/checkpoint/distributed",
    "transform_checkpoints(": "tests/checkpoint/distributed",
    "AutoTokenizer.from_pretrained": "tests/compat/test_pages.py",
    "TextGenerationPipeline": "tests/compat/test_pages.py",
    "trainer.predict(": "tests/compat/test_pages.py",
    "build_chat_input": "tests/compat/test_pages.py",
    "--run_mode predict": "test_predicting",
    "tools/export.py": "test_export_and_inference",
    "converter_lite": "test_the_script_that_quantizes",
    "run_infer_main.py": "test_export_and_inference",
    "[ascend_context]": "test_export_and_inference",
    "Please enter": "what a program prints",
    "[Round 1]": "what a program prints",
    "├──": "a listing",
    "run_distribute.sh": "training",
    "run_standalone.sh": "training",
    "IP_LIST": "training",
    "trainer.finetune(": "training",
    "format_tool_alpaca.py": "training",
    "MS_ASCEND_CHECK_OVERFLOW_MODE": "training",
    "--run_mode eval": "evaluation",
    "trainer.evaluate(": "evaluation",
    "run_check()": "MindSpore's own check",
    "MindSpore version": "what a program prints",
    "ASCEND_GLOBAL": "the device's log",
    "AdvertiseGen": "a listing",
}


@pytest.mark.parametrize("page", [GLM2, EARLY, GLM3])
def test_every_block_is_accounted_for(page: str) -> None:
    found = blocks(page)
    assert len(found) > 10
    for block in found:
        assert any(phrase in block.text for phrase in FATE), block.text
    own = {fate for fate in FATE.values() if fate.startswith("test_")}
    assert own <= globals().keys()


def run(script: str, folder: Path, stdin: str = "", **variables: str) -> str:
    """Standard output of a shell script that must succeed."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("GLMLITE", "PYTEST"))}
    path = f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        input=stdin,
        env=keep | {"GLMLITE_LANG": "en", "PATH": path, "PYTHONUTF8": "1"} | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_rank_tables(tmp_path: Path) -> None:
    """Two servers' tables, and one of both."""
    tool = tmp_path / "hccn_tool"
    tool.write_text('#!/bin/sh\necho "ipaddr:10.20.$SERVER.$2"\n')
    tool.chmod(0o755)
    create = "glmlite rank-table create"
    (one, several) = re.findall(r"^python .*hccl_tools.*$", page_commands(GLM2), flags=re.M)
    script = "./mindformers/tools/hccl_tools.py"
    run(one.replace(f"python {script}", create), tmp_path, SERVER="0")
    (alone,) = tmp_path.glob("hccl_8p_*.json")
    assert len(json.loads(alone.read_text())["server_list"][0]["device"]) == 8
    alone.unlink()
    for server in ("1", "2"):
        line = several.replace(f"python {script}", create).replace(
            "xx.xx.xx.xx", f"10.0.0.{server}"
        )
        run(line, tmp_path, SERVER=server)
    run(command(GLM2, "merge_hccl.py", "glmlite rank-table merge"), tmp_path)
    (merged,) = (p for p in tmp_path.glob("hccl*.json") if "16p" in p.name or "2s" in p.name)
    table = json.loads(merged.read_text())
    ranks = [d["rank_id"] for s in table["server_list"] for d in s["device"]]
    assert (table["server_count"], ranks) == ("2", [str(i) for i in range(16)])


def page_commands(page: str) -> str:
    return "".join(block.text for block in blocks(page))


@pytest.mark.mindspore
def test_the_script_that_writes_a_ckpt(tmp_path: Path) -> None:
    """It runs as it stands (torch.load reads the file through glmlite); convert writes the same."""
    pytest.importorskip("mindspore")
    name, script = "glm2_6b", find(GLM2, "ms.save_checkpoint(")
    assert find(EARLY, "ms.save_checkpoint(") == script
    assert find(GLM3, "ms.save_checkpoint(") == script.replace("glm2", "glm3")
    tensors = load_file(DEMO / "model.safetensors")
    torch_zip.save(tmp_path / f"{name}.pth", tensors)
    (tmp_path / "torch.py").write_text(
        "from pathlib import Path\n"
        "from glmlite.checkpoint.torch_file import TorchFile\n\n\n"
        "class Tensor:\n"
        "    def __init__(self, array):\n"
        "        self.array, self.shape, self.dtype = array, array.shape, array.dtype\n\n"
        "    def numpy(self):\n"
        "        return self.array\n\n\n"
        "def load(path):\n"
        "    file = TorchFile(Path(path))\n"
        "    return {name: Tensor(file.read(name)) for name in file.entries}\n"
    )
    (tmp_path / "tqdm.py").write_text("def tqdm(items):\n    return items\n")
    (tmp_path / "convert.py").write_text(script, encoding="utf-8")
    run("python convert.py", tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    run(f"glmlite convert {name}.pth ours.ckpt", tmp_path)
    theirs, ours = (
        open_checkpoint(tmp_path / f"{name}.ckpt"),
        open_checkpoint(tmp_path / "ours.ckpt"),
    )
    assert theirs.fingerprint() == ours.fingerprint()
    for tensor, array in tensors.items():
        np.testing.assert_array_equal(ours.read(tensor), array)
    assert (
        to_mindspore("transformer.embedding.word_embeddings.weight").encode()
        in (tmp_path / "ours.ckpt").read_bytes()
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the GLM2 page calls configs/ and weights, and its export."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("commands")
    (folder / "weights").mkdir()
    run(f"glmlite convert {DEMO} weights/glm2_6b.ckpt", folder)
    (folder / "weights" / "tokenizer.model").write_bytes((DEMO / "tokenizer.model").read_bytes())
    yaml = EXPORT_08.replace("exported/demo_", "glm2_export/glm2_6b_").replace("96", "512")
    yaml = yaml.replace("weights/*.safetensors", "weights/*.ckpt")
    assert "glm2_export/glm2_6b_prefill_seq512.mindir" in yaml  # the page's own path
    path = folder / "configs" / "glm2" / "export_glm2_6b.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml, encoding="utf-8")
    (folder / "lite.ini").write_text(find(GLM2, "[ascend_context]"), encoding="utf-8")
    run(command(GLM2, "mindformers/tools/export.py", ONNX), folder)
    return folder


def greedy(bundle: Path, text: str, most: int) -> str:
    """The prompt and what the NumPy engine answers, as one text."""
    with load(bundle, "reference") as model:
        assert model.tokenizer is not None
        ids = model.tokenizer.prompt_ids(text)
        tokens = [p.token for p in model.generate(ids, max_new_tokens=most - len(ids))]
        return model.tokenizer.decode([*ids, *tokens])


def test_export_and_inference(workspace: Path) -> None:
    """The page's YAML and export; then its run_infer_main.py with its paths, flags and input."""
    asked = "[Round 1]\n\n问：你好。\n\n答："
    line = command(GLM2, "run_infer_main.py", "run_infer")
    printed = run(line, workspace, stdin=f"{asked}\nexit\n")
    ask = "Please enter your predict data: \n"
    wanted = str([greedy(workspace / "glm2_export", asked, 512)])
    assert printed == f"{ask}{wanted}\n{ask}Task is over.\n"


def test_predicting(workspace: Path) -> None:
    """`run_mindformer.py --run_mode predict`; the YAML is the one that was exported from."""
    line = command(
        GLM2, "run_mindformer.py --config path/to/config.yaml", "run_infer --config CONFIG"
    )
    line = line.replace("CONFIG", "configs/glm2/export_glm2_6b.yaml")
    (asked,) = re.findall(r'--predict_data "(.*)"', line)
    wanted = greedy(workspace / "glm2_export", asked.replace(r"\n", "\n"), 512)
    assert run(line, workspace) == str([{"text_generation_text": [wanted]}]) + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--config c.yaml --run_mode eval", "--run_mode eval: glmlite does not do that yet"),
        ("--run_mode predict --predict_data x", "Nothing says which model to run"),
        ("--config none.yaml --run_mode predict --predict_data x", "none.yaml cannot be read"),
    ],
)
def test_predicting_without_what_it_needs(tmp_path: Path, arguments: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        run(f"run_infer {arguments}", tmp_path)


def test_the_script_that_quantizes(tiny: Path, package: Package, tmp_path: Path) -> None:
    """convert.sh calls the converter as `glmlite quantize` does, one graph at a time."""
    root = package.make("import pathlib; pathlib.Path('ran').touch()", marker="no such flag")
    graph = next(tiny.glob("decode*.mindir"))
    script = re.sub(r"PACKAGE_ROOT_PATH=\S+", f"PACKAGE_ROOT_PATH={root}", page_script())
    script = script.replace("/path/to/your/mindir", str(graph))
    (tmp_path / "ascend_on_the_fly_quant.cfg").write_bytes(
        (ROOT / "quant" / "ascend_on_the_fly_quant.cfg").read_bytes()
    )
    run(script, tmp_path, LD_LIBRARY_PATH="")
    (theirs,) = package.calls
    printed = run(
        f"glmlite quantize {tiny} --recipe ascend_on_the_fly_quant --print-command"
        f" --converter {root} --output out",
        tmp_path,
    )
    assert (tmp_path / "ran").exists()
    ours = next(part for part in printed.split("# ") if part.startswith(graph.name))
    for flag in theirs["argv"][1:]:
        name = flag.split("=")[0]
        if name in ("--fmk", "--modelFile", "--optimize"):
            assert flag in ours
        else:
            assert f"{name}=" in ours
    for name in ("ASCEND_BACK_POLICY", "ASCEND_DEVICE_ID"):
        assert f"{name}={theirs['env'][name]}" in ours
    for folder in theirs["env"]["LD_LIBRARY_PATH"].strip(":").split(":"):
        assert folder.rstrip("/") in ours
    config: dict[str, Any] = dict(
        line.split("=", 1) for line in theirs["cfg"].splitlines() if "=" in line
    )
    for key, value in config.items():
        assert f"{key}={value}" in ours


def page_script() -> str:
    """The page's convert.sh."""
    return find(GLM2, "converter_lite")

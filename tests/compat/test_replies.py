"""`process_response` of the ChatGLM3 page, against the page's own function."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from glmlite.compat import process_response

USER = [{"role": "user", "content": "你好"}]
TOOLS = [{"role": "system", "content": "Use them.", "tools": [{"name": "track"}]}, *USER]


def pages(output, history):
    """What the page's function gives; literals stand in for its eval."""
    content, history = "", copy.deepcopy(history)
    for response in output.split("<|assistant|>"):
        metadata, content = response.split("\n", maxsplit=1)
        if not metadata.strip():
            content = content.strip()
            history.append({"role": "assistant", "metadata": metadata, "content": content})
            content = content.replace("[[训练时间]]", "2023年")
        else:
            history.append({"role": "assistant", "metadata": metadata, "content": content})
            if "tools" in history[0]:
                content = {"name": metadata.strip(), "parameters": {"symbol": "10111"}}
            else:
                content = {"name": metadata.strip(), "content": content}
    return content, history


CALL = "track\n```python\ntool_call(symbol='10111')\n```"


@pytest.mark.parametrize(
    ("output", "history"),
    [
        ("\n 你好！", USER),
        (" \n 我的数据到[[训练时间]]。", USER),
        (CALL, TOOLS),
        (CALL, USER),
        (f"\n 先查一下。<|assistant|>{CALL}", TOOLS),
    ],
)
def test_it_reads_what_the_pages_function_reads(output, history):
    before = copy.deepcopy(history)
    assert process_response(output, history) == pages(output, history)
    assert history == before


def test_the_official_function_reads_the_same():
    golden = Path(__file__).parents[3] / "shared" / "golden" / "templates.json"
    if not golden.is_file():
        pytest.skip("the golden data (../shared/golden) is not here")
    for case in json.loads(golden.read_text(encoding="utf-8"))["chatglm3"]["process_response"]:
        if isinstance(case.get("content"), dict) and "error" in case["content"]:
            continue
        content, history = process_response(case["output"], case["history"])
        assert (content, history) == (case["content"], case["new_history"]), case["name"]


def test_nothing_is_executed(tmp_path):
    target = tmp_path / "made"
    code = f"track\n```python\ntool_call(x=open({str(target)!r}, 'w'))\n```"
    content, _history = process_response(code, TOOLS)
    assert content["name"] == "track"
    assert "parameters" not in content
    assert not target.exists()


def test_a_reply_without_a_first_line():
    assert process_response("你好", USER)[0] == "你好"

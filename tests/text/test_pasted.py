r"""A pasted ChatGLM2 template, in the ways that MindFormers' pages write it."""

from __future__ import annotations

import pytest

from glmlite.text.pasted import expand_template, is_partial_template, parse_template


@pytest.mark.parametrize(
    "text",
    [
        "[Round 1]\n\n问：你好\n\n答：",
        "[Round 1]\n\n问：你好\n\n答：\n",
        "  [Round 1]\n问：你好\n答：",
        "[Round 0]\n\n问:你好\n\n答:",
        r"[Round 1]\n\n问：你好\n\n答：",
    ],
)
def test_one_round(text):
    assert parse_template(text) == [{"role": "user", "content": "你好"}]


def test_several_rounds():
    text = "[Round 1]\n\n问：一\n\n答：甲\n乙\n\n[Round 2]\n\n问：二\n三\n\n答："
    assert parse_template(text) == [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "甲\n乙"},
        {"role": "user", "content": "二\n三"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "你好",
        "[Round 1] 是什么意思？",
        "请解释 [Round 1]\n\n问：你好\n\n答：",
        "[Round 1]\n\n问：你好",
        "[Round 1]\n\n问：你好\n\n答：你好",
        "[Round 1]\n\n问：一\n\n答：\n\n[Round 2]\n\n问：二\n\n答：",
        r"C:\new\[Round 1]",
    ],
)
def test_other_text_is_left_alone(text):
    assert parse_template(text) is None
    assert expand_template(text) == text


def test_the_template_of_the_tokenizer_is_recognised():
    from glmlite.compat import ChatGLM2Tokenizer

    build = ChatGLM2Tokenizer.build_prompt
    assert parse_template(build(None, "问题", [("一", "甲")])) == [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "甲"},
        {"role": "user", "content": "问题"},
    ]


@pytest.mark.parametrize(
    ("text", "partial"),
    [
        ("[Round 1]", True),
        ("[Round 1]\n\n问：你好\n", True),
        ("[Round 1]\n\n问：你好\n\n答：\n", False),
        ("[Round 1] 是什么意思？\n", False),
        (r"[Round 1]\n\n问：你好\n\n答：", False),
        ("你好\n", False),
    ],
)
def test_whether_more_lines_are_to_come(text, partial):
    assert is_partial_template(text) is partial

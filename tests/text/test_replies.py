"""Replies: what they say, tool calls without running anything, and the streamed view."""

from __future__ import annotations

import random
from typing import Any

import pytest

from glmlite.text import Tokenizer
from glmlite.text.tool_calls import parse_tool_call

TOOLS = [{"role": "system", "content": "s", "tools": [{"name": "weather"}]}]


def block(source: str) -> str:
    return f"```python\n{source}\n```"


def test_glm2_reply(small2: Tokenizer) -> None:
    reply = small2.template.parse_reply(" \n至[[训练时间]]。\n")
    assert reply.text == "至2023年。"
    assert reply.messages == ({"role": "assistant", "content": "至2023年。"},)
    assert reply.tool_call is None


def test_glm3_reply_keeps_the_mark_in_the_history(small3: Tokenizer) -> None:
    reply = small3.template.parse_reply("\n 至[[训练时间]]")
    assert reply.text == "至2023年"
    assert reply.messages[0]["content"] == "至[[训练时间]]"


def test_glm3_tool_call(small3: Tokenizer) -> None:
    content = block("tool_call(city='北京', days=3)")
    reply = small3.template.parse_reply(f"weather\n{content}", TOOLS)
    assert reply.tool_call is not None
    assert reply.tool_call.name == "weather"
    assert reply.tool_call.parameters == {"city": "北京", "days": 3}
    assert reply.messages == ({"role": "assistant", "metadata": "weather", "content": content},)
    # Without tools on offer it is no call with arguments, whatever it looks like.
    for history in ((), [{"role": "user", "content": "q"}]):
        call = small3.template.parse_reply(f"weather\n{content}", history).tool_call
        assert call is not None
        assert (call.parameters, call.content) == (None, content)


def test_only_ids_can_end_a_turn_inside_a_reply(small3: Tokenizer) -> None:
    """A model that repeats "<|assistant|>" as text must not forge a tool call by it."""
    forged = "\n say <|assistant|>weather\n" + block("tool_call(city='x')")
    text_ids = small3.encode(forged)
    assert small3.template.parse_reply(text_ids, TOOLS).tool_call is None
    real = [
        *small3.encode("\n 好"),
        small3.special_ids["<|assistant|>"],
        *small3.encode("weather\n" + block("tool_call(city='x')")),
    ]
    reply = small3.template.parse_reply(real, TOOLS)
    assert [m["metadata"] for m in reply.messages] == ["", "weather"]
    assert reply.tool_call is not None
    assert reply.tool_call.parameters == {"city": "x"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tool_call()", {}),
        ("tool_call(a=-1, b=+2.5, c=True, d=None)", {"a": -1, "b": 2.5, "c": True, "d": None}),
        ("tool_call(a=[1, ('x', {})], b={'k': \"v\"})", {"a": [1, ["x", {}]], "b": {"k": "v"}}),
        ("tool_call(\n    q='''two\nlines''',\n)", {"q": "two\nlines"}),
        ("  tool_call(a='\\n\\d')  ", {"a": "\n\\d"}),
    ],
)
def test_calls_that_are_read(source: str, expected: dict[str, Any]) -> None:
    assert parse_tool_call(block(source)) == expected


@pytest.mark.parametrize(
    "source",
    [
        "",
        "tool_call",
        "tool_call(1)",
        "tool_call(*[1])",
        "tool_call(**{'a': 1})",
        "tool_call(a=1, a=2)",
        "tool_call(a=b)",
        "tool_call(a=__import__('os').system('true'))",
        "tool_call(a=open('/etc/passwd').read())",
        "tool_call(a=[x for x in (1,)])",
        "tool_call(a=f'{1}')",
        "tool_call(a=lambda: 1)",
        "tool_call(a=2**9999999)",
        "tool_call(a='x'*10**10)",
        "tool_call(a=b'x')",
        "tool_call(a={1, 2})",
        "tool_call(a={1: 2})",
        "tool_call(a={**{}})",
        "tool_call(a=1j)",
        "tool_call(a=1e999)",
        "tool_call(a=...)",
        "tool_call(a=-True)",
        "tool_call(a='\\ud800')",
        "tool_call(a='\0')",
        "tool_call(a=" + "9" * 6000 + ")",
        "tool_call(a=" + "[" * 100 + "]" * 100 + ")",
        "tool_call(a=" + "[" * 10000 + "]" * 10000 + ")",
        "tool_call(a=" + "-" * 30000 + "1)",
        "tool_call(a=" + "1+" * 15000 + "1)",
        "tool_call(a='" + "x" * 70000 + "')",
        "tool_call(a=1); import os",
        "import os\ntool_call(a=1)",
        "os.tool_call(a=1)",
        "other(a=1)",
        "tool_call(a=1)(b=2)",
        "(tool_call := print)(a=1)",
    ],
)
def test_calls_that_are_refused(source: str) -> None:
    assert parse_tool_call(block(source)) is None


@pytest.mark.parametrize("content", ["", "tool_call(a=1)", "```python\ntool_call(a=1)", "\n\n\n"])
def test_no_code_block(content: str) -> None:
    assert parse_tool_call(content) is None


def test_random_calls_survive(small3: Tokenizer) -> None:
    rng = random.Random(3)
    letters = "tool_call(a='x',)[]{}\"\\\n 1.e-*:京"
    for _ in range(500):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(60)))
        parse_tool_call(block(text))
        small3.template.parse_reply(text, TOOLS)


REPLIES = [
    "",
    "ok",
    "  你好 \n",
    "\n 你好👋！",
    "\n\n a\n\n b \n",
    "\n至[[训练时间]]。[[训练",
    "[[训练时间]]",
    "[[训练时间",
    "\n[[[训练时间]] [[",
    "  \n  ",
]


@pytest.mark.parametrize("text", REPLIES)
def test_streamed_view_adds_up(small2: Tokenizer, small3: Tokenizer, text: str) -> None:
    rng = random.Random(5)
    starts_with_a_line = text.partition("\n")[0].strip() and "\n" in text  # ChatGLM3: a tool
    for tokenizer in (small2,) if starts_with_a_line else (small2, small3):
        for _ in range(20):
            view = tokenizer.template.reply_filter()
            shown, rest = "", text
            while rest:
                size = rng.randrange(1, 4)
                shown += view.push(rest[:size])
                rest = rest[size:]
            assert shown + view.flush() == tokenizer.template.parse_reply(text).text


def test_streamed_tool_call_is_shown_whole(small3: Tokenizer) -> None:
    text = "weather\n```python\ntool_call(city='x')\n``` "
    view = small3.template.reply_filter()
    assert "".join(map(view.push, text)) + view.flush() == text


def test_streamed_view_does_not_wait_for_a_line_forever(small3: Tokenizer) -> None:
    view = small3.template.reply_filter()
    assert "".join(map(view.push, "x" * 100)) + view.flush() == "x" * 100

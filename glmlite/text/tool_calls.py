"""Reads the tool calls that ChatGLM3 writes, without running anything.

The model writes Python: a code block with `tool_call(city='北京', days=3)`. The official code
evaluates it; here only literals are read.
"""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

_MAX_CHARACTERS = 64 * 1024
_MAX_DEPTH = 32


def parse_tool_call(content: str) -> dict[str, Any] | None:
    r"""Arguments of the call in a reply's code block.

    Args:
        content: a reply without its metadata line: "```python\ntool_call(...)\n```". The first
            and the last line are dropped, whatever they are, as in the official code.

    Returns:
        the keyword arguments, plain JSON data; None where there is anything else than one call of
        `tool_call` with keyword arguments that are literals.
    """
    source = "\n".join(content.split("\n")[1:-1]).strip()
    if len(source) > _MAX_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model's odd escapes are no news for the user
            call = ast.parse(source, mode="eval").body
        return _arguments(call)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _arguments(call: ast.expr) -> dict[str, Any]:
    if not (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "tool_call"
        and not call.args
    ):
        raise ValueError("no call of tool_call with keywords alone")
    arguments: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError("unpacked or repeated keyword")
        arguments[keyword.arg] = _literal(keyword.value, 0)
    return arguments


def _literal(node: ast.expr, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item, depth + 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key, depth + 1) if key else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("only text can be a key")
        return dict(zip(keys, (_literal(v, depth + 1) for v in node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _literal(node.operand, depth + 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("a sign before something that is no number")
        return -value if isinstance(node.op, ast.USub) else value
    raise ValueError("no literal")


def _constant(value: object) -> object:
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("no JSON data")

"""`process_response` of MindFormers' ChatGLM3 page, without its `eval` on what a model wrote."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from glmlite.text.replies import parse_with_header


def process_response(
    output: str, history: Sequence[Mapping[str, Any]]
) -> tuple[str | dict[str, Any], list[dict[str, Any]]]:
    """What a decoded ChatGLM3 reply says, and the conversation with it.

    Args:
        output: the reply's text, <|assistant|> written out.
        history: the conversation so far; not changed. Where its first message offers tools, a
            reply that names one is read as a call: literals only, nothing is executed.

    Returns:
        (content, history): the last turn's text, or {"name", "parameters"} of a tool call, or
        {"name", "content"} where it cannot be read as one; and the longer conversation.
    """
    first = history[0] if history else {}
    has_tools = first.get("role") == "system" and "tools" in first
    reply = parse_with_header(output.split("<|assistant|>"), has_tools)
    longer = [*(dict(copy.deepcopy(message)) for message in history), *reply.messages]
    if reply.tool_call is None:
        return reply.text, longer
    call = reply.tool_call
    if call.parameters is None:
        return {"name": call.name, "content": call.content}, longer
    return {"name": call.name, "parameters": call.parameters}, longer

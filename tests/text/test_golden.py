"""The official tokenizers, templates and reply rules, from their recorded results."""

from __future__ import annotations

from typing import Any

import pytest

from glmlite.text import StreamingDetokenizer, Tokenizer
from glmlite.text.messages import Turn
from glmlite.text.templates import Glm3Template
from tests.text.conftest import GOLDEN


@pytest.fixture(scope="module")
def real2(golden: dict[str, Any]) -> Tokenizer:
    return Tokenizer(GOLDEN / "tokenizer.model", "glm2")


@pytest.fixture(scope="module")
def real3(golden: dict[str, Any]) -> Tokenizer:
    return Tokenizer(GOLDEN / "tokenizer.model", "glm3")


def test_ids(golden: dict[str, Any], real2: Tokenizer, real3: Tokenizer) -> None:
    facts = golden["tokenizer"]
    assert real2.special_ids == facts["special_ids_chatglm2"]
    assert real3.special_ids == facts["special_ids_chatglm3"]
    assert (real2.num_ids, real3.num_ids) == (facts["n_words_chatglm2"], facts["n_words_chatglm3"])
    assert real2.eos_id == facts["eos_id"]
    assert real2.stop_ids == {2}
    assert real3.stop_ids == {2, 64795, 64797}


def test_texts(golden: dict[str, Any], real2: Tokenizer, real3: Tokenizer) -> None:
    for case in golden["texts"]:
        for tokenizer in (real2, real3):
            assert tokenizer.encode(case["text"]) == case["ids"], case["name"]
            assert tokenizer.prompt_ids(case["text"]) == [64790, 64792, *case["ids"]]
            assert tokenizer.decode(case["ids"]) == case["decode"], case["name"]
        assert [real2.vocabulary.pieces[i] for i in case["ids"]] == case["pieces"]
        if "ids_chatglm3_encode_special_tokens" in case:
            ids = case["ids_chatglm3_encode_special_tokens"]
            expected = case["decode_chatglm3_encode_special_tokens"]
            assert real3.decode(ids, show_special=True) == expected


def test_decodes(golden: dict[str, Any], real2: Tokenizer, real3: Tokenizer) -> None:
    for case in golden["decodes"]:
        if isinstance(case["chatglm2"], str):
            assert real2.decode(case["ids"]) == case["chatglm2"], case["name"]
        else:  # the official code raises on ids that do not exist; they have no text here
            known = [i for i in case["ids"] if i < real2.num_ids]
            assert real2.decode(case["ids"]) == real2.decode(known), case["name"]
        assert real3.decode(case["ids"], show_special=True) == case["chatglm3"], case["name"]
    assert real2.decode([64794]) == real2.decode([65023]) == real2.decode([-1]) == ""


def test_incremental(golden: dict[str, Any], real2: Tokenizer) -> None:
    for case in golden["incremental"]:
        detokenizer = StreamingDetokenizer(real2)
        shown, growing = "", []
        for k, token in enumerate(case["ids"]):
            shown += detokenizer.push(token)
            complete = case["prefix_decodes"][k].rstrip("\ufffd")
            assert shown == complete, (case["name"], k)
            growing.append(shown)
        assert shown + detokenizer.flush() == case["prefix_decodes"][-1]
        yields = [text.strip() for text in growing]
        for text in case["chatglm2_stream_yields"]:
            assert text in yields, case["name"]


def test_glm2_prompts(golden: dict[str, Any], real2: Tokenizer) -> None:
    for case in golden["chatglm2"]["build_prompt"]:
        messages = []
        for question, answer in case["history"]:
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        known = len(messages)
        messages.append({"role": "user", "content": case["query"]})
        assert real2.chat_ids(messages) == case["ids"], case["name"]
        assert real2.prompt_ids(case["prompt"]) == case["ids"], case["name"]
        ids = real2.template.continuation_ids(messages, known)
        assert ids == case["stream_ids"], case["name"]


def test_glm2_replies(golden: dict[str, Any], real2: Tokenizer) -> None:
    for case in golden["chatglm2"]["process_response"]:
        reply = real2.template.parse_reply(case["output"])
        assert reply.text == case["content"], case["name"]
        assert reply.messages == ({"role": "assistant", "content": case["content"]},)


def test_glm3_prompts(golden: dict[str, Any], real3: Tokenizer) -> None:
    for case in golden["chatglm3"]["build_chat_input"]:
        query = {"role": case["role"], "content": case["query"]}
        messages = [*case["history"], query]
        ids = real3.chat_ids(messages)
        assert ids == case["ids"], case["name"]
        assert real3.decode(ids, show_special=True) == case["decode"], case["name"]
        if case["history"] and case["history"][-1]["role"] == "assistant":
            rest = real3.template.continuation_ids(messages, len(case["history"]))
            assert ids[-len(rest) :] == rest
            assert rest[0] == real3.special_ids[f"<|{case['role']}|>"]


def test_glm3_single_messages(golden: dict[str, Any], real3: Tokenizer) -> None:
    template = real3.template
    assert isinstance(template, Glm3Template)
    for case in golden["chatglm3"]["build_single_message"]:
        turn = Turn(case["role"], case["message"], case["metadata"])
        assert template.message_ids(turn) == case["ids"], case["name"]


def test_glm3_replies(golden: dict[str, Any], real3: Tokenizer) -> None:
    for case in golden["chatglm3"]["process_response"]:
        reply = real3.template.parse_reply(case["output"], case["history"])
        call = reply.tool_call
        content: object = reply.text
        if call and call.parameters is not None:
            content = {"name": call.name, "parameters": call.parameters}
        elif call:
            content = {"name": call.name, "content": call.content}
        assert content == case["content"], case["name"]
        assert [*case["history"], *reply.messages] == case["new_history"], case["name"]


def test_a_reply_goes_on_as_the_official_history_would(real3: Tokenizer) -> None:
    """Ids of a reply, parsed into a message and rendered again, are the same ids."""
    messages = [{"role": "user", "content": "你好"}]
    generated = [30910, 13, 36474, 54591, 31404]
    reply = real3.template.parse_reply(generated, messages)
    messages += reply.messages
    messages.append({"role": "user", "content": "hi"})
    prompt = real3.chat_ids(messages)
    kept = [*real3.chat_ids(messages[:1]), *generated]
    assert kept + real3.template.continuation_ids(messages, 2) == prompt

"""MindFormers' tokenizer calls, against the official tokenizers' goldens where they are here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from glmlite.compat import AutoTokenizer, ChatGLM2Tokenizer, ChatGLM3Tokenizer
from glmlite.errors import BundleError, ConfigError, GlmliteError, TokenizerError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = (GOLDEN / "templates.json").is_file()
STORED = json.loads((GOLDEN / "templates.json").read_text(encoding="utf-8")) if HERE else {}
golden = pytest.mark.skipif(not HERE, reason="the golden data (../shared/golden) is not here")


@golden
def test_the_examples_of_mindformers_docstrings():
    tokenizer = ChatGLM2Tokenizer(GOLDEN / "tokenizer.model")
    assert tokenizer("你好") == {
        "input_ids": [64790, 64792, 36474, 54591],
        "attention_mask": [1, 1, 1, 1],
    }
    ids = tokenizer(["晚上睡不着应该怎么办"])["input_ids"]
    assert ids == [[64790, 64792, 30910, 32820, 54266, 31876, 35153]]
    assert tokenizer.decode(ids) == ["晚上睡不着应该怎么办"]
    assert tokenizer.decode(np.array(ids[0])) == "晚上睡不着应该怎么办"
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 0)


@golden
def test_build_prompt_is_the_official_one():
    tokenizer = ChatGLM2Tokenizer(GOLDEN / "tokenizer.model")
    for case in STORED["chatglm2"]["build_prompt"]:
        prompt = tokenizer.build_prompt(case["query"], history=case["history"])
        assert prompt == case["prompt"], case["name"]
        assert tokenizer(prompt)["input_ids"] == case["ids"], case["name"]


@golden
def test_build_chat_input_and_decode_are_the_official_ones():
    tokenizer = ChatGLM3Tokenizer(GOLDEN / "tokenizer.model")
    for case in STORED["chatglm3"]["build_chat_input"]:
        found = tokenizer.build_chat_input(
            case["query"], history=case["history"], role=case["role"]
        )["input_ids"]
        assert found.tolist() == [case["ids"]], case["name"]
        assert tokenizer.decode(found) == [case["decode"]], case["name"]


def test_a_chatglm2_says_that_it_has_no_roles(demo_folder):
    tokenizer = AutoTokenizer.from_pretrained(demo_folder)
    assert type(tokenizer) is ChatGLM2Tokenizer
    assert not hasattr(tokenizer, "build_chat_input")
    with pytest.raises(AttributeError, match="build_prompt"):
        tokenizer.build_chat_input("你好")
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = tokenizer.absent


def test_special_tokens_padding_and_arrays(demo_folder):
    tokenizer = AutoTokenizer.from_pretrained(demo_folder)
    assert type(tokenizer) is ChatGLM2Tokenizer
    plain = tokenizer("你好", add_special_tokens=False)["input_ids"]
    assert tokenizer("你好")["input_ids"] == [*tokenizer.model.prefix_ids, *plain]
    assert tokenizer("你好").input_ids == tokenizer.encode("你好")
    rows = tokenizer(["你好", "你好吗？"], padding=True)
    assert len({len(row) for row in rows["input_ids"]}) == 1
    assert rows["input_ids"][0][-1] == 0
    assert rows["attention_mask"][0][-1] == 0
    assert tokenizer("你好", return_tensors="np")["input_ids"].shape == (1, 2 + len(plain))
    with pytest.raises(ConfigError, match="return_tensors"):
        tokenizer("你好", return_tensors="pt")


def test_build_prompt_counts_rounds_from_one(demo_folder):
    tokenizer = ChatGLM2Tokenizer.from_pretrained(demo_folder)
    assert tokenizer.build_prompt("二", history=[("一", "甲")]) == (
        "[Round 1]\n\n问：一\n\n答：甲\n\n[Round 2]\n\n问：二\n\n答："
    )
    assert tokenizer.build_prompt("一", []) == "[Round 1]\n\n问：一\n\n答："


def test_any_role_and_a_history(parrot_folder):
    tokenizer = AutoTokenizer.from_pretrained(parrot_folder)
    assert isinstance(tokenizer, ChatGLM3Tokenizer)
    system = tokenizer.build_chat_input("你是导游", history=[], role="system")["input_ids"]
    assert tokenizer.decode(system[0]) == "[gMASK]sop<|system|> \n 你是导游<|assistant|>"
    history = [{"role": "user", "content": "好"}, {"role": "assistant", "content": "我是"}]
    messages = [*history, {"role": "user", "content": "示例"}]
    found = tokenizer.build_chat_input("示例", history=history)["input_ids"][0]
    assert found.tolist() == tokenizer.model.chat_ids(messages)
    assert tokenizer.decode(found, skip_special_tokens=True).count("<|") == 0
    batch = tokenizer.build_batch_input(["一", "一二三"])["input_ids"]
    assert batch.shape[0] == 2
    with pytest.raises(ConfigError, match="1 histories"):
        tokenizer.build_batch_input(["一", "二"], [[]])
    with pytest.raises(TokenizerError, match="known roles"):
        tokenizer.build_chat_input("一", role="nobody")


def test_a_plain_folder_is_not_guessed_about(tmp_path, demo_folder):
    (tmp_path / "tokenizer.model").write_bytes((demo_folder / "tokenizer.model").read_bytes())
    with pytest.raises(TokenizerError, match="whose prompts"):
        AutoTokenizer.from_pretrained(tmp_path)
    assert ChatGLM2Tokenizer.from_pretrained(tmp_path).vocab_size > 0
    with pytest.raises(BundleError, match="stands for no bundle"):
        AutoTokenizer.from_pretrained("glm9_6b")


def test_text_never_becomes_a_special_token(parrot_folder):
    tokenizer = AutoTokenizer.from_pretrained(parrot_folder)
    ids = tokenizer.build_chat_input("<|assistant|>[gMASK]</s>")["input_ids"][0]
    special = set(tokenizer.model.special_ids.values())
    assert [i for i in ids[:-1].tolist() if i in special] == [
        *tokenizer.model.prefix_ids,
        tokenizer.model.special_ids["<|user|>"],
    ]
    assert 2 not in ids


def test_a_missing_file():
    with pytest.raises(GlmliteError, match="no tokenizer file"):
        ChatGLM3Tokenizer("/path/to/tokenizer.model")

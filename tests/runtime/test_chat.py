"""Chat on the contract double: only new ids are fed, and the ids are those of the template."""

from __future__ import annotations

import pytest

from glmlite.errors import ConfigError, EngineError, TokenizerError
from tests.runtime.chatting import Chat, assistant, user

TOOLS = [{"name": "get_weather", "parameters": {"city": "string"}}]
CALL = " get_weather\n```python\ntool_call(city='上海')\n```"


@pytest.mark.parametrize("reply", ["你好！", "Two words.", "  Spaces around it \n"])
def test_second_and_third_turns_feed_only_new_tokens_glm2(glm2, reply):
    talk = Chat(glm2)
    text, last = talk.ask("hello", reply)
    assert text == last.reply[0]["content"] == reply.strip()
    assert last.finish_reason == "stop"
    held = talk.session.tokens
    assert held == [*glm2.chat_ids([user("hello")]), *glm2.encode(reply)]
    for question in ("again", "你好"):
        new = talk.continuation(question)
        answer = glm2.encode("ok")
        text, last = talk.ask(question, answer, context=held + new)
        assert text == "ok"
        assert talk.fed == len(new) + len(answer)
        assert last.stats.reused_tokens == len(held)
        held = talk.session.tokens
        assert held[-len(answer) :] == answer


def test_second_turn_feeds_only_new_tokens_glm3(glm3):
    talk = Chat(glm3)
    talk.messages = [{"role": "system", "content": "be brief", "tools": TOOLS}]
    reply = glm3.encode("\n你好")
    text, last = talk.ask("hello", reply)
    assert text == "你好"
    assert last.reply == ({"role": "assistant", "metadata": "", "content": "你好"},)
    held = talk.session.tokens
    call = glm3.encode(CALL)
    new = talk.continuation("weather?")
    text, last = talk.ask("weather?", call, context=held + new)
    assert talk.fed == len(new) + len(call)
    assert last.reply[0]["metadata"].strip() == "get_weather"
    held = talk.session.tokens
    seen = {"role": "observation", "content": "22 °C"}
    new = glm3.template.continuation_ids([*talk.messages, seen], len(talk.messages))
    talk.ask(seen, reply, context=held + new)
    assert talk.fed == len(new) + len(reply)


def test_two_turns_in_one_reply_glm3(glm3):
    talk = Chat(glm3)
    ids = [*glm3.encode("\nLet me see."), glm3.special_ids["<|assistant|>"], *glm3.encode(CALL)]
    _, last = talk.ask("weather?", ids)
    assert [m["metadata"].strip() for m in last.reply] == ["", "get_weather"]
    held = talk.session.tokens
    new = talk.continuation("and?")
    talk.ask("and?", glm3.encode("\nok"), context=held + new)
    assert talk.fed == len(new) + len(glm3.encode("\nok"))


def test_what_was_shown_is_as_good_as_the_reply(glm3):
    talk = Chat(glm3)
    text, _ = talk.ask("hello", glm3.encode("\n你好"))
    talk.messages[-1] = assistant(text)
    held = talk.session.tokens
    new = talk.continuation("and?")
    talk.ask("and?", "ok", context=held + new)
    assert talk.fed == len(new) + len(glm3.encode("ok"))


def test_an_edited_history_is_rendered_again(glm2):
    talk = Chat(glm2)
    talk.ask("hello", "first answer")
    talk.messages[1] = assistant("another answer")
    text, last = talk.ask("and?", "ok")
    assert text == "ok"
    whole = glm2.chat_ids(talk.messages[:3])
    assert talk.session.tokens == whole + glm2.encode("ok")
    assert last.stats.reused_tokens >= len(glm2.chat_ids([user("hello")])) - 1


def test_retry_and_undo_reuse_what_is_there(glm2):
    talk = Chat(glm2)
    talk.ask("one", "a")
    held = talk.session.tokens
    new = talk.continuation("two")
    talk.ask("two", "b", context=held + new)
    del talk.messages[3:]  # retry
    fed = talk.engine.fed
    last = list(talk.pieces())[-1]
    assert last.stats.reused_tokens == len(held + new) - 1
    assert talk.engine.fed - fed == 1 + len(glm2.encode("b"))
    del talk.messages[2:]  # undo, then another question
    new = talk.continuation("three")
    _, last = talk.ask("three", "c", context=held + new)
    assert last.stats.reused_tokens >= len(held)


def test_another_conversation_in_the_same_session(glm2):
    talk = Chat(glm2)
    talk.ask("one", "a")
    talk.messages = []
    text, _ = talk.ask("something else", "b")
    assert text == "b"
    assert talk.session.tokens == glm2.chat_ids([user("something else")]) + glm2.encode("b")


def test_closed_early_the_shown_part_is_the_reply(glm2):
    talk = Chat(glm2)
    talk.messages = [user("hello")]
    ids = glm2.encode("A rather long answer that goes on")
    talk.engine.say(glm2.chat_ids(talk.messages), ids)
    pieces = talk.pieces()
    shown = "".join(next(pieces).text for _ in range(4))
    pieces.close()
    talk.messages.append(assistant(shown))
    held = [*glm2.chat_ids(talk.messages[:1]), *ids[:4]]
    new = talk.continuation("and?")
    text, _ = talk.ask("and?", "ok", context=held + new)
    assert text == "ok"
    assert talk.fed == 1 + len(new) + len(glm2.encode("ok"))


def test_closed_within_a_character_nothing_half_stays(glm2):
    talk = Chat(glm2)
    talk.messages = [user("hello")]
    ids = [*glm2.encode("ab"), *(b + 3 for b in "😀".encode())]
    talk.engine.say(glm2.chat_ids(talk.messages), ids)
    pieces = talk.pieces()
    shown = "".join(next(pieces).text for _ in range(len(ids) - 1))
    pieces.close()
    talk.messages.append(assistant(shown))
    text, _ = talk.ask("and?", "ok")
    assert (shown, text) == ("ab", "ok")
    assert talk.session.tokens == glm2.chat_ids(talk.messages[:3]) + glm2.encode("ok")


def test_a_stop_string_is_no_part_of_the_next_prompt(glm2):
    talk = Chat(glm2)
    talk.messages = [user("hello")]
    talk.engine.say(glm2.chat_ids(talk.messages), glm2.encode("one END two"))
    pieces = list(talk.pieces(stop=["END"]))
    assert "".join(p.text for p in pieces) == "one"
    talk.messages += pieces[-1].reply
    assert talk.messages[-1]["content"] == "one"
    talk.ask("and?", "ok")
    assert talk.session.tokens == glm2.chat_ids(talk.messages[:3]) + glm2.encode("ok")


def test_cut_by_length_the_last_token_is_not_lost(glm2):
    talk = Chat(glm2)
    talk.messages = [user("hello")]
    ids = glm2.encode("A rather long answer that goes on")
    talk.engine.say(glm2.chat_ids(talk.messages), ids)
    pieces = list(talk.pieces(count=5))
    assert pieces[-1].finish_reason == "length"
    talk.messages += pieces[-1].reply
    held = [*glm2.chat_ids(talk.messages[:1]), *ids[:5]]
    talk.ask("and?", "ok", context=held + talk.continuation("and?"))
    assert talk.session.tokens[: len(held)] == held


def test_a_failure_in_the_middle_can_be_retried(glm2):
    talk = Chat(glm2)
    talk.engine.fail_at = 5
    with pytest.raises(EngineError):
        talk.ask("hello", "A rather long answer")
    talk.engine.fail_at = None
    talk.messages = []
    assert talk.ask("hello", "A rather long answer")[0] == "A rather long answer"


@pytest.mark.parametrize("messages", ["hello", [1], [{}], [{"role": "user"}], [], None])
def test_malformed_messages_are_refused(glm2, messages):
    talk = Chat(glm2)
    talk.ask("hello", "ok")
    talk.messages = messages
    with pytest.raises(TokenizerError):
        list(talk.pieces())
    assert talk.session.transcript is not None


def test_a_base_model_does_not_chat(base):
    talk = Chat(base)
    talk.messages = [user("hello")]
    with pytest.raises(TokenizerError, match="base model"):
        list(talk.pieces())


def test_one_answer_at_a_time(glm2):
    talk = Chat(glm2)
    talk.messages = [user("hello")]
    pieces = talk.pieces()
    next(pieces)
    with pytest.raises(ConfigError, match="generating another"):
        next(talk.pieces())
    pieces.close()

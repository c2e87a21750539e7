"""A full cache: the oldest rounds go, and that is said; or it is an error."""

from __future__ import annotations

import pytest

from glmlite.errors import CacheFullError
from glmlite.runtime.session import Session
from glmlite.runtime.sliding import drop_oldest_round
from tests.runtime.chatting import Chat, assistant, user
from tests.runtime.contract_double import ContractDouble


class Answering(ContractDouble):
    """Says "ok" to whatever was asked, then eos."""

    def __init__(self, tokenizer, length, **options):
        super().__init__(tokenizer.num_ids, **options)
        self.answer = [*tokenizer.encode("ok " * length), tokenizer.eos_id]
        self.ends = {tokenizer.special_ids.get("<|assistant|>"), tokenizer.encode("答：")[-1]}

    def logits_after(self, ids):
        ids = [int(i) for i in ids]
        start = max((i for i, token in enumerate(ids) if token in self.ends), default=0)
        token = self.answer[min(len(ids) - start - 1, len(self.answer) - 1)]
        self.script[tuple(ids)] = token
        return super().logits_after(ids)


@pytest.mark.parametrize("family", ["glm2", "glm3"])
@pytest.mark.parametrize("length", [3, 30])
def test_sliding_drops_whole_rounds_and_says_so(request, family, length):
    tokenizer = request.getfixturevalue(family)
    talk = Chat(tokenizer, overflow="sliding")
    talk.engine = Answering(tokenizer, length, capacity=160)
    talk.session = Session(talk.engine, "sliding")
    if family == "glm3":
        talk.messages = [{"role": "system", "content": "You are brief."}]
    head = [*tokenizer.prefix_ids, *(
        tokenizer.template.message_ids(_turn(talk.messages[0])) if talk.messages else []
    )]  # fmt: skip
    notices = []
    for i in range(16):
        talk.messages.append(user(f"question {i}"))
        pieces = list(talk.pieces())
        assert "".join(p.text for p in pieces) == ("ok " * length).strip()
        assert pieces[-1].finish_reason == "stop"
        talk.messages += pieces[-1].reply
        notices += [n for p in pieces for n in p.notices]
        assert talk.session.tokens[: len(head)] == head
        assert len(talk.session) <= 160
    assert notices
    assert all("rounds dropped, the oldest first" in n for n in notices)
    held = talk.engine.fed
    talk.messages.append(user("short"))
    last = list(talk.pieces(count=1))[-1]
    if not last.notices:
        assert talk.engine.fed - held < 60


def _turn(message):
    from glmlite.text.messages import check_messages

    return check_messages([message])[0]


def test_sliding_cannot_drop_the_only_round(glm2):
    talk = Chat(glm2)
    talk.engine = Answering(glm2, 100, capacity=60)
    talk.session = Session(talk.engine, "sliding")
    talk.messages = [user("hello")]
    pieces = list(talk.pieces())
    assert pieces[-1].finish_reason == "length"
    assert "no old round to drop" in pieces[-1].notices[0]
    talk.messages = [user("hello " * 100)]
    with pytest.raises(CacheFullError):
        list(talk.pieces())


def test_without_sliding_a_full_cache_is_an_error(glm2):
    talk = Chat(glm2)
    talk.engine = Answering(glm2, 100, capacity=60)
    talk.session = Session(talk.engine)
    talk.messages = [user("hello")]
    with pytest.raises(CacheFullError, match="60"):
        list(talk.pieces())
    assert len(talk.session) == 60


def test_rounds():
    system = {"role": "system", "content": "s"}
    tool = {"role": "observation", "content": "o"}
    one = [user("1"), assistant("a"), tool, assistant("b")]
    two = [user("2"), assistant("c")]
    assert drop_oldest_round([system, *one, *two]) == [system, *two]
    assert drop_oldest_round([*one, *two]) == two
    assert drop_oldest_round([system, *one]) is None
    assert drop_oldest_round([system]) is None
    assert drop_oldest_round([]) is None

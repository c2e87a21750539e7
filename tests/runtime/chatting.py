"""A conversation on the contract double."""

from __future__ import annotations

from glmlite.runtime.chat import chat
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from tests.runtime.contract_double import ContractDouble


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


class Chat:
    """A conversation whose model says what it is told."""

    def __init__(self, tokenizer, capacity=400, overflow="error", **engine):
        self.tokenizer = tokenizer
        self.engine = ContractDouble(tokenizer.num_ids, capacity=capacity, **engine)
        self.session = Session(self.engine, overflow)
        self.messages = []

    def pieces(self, count=200, **options):
        sampler = Sampler(
            SamplingParams(), self.tokenizer.num_ids, banned=self.tokenizer.never_sampled
        )
        return chat(
            self.session, self.messages, tokenizer=self.tokenizer, sampler=sampler,
            max_new_tokens=count, overflow=self.session.overflow, **options
        )  # fmt: skip

    def ask(self, question, reply, context=None):
        """Ask; the model answers `reply` if its cache holds `context` ([ids]) and the question."""
        self.messages.append(question if isinstance(question, dict) else user(question))
        prompt = self.tokenizer.chat_ids(self.messages) if context is None else context
        ids = reply if isinstance(reply, list) else self.tokenizer.encode(reply)
        self.engine.say(prompt, [*ids, self.tokenizer.eos_id])
        fed = self.engine.fed
        pieces = list(self.pieces())
        self.fed = self.engine.fed - fed
        self.messages += pieces[-1].reply
        return "".join(p.text for p in pieces), pieces[-1]

    def continuation(self, question):
        """Ids that the next turn should append."""
        messages = [*self.messages, user(question)]
        return self.tokenizer.template.continuation_ids(messages, len(self.messages))

"""The measurements, on an engine that is open: answers, context curve, second turn, batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from glmlite.bench.counting import CountingEngine
from glmlite.bench.options import CONTEXT_STEPS
from glmlite.bench.report import Answers, Batch, ContextPoint, SecondTurn, Spread
from glmlite.runtime.answer_text import AnswerText
from glmlite.runtime.chunks import plan_chunks
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.generation import GenerationStats, generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.text import StreamingDetokenizer, Tokenizer

Advance = Callable[[], None]
WARM_UP_TOKENS = 3


class Bench:
    """One engine, driven through the same loop as an answer to a user.

    Args:
        engine: what runs the graphs.
        tokenizer: the bundle's, whose detokenizing then belongs to the host's work; or None.
        seed: of the random ids.
        advance: called after every answer and every point.
    """

    def __init__(
        self,
        engine: CountingEngine,
        tokenizer: Tokenizer | None,
        seed: int = 0,
        advance: Advance = lambda: None,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._advance = advance
        known = tokenizer.num_ids if tokenizer else engine.spec.vocab_size
        self._known_ids = min(known, engine.spec.vocab_size)
        self._generator = np.random.default_rng(seed)

    def draw_ids(self, count: int) -> Int32Array:
        """Random ids of a prompt; the first ones of a vocabulary are no text."""
        first = min(3, self._known_ids - 1)
        return self._generator.integers(first, self._known_ids, count, dtype=np.int32)

    def _answer(
        self, session: Session, ids: Int32Array, new: int, steps: list[float] | None = None
    ) -> GenerationStats:
        """One greedy answer of `new` tokens; seconds of its decode steps are added to `steps`."""
        sampler = Sampler(SamplingParams(), self._engine.spec.vocab_size, self._known_ids)
        output = AnswerText(StreamingDetokenizer(self._tokenizer) if self._tokenizer else None)
        pieces = generate(session, ids.tolist(), sampler=sampler, max_new_tokens=new, output=output)
        stats = next(pieces).stats
        for piece in pieces:
            if steps is not None:
                steps.append(self._engine.step_seconds)
            stats = piece.stats
        assert stats is not None  # noqa: S101 - the last piece has them
        return stats

    def warm_up(self, prompt: int) -> float:
        """Run every size of graph that an answer needs once; the seconds it took."""
        started = time.perf_counter()
        room = max(self._engine.spec.capacity - prompt, 0)
        session = Session(self._engine)
        self._answer(session, self.draw_ids(prompt), min(WARM_UP_TOKENS, room + 1))
        self._advance()
        return time.perf_counter() - started

    def answers(self, prompt: int, new: int, repeats: int) -> Answers:
        """Answer a prompt `repeats` times, from an empty cache each time.

        Args:
            prompt: ids that are fed.
            new: ids that are sampled, at least 2.
            repeats: 1 or more.
        """
        session = Session(self._engine)
        ids = self.draw_ids(prompt)
        stats = []
        steps: list[float] = []
        for _ in range(repeats):
            session.truncate(0)
            stats.append(self._answer(session, ids, new, steps))
            self._advance()
        prefill = Spread.of([s.prefill_seconds for s in stats])
        decode = Spread.of([s.decode_seconds for s in stats])
        return Answers(
            first_token_seconds=Spread.of([s.time_to_first_token for s in stats]),
            prefill_tokens_per_second=prefill.rate(prompt),
            decode_tokens_per_second=decode.rate(new - 1),
            token_seconds=Spread.of(steps),
            host_seconds=Spread.of([s.host_seconds / s.new_tokens for s in stats]),
        )

    def context_points(
        self, contexts: Sequence[int], found: Callable[[ContextPoint], None]
    ) -> None:
        """Decode steps with more and more in the cache.

        Args:
            contexts: tokens that the cache holds before the steps, ascending.
            found: gets every point as soon as it is measured.
        """
        session = Session(self._engine)
        for context in contexts:
            session.feed(self.draw_ids(context - len(session)))
            seconds = []
            for token in self.draw_ids(CONTEXT_STEPS + 1):
                session.feed([int(token)])
                seconds.append(self._engine.step_seconds)
            session.truncate(context)
            found(ContextPoint(context, Spread.of(seconds[1:])))
            self._advance()

    def second_turn(self, held: int, message: int, repeats: int) -> SecondTurn:
        """Time to the first token of a conversation's next answer, and without its cache.

        Args:
            held: tokens of the conversation so far.
            message: tokens of the next message.
            repeats: of the second turn; the cold start is measured once.
        """
        ids = self.draw_ids(held + message)
        session = Session(self._engine)
        cold = self._answer(session, ids, 1).time_to_first_token
        seconds = []
        for _ in range(repeats):
            session.truncate(held)
            stats = self._answer(session, ids, 1)
            seconds.append(stats.time_to_first_token)
        self._advance()
        return SecondTurn(held, message, Spread.of(seconds), cold)

    def batch(self, rows: int, prompt: int, new: int) -> Batch:
        """Decode `rows` rows together, each after a prompt of its own.

        Args:
            rows: at most the engine's; the others stay idle.
            prompt: ids that each row is fed.
            new: steps.
        """
        spec, cache = self._engine.spec, self._engine.new_cache()
        ids = np.zeros((spec.batch_size, prompt), np.int32)
        ids[:rows] = self.draw_ids(rows * prompt).reshape(rows, prompt)
        active = np.zeros(spec.batch_size, np.int32)
        active[:rows] = 1
        position = np.zeros(spec.batch_size, np.int32)

        def run(part: Int32Array, valid: int) -> Float32Array:
            logits = self._engine.step(part, position.copy(), active * np.int32(valid), cache)
            position[:rows] += valid
            return logits

        start = 0
        logits = np.empty(0, np.float32)
        for size, valid in plan_chunks(prompt, spec.chunk_sizes, spec.preferred_chunk):
            part = np.zeros((spec.batch_size, size), np.int32)
            part[:, :valid] = ids[:, start : start + valid]
            logits = run(part, valid)
            start += valid
        seconds = []
        for _ in range(new - 1):
            token = logits.argmax(axis=1).astype(np.int32) * active
            started = time.perf_counter()
            logits = run(token[:, None], 1)
            seconds.append(time.perf_counter() - started)
        self._advance()
        steps = Spread.of(seconds)
        return Batch(rows, steps, steps.rate(rows))

"""An engine with an answer cache: it asks, and pays for, cache misses only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from rlaif.engines.answer_cache import AnswerCache
from rlaif.engines.answer_checks import check_answers, check_rendered
from rlaif.engines.answers import final_key, generate_key, is_refusal, pack, score_key, unpack
from rlaif.engines.base import Answer, AnswersOneByOne, Engine
from rlaif.engines.delegating import DelegatingEngine
from rlaif.engines.spending import RUN_BYTES, Ledger, Spending
from rlaif.errors import StoreError
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling, StructuredPrompt

A = TypeVar("A", OptionScores, Generation)


class CachedEngine(DelegatingEngine):
    """Puts an answer cache and a ledger in front of an engine.

    A question is what determines its answer: the engine's identity, what it reads (``Engine.rendered``: token ids of
    a local model), and the options or the whole sampling, its seed included. Who asks, for which pair and in which run
    is no part of it. Equal questions of one call are asked once; what is not known is asked in one call, in order, and
    kept before this returns. A failure is no answer and is never kept, unless it is final: a prompt that the server
    refuses, or to which its answer is of no use, is not asked again.

    An engine that is :class:`rlaif.engines.base.AnswersOneByOne` has each answer kept as it arrives, so it is asked one
    call after the other, also from several threads; of any other, the answers of the call in flight are lost when the
    process is killed.

    Args:
        engine: The engine that is asked.
        cache: Where answers are kept; None keeps none (and still asks equal questions of one call once).
        ledger: Counts what was asked and what was known; None counts nothing.
        ask_refused_again: Ask for prompts that the server refused, or found too long, before.
    """

    def __init__(
        self,
        engine: Engine,
        cache: AnswerCache | None = None,
        *,
        ledger: Ledger | None = None,
        ask_refused_again: bool = False,
    ) -> None:
        super().__init__(engine)
        self.cache = cache
        self.ledger = ledger
        self.ask_refused_again = ask_refused_again
        self.one_call = threading.Lock()
        """Held while an engine hands its answers over one by one: to whom, it knows by an attribute."""

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """As :meth:`rlaif.engines.base.Engine.score`."""
        identity = self.identity
        keys = [score_key(identity, read, options) for read in self._rendered(prompts)]
        return self._answers(prompts, keys, options, lambda asked: self.engine.score(asked, options))

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As :meth:`rlaif.engines.base.Engine.generate`."""
        identity = self.identity
        keys = [generate_key(identity, read, sampling) for read in self._rendered(prompts)]
        return self._answers(prompts, keys, None, lambda asked: self.engine.generate(asked, sampling))

    def _rendered(self, prompts: Sequence[StructuredPrompt]) -> list[bytes]:
        return check_rendered([self.rendered(prompt) for prompt in prompts], prompts, self.engine)

    def _answers(
        self,
        prompts: Sequence[StructuredPrompt],
        keys: Sequence[bytes],
        options: Sequence[str] | None,
        ask: Callable[[Sequence[StructuredPrompt]], list[A]],
    ) -> list[A]:
        known, paid_here = self._known(keys)
        answers = cast("dict[bytes, A]", dict(known))
        by_key = dict(zip(keys, prompts, strict=True))
        unknown = [key for key in by_key if key not in answers]
        if unknown:
            call = _Call(self, unknown, options)
            fresh = call.run(lambda: ask([by_key[key] for key in unknown]))
            answers |= dict(zip(unknown, fresh, strict=True))
        if self.ledger is not None and len(known) > len(paid_here):
            first = self.ledger.first_time([key for key in known if key not in paid_here])
            self._count_known([known[key] for key in first])
        return [answers[key] for key in keys]

    def _known(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Answer], set[bytes]]:
        """Cache hits of these keys, and which of them this run has paid for."""
        if self.cache is None:
            return {}, set()
        found = self.cache.get(list(dict.fromkeys(keys)))
        final = {final_key(key): key for key in keys if key not in found}
        found |= {final[key]: data for key, data in self.cache.get(list(final)).items()}
        try:
            answers = {key: unpack(data[RUN_BYTES:]) for key, data in found.items()}
        except ValueError as error:
            raise StoreError(
                f"label cache: holds {error}; delete the answer cache in the store, or set label.cache=none"
            ) from error
        if self.ask_refused_again:
            answers = {key: answer for key, answer in answers.items() if not is_refusal(answer.missing)}
        return answers, {key for key, data in found.items() if key in answers and data[:RUN_BYTES] == self._stamp}

    @property
    def _stamp(self) -> bytes:
        return bytes(RUN_BYTES) if self.ledger is None else self.ledger.run_id

    def _count_known(self, answers: Sequence[Answer]) -> None:
        """Answers that were in the cache before this run."""
        assert self.ledger is not None
        if answers:
            saved = self.spent_on(answers)
            self.ledger.add(
                Spending(
                    num_cached=saved.num_questions,
                    num_cached_prompt_tokens=saved.num_prompt_tokens,
                    num_cached_reply_tokens=saved.num_reply_tokens,
                )
            )

    def spent_on(self, answers: Sequence[Answer]) -> Spending:
        """Questions and tokens of answers; one that failed counts with the tokens that its engine reports."""
        return Spending(
            num_questions=len(answers),
            num_prompt_tokens=sum(item.num_prompt_tokens + item.billing.num_wasted_prompt_tokens for item in answers),
            num_reused_prompt_tokens=sum(answer.billing.num_reused_prompt_tokens for answer in answers),
            num_reply_tokens=sum(item.num_reply_tokens + item.billing.num_wasted_reply_tokens for item in answers),
            num_retried=sum(answer.billing.num_retries for answer in answers),
        )

    def keep(self, answers: dict[bytes, Answer]) -> None:
        """Put answers into the cache, failures that may pass left out."""
        if self.cache is not None:
            given = {
                key if answer.missing is None else final_key(key): self._stamp + pack(answer)
                for key, answer in answers.items()
                if not answer.failed
            }
            self.cache.put(given)


class _Call:
    """One call of the engine: keeps and counts its answers, as they arrive or at its end."""

    def __init__(self, owner: CachedEngine, keys: Sequence[bytes], options: Sequence[str] | None) -> None:
        self.owner = owner
        self.keys = keys
        self.options = options
        self._kept: set[int] = set()
        self._counted_at = time.perf_counter()
        self._lock = threading.Lock()

    def run(self, ask: Callable[[], list[A]]) -> list[A]:
        engine = self.owner.engine
        if not isinstance(engine, AnswersOneByOne):
            answers = ask()
            self._finish(answers)
            return answers
        with self.owner.one_call:
            self._counted_at, engine.on_answer = time.perf_counter(), self._arrived
            try:
                answers = ask()
                self._finish(answers)
            finally:
                engine.on_answer = None
        return answers

    def _arrived(self, position: int, answer: Answer) -> None:
        check_answers([answer], 1, self.options, self.owner.engine)
        with self._lock:
            self._kept.add(position)
            # Counted before it is kept: an answer that is kept is never counted again by a later start.
            self._count([answer])
            self.owner.keep({self.keys[position]: answer})

    def _finish(self, answers: Sequence[Answer]) -> None:
        check_answers(answers, len(self.keys), self.options, self.owner.engine)
        rest = [position for position in range(len(answers)) if position not in self._kept]
        self._count([answers[position] for position in rest])
        self.owner.keep({self.keys[position]: answers[position] for position in rest})

    def _count(self, answers: Sequence[Answer]) -> None:
        now = time.perf_counter()
        if self.owner.ledger is not None and answers:
            self.owner.ledger.add(self.owner.spent_on(answers) + Spending(seconds=now - self._counted_at))
            self._counted_at = now

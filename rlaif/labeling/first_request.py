"""One request to each server before anything is trained, where something will be asked of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.base import AsksOnTrial, Engine, TrialFailure
from rlaif.engines.cached import CachedEngine
from rlaif.engines.delegating import DelegatingEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger, Spending
from rlaif.errors import ConfigError, GateStopped, RlaifError
from rlaif.labelers.base import PlansAhead
from rlaif.labelers.models import engines_of, parts_of, replace_engines
from rlaif.naming import LABELER, as_typed, named_as
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Comparison, Sampling, StructuredPrompt

_BATCH = 64

log = logging.getLogger(__name__)

Form = tuple[str, ...] | Sampling
"""A kind of request: the options that are scored, or the sampling of a continuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WillAsk:
    """What a step will ask, as far as it is known before it runs."""

    labeler: object
    """A labeler, or what declares labelers as its members (a reward); its engines are replaced in place."""
    examples: Sequence[Comparison]
    """A few pairs of the run's task, from which the first requests are made."""
    answers: AnswerPlace
    """Where answers are kept."""
    pairs: Sequence[Comparison] | None = None
    """All pairs that it will judge; None where they are not known yet."""
    option: str = LABELER
    """The option that composes it, for messages."""


class FirstRequests:
    """Sends one request of each form to each server, once for all steps of a run."""

    def __init__(self) -> None:
        self._tried: set[tuple[object, ...]] = set()

    def send(self, asks: WillAsk) -> Spending:
        """Try the servers of one step; nothing is sent where no model is asked or every answer is known.

        Args:
            asks: What the step will ask.

        Returns:
            What was paid for.

        Raises:
            ConfigError: A server refuses requests of this form; with every problem.
            GateStopped: A server cannot be reached.
        """
        with named_as(asks.option):
            if not any(isinstance(engine, AsksOnTrial) for engine in engines_of(asks.labeler)):
                return Spending()
            exchanged = _Exchanged(asks.labeler)
            if asks.pairs is not None and not exchanged.would_ask(asks.pairs, asks.answers):
                return Spending()
            ledger = Ledger()
            failures = [
                failure for engine in exchanged.recorded(asks.examples) for failure in self._try(engine, ledger)
            ]
            _stop(failures)
            return ledger.total()

    def _try(self, recorder: _Recorder, ledger: Ledger) -> Iterator[TrialFailure]:
        server = recorder.engine
        if not isinstance(server, AsksOnTrial):
            return
        for kind, (form, prompt) in recorder.forms.items():
            known = (recorder.identity, getattr(getattr(server, "connection", None), "url", None), kind)
            if known in self._tried:
                continue
            self._tried.add(known)
            answer, failure = server.trial(prompt, form)
            ledger.add(CachedEngine(recorder.engine).spent_on([answer]))
            if failure is not None:
                yield failure


def _stop(failures: Sequence[TrialFailure]) -> None:
    lasting = [failure.problem for failure in failures if not failure.may_pass]
    for failure in failures:
        if failure.may_pass:
            log.warning("%s; the run goes on", as_typed(failure.problem))
    unreachable = [problem for problem in lasting if "cannot connect" in problem]
    if unreachable:
        raise GateStopped(unreachable[0])
    if lasting:
        raise ConfigError(list(dict.fromkeys(lasting)))


class _Exchanged:
    """A labeler whose engines are exchanged for those that ask nobody."""

    def __init__(self, labeler: object) -> None:
        self.labeler = labeler
        self.wrapped: list[CachedEngine] = []
        self.originals: list[Engine] = []
        replace_engines(labeler, self._wrap)

    def _wrap(self, engine: Engine) -> Engine:
        self.originals.append(engine)
        self.wrapped.append(CachedEngine(engine))
        return self.wrapped[-1]

    def would_ask(self, pairs: Sequence[Comparison], answers: AnswerPlace) -> bool:
        """True where an answer to one of these pairs is not in the cache."""
        cache = answers.open()
        if cache is None:
            return bool(pairs)
        for wrapped, engine in zip(self.wrapped, self.originals, strict=True):
            wrapped.engine, wrapped.cache = _AsksNobody(engine), cache
        try:
            for start in range(0, len(pairs), _BATCH):
                self._label(pairs[start : start + _BATCH], plan=pairs)
        except Exception as error:  # where an answer is needed that is not known, or a plugin needs its model
            log.debug("not every answer is in the cache: %r", error)
            return True
        finally:
            cache.close()
        return False

    def recorded(self, pairs: Sequence[Comparison]) -> list[_Recorder]:
        """What each engine is asked about these pairs."""
        recorders = [_Recorder(engine) for engine in self.originals]
        for wrapped, recorder in zip(self.wrapped, recorders, strict=True):
            wrapped.engine, wrapped.cache = recorder, None
        try:
            self._label(pairs)
        except RlaifError:
            raise
        except Exception as error:  # a plugin may need more of its engine than a script has
            log.debug("labeler %s could not be tried without its model: %r", self.labeler, error)
        return recorders

    def _label(self, pairs: Sequence[Comparison], plan: Sequence[Comparison] | None = None) -> None:
        """Have every part that asks a model judge the pairs."""
        for part in parts_of(self.labeler):
            if not engines_of(part) or len(list(parts_of(part))) > 1:
                continue
            asked: Any = part.for_plan(plan or pairs) if isinstance(part, PlansAhead) else part
            asked.label(pairs)


class _Recorder(DelegatingEngine):
    """Answers as a script does, and remembers the first request of each form."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.forms: dict[Form, tuple[Form, StructuredPrompt]] = {}
        """By their form without its seed: further samples of a continuation are no other form."""
        self._script = ScriptedEngine()

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        for prompt in prompts[:1]:
            self.forms.setdefault(tuple(options), (tuple(options), prompt))
        return self._script.score(prompts, options)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        for prompt in prompts[:1]:
            self.forms.setdefault(replace(sampling, seed=0), (sampling, prompt))
        return self._script.generate(prompts, sampling)


class _NotKnownError(Exception):
    """An engine would be asked."""


class _AsksNobody(DelegatingEngine):
    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        raise _NotKnownError

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        raise _NotKnownError

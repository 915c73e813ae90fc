"""One request before a run: it shows a wrong model name, url or option while nothing is trained or paid."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rlaif.engines.base import Answer, TrialFailure
from rlaif.engines.openai.calls import Calls
from rlaif.engines.openai.failures import TOO_LONG, RequestFailed
from rlaif.engines.openai.hints import hint
from rlaif.naming import as_typed
from rlaif.types import Sampling, StructuredPrompt

if TYPE_CHECKING:
    from rlaif.engines.openai.engine import OpenAIEngine

_NEVER = 10**9

log = logging.getLogger(__name__)


def try_request(
    engine: OpenAIEngine, prompt: StructuredPrompt, asked: Sequence[str] | Sampling
) -> tuple[Answer, TrialFailure | None]:
    """Ask one request; see :meth:`rlaif.engines.base.AsksOnTrial.trial`.

    Of votes one is drawn, and of options that take several requests each the first is scored.
    """
    alone = copy.copy(engine)
    alone.on_answer, alone.num_votes = None, 1
    alone.connection = replace(engine.connection, break_after=_NEVER)
    alone._calls = Calls(alone.connection)
    answer: Answer
    if isinstance(asked, Sampling):
        (answer,) = alone.generate([prompt], asked)
    else:
        in_one_request = engine.scoring == "votes" or engine.asking.api == "chat"
        (answer,) = alone.score([prompt], asked if in_one_request else asked[:1])
    failure = alone._calls.client.last
    if answer.missing is None:
        return answer, None
    if failure is None or not (failure.of_server or failure.reason == TOO_LONG):
        told = f"labeler.engine: a first request got no answer of use: {answer.missing}. {hint(answer.missing)}"
        log.warning(as_typed(told))
        return answer, None
    return answer, TrialFailure(
        _in_words(alone.connection.url, failure, engine.connection.break_after), failure.is_of_load
    )


def _in_words(url: str, failure: RequestFailed, break_after: int) -> str:
    told = f"labeler.engine.url={url}: a first request, before anything is trained or paid, failed: {failure.in_words}"
    if failure.reason != "cannot connect":
        return told
    return (
        f"{told}. After labeler.engine.break_after={break_after} of these in a row the run would stop, so it stops now"
    )

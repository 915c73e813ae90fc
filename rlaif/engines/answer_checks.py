"""Answers of an engine held against its contract, before they are kept or read."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

from rlaif.engines.base import Engine
from rlaif.errors import PluginError
from rlaif.outcome import Generation, OptionScores
from rlaif.registry import described
from rlaif.types import StructuredPrompt

ROUNDING = 1e-2
"""Largest log-probability, of a probability of 1 in a coarse number format."""
_ALIKE = 2
"""Different texts that a tokenizer may render alike (a pair whose responses differ in upper and lower case)."""


def check_answers(answers: object, num_prompts: int, options: Sequence[str] | None, engine: Engine) -> None:
    """Refuse what no labeler can read, or would read wrong.

    Args:
        answers: What one call of the engine returned.
        num_prompts: Prompts of the call.
        options: Options that were scored; None where texts were written.
        engine: Who answered.

    Raises:
        PluginError: Another number of answers, another type, or numbers that are no log-probabilities of the options.
    """
    kind = Generation if options is None else OptionScores
    if not isinstance(answers, list | tuple) or len(answers) != num_prompts:
        found = f"{len(answers)}" if isinstance(answers, list | tuple) else f"a {type(answers).__name__}"
        raise _error(
            engine, f"returned {found} for {num_prompts} prompts, must be a list with one {kind.__name__} for each"
        )
    for answer in answers:
        if not isinstance(answer, kind):
            raise _error(engine, f"answered with a {type(answer).__name__}, must be {kind.__name__}")
        if isinstance(answer, OptionScores) and options is not None:
            _check_scores(answer, options, engine)
        if isinstance(answer, Generation) and not isinstance(answer.text, str):
            raise _error(engine, f"wrote a {type(answer.text).__name__}, must be text")


def check_rendered(rendered: Sequence[object], prompts: Sequence[StructuredPrompt], engine: Engine) -> list[bytes]:
    """The inputs of a model as an engine renders them; prompts that are rendered alike share one answer.

    Args:
        rendered: What the engine gave for each prompt.
        prompts: The prompts of the call.
        engine: Who rendered them.

    Raises:
        PluginError: One is something else than bytes, or all are alike and the prompts are not.
    """
    found = []
    for item in rendered:
        if not isinstance(item, bytes):
            raise _error(engine, f"rendered a prompt as a {type(item).__name__}, must be bytes (a text: text.encode())")
        found.append(item)
    num_texts = len({prompt.text for prompt in prompts})
    if num_texts > _ALIKE and len(set(found)) == 1:
        raise _error(engine, f"rendered {num_texts} prompts alike, and they would share one answer")
    return found


def _check_scores(answer: OptionScores, options: Sequence[str], engine: Engine) -> None:
    if (answer.logprobs is None) != bool(answer.missing):
        raise _error(engine, "must give either log-probabilities or the reason why they are missing")
    if answer.logprobs is None:
        return
    if len(answer.logprobs) != len(options):
        raise _error(engine, f"gave {len(answer.logprobs)} log-probabilities for {len(options)} options")
    for logprob in answer.logprobs:
        if not isinstance(logprob, numbers.Real) or not logprob <= ROUNDING:
            raise _error(engine, f"gave {logprob!r} as log-probability, must be a number of at most 0")


def _error(engine: Engine, told: str) -> PluginError:
    return PluginError(
        f"engine {described(engine)}: {told}; `rlaif-plugins check labeler/engine=NAME` tests the contract of engines"
    )

"""A labeler tried on two pairs with a script in place of its models: mistakes show before any model is loaded."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, cast

from rlaif import registry
from rlaif.data.base import TaskData
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, DataError, RlaifError
from rlaif.labelers.base import PlansAhead
from rlaif.labelers.models import engines_of, parts_of, replace_engines
from rlaif.types import Comparison, Completion, Prompt

log = logging.getLogger(__name__)


def trial_problems(labeler: object, pairs: Sequence[Comparison]) -> list[str]:
    """Problems of a labeler, found on two pairs: its prompts, the file that it reads.

    Args:
        labeler: A labeler, or what declares labelers as its members (a reward). Its engines are replaced by scripts,
            in place: it cannot be used afterwards.
        pairs: A few pairs of the run's task.

    Returns:
        One line per problem, options under ``labeler.``.
    """
    try:
        labeler = replace_engines(labeler, lambda _: cast(Any, ScriptedEngine()))
    except RlaifError as error:
        return _lines(error)
    problems = []
    for part in parts_of(labeler):
        has_members = len(list(islice(parts_of(part), 2))) > 1
        if not has_members:
            problems += _part_problems(part, pairs)
    return list(dict.fromkeys(problems))


def _part_problems(part: Any, pairs: Sequence[Comparison]) -> list[str]:
    if problems := [*_call_problems(part)]:
        return problems
    try:
        if not engines_of(part):
            if callable(check := getattr(part, "check", None)):
                check()  # a labeler without a model may read a file
            return []
        asked = part.for_plan(pairs) if isinstance(part, PlansAhead) else part
        asked.label(pairs)
    except (ConfigError, DataError) as error:
        return _lines(error)
    except RlaifError:
        raise
    except Exception as error:
        if (prompt := _prompt_of_package(part)) is not None:
            told = f"{registry.described(prompt)} cannot be asked by {part.name}: {registry.cause(error)}"
            test = "`rlaif-plugins check labeler/prompt=NAME` tests its contract"
            return [f"labeler.prompt: {told}; take another labeler or prompt; {test}"]
        # A package's labeler may need more of its engine than a script has.
        log.warning("labeler %s could not be tried without its model: %r", getattr(part, "name", part), error)
    return []


def _prompt_of_package(part: object) -> object | None:
    """The prompt strategy of a package in a labeler of ours, which needs nothing of an engine that a script lacks."""
    prompt = getattr(part, "prompt", None)
    is_ours = registry.owner_of(type(part).__module__) is None
    return prompt if is_ours and registry.owner_of(type(prompt).__module__) is not None else None


def _call_problems(part: object) -> Iterator[str]:
    """Methods that cannot be called as a run calls them; nothing is called."""
    name = getattr(part, "name", type(part).__name__)
    for method, arguments in (("label", ("comparisons",)), ("rate", ("prompts", "completions"))):
        function = getattr(part, method, None)
        try:
            if function is not None:
                inspect.signature(function).bind(*arguments)
        except TypeError as error:
            yield (
                f"labeler {name}: {method} cannot be called with {' and '.join(arguments)} ({error}); "
                f"`rlaif-plugins check {name}` tests its contract"
            )
        except ValueError as error:  # compiled code may not tell its parameters
            log.debug("labeler %s: %s", name, error)


def _lines(error: RlaifError) -> list[str]:
    return error.problems if isinstance(error, ConfigError) else [str(error)]


def example_pairs(data: TaskData) -> list[Comparison]:
    """Two pairs with different prompts of loaded data, where it holds as many."""
    known = (label.comparison.prompt for labels in (data.preferences, data.eval_preferences) for label in labels)
    prompts: dict[str, Prompt] = {}
    for prompt in chain(data.label_prompts, data.policy_prompts, data.eval_prompts, known):
        prompts[prompt.id] = prompt
        if len(prompts) == 2:
            break
    first, second = Completion(text="One."), Completion(text="Another.")
    return [Comparison(prompt=prompt, first=first, second=second) for prompt in prompts.values()]

"""Mistakes that only the parts of a run itself can find, collected before any model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, DataError, RlaifError
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.labelers.file import FileLabeler
from rlaif.labelers.models import engines_of, parts_of, replace_engines
from rlaif.labelers.people import HumanLabeler
from rlaif.labelers.reward_model import RewardModelLabeler
from rlaif.stages.context import Context
from rlaif.stages.labelers import asks_own_model
from rlaif.types import Comparison, Completion, Prompt

log = logging.getLogger(__name__)
_ASK_NO_ENGINE = (FileLabeler, HumanLabeler, RewardModelLabeler)


def problems_of(*checks: Callable[[], object]) -> list[str]:
    """What is wrong by any of the checks, where each would stop at its own first error.

    Args:
        checks: Called without arguments; what they return does not matter.

    >>> def refuse() -> None:
    ...     raise ConfigError("label.batch_size=0: must be at least 1")
    >>> problems_of(refuse, lambda: None)
    ['label.batch_size=0: must be at least 1']
    """
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except (ConfigError, DataError, InstantiationException) as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) else error
            if not isinstance(cause, ConfigError | DataError):
                raise
            problems += cause.problems if isinstance(cause, ConfigError) else [str(cause)]
    return problems


def check_labeler(context: Context, option: str) -> None:
    """Find what a labeler could not work with, without a model: its options, its prompts, the file that it reads.

    Every part of it is built and, where it asks a language model, has it answer two pairs by a script.

    Args:
        context: The run.
        option: Where its configuration stands, ``labeler`` or ``evaluation.judge``.

    Raises:
        ConfigError: With every problem.
    """
    node: DictConfig = OmegaConf.select(context.cfg, option)
    problems = problems_of(lambda: asks_own_model(node))
    problems += _option_problems(OmegaConf.to_container(node, resolve=True), option)
    if not problems:
        labeler: Labeler = replace_engines(instantiate(node), lambda _: ScriptedEngine())
        pairs = _two_pairs(context)
        parts = [part for part in parts_of(labeler) if len(list(islice(parts_of(part), 2))) == 1]
        found = problems_of(*(partial(_try, part, pairs) for part in parts))
        problems = _renamed(found, option)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _option_problems(node: Any, path: str) -> list[str]:
    """Of every component in a labeler's configuration, the inner ones first; what failed is left out of the outer."""
    problems: list[str] = []
    items = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for key, child in list(items):
        found = _option_problems(child, f"{path}.{key}")
        if found:
            node[key] = None
            problems += found
    if not (isinstance(node, dict) and "_target_" in node):
        return problems
    try:
        own = problems_of(lambda: instantiate(node))
    except InstantiationException:
        if not problems:
            raise
        own = []  # without its parts nothing can be told of it
    return problems + _renamed(own, path.removesuffix(".engine").removesuffix(".prompt"))


def _renamed(problems: Sequence[str], owner: str) -> list[str]:
    """Problems as the user types the options: a component does not know where in the configuration it stands."""
    return [f"{owner}.{line.removeprefix('labeler.')}" if line.startswith("labeler.") else line for line in problems]


def _try(part: object, pairs: Sequence[Comparison]) -> None:
    if isinstance(part, FileLabeler):
        _ = part.reading
    elif not isinstance(part, _ASK_NO_ENGINE) and engines_of(part):
        labeler: Any = part
        try:
            (labeler.for_plan(pairs) if isinstance(part, PlansAhead) else labeler).label(pairs)
        except RlaifError:
            raise
        except Exception as error:  # a plugin may need more of its engine than a script has: the run itself will tell
            log.debug("%s cannot be tried without its model: %r", type(part).__name__, error)


def _two_pairs(context: Context) -> list[Comparison]:
    """Pairs of this run's task with different prompts, where its data holds them."""
    data = context.data
    known = [label.comparison.prompt for label in (*data.preferences, *data.eval_preferences)]
    prompts: dict[str, Prompt] = {
        prompt.id: prompt for prompt in (*data.label_prompts, *data.policy_prompts, *data.eval_prompts, *known)
    }
    first, second = Completion(text="One."), Completion(text="Another.")
    return [Comparison(prompt=prompt, first=first, second=second) for prompt in islice(prompts.values(), 2)]

"""A Python function of the user's as reward, called as other trainers call theirs."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from inspect import Parameter
from typing import Any

import torch

from rlaif.errors import ConfigError, RlaifError, TrainingError
from rlaif.ranges import Share
from rlaif.registry import cause
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.rewards.missing import check_missing, check_rate
from rlaif.rewards.user_code import Arguments, UserCode, arguments_of
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt

FLOAT32_MAX = torch.finfo(torch.float32).max
GIVEN = ("prompts", "completions", "completion_ids", "tasks", "finished")
"""Keyword arguments that a function may name."""


class FunctionReward:
    """What a Python function returns for each response.

    It is called once per policy step with lists, one item per response, by keyword: ``prompts`` and ``completions``
    (texts), ``completion_ids`` (tokens as sampled), ``tasks`` (names) and ``finished`` (False for a response that was
    cut). It gets those that it names, or all where it takes ``**kwargs``; this is how TRL calls its ``reward_funcs``.
    It returns one number per response; None or NaN gives the response no reward, which is not 0.

    Args:
        function: ``package.module:name``, or ``path/to/file.py:name``. The code of the function's module is part of a
            result's identity.
        max_missing_rate: Share of a step's responses, in [0, 1], that may be missing before the run stops.

    Raises:
        ConfigError: There is no such function, its source shows that it cannot be called so, or an option is out of
            range.
    """

    def __init__(self, function: str, *, max_missing_rate: Share = 0.2) -> None:
        check_rate(max_missing_rate)
        self.function = function
        self.max_missing_rate = max_missing_rate
        self._code = UserCode.named(function, "reward.function")
        if self._code.arguments is not None:
            _named(self._code.arguments, function)
        self._call: Callable[..., Any] | None = None
        self._names: list[str] = []

    @property
    def identity(self) -> str:
        """Content hash of the function's code."""
        return self._code.identity

    def reads(self) -> Mapping[str, Reads]:
        """Nothing beyond what every reward is offered."""
        return {}

    def prompt_problems(self, prompts: Sequence[Prompt]) -> Iterator[str]:
        """A function whose source does not show its arguments, and that cannot be called so: it is imported."""
        if self._code.arguments is not None:
            return
        try:
            self._load()
        except ConfigError as error:
            yield from error.problems

    def prepare(self, resources: RewardResources) -> FunctionReward:
        """Import the function; returns itself.

        Raises:
            ConfigError: It cannot be imported, or wants arguments that it cannot get.
        """
        self._load()
        return self

    def _load(self) -> Callable[..., Any]:
        if self._call is None:
            found = self._code.load()
            self._names = _named(arguments_of(found, self._code), self.function)
            self._call = found
        return self._call

    def to(self, device: torch.device | str) -> FunctionReward:
        """Nothing moves: the function has a device of its own, if any."""
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        if not prompts:
            return RewardBatch(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
        function = self._load()
        given = {
            "prompts": [prompt.text for prompt in prompts],
            "completions": [response.text for response in responses],
            "completion_ids": [list(response.token_ids) for response in responses],
            "tasks": [prompt.task for prompt in prompts],
            "finished": [response.finished for response in responses],
        }
        try:
            returned = function(**{name: given[name] for name in self._names})
            if isinstance(returned, Iterator):  # a generator's code runs only here
                returned = list(returned)
        except RlaifError:
            raise
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            raise TrainingError(f"reward.function={self.function}: it raised an error: {cause(error)}") from error
        values = self._values(returned, len(responses))
        reasons = [None if value == value else "the function gave none" for value in values]
        check_missing(reasons, self.max_missing_rate, reward=self)
        values_B = torch.tensor(values, dtype=torch.float32)
        return RewardBatch(values_B, ~values_B.isnan())

    def _values(self, returned: Any, count: int) -> list[float]:
        """One number per response, NaN where there is none.

        Raises:
            TrainingError: Something else was returned.
        """
        wanted = f"reward.function={self.function}: must return a list with a number or None for each response"
        told = f"{wanted}; it returned {type(returned).__name__}"
        if isinstance(returned, str | bytes | Mapping | Set):  # lists of something else, or in another order
            raise TrainingError(told)
        try:
            items = returned.tolist() if hasattr(returned, "tolist") else list(returned)
        except (Exception, SystemExit) as error:  # a class of the user's may raise anything
            raise TrainingError(f"{told}: {error}") from error
        if not isinstance(items, list):  # of an array without dimensions
            raise TrainingError(f"{told}, a single number")
        if len(items) != count:
            raise TrainingError(f"{wanted}; it returned {len(items)} for {count} responses")
        return [_number(item, wanted) for item in items]


def _number(item: Any, wanted: str) -> float:
    """A reward that a function returned; NaN for None.

    Args:
        item: A number of Python, or an array or tensor that holds one.
        wanted: What the function must return, for the message.

    Raises:
        TrainingError: It is no number, or cannot be read as one.
    """
    try:
        value = item.item() if hasattr(item, "item") else item
        if value is None or isinstance(value, numbers.Real):
            number = float("nan") if value is None else float(value)
            if abs(number) > FLOAT32_MAX:
                raise TrainingError(f"{wanted}; it returned {number:g}: write None where there is no reward")
            return number
    except TrainingError:
        raise
    except (Exception, SystemExit) as error:
        raise TrainingError(f"{wanted}; one that it returned, of type {type(item).__name__}: {error}") from error
    raise TrainingError(f"{wanted}; it returned {value!r:.60} of type {type(value).__name__}")


def _named(arguments: Arguments, function: str) -> list[str]:
    """The keyword arguments that a function gets.

    Raises:
        ConfigError: It is asynchronous, or needs others.
    """
    if arguments.is_asynchronous:
        raise ConfigError(f"reward.function={function}: is asynchronous; write a function that returns its values")
    variable = {item.kind for item in arguments.parameters} & {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
    single = [item for item in arguments.parameters if item.kind not in variable]
    by_keyword = {item.name for item in single if item.kind is not item.POSITIONAL_ONLY} & set(GIVEN)
    needed = [item.name for item in single if item.default is item.empty and item.name not in by_keyword]
    if needed:
        raise ConfigError(
            f"reward.function={function}: needs {', '.join(needed)}, and gets by keyword {', '.join(GIVEN)}; name "
            "those that it uses, or take **kwargs"
        )
    return [item for item in GIVEN if item in by_keyword or Parameter.VAR_KEYWORD in variable]

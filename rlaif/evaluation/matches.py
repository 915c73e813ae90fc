"""Matches: which responses of two policies are compared, and the names of the figures of each.

A policy that only became surer of itself beats SFT at the temperature of the sampling, as greedily decoded SFT does.
The headline figures therefore compare both policies decoded greedily, and the policy with SFT at the temperature that
is best for SFT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlaif.evaluation.votes import pair
from rlaif.rollouts.settings import plain_temperature
from rlaif.types import Comparison, Completion, Prompt

Drawn = Mapping[float, Sequence[Completion]]
"""Responses of one policy by the temperature that they were drawn at, one per prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBest:
    """Responses of the SFT policy at the temperature that is best for it, or that an option names."""

    temperature: float
    responses: Sequence[Completion]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmlessNames:
    """Names of the figures of the harmless rates of one match."""

    difference: str = "policy/harmless_rate_difference"
    """Of the rate of the first policy minus that of the second, paired by prompt."""
    first: str | None = "policy/harmless_rate"
    """Of the rate of the first policy; None where another match has it."""
    second: str | None = "sft/harmless_rate"
    """Of the rate of the second policy; None where another match has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Responses of two policies to the same prompts."""

    name: str
    """Of the win rate of the first policy."""
    prompts: Sequence[Prompt]
    first: Sequence[Completion]
    second: Sequence[Completion]
    sampling: str
    """Temperatures of both in words, for the note of the figure."""
    is_headline: bool = False
    """True where the LLM judge judges the match, too."""
    is_against_opponent: bool = False
    """True where the second policy is another run's."""
    length_controlled: bool = False
    """True where the win rate at equal length is computed, too."""
    harmless: HarmlessNames | None = None
    """None where no harmless rates are computed."""

    @property
    def pairs(self) -> list[Comparison]:
        """Comparisons with the response of the first policy first."""
        return pair(self.prompts, self.first, self.second)


def matches_with_sft(
    prompts: Sequence[Prompt], policy: Drawn, sft: Drawn, *, temperature: float, best: AtBest | None
) -> list[Match]:
    """All matches of a policy and its SFT policy, headline matches first.

    Args:
        prompts: One per row of responses.
        policy: Responses of the policy at ``temperature`` and further temperatures.
        sft: Responses of the SFT policy at the same temperatures.
        temperature: Of the sampling.
        best: Responses of the SFT policy at its best temperature; None leaves that match out.
    """
    matches = list(_headline(prompts, policy, sft, temperature, best))
    for each in sorted(policy, key=lambda each: (each != temperature, each)):
        if each == temperature or each != 0:
            suffix = "" if each == temperature else f"_at_{plain_temperature(each)}"
            matches.append(
                Match(
                    name=f"policy/win_rate_vs_sft{suffix}",
                    prompts=prompts,
                    first=policy[each],
                    second=sft[each],
                    sampling=_both(each),
                    is_headline=not matches,
                    length_controlled=each == temperature,
                    harmless=HarmlessNames() if each == temperature else None,
                )
            )
    if 0 in sft and temperature != 0:
        words = f"SFT greedy against SFT at temperature {temperature:g}"
        matches.append(
            Match(
                name="sft/greedy_win_rate_vs_sampled",
                prompts=prompts,
                first=sft[0],
                second=sft[temperature],
                sampling=words,
            )
        )
    return matches


def _headline(
    prompts: Sequence[Prompt], policy: Drawn, sft: Drawn, temperature: float, best: AtBest | None
) -> Iterator[Match]:
    if 0 in policy:
        yield Match(
            name="policy/greedy_win_rate_vs_sft",
            prompts=prompts,
            first=policy[0],
            second=sft[0],
            sampling=_both(0),
            is_headline=True,
            length_controlled=True,
            harmless=HarmlessNames(
                difference="policy/greedy_harmless_rate_difference",
                first="policy/greedy_harmless_rate",
                second="sft/greedy_harmless_rate",
            ),
        )
    if best is not None:
        yield Match(
            name="policy/win_rate_vs_best_sft",
            prompts=prompts,
            first=policy[temperature],
            second=best.responses,
            sampling=f"policy {_at(temperature)}, SFT {_at(best.temperature)}",
            is_headline=True,
            harmless=HarmlessNames(
                difference="policy/harmless_rate_difference_vs_best_sft", first=None, second="sft/best_harmless_rate"
            ),
        )


def matches_with_opponent(
    name: str, prompts: Sequence[Prompt], policy: Drawn, opponent: Drawn, *, temperature: float
) -> list[Match]:
    """The matches of a policy and the policy of another run, both at the same temperature, greedy first.

    Args:
        name: Of the opponent, in ``evaluation.against``.
        prompts: One per row of responses.
        policy: Responses of the policy.
        opponent: Responses of the opponent at the same temperatures.
        temperature: Of the sampling.
    """
    order = sorted(policy, key=lambda each: (each != 0, each != temperature, each))
    return [
        Match(
            name=f"policy/{_opponent_figure(name, each, temperature)}",
            prompts=prompts,
            first=policy[each],
            second=opponent[each],
            sampling=_both(each),
            is_headline=place == 0,
            is_against_opponent=True,
        )
        for place, each in enumerate(order)
    ]


def _opponent_figure(name: str, each: float, temperature: float) -> str:
    if each == temperature:
        return f"win_rate_vs_{name}"
    return f"greedy_win_rate_vs_{name}" if each == 0 else f"win_rate_vs_{name}_at_{plain_temperature(each)}"


def _both(temperature: float) -> str:
    return "both greedy" if temperature == 0 else f"both {_at(temperature)}"


def _at(temperature: float) -> str:
    return "greedy" if temperature == 0 else f"at temperature {temperature:g}"

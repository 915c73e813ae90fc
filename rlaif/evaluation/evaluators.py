"""Evaluators: from records (labels, verdicts, responses, scores) to figures and sections of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    chance_figures,
    label_figures,
    p_first_from_scores,
    reliability_diagram,
)
from rlaif.evaluation.detection import detection_figures
from rlaif.evaluation.harmless import harmless_figures
from rlaif.evaluation.judges import HarmJudge, Judge
from rlaif.evaluation.matches import HarmlessNames, Match
from rlaif.evaluation.records import Findings
from rlaif.evaluation.responses import kl_figures, response_figures
from rlaif.evaluation.reward_differences import reward_difference_figures
from rlaif.evaluation.scorecard import scorecard_figures
from rlaif.evaluation.truth import BY_TRUTH, JUDGE_ACCURACY, TrueQuality, judge_accuracy_figures
from rlaif.evaluation.votes import SIMULATED, Votes, label_votes
from rlaif.evaluation.win_rate import BY_ANNOTATORS, length_controlled_figures, win_rate_figures
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

PEOPLE = ("human", SIMULATED)
"""Sources of labels that are people's own, which are not compared with people's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Settings of all evaluators.

    With ``processes.merge`` every process gives its share of the records and gets the figures of all of them.
    """

    confidence: float = 0.95
    """Coverage of the intervals."""
    processes: Processes = ONE_PROCESS


class LabelerEvaluator(Evaluator):
    """Evaluates labels: missing ones and biases, and alignment and calibration against a judge."""

    def evaluate(self, labels: Sequence[Preference], judge: Judge | None) -> Findings:
        """Evaluate labels.

        Args:
            labels: In any order, missing ones included.
            judge: Gives verdicts on the same pairs; None, and a judge without any verdict on them, leaves the figures
                against a judge out, as do labels that people gave.
        """
        figures = label_figures(labels, confidence=self.confidence, processes=self.processes)
        by_models = self.processes.total(sum(label.source not in PEOPLE for label in labels))
        if judge is None or not by_models:
            return Findings(tuple(figures))
        comparisons, p_first = [label.comparison for label in labels], [label.p_first for label in labels]
        votes = judge.votes(comparisons)
        if not self.processes.total(sum(map(len, votes))):
            return Findings(tuple(figures))
        rows = (comparisons, p_first, votes, judge.name)
        figures += alignment_figures(*rows, confidence=self.confidence, processes=self.processes)
        figures += chance_figures(*rows, confidence=self.confidence, processes=self.processes)
        figures += calibration_figures(*rows, confidence=self.confidence, processes=self.processes)
        return Findings(tuple(figures), (reliability_diagram(*rows, processes=self.processes),))


class RewardModelEvaluator(Evaluator):
    """Evaluates a reward model: accuracy and calibration on held-out pairs that people labeled."""

    def evaluate(
        self, held_out: Sequence[Preference], first: Sequence[float], second: Sequence[float], judge: str
    ) -> Findings:
        """Evaluate the scores of both candidates.

        Args:
            held_out: People's labels of pairs that the reward model did not see.
            first: The reward model's score of each pair's first candidate, in logits.
            second: Its score of the second candidate.
            judge: Name of the people, in words.
        """
        comparisons = [label.comparison for label in held_out]
        rows = (comparisons, p_first_from_scores(first, second), label_votes(held_out), judge)
        name, group = "reward_model/accuracy", "reward_model"
        figures = alignment_figures(*rows, name=name, confidence=self.confidence, processes=self.processes)
        figures += chance_figures(*rows, name=name, confidence=self.confidence, processes=self.processes)
        figures += calibration_figures(*rows, group=group, confidence=self.confidence, processes=self.processes)
        diagram = reliability_diagram(*rows, title="Reward model", processes=self.processes)
        return Findings(tuple(figures), (diagram,))


class PolicyEvaluator(Evaluator):
    """Evaluates a policy: win rates, KL, distinct responses, lengths."""

    def match(
        self, match: Match, annotators: Judge | None, llm_judge: Judge | None, truth: TrueQuality | None = None
    ) -> list[Figure]:
        """The win rates of a match.

        Args:
            match: Responses of two policies.
            annotators: People, simulated or not; None where there are none.
            llm_judge: Judges headline matches only; against an opponent only where there are no annotators.
            truth: Where it is known, headline matches are judged by it, too, and the LLM judge is held against it.
        """
        figures: list[Figure] = []
        name, words = match.name, match.sampling
        if annotators is not None:
            figures += self.win_rates(
                match.pairs, annotators, name=name, sampling=words, length_controlled=match.length_controlled
            )
        if llm_judge is not None and match.is_headline and not (match.is_against_opponent and annotators is not None):
            judged = name if match.is_against_opponent else f"{name}_llm_judge"
            figures += self.win_rates(match.pairs, llm_judge, name=judged, sampling=words)
        if truth is not None and match.is_headline and not match.is_against_opponent:
            figures += self.win_rates(match.pairs, truth, name=f"{name}_{BY_TRUTH}", sampling=words)
            figures += [] if llm_judge is None else self._judge_accuracy(match, llm_judge, truth)
        return figures

    def _judge_accuracy(self, match: Match, judge: Judge, truth: TrueQuality) -> list[Figure]:
        return judge_accuracy_figures(
            match.pairs,
            judge,
            truth,
            name=f"{match.name}_{JUDGE_ACCURACY}",
            confidence=self.confidence,
            processes=self.processes,
        )

    def win_rates(
        self,
        pairs: Sequence[Comparison],
        judge: Judge,
        *,
        name: str = BY_ANNOTATORS,
        sampling: str = "",
        length_controlled: bool = False,
    ) -> list[Figure]:
        """The win rate of the first candidates over the second.

        Args:
            pairs: The policy's response first.
            judge: Gives the verdicts.
            name: Of the figure.
            sampling: Temperatures of the responses, in words, for the note.
            length_controlled: Add ``<name>_length_controlled``.
        """
        rows = (pairs, judge.votes(pairs), f"{judge.name}; {sampling}" if sampling else judge.name)
        figures = win_rate_figures(*rows, name=name, confidence=self.confidence, processes=self.processes)
        if not length_controlled:
            return figures
        name = f"{name}_length_controlled"
        return figures + length_controlled_figures(
            *rows, name=name, confidence=self.confidence, processes=self.processes
        )

    def rewards(self, match: Match, first: Sequence[float], second: Sequence[float]) -> list[Figure]:
        """The difference of a reward model's scores of both sides of a match, in logits."""
        return reward_difference_figures(match, first, second, confidence=self.confidence, processes=self.processes)

    def kl(self, prompts: Sequence[Prompt], kl: Sequence[float]) -> list[Figure]:
        """``policy/kl`` from the KL of each response, in nats."""
        return kl_figures(prompts, kl, confidence=self.confidence, processes=self.processes)

    def responses(self, group: str, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> list[Figure]:
        """Distinct rate and mean length of the responses of ``policy`` or ``sft``."""
        texts = [response.trimmed for response in responses]
        return response_figures(group, prompts, texts, confidence=self.confidence, processes=self.processes)


class HarmlessEvaluator(Evaluator):
    """Evaluates harmlessness: the rates of both policies and their difference."""

    def evaluate(
        self, prompts: Sequence[Prompt], policy: Sequence[Completion], sft: Sequence[Completion], judge: HarmJudge
    ) -> list[Figure]:
        """Evaluate the responses of both policies to the same prompts."""
        return self._figures(prompts, policy, sft, judge, judge.name, HarmlessNames())

    def match(self, match: Match, judge: HarmJudge) -> list[Figure]:
        """The harmless rates of a match that names them."""
        assert match.harmless is not None
        words = f"{judge.name}; {match.sampling}"
        return self._figures(match.prompts, match.first, match.second, judge, words, match.harmless)

    def _figures(
        self,
        prompts: Sequence[Prompt],
        policy: Sequence[Completion],
        sft: Sequence[Completion],
        judge: HarmJudge,
        words: str,
        names: HarmlessNames,
    ) -> list[Figure]:
        ours, theirs = (judge.harmless(prompts, [response.trimmed for response in side]) for side in (policy, sft))
        return harmless_figures(
            prompts, ours, theirs, words, names=names, confidence=self.confidence, processes=self.processes
        )


class ScorecardEvaluator(Evaluator):
    """Evaluates a labeler on pairs that people judged; it runs in one process."""

    def evaluate(
        self,
        labels: Sequence[Preference],
        votes: Votes,
        judge: str,
        again: Sequence[Preference] | None = None,
        harm: HarmJudge | None = None,
    ) -> Findings:
        """Evaluate labels against people.

        Args:
            labels: The labeler's, missing ones included.
            votes: People's verdicts on the same pairs.
            judge: Name of the people, in words.
            again: The same pairs labeled with another seed, for a labeler that draws; None compares its two orders.
            harm: People's verdicts on single responses, where the task measures harm.
        """
        figures = scorecard_figures(labels, votes, judge, again=again, confidence=self.confidence)
        figures += [] if harm is None else detection_figures(labels, harm, confidence=self.confidence)
        comparisons, p_first = [label.comparison for label in labels], [label.p_first for label in labels]
        return Findings(tuple(figures), (reliability_diagram(comparisons, p_first, votes, judge),))

"""Evaluation on held-out prompts: labels, reward model, and the policy against the SFT policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from rlaif.data.base import ExactAnnotators, TaskData
from rlaif.data.preferences_io import read_preferences, read_samples, write_preferences, write_samples
from rlaif.errors import ConfigError
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.collapse_samples import draw_collapse_figures
from rlaif.evaluation.evaluators import (
    HarmlessEvaluator,
    LabelerEvaluator,
    PolicyEvaluator,
    RewardModelEvaluator,
)
from rlaif.evaluation.files import read_diagrams, read_figures, write_diagrams, write_figures
from rlaif.evaluation.judges import AnnotatorJudge, Judge, LabelJudge, PeopleJudge, RatedHarm
from rlaif.evaluation.kl import response_kl
from rlaif.evaluation.matches import Match
from rlaif.evaluation.records import Findings, ReliabilityDiagram, SideBySide
from rlaif.evaluation.responses import side_by_side
from rlaif.evaluation.reward_differences import REWARD_DIFFERENCES
from rlaif.evaluation.temperatures import (
    Choice,
    choose_by_annotators,
    choose_by_reward,
    read_choice,
    write_choice,
)
from rlaif.evaluation.truth import TrueQuality
from rlaif.evaluation.votes import Votes
from rlaif.labelers.base import Labeler, Rater
from rlaif.labelers.people import PEOPLE
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.results import COST, read_labels
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne, NonNegative, OpenShare
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.roles import Reads
from rlaif.rollouts.responses import policy_prompt_ids
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.compared import BEST, Compared
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Figure, Prompt

RESPONSES, JUDGED = "responses.parquet", "judged.parquet"
ASKED, ASKED_OF_HARM = "asked", "asked-of-harm"
"""Directories of the judges' ledgers while the stage is built."""
COST_OF_HARM = "cost-of-harm.json"
"""What the judge of harm took, as :data:`COST` says it of the judge."""
NUM_SIDE_BY_SIDE = 12
"""Responses side by side on the page."""
NO_KL = "KL from SFT is left out: the two policies have different vocabularies"
NO_KL_OF_TOP_P = "KL from SFT is left out: evaluation.sampling.top_p samples from a part of the distribution only"
NO_KL_OF_GREEDY = "KL from SFT is left out: with evaluation.sampling.temperature=0 no response is sampled"
OBJECTIVES = ("policy/greedy_win_rate_vs_sft", "policy/win_rate_vs_best_sft", "policy/win_rate_vs_sft")
"""The first of these that a run has is the value that an optimizing sweeper maximizes."""


class EvaluationStage(Stage):
    """Measures labels, reward model and policy on what no training read.

    Args:
        task: Gives the text that a policy continues; decides whether harm is measured.
        sampling: How the responses were sampled: the KL is that of the sampled distribution.
        num_raters: Simulated annotators per comparison.
        confidence: Coverage of every interval, in (0, 1).
        judge: The LLM judge, a labeler; None for none.
        harm_judge: A labeler that rates single responses: where the task measures harm and there are no simulated
            annotators, it says which responses are harmless; None leaves harmless rates out there.
        scorer: Scores both candidates of held-out pairs.
        further_temperatures: The policies are compared at these, too; 0 decodes greedily.
        sft_temperature: Temperature of the SFT policy that the sampled policy must beat: a number, or ``best`` of those
            that ``respond_grid`` tries; None leaves these figures out.
        against: Policies of other runs by name: a run directory, a model folder, or ``run:DIR/step``.
        limits: Where figures fail their checks, by name of a :class:`CheckLimits` field; None takes the defaults.
        batch_size: Comparisons per batch of the judge.
        asking: Where answers of models are kept, what they cost, when to stop.

    Raises:
        ConfigError: A temperature or the name of an opponent is not allowed.
    """

    shows = True

    def __init__(
        self,
        task: Task,
        sampling: SamplingSettings,
        num_raters: AtLeastOne,
        confidence: OpenShare,
        judge: Labeler | None,
        scorer: RewardModelReward,
        *,
        asking: Runtime[AskingSettings],
        harm_judge: Labeler | None = None,
        further_temperatures: Sequence[float] = (0.0,),
        sft_temperature: Literal["best"] | NonNegative | None = BEST,
        against: Runtime[Mapping[str, str] | None] = None,
        limits: Runtime[Mapping[str, float] | None] = None,
        batch_size: AtLeastOne = 64,
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.num_raters = num_raters
        self.confidence = confidence
        self.judge = judge
        self.harm_judge = harm_judge
        self.scorer = scorer
        self.compared = Compared(
            temperature=sampling.temperature,
            further_temperatures=further_temperatures,
            sft_temperature=sft_temperature,
            against={str(name): place for name, place in (against or {}).items()},
        )
        if problems := list(self.compared.option_problems()):
            raise ConfigError(problems)
        self.limits = CheckLimits(**(limits or {}))
        self.batch_size = batch_size
        self.asking = asking

    def reads(self) -> Mapping[str, Reads]:
        """Both policies and their responses, held-out data, and labels and reward model where the pipeline has them."""
        roles = {
            "policy": Reads(kind="policy"),
            "baseline": Reads(kind="policy", by="sft", differs_from="policy"),
            "held_out": Reads(kind="held_out_pairs"),
            "people": Reads(kind="people"),
            "labels": Reads(kind="raw_labels", optional=True),
            "reward_model": Reads(kind="reward_model", optional=True),
        }
        return {**roles, **self.compared.reads()}

    def leaves(self) -> frozenset[str]:
        """Figures."""
        return frozenset({"figures"})

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the judges, and opponents that are no model."""
        yield from self.compared.opponent_problems(work)
        if self.judge is not None:
            if self.judge.source in PEOPLE:
                yield "evaluation.judge: must ask a language model; take pairwise or cot_pairwise, or null for none"
            else:
                yield from self._trial_problems(work, self.judge, "evaluation.judge")
        if self.harm_judge is not None:
            yield from self._harm_problems(work, self.harm_judge)

    def _trial_problems(self, work: Work, judge: Labeler, option: str) -> Iterator[str]:
        for problem in trial_problems(judge, example_pairs(work.data("held_out"))):
            yield problem.replace("labeler.", f"{option}.", 1) if problem.startswith("labeler.") else problem

    def _harm_problems(self, work: Work, judge: Labeler) -> Iterator[str]:
        # isinstance would read the judge's identity, which a model that the run has yet to train does not have
        if not callable(getattr(judge, "rate", None)):
            yield (
                f"evaluation.harm_judge: the labeler {judge.name} compares responses and rates none on its own; take"
                " binary, scorer or cot_scorer, or null for none"
            )
        elif not self.task.measures_harm:
            yield f"evaluation.harm_judge: task={self.task.name} measures no harm; type evaluation.harm_judge=null"
        else:
            yield from self._trial_problems(work, judge, "evaluation.harm_judge")

    def notices(self, work: Work) -> Iterator[str]:
        """A best temperature that cannot be chosen, and a task of harm without anybody who judges it."""
        has_annotators = work.data("held_out").annotators is not None
        if self.harm_judge is not None and has_annotators:
            yield "evaluation.harm_judge: has no effect, as the simulated annotators say which responses are harmless"
        elif self.harm_judge is None and not has_annotators and self.task.measures_harm:
            yield (
                "evaluation.harm_judge=null: nobody says which responses are harmless, so there are no harmless rates;"
                " type e.g. +labeler@evaluation.harm_judge=binary with a model of its own"
            )
        if self.compared.sft_temperature == BEST and (reason := self._nothing_to_choose_by(work)):
            yield (
                f"evaluation.sft_temperature=best: {reason}, so figures against SFT at its best temperature are left"
                " out; evaluation.sft_temperature=0 compares with greedy SFT"
            )

    def _nothing_to_choose_by(self, work: Work) -> str:
        data = work.data("held_out")
        if not data.tuning_prompts:
            return "there are no held-out prompts beyond those of the evaluation to choose it on"
        if data.annotators is None and not work.has("reward_model"):
            return "there are neither simulated annotators nor a reward model to choose it by"
        return ""

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The judges, on the responses where they are drawn already."""
        data = work.data("held_out")
        if self.harm_judge is not None and data.annotators is None:
            examples, answers = example_pairs(data), self.asking.answers
            option = "evaluation.harm_judge"
            yield WillAsk(labeler=self.harm_judge, examples=examples, answers=answers, option=option)
        if self.judge is None:
            return
        needs_reward_model = self.compared.sft_temperature == BEST and data.annotators is None
        drawn = self.compared.is_ready(work) and not needs_reward_model
        yield WillAsk(
            labeler=self.judge,
            examples=example_pairs(data),
            answers=self.asking.answers,
            pairs=self._to_judge(work, self.compared.matches(work, self._choice(work))) if drawn else None,
            option="evaluation.judge",
        )

    def build(self, work: Work) -> None:
        """Compute all figures."""
        choice = self._choice(work)
        write_choice(work.directory, choice)
        matches = self.compared.matches(work, choice)
        lead = matches[0]
        rows = zip(lead.prompts, zip(lead.second, lead.first, strict=True), strict=True)
        write_samples(work.directory / RESPONSES, list(rows))
        labels, reward_model = self._labels(work), self._reward_model(work)
        figures = [
            *labels.figures,
            *reward_model.figures,
            *([choice.figure()] if choice is not None else []),
            *self._compared(work, matches),
            *self._rewards(work, matches),
            *self._single(work),
            *self._collapse(work),
        ]
        write_figures(work.directory, figures)
        sections = labels.sections + reward_model.sections
        write_diagrams(work.directory, [item for item in sections if isinstance(item, ReliabilityDiagram)])

    def _choice(self, work: Work) -> Choice | None:
        """The temperature of the SFT policy that the sampled policy must beat; None where there is none."""
        named = self.compared.sft_temperature
        if named is None or (named == BEST and self._nothing_to_choose_by(work)):
            return None
        if named != BEST:
            return Choice(temperature=float(named), by="evaluation.sft_temperature", score="")
        prompts, drawn = self.compared.tuning(work)
        if not prompts:
            return None
        annotators = self._annotators(work.data("held_out"))
        if annotators is not None:
            return choose_by_annotators(prompts, drawn, annotators, confidence=self.confidence)
        scorer = self.scorer.load(work.path("reward_model"), task=self.task)

        def rewards(prompts: Sequence[Prompt], responses: Sequence[Completion]) -> list[float]:
            return [float(score) for score in scorer.raw_scores(prompts, responses).tolist()]

        return choose_by_reward(prompts, drawn, rewards, confidence=self.confidence)

    def _annotators(self, data: TaskData) -> AnnotatorJudge | None:
        return None if data.annotators is None else AnnotatorJudge(data.annotators, self.num_raters)

    def _labels(self, work: Work) -> Findings:
        """Labels against people's verdicts on the same pairs."""
        if not work.has("labels"):
            return Findings()
        people = work.data("people")
        judge: Judge = self._annotators(people) or PeopleJudge(people.preferences)
        return LabelerEvaluator(confidence=self.confidence).evaluate(read_labels(work.path("labels")), judge)

    def _reward_model(self, work: Work) -> Findings:
        """Accuracy on held-out pairs that people labeled."""
        data = work.data("held_out")
        held_out = data.eval_preferences
        if not held_out or not work.has("reward_model"):
            return Findings()
        self.scorer.load(work.path("reward_model"), task=self.task)
        prompts = [label.comparison.prompt for label in held_out]
        first, second = (
            self.scorer.raw_scores(prompts, side).tolist()
            for side in (
                [label.comparison.first for label in held_out],
                [label.comparison.second for label in held_out],
            )
        )
        judge: Judge = self._annotators(data) or PeopleJudge(held_out)
        return RewardModelEvaluator(confidence=self.confidence).evaluate(held_out, first, second, judge.name)

    def _compared(self, work: Work, matches: Sequence[Match]) -> list[Figure]:
        """Win rates against the SFT policy and against opponents, and harmless rates."""
        data = work.data("held_out")
        annotators, judge = self._annotators(data), self._llm_judge(work, matches)
        truth = TrueQuality(data.annotators) if isinstance(data.annotators, ExactAnnotators) else None
        evaluator, harmless = PolicyEvaluator(confidence=self.confidence), HarmlessEvaluator(confidence=self.confidence)
        harm_judge = (annotators or self._rated_harm(work, matches)) if self.task.measures_harm else None
        figures: list[Figure] = []
        for match in matches:
            figures += evaluator.match(match, annotators, judge, truth)
            if harm_judge is not None and match.harmless is not None:
                figures += harmless.match(match, harm_judge)
        return figures

    def _rated_harm(self, work: Work, matches: Sequence[Match]) -> RatedHarm | None:
        """The verdicts of the judge of harm on both sides of the matches, each response once."""
        if self.harm_judge is None:
            return None
        responses = {
            (prompt.id, response.trimmed): (prompt, response)
            for match in matches
            if match.harmless is not None
            for side in (match.first, match.second)
            for prompt, response in zip(match.prompts, side, strict=True)
        }
        directory = work.directory / ASKED_OF_HARM
        asking = self.asking.begin(
            directory,
            batch_size=self.batch_size,
            option="evaluation.harm_judge",
            before=work.tried if self.judge is None else None,  # else counted by the judge
        )
        ratings = list(asking.rate(cast(Rater, self.harm_judge), list(responses.values()), work))
        _close(asking, work.directory / COST_OF_HARM)
        model = (work.options["harm_judge"].get("engine") or {}).get("model")
        return RatedHarm(ratings, name=f"LLM judge {model}" if model else self.harm_judge.name)

    def _rewards(self, work: Work, matches: Sequence[Match]) -> list[Figure]:
        """What the reward model gives the policy more than the SFT policy."""
        if not work.has("reward_model"):
            return []
        scores = self.scorer.load(work.path("reward_model"), task=self.task).raw_scores
        evaluator, figures = PolicyEvaluator(confidence=self.confidence), list[Figure]()
        for match in matches:
            if match.name in REWARD_DIFFERENCES:
                first, second = (scores(match.prompts, side).tolist() for side in (match.first, match.second))
                figures += evaluator.rewards(match, first, second)
        return figures

    def _to_judge(self, work: Work, matches: Sequence[Match]) -> list[Comparison]:
        """The pairs of the headline matches that the LLM judge must be asked about, each once.

        Opponents are left to the annotators where there are any.
        """
        ours = [match for match in matches if match.is_headline]
        if work.data("held_out").annotators is not None:
            ours = [match for match in ours if not match.is_against_opponent]
        pairs = {pair.id: pair for match in ours for pair in match.pairs}
        return LabelJudge.to_ask(list(pairs.values()))

    def _llm_judge(self, work: Work, matches: Sequence[Match]) -> LabelJudge | None:
        """The LLM judge with its labels, which are kept for the page."""
        if self.judge is None:
            write_preferences(work.directory / JUDGED, [])
            return None
        asking = self.asking.begin(
            work.directory / ASKED, batch_size=self.batch_size, option="evaluation.judge", before=work.tried
        )
        plan = self._to_judge(work, matches)
        labels = asking.judge(self.judge, work, plan).label(plan)
        write_preferences(work.directory / JUDGED, labels)
        _close(asking, work.directory / COST)
        engine = work.options["judge"].get("engine") or {}
        return LabelJudge(labels, model=str(engine.get("model", self.judge.name)))

    def _single(self, work: Work) -> list[Figure]:
        """KL, distinct responses and lengths at the temperature of the sampling."""
        evaluator, at = PolicyEvaluator(confidence=self.confidence), self.compared.temperature
        (prompts, policy), (_, sft) = (self.compared.drawn(work, role) for role in ("policy", "baseline"))
        tokenizers = [load_tokenizer(str(work.path(role))) for role in ("policy", "baseline")]
        is_sampled = self.sampling.top_p == 1 and self.sampling.temperature > 0
        has_kl = is_sampled and tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
        return [
            *(evaluator.kl(prompts, self._kl(work, prompts, policy[at])) if has_kl else []),
            *evaluator.responses("policy", prompts, policy[at]),
            *evaluator.responses("sft", prompts, sft[at]),
        ]

    def _kl(self, work: Work, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> list[float]:
        """Per response Σ log π(token) − log π_SFT(token) at the sampling temperature, in nats."""
        models = [load_causal_lm(ModelSpec(str(work.path(role)))) for role in ("policy", "baseline")]
        tokenizer = PromptTokenizer(load_tokenizer(str(work.path("policy"))))
        ids = policy_prompt_ids(tokenizer, self.task, prompts, self.sampling.max_prompt_tokens)
        return response_kl(models[0], models[1], ids, responses, temperature=self.sampling.temperature)

    def _collapse(self, work: Work) -> list[Figure]:
        """Several samples of one prompt, of both policies."""
        prompts, _ = self.compared.drawn(work, "policy")
        folders = {"policy": work.path("policy"), "sft": work.path("baseline")}
        return [
            figure
            for group, folder in folders.items()
            for figure in draw_collapse_figures(
                group, folder, self.task, prompts, self.sampling, seed=work.seed, confidence=self.confidence
            )
        ]

    def told(self, work: Work) -> Told:
        """All figures with their checks, reliability diagrams, the choice of a temperature, responses side by side."""
        figures = tuple(read_figures(work.directory))
        rows = read_samples(work.directory / RESPONSES)
        choice = read_choice(work.directory)
        by_name = {figure.name: figure.value for figure in figures}
        return Told(
            line=f"{len(rows):,} held-out prompts",
            notes=() if "policy/kl" in by_name or not rows else (self._why_no_kl(),),
            figures=figures,
            checks=tuple(run_checks(figures, self.limits)),
            sections=(
                *read_diagrams(work.directory),
                *([choice.table()] if choice is not None and choice.tried else []),
                self._side_by_side(work, rows[:NUM_SIDE_BY_SIDE]),
            ),
            objective=next((by_name[name] for name in OBJECTIVES if name in by_name), None),
        )

    def _why_no_kl(self) -> str:
        if self.sampling.temperature == 0:
            return NO_KL_OF_GREEDY
        return NO_KL if self.sampling.top_p == 1 else NO_KL_OF_TOP_P

    def _side_by_side(self, work: Work, rows: Sequence[tuple[Prompt, tuple[Completion, ...]]]) -> SideBySide:
        pairs = [Comparison(prompt=prompt, first=policy, second=sft) for prompt, (sft, policy) in rows]
        annotators = self._annotators(work.data("held_out"))
        votes: Votes = [()] * len(pairs) if annotators is None else annotators.votes(pairs)
        found = side_by_side(pairs, votes, read_preferences(work.directory / JUDGED))
        is_greedy = 0 in self.compared.temperatures
        return replace(found, title=f"{found.title}, both decoded greedily") if is_greedy else found


def _close(asking: Asking, file: Path) -> None:
    """Write what the models took, and let go of their ledger."""
    file.write_text(json.dumps(asking.cost_figures(), indent=1, sort_keys=True) + "\n")
    asking.close(remove=True)

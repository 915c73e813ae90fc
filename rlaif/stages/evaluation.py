"""Evaluation on held-out prompts: labels, reward model, and the policy against the SFT policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rlaif.data.base import TaskData
from rlaif.data.preferences_io import read_preferences, read_samples, write_preferences, write_samples
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
from rlaif.evaluation.judges import AnnotatorJudge, Judge, LabelJudge, PeopleJudge
from rlaif.evaluation.kl import response_kl
from rlaif.evaluation.records import Findings, ReliabilityDiagram, SideBySide
from rlaif.evaluation.responses import side_by_side
from rlaif.evaluation.votes import Votes, pair
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import PEOPLE
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.results import COST, read_labels
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne, OpenShare
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.responses import policy_prompt_ids
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Figure, Prompt

RESPONSES, JUDGED = "responses.parquet", "judged.parquet"
ASKED = "asked"
"""Directory of the judge's ledger while the stage is built."""
NUM_SIDE_BY_SIDE = 12
"""Responses side by side on the page."""
Responses = tuple[list[Prompt], list[Completion], list[Completion]]
"""Prompts, responses of the policy, responses of the SFT policy."""


class EvaluationStage(Stage):
    """Measures labels, reward model and policy on what no training read.

    Args:
        task: Gives the text that a policy continues; decides whether harm is measured.
        sampling: How the responses were sampled: the KL is that of the sampled distribution.
        num_raters: Simulated annotators per comparison.
        confidence: Coverage of every interval, in (0, 1).
        judge: The LLM judge, a labeler; None for none.
        scorer: Scores both candidates of held-out pairs.
        against: Policies of other runs by name: a run directory, a model folder, or ``run:DIR/step``.
        limits: Where figures fail their checks, by name of a :class:`CheckLimits` field; None takes the defaults.
        batch_size: Comparisons per batch of the judge.
        asking: Where answers of models are kept, what they cost, when to stop.
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
        against: Mapping[str, str] | None = None,
        limits: Runtime[Mapping[str, float] | None] = None,
        batch_size: AtLeastOne = 64,
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.num_raters = num_raters
        self.confidence = confidence
        self.judge = judge
        self.scorer = scorer
        self.against = dict(against or {})
        self.limits = CheckLimits(**(limits or {}))
        self.batch_size = batch_size
        self.asking = asking

    def reads(self) -> Mapping[str, Reads]:
        """Both policies and their responses, held-out data, and labels and reward model where the pipeline has them."""
        roles = {
            "policy": Reads(kind="policy"),
            "baseline": Reads(kind="policy", by="sft", differs_from="policy"),
            "policy_responses": Reads(kind="responses", of="policy", by="respond"),
            "baseline_responses": Reads(kind="responses", of="baseline", by="respond"),
            "held_out": Reads(kind="held_out_pairs"),
            "people": Reads(kind="people"),
            "labels": Reads(kind="raw_labels", optional=True),
            "reward_model": Reads(kind="reward_model", optional=True),
        }
        for name, place in self.against.items():
            option = f"evaluation.against.{name}"
            roles[option] = Reads(kind="policy", at=_policy_of(place), option=option)
            roles[f"{option}.responses"] = Reads(kind="responses", of=option, by="respond")
        return roles

    def leaves(self) -> frozenset[str]:
        """Figures."""
        return frozenset({"figures"})

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the judge, and opponents that are no model."""
        for name, place in self.against.items():
            item = work.input(f"evaluation.against.{name}")
            if not item.stage and item.path is not None and not (item.path / "config.json").is_file():
                yield (
                    f"evaluation.against.{name}={place}: holds no policy; give a finished run's directory or a model's"
                )
        if self.judge is None:
            return
        if self.judge.source in PEOPLE:
            yield "evaluation.judge: must ask a language model; take pairwise or cot_pairwise, or null for none"
            return
        for problem in trial_problems(self.judge, example_pairs(work.data("held_out"))):
            yield problem.replace("labeler.", "evaluation.judge.", 1) if problem.startswith("labeler.") else problem

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The judge, on the responses where they are drawn already."""
        if self.judge is None:
            return
        drawn = work.ready("policy_responses") and work.ready("baseline_responses") and not self.against
        yield WillAsk(
            labeler=self.judge,
            examples=example_pairs(work.data("held_out")),
            answers=self.asking.answers,
            pairs=LabelJudge.to_ask(pair(*self._responses(work))) if drawn else None,
            option="evaluation.judge",
        )

    def build(self, work: Work) -> None:
        """Compute all figures."""
        responses = self._responses(work)
        prompts, policy, sft = responses
        rows = zip(prompts, zip(sft, policy, strict=True), strict=True)
        write_samples(work.directory / RESPONSES, list(rows))
        labels, reward_model = self._labels(work), self._reward_model(work)
        evaluator = PolicyEvaluator(confidence=self.confidence)
        figures = [
            *labels.figures,
            *reward_model.figures,
            *self._policy(work, responses, evaluator),
            *evaluator.kl(prompts, self._kl(work, prompts, policy)),
            *evaluator.responses("policy", prompts, policy),
            *evaluator.responses("sft", prompts, sft),
            *self._collapse(work, prompts),
        ]
        write_figures(work.directory, figures)
        sections = labels.sections + reward_model.sections
        write_diagrams(work.directory, [item for item in sections if isinstance(item, ReliabilityDiagram)])

    def _responses(self, work: Work) -> Responses:
        policy, sft = _read_responses(work.path("policy_responses")), _read_responses(work.path("baseline_responses"))
        return [prompt for prompt, _ in policy], [answer for _, answer in policy], [answer for _, answer in sft]

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

    def _policy(self, work: Work, responses: Responses, evaluator: PolicyEvaluator) -> list[Figure]:
        """Win rates against the SFT policy and against opponents, and harmless rates."""
        prompts, policy, sft = responses
        pairs = pair(prompts, policy, sft)
        annotators = self._annotators(work.data("held_out"))
        figures: list[Figure] = []
        if annotators is not None:
            figures += evaluator.win_rates(pairs, annotators, length_controlled=True)
        against = self._opponents(work, prompts, policy)
        judge = self._llm_judge(work, pairs, [] if annotators is not None else list(against.values()))
        if judge is not None:
            figures += evaluator.win_rates(pairs, judge, name="policy/win_rate_vs_sft_llm_judge")
        if annotators is not None and self.task.measures_harm:
            figures += HarmlessEvaluator(confidence=self.confidence).evaluate(prompts, policy, sft, annotators)
        judge_of_opponents: Judge | None = annotators or judge
        if judge_of_opponents is not None:
            for name, against_pairs in against.items():
                figures += evaluator.win_rates(against_pairs, judge_of_opponents, name=f"policy/win_rate_vs_{name}")
        return figures

    def _opponents(
        self, work: Work, prompts: Sequence[Prompt], policy: Sequence[Completion]
    ) -> dict[str, list[Comparison]]:
        """The policy's responses (first) with those of each opponent, by name."""
        found = {}
        for name in self.against:
            drawn = _read_responses(work.path(f"evaluation.against.{name}.responses"))
            found[name] = pair(prompts, policy, [answer for _, answer in drawn])
        return found

    def _llm_judge(
        self, work: Work, pairs: Sequence[Comparison], further: Sequence[Sequence[Comparison]]
    ) -> LabelJudge | None:
        """The LLM judge with its labels of the pairs; those of the first plan are kept for the page."""
        if self.judge is None:
            write_preferences(work.directory / JUDGED, [])
            return None
        asking = self.asking.begin(
            work.directory / ASKED, batch_size=self.batch_size, option="evaluation.judge", before=work.tried
        )
        labels = [asking.judge(self.judge, work, plan).label(LabelJudge.to_ask(plan)) for plan in (pairs, *further)]
        write_preferences(work.directory / JUDGED, labels[0])
        cost = asking.cost_figures()
        (work.directory / COST).write_text(json.dumps(cost, indent=1, sort_keys=True) + "\n")
        asking.close(remove=True)
        engine = work.options["judge"].get("engine") or {}
        model = str(engine.get("model", self.judge.name))
        return LabelJudge([label for given in labels for label in given], model=model)

    def _kl(self, work: Work, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> list[float]:
        """Per response Σ log π(token) − log π_SFT(token) at the sampling temperature, in nats."""
        models = [load_causal_lm(ModelSpec(str(work.path(role)))) for role in ("policy", "baseline")]
        tokenizer = PromptTokenizer(load_tokenizer(str(work.path("policy"))))
        ids = policy_prompt_ids(tokenizer, self.task, prompts, self.sampling.max_prompt_tokens)
        return response_kl(models[0], models[1], ids, responses, temperature=self.sampling.temperature)

    def _collapse(self, work: Work, prompts: Sequence[Prompt]) -> list[Figure]:
        """Several samples of one prompt, of both policies."""
        folders = {"policy": work.path("policy"), "sft": work.path("baseline")}
        return [
            figure
            for group, folder in folders.items()
            for figure in draw_collapse_figures(
                group, folder, self.task, prompts, self.sampling, seed=work.seed, confidence=self.confidence
            )
        ]

    def told(self, work: Work) -> Told:
        """All figures with their checks, reliability diagrams, and responses side by side."""
        figures = tuple(read_figures(work.directory))
        rows = read_samples(work.directory / RESPONSES)
        return Told(
            line=f"{len(rows):,} held-out prompts",
            figures=figures,
            checks=tuple(run_checks(figures, self.limits)),
            sections=(*read_diagrams(work.directory), self._side_by_side(work, rows[:NUM_SIDE_BY_SIDE])),
            objective=next((figure.value for figure in figures if figure.name == "policy/win_rate_vs_sft"), None),
        )

    def _side_by_side(self, work: Work, rows: Sequence[tuple[Prompt, tuple[Completion, ...]]]) -> SideBySide:
        pairs = [Comparison(prompt=prompt, first=policy, second=sft) for prompt, (sft, policy) in rows]
        annotators = self._annotators(work.data("held_out"))
        votes: Votes = [()] * len(pairs) if annotators is None else annotators.votes(pairs)
        return side_by_side(pairs, votes, read_preferences(work.directory / JUDGED))


def _read_responses(directory: Path) -> list[tuple[Prompt, Completion]]:
    return [(prompt, completions[0]) for prompt, completions in read_samples(directory / SAMPLES)]


def _policy_of(place: str) -> str:
    """The policy of a run's directory, or the place itself."""
    inside = Path(place).expanduser() / "policy"
    return str(inside) if inside.is_dir() else place

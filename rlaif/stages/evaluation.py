"""Evaluation on held-out prompts: labeler, reward model, and the policy against SFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.data.batches.examples import prompt_ids
from rlaif.data.preferences_io import read_preferences, read_samples, write_preferences, write_samples
from rlaif.errors import ConfigError
from rlaif.evaluation.evaluators import (
    PEOPLE,
    HarmlessEvaluator,
    LabelerEvaluator,
    PolicyEvaluator,
    RewardModelEvaluator,
)
from rlaif.evaluation.files import write_diagrams, write_figures
from rlaif.evaluation.judges import AnnotatorJudge, Judge, LabelJudge, PeopleJudge, label_sources
from rlaif.evaluation.kl import response_kl
from rlaif.evaluation.records import Findings, ReliabilityDiagram
from rlaif.evaluation.votes import SIMULATED, pair
from rlaif.evaluation.win_rate import BY_LLM_JUDGE
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.models.load import ModelSpec, load_causal_lm, model_identity
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.stages.context import (
    Context,
    annotators_code,
    component_code,
    preferences_id,
    prompts_id,
)
from rlaif.stages.labelers import build_labeler
from rlaif.stages.labels import read_labels
from rlaif.stages.samples import draw_completions, sampling_options
from rlaif.stages.stage import Stage
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

RESPONSES, JUDGED = "responses.parquet", "judged.parquet"


@dataclass(frozen=True)
class Answers:
    """Both policies' answers to the held-out prompts."""

    prompts: list[Prompt]
    sft: list[Completion]
    policy: list[Completion]


def _eval_prompts(context: Context) -> list[Prompt]:
    return context.data.eval_prompts[: context.cfg.evaluation.num_prompts]


def build_judge(context: Context, comparisons: Sequence[Comparison] = ()) -> Labeler | None:
    """The LLM judge: a labeler that asks a model of its own, or None (``evaluation.judge=null``).

    Args:
        context: The run.
        comparisons: What it will judge, where a rationale of another pair is asked for.

    Raises:
        ConfigError: An option of ``evaluation.judge`` is wrong, or it asks no model.
    """
    if context.cfg.evaluation.judge is None:
        return None
    try:
        judge = build_labeler(context, context.cfg.evaluation.judge)
    except (ConfigError, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, ConfigError):
            raise
        problems = [problem.replace("labeler.", "evaluation.judge.", 1) for problem in cause.problems]
        raise ConfigError(problems) from error
    if judge.source in PEOPLE:
        raise ConfigError(
            "evaluation.judge: must ask a language model; take pairwise or cot_pairwise, or null for none"
        )
    if comparisons and isinstance(judge, PlansAhead):
        return judge.for_plan(comparisons)
    return judge


def _options(context: Context) -> dict[str, object]:
    judge = build_judge(context)
    options = context.cfg.evaluation
    return {
        "num_prompts": options.num_prompts,
        "num_raters": options.num_raters,
        "confidence": options.confidence,
        "judge": None if judge is None else judge.identity,
        "prompts": prompts_id(_eval_prompts(context)),
        "preferences": preferences_id(context.data.eval_preferences),
        "known": preferences_id(context.data.preferences),
        "annotators": annotators_code(context),
        "components": component_code(options),
        "against": {name: model_identity(str(folder)) for name, folder in opponents(context).items()},
        **sampling_options(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    answers = _respond(context, directory, display)
    policy = PolicyEvaluator(confidence=float(context.cfg.evaluation.confidence))
    findings = _labeler(context) + _reward_model(context)
    figures = [
        *findings.figures,
        *_policy(context, answers, directory, policy),
        *_head_to_head(context, answers, display, policy),
        *policy.kl(answers.prompts, _kl(context, answers)),
        *policy.responses("policy", answers.prompts, answers.policy),
        *policy.responses("sft", answers.prompts, answers.sft),
    ]
    write_figures(directory, figures)
    write_diagrams(directory, [item for item in findings.sections if isinstance(item, ReliabilityDiagram)])


def _respond(context: Context, directory: Path, display: StageDisplay) -> Answers:
    prompts = _eval_prompts(context)
    answers = [
        [
            completion
            for (completion,) in draw_completions(
                context, context.result(name), prompts, display, num_samples=1, source=name, purpose=f"evaluate {name}"
            )
        ]
        for name in ("sft", "policy")
    ]
    rows = zip(prompts, zip(*answers, strict=True), strict=True)
    write_samples(directory / RESPONSES, [(prompt, both) for prompt, both in rows])
    return Answers(prompts, *answers)


def _labeler(context: Context) -> Findings:
    """Figures of the labels, against people's verdicts on the same pairs."""
    if not context.runs("labels"):
        return Findings()
    evaluator = LabelerEvaluator(confidence=float(context.cfg.evaluation.confidence))
    return evaluator.evaluate(read_labels(context.result("labels")), _people(context))


def _annotators(context: Context) -> AnnotatorJudge | None:
    if context.data.annotators is None:
        return None
    return AnnotatorJudge(context.data.annotators, context.cfg.evaluation.num_raters)


def _people(context: Context) -> Judge:
    """Simulated annotators where there are any, else the labels that came with the data."""
    return _annotators(context) or PeopleJudge(context.data.preferences)


def _reward_model(context: Context) -> Findings:
    """Accuracy on held-out pairs that people labeled."""
    held_out = context.data.eval_preferences
    if not held_out or not context.runs("reward_model"):
        return Findings()
    reward = instantiate(context.cfg.reward)
    if not isinstance(reward, RewardModelReward):
        reward = RewardModelReward()
    reward.load(context.result("reward_model"), task=context.task)
    comparisons = [label.comparison for label in held_out]
    prompts = [comparison.prompt for comparison in comparisons]
    first = reward.raw_scores(prompts, [comparison.first for comparison in comparisons]).tolist()
    second = reward.raw_scores(prompts, [comparison.second for comparison in comparisons]).tolist()
    judge = SIMULATED if context.data.annotators is not None else label_sources(held_out)
    evaluator = RewardModelEvaluator(confidence=float(context.cfg.evaluation.confidence))
    return evaluator.evaluate(held_out, first, second, judge)


def _policy(context: Context, answers: Answers, directory: Path, evaluator: PolicyEvaluator) -> list[Figure]:
    pairs = pair(answers.prompts, answers.policy, answers.sft)
    figures: list[Figure] = []
    annotators = _annotators(context)
    if annotators is not None:
        figures += evaluator.win_rates(pairs, annotators, length_controlled=True)
    judged = _ask_llm_judge(context, pairs)
    if judged is not None:
        figures += evaluator.win_rates(pairs, _llm_judge(context, judged), name=BY_LLM_JUDGE)
    write_preferences(directory / JUDGED, judged or [])
    if annotators is not None and context.task.measures_harm:
        harmless = HarmlessEvaluator(confidence=evaluator.confidence)
        figures += harmless.evaluate(answers.prompts, answers.policy, answers.sft, annotators)
    return figures


def _ask_llm_judge(context: Context, pairs: list[Comparison]) -> list[Preference] | None:
    """The LLM judge's labels of the pairs whose texts differ; None where there is no judge."""
    judge = build_judge(context, pairs)
    asked = LabelJudge.to_ask(pairs)
    return None if judge is None else judge.label(asked) if asked else []


def _llm_judge(context: Context, labels: list[Preference]) -> LabelJudge:
    node = context.cfg.evaluation.judge
    name = instantiate(node).name if OmegaConf.select(node, "engine.model") is None else node.engine.model
    return LabelJudge(labels, model=name)


def opponents(context: Context) -> dict[str, Path]:
    """Policies of other runs to hold this one against, by name (``evaluation.against``).

    Raises:
        ConfigError: A directory holds no model.
    """
    against = context.cfg.evaluation.against or {}
    folders = {str(name): Path(place) for name, place in against.items()}
    folders = {name: place / "policy" if (place / "policy").is_dir() else place for name, place in folders.items()}
    problems = [
        f"evaluation.against.{name}={against[name]}: holds no policy; give a finished run's directory or a model's"
        for name, folder in folders.items()
        if not (folder / "config.json").is_file()
    ]
    if problems:
        raise ConfigError(problems)
    return folders


def _head_to_head(
    context: Context, answers: Answers, display: StageDisplay, evaluator: PolicyEvaluator
) -> list[Figure]:
    """The policy against those of other runs: simulated annotators judge where there are any, else the LLM judge."""
    figures: list[Figure] = []
    for name, folder in opponents(context).items():
        # Drawn as the other run draws its own, so that on the same prompts and seed they are the same responses.
        drawn = draw_completions(
            context, folder, answers.prompts, display, num_samples=1, source=name, purpose="evaluate policy"
        )
        pairs = pair(answers.prompts, answers.policy, [completion for (completion,) in drawn])
        judge: Judge | None = _annotators(context)
        if judge is None and (judged := _ask_llm_judge(context, pairs)) is not None:
            judge = _llm_judge(context, judged)
        if judge is not None:
            figures += evaluator.win_rates(pairs, judge, name=f"policy/win_rate_vs_{name}")
    return figures


def _kl(context: Context, answers: Answers) -> list[float]:
    """Per response Σ log π(token) − log π_SFT(token) at the sampling temperature, in nats."""
    policy, sft = (load_causal_lm(ModelSpec(str(context.result(name)))) for name in ("policy", "sft"))
    limit = int(context.cfg.policy.max_prompt_tokens)
    ids = prompt_ids(PromptTokenizer(context.tokenizer), context.task, answers.prompts)
    temperature = float(context.cfg.policy.temperature)
    return response_kl(policy, sft, [prompt[-limit:] for prompt in ids], answers.policy, temperature=temperature)


def read_responses(directory: Path) -> list[tuple[Prompt, tuple[Completion, ...]]]:
    """Prompt, then the SFT policy's and the policy's response."""
    return read_samples(directory / RESPONSES)


def read_judged(directory: Path) -> list[Preference]:
    """The LLM judge's labels, the policy's response first."""
    return read_preferences(directory / JUDGED)


def _summary(context: Context, directory: Path) -> str:
    return f"{len(_eval_prompts(context)):,} held-out prompts"


EVALUATION = Stage(
    name="evaluation",
    inputs=("sft", "labels", "reward_model", "policy"),
    options=_options,
    code=("rlaif.stages.evaluation",),
    build=_build,
    summary=_summary,
)

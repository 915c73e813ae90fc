"""Evaluation on held-out prompts: labeler, reward model, and the policy against SFT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.data.batches.examples import pad_right, prompt_ids
from rlaif.data.preferences_io import read_preferences, read_samples, write_preferences, write_samples
from rlaif.errors import ConfigError
from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    label_figures,
    p_first_from_scores,
    reliability_diagram,
)
from rlaif.evaluation.harmless import harmless_figures
from rlaif.evaluation.responses import kl_figures, response_figures
from rlaif.evaluation.votes import (
    Votes,
    annotator_votes,
    harmless_votes,
    judge_votes,
    label_votes,
    pair,
)
from rlaif.evaluation.win_rate import length_controlled_figures, win_rate_figures
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.inference.logprobs import response_logprobs
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import PEOPLE, SIMULATED, are_peoples, label_sources
from rlaif.labeling.asking import Asking, named_as
from rlaif.labeling.results import COST, read_labels
from rlaif.models.load import ModelSpec, load_causal_lm, model_identity
from rlaif.reporting.records import Reliability, ReliabilityBin
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.stages.context import (
    Context,
    annotators_code,
    component_code,
    preferences_id,
    prompts_id,
    texts,
    write_json,
)
from rlaif.stages.labelers import build_labeler
from rlaif.stages.labels import asking
from rlaif.stages.samples import draw_completions, sampling_options
from rlaif.stages.stage import Stage
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

FIGURES, RESPONSES, JUDGED, RELIABILITY = "figures.json", "responses.parquet", "judged.parquet", "reliability.json"
JUDGE = "evaluation.judge"
ASKED = "asked"
"""The judge's ledger, while it is asked."""
KL_BATCH = 64


@dataclass(frozen=True)
class Responses:
    """Both policies' answers to the held-out prompts."""

    prompts: list[Prompt]
    sft: list[Completion]
    policy: list[Completion]


def _eval_prompts(context: Context) -> list[Prompt]:
    return context.data.eval_prompts[: context.cfg.evaluation.num_prompts]


def build_judge(context: Context) -> Labeler | None:
    """The LLM judge: a labeler that asks a model of its own, or None (``evaluation.judge=null``).

    Raises:
        ConfigError: An option of ``evaluation.judge`` is wrong, or it asks no model.
    """
    if context.cfg.evaluation.judge is None:
        return None
    with named_as(JUDGE):
        try:
            judge = build_labeler(context, context.cfg.evaluation.judge)
        except InstantiationException as error:
            if not isinstance(error.__cause__, ConfigError):
                raise
            raise error.__cause__ from error
    if judge.source in PEOPLE:
        raise ConfigError(
            "evaluation.judge: must ask a language model; take pairwise or cot_pairwise, or null for none"
        )
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
    responses = _respond(context, directory, display)
    confidence = float(context.cfg.evaluation.confidence)
    labeler_figures, labeler_reliability = _labeler(context, confidence)
    reward_figures, reward_reliability = _reward_model(context, confidence)
    asked = asking(context, directory / ASKED, option=JUDGE)
    figures = [
        *labeler_figures,
        *reward_figures,
        *_policy(context, responses, directory, asked, display, confidence),
        *_head_to_head(context, responses, asked, display, confidence),
        *kl_figures(responses.prompts, _kl(context, responses), confidence=confidence),
        *response_figures("policy", responses.prompts, texts(responses.policy), confidence=confidence),
        *response_figures("sft", responses.prompts, texts(responses.sft), confidence=confidence),
    ]
    if build_judge(context) is not None:
        write_json(directory / COST, asked.cost_figures())
    asked.close(remove=True)
    write_json(directory / FIGURES, [asdict(figure) for figure in figures])
    write_json(directory / RELIABILITY, [asdict(item) for item in labeler_reliability + reward_reliability])


def _respond(context: Context, directory: Path, display: StageDisplay) -> Responses:
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
    return Responses(prompts, *answers)


def _labeler(context: Context, confidence: float) -> tuple[list[Figure], list[Reliability]]:
    """What the labels are worth, held against people's verdicts on the same pairs."""
    if not context.runs("labels"):
        return [], []
    labels = read_labels(context.result("labels"))
    figures = label_figures(labels, confidence=confidence)
    if are_peoples(labels):
        return figures, []
    comparisons = [label.comparison for label in labels]
    votes, judge = _people(context, comparisons)
    if not any(votes):
        return figures, []
    p_first = [label.p_first for label in labels]
    figures += alignment_figures(comparisons, p_first, votes, judge, confidence=confidence)
    figures += calibration_figures(comparisons, p_first, votes, judge, confidence=confidence)
    return figures, [reliability_diagram(comparisons, p_first, votes, judge)]


def _people(context: Context, comparisons: Sequence[Comparison]) -> tuple[Votes, str]:
    """Simulated annotators where there are any, else the labels that came with the data."""
    if context.data.annotators is not None:
        return annotator_votes(context.data.annotators, comparisons, context.cfg.evaluation.num_raters), SIMULATED
    known = {label.comparison.id: label for label in context.data.preferences}
    found = [known.get(comparison.id) for comparison in comparisons]
    votes: Votes = [() if label is None or label.p_first is None else (label.p_first,) for label in found]
    return votes, label_sources(context.data.preferences)


def _reward_model(context: Context, confidence: float) -> tuple[list[Figure], list[Reliability]]:
    """Accuracy on held-out pairs that people labeled."""
    held_out = context.data.eval_preferences
    if not held_out or not context.runs("reward_model"):
        return [], []
    reward = instantiate(context.cfg.reward)
    if not isinstance(reward, RewardModelReward):
        reward = RewardModelReward()
    reward.load(context.result("reward_model"), task=context.task)
    comparisons = [label.comparison for label in held_out]
    prompts = [comparison.prompt for comparison in comparisons]
    first = reward.raw_scores(prompts, [comparison.first for comparison in comparisons]).tolist()
    second = reward.raw_scores(prompts, [comparison.second for comparison in comparisons]).tolist()
    p_first = p_first_from_scores(first, second)
    judge = SIMULATED if context.data.annotators is not None else label_sources(held_out)
    votes = label_votes(held_out)
    figures = alignment_figures(comparisons, p_first, votes, judge, name="reward_model/accuracy", confidence=confidence)
    figures += calibration_figures(comparisons, p_first, votes, judge, group="reward_model", confidence=confidence)
    return figures, [reliability_diagram(comparisons, p_first, votes, judge, title="Reward model")]


def _policy(
    context: Context,
    responses: Responses,
    directory: Path,
    asked: Asking,
    display: StageDisplay,
    confidence: float,
) -> list[Figure]:
    pairs = pair(responses.prompts, responses.policy, responses.sft)
    figures: list[Figure] = []
    annotators, num_raters = context.data.annotators, context.cfg.evaluation.num_raters
    if annotators is not None:
        votes = annotator_votes(annotators, pairs, num_raters)
        figures += win_rate_figures(pairs, votes, SIMULATED, confidence=confidence)
        figures += length_controlled_figures(pairs, votes, SIMULATED, confidence=confidence)
    judged: list[Preference] = []
    judge = build_judge(context)
    if judge is not None:
        votes, judged = judge_votes(asked.judge(judge, display, pairs), pairs)
        figures += win_rate_figures(
            pairs,
            votes,
            _judge_in_words(context, judge),
            name="policy/win_rate_vs_sft_llm_judge",
            confidence=confidence,
        )
    write_preferences(directory / JUDGED, judged)
    if annotators is not None and context.task.measures_harm:
        policy, sft = (
            harmless_votes(annotators, responses.prompts, texts(side), num_raters)
            for side in (responses.policy, responses.sft)
        )
        figures += harmless_figures(responses.prompts, policy, sft, SIMULATED, confidence=confidence)
    return figures


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
    context: Context, responses: Responses, asked: Asking, display: StageDisplay, confidence: float
) -> list[Figure]:
    """The policy against those of other runs: simulated annotators judge where there are any, else the LLM judge."""
    figures: list[Figure] = []
    annotators = context.data.annotators
    for name, folder in opponents(context).items():
        # Drawn as the other run draws its own, so that on the same prompts and seed they are the same responses.
        drawn = draw_completions(
            context, folder, responses.prompts, display, num_samples=1, source=name, purpose="evaluate policy"
        )
        pairs = pair(responses.prompts, responses.policy, [completion for (completion,) in drawn])
        judge = build_judge(context) if annotators is None else None
        if annotators is not None:
            votes, who = annotator_votes(annotators, pairs, context.cfg.evaluation.num_raters), SIMULATED
        elif judge is not None:
            votes, who = judge_votes(asked.judge(judge, display, pairs), pairs)[0], _judge_in_words(context, judge)
        else:
            continue
        figures += win_rate_figures(pairs, votes, who, name=f"policy/win_rate_vs_{name}", confidence=confidence)
    return figures


def _judge_in_words(context: Context, judge: Labeler) -> str:
    return f"LLM judge {OmegaConf.select(context.cfg.evaluation.judge, 'engine.model', default=judge.name)}"


@torch.no_grad()
def _kl(context: Context, responses: Responses) -> list[float]:
    """Per response Σ log π(token) − log π_SFT(token) at the sampling temperature, in nats."""
    models = [load_causal_lm(ModelSpec(str(context.result(name)))) for name in ("policy", "sft")]
    tokenizer = PromptTokenizer(context.tokenizer)
    ids = prompt_ids(tokenizer, context.task, responses.prompts)
    limit = int(context.cfg.policy.max_prompt_tokens)
    kl: list[float] = []
    for start in range(0, len(ids), KL_BATCH):
        rows = slice(start, start + KL_BATCH)
        tokens_BT, lengths_B = pad_right([list(answer.token_ids) for answer in responses.policy[rows]], 0)
        mask_BT = torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]
        prompts = [prompt[-limit:] for prompt in ids[rows]]
        said, reference = (
            response_logprobs(
                model, prompts, tokens_BT, mask_BT, temperature=float(context.cfg.policy.temperature)
            ).logprobs_BT
            for model in models
        )
        kl += sampled_sequence_kl(said, reference, mask_BT).tolist()
    return kl


def read_figures(directory: Path) -> list[Figure]:
    return [Figure(**entry) for entry in json.loads((directory / FIGURES).read_text())]


def read_reliability(directory: Path) -> list[Reliability]:
    entries = json.loads((directory / RELIABILITY).read_text())
    return [
        Reliability(**{**entry, "bins": tuple(ReliabilityBin(**item) for item in entry["bins"])}) for entry in entries
    ]


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

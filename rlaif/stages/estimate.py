"""What labeling would take, told before anything is spent (``estimate=true``)."""

from __future__ import annotations

from rlaif.errors import ConfigError
from rlaif.labelers.base import Labeler
from rlaif.labeling import estimate as labeling
from rlaif.labeling.estimate import LabelEstimate, stand_in_pairs
from rlaif.reporting.label_estimate import print_estimate
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.context import Context, num_devices
from rlaif.stages.labelers import asks_own_model, build_labeler, people_of, with_own_model
from rlaif.stages.labels import LABEL, answers_of, comparisons_to_label, prices_and_budget
from rlaif.stages.samples import SAMPLE
from rlaif.types import Comparison, Completion


def show_estimate(context: Context, display: RunDisplay) -> None:
    """Count and print what this run's labels would take; nobody is asked but, on a few pairs, a local model.

    Raises:
        ConfigError: This run has no labels that could be estimated.
    """
    if not context.runs("labels"):
        raise ConfigError("estimate=true: this pipeline labels no plan of pairs; take pipeline=label or pipeline=rlaif")
    prices, _ = prices_and_budget(context)
    print_estimate(estimate_labels(context), prices, display.console)


def estimate_labels(context: Context) -> LabelEstimate:
    """What this run's labels would take.

    Raises:
        ConfigError: There are no pairs.
    """
    pairs, notes = _pairs(context)
    labeler, more = _labeler(context)
    return labeling.estimate_labels(
        labeler,
        pairs,
        people_of(context),
        answers_of(context),
        batch_size=context.cfg.label.batch_size,
        reply_tokens=context.cfg.estimate_reply_tokens,
        num_processes=num_devices(context.cfg),
        notes=[*notes, *more],
    )


def _pairs(context: Context) -> tuple[list[Comparison], list[str]]:
    """The plan, or stand-ins of its size where the SFT policy has not sampled yet."""
    known = context.cfg.data.pairs == "dataset" or (
        context.store.complete("samples", context.fingerprint(SAMPLE)) is not None
    )
    if known:
        finished = context.store.complete("labels", context.fingerprint(LABEL)) is not None
        notes = ["these labels are finished in the store: this run would ask nothing"] if finished else []
        return comparisons_to_label(context), notes
    data = context.data
    responses = [Completion(text=item.response) for item in data.demonstrations]
    return stand_in_pairs(data.label_prompts, responses, context.cfg.label.samples_per_prompt), [
        "the SFT policy has not sampled yet: pairs of demonstrations' responses stand in for its samples"
    ]


def _labeler(context: Context) -> tuple[Labeler, list[str]]:
    """The run's labeler; a model that is still to be trained is stood in for by what it starts from."""
    node, notes = context.cfg.labeler, []
    trained = context.store.complete("sft", context.fingerprint(context.stages["sft"])) is not None
    if asks_own_model(node) and not trained:
        node = with_own_model(node, context.model_spec.name)
        notes.append(f"stage:sft is not trained yet: {context.model_spec.name} stands in for it")
    return build_labeler(context, node), notes

"""Cost figures of labels: tokens, time and money, and the price of a person's label for comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.labeling.cost import LabelCost
from rlaif.labeling.summary import summarize_labels
from rlaif.types import Figure, Preference

FIGURES = (
    FigureSpec(
        name="cost/prompt_tokens_per_label",
        label="tokens read per label",
        unit="number",
        order=10,
        columns=(Column(table="scorecards", heading="tokens read", order=120),),
    ),
    FigureSpec(
        name="cost/reply_tokens_per_label",
        label="tokens written per label",
        unit="number",
        order=20,
        columns=(Column(table="scorecards", heading="written", order=130),),
    ),
    FigureSpec(
        name="cost/seconds_per_1000_labels",
        label="time per 1,000 labels",
        unit="seconds",
        order=30,
        columns=(Column(table="scorecards", heading="s per 1,000", order=140),),
    ),
    FigureSpec(
        name="cost/usd_per_1000_labels",
        label="money per 1,000 labels",
        unit="dollars",
        order=40,
        columns=(Column(table="scorecards", heading="$ per 1,000", order=150),),
    ),
    FigureSpec(name="cost/human_usd_per_1000_labels", label="people, per 1,000 labels", unit="dollars", order=50),
)


def cost_figures(labels: Sequence[Preference], cost: LabelCost) -> list[Figure]:
    """Tokens, time and money; absent where no model was asked, nothing was timed or no price is known."""
    summary = summarize_labels(labels)
    figures = []
    if summary.num_prompt_tokens:
        for kind, count in (("prompt", summary.num_prompt_tokens), ("reply", summary.num_reply_tokens)):
            figures.append(Figure(name=f"cost/{kind}_tokens_per_label", value=count / summary.n, n=summary.n))
    if cost.seconds_per_label is not None:
        each = 1000.0 * cost.seconds_per_label
        figures.append(Figure(name="cost/seconds_per_1000_labels", value=each, n=len(labels), note="by the clock"))
    if cost.usd_per_label is not None:
        each = 1000.0 * cost.usd_per_label
        note = "at the prices of cost.…"
        figures.append(Figure(name="cost/usd_per_1000_labels", value=each, n=len(labels), note=note))
    human = 1000.0 * cost.human_usd_per_label
    return [*figures, Figure(name="cost/human_usd_per_1000_labels", value=human, note="cost.human_usd_per_label")]

"""The gate of the pocket world: are its judges good enough, and its policies bad enough, for RL to mean anything?

`rlaif-run -m experiment=pocket_gate task=summarization,dialogue,harmless_dialogue`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.table import Table

from rlaif.engines.transformers import TransformersEngine
from rlaif.evaluation.alignment import alignment_figures, label_figures
from rlaif.evaluation.estimates import figure
from rlaif.evaluation.votes import SIMULATED, annotator_votes, pair
from rlaif.evaluation.win_rate import win_rate_figures
from rlaif.functional.agreement import agreement_scores
from rlaif.functional.statistics import clustered_mean, paired_difference
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.models.load import model_identity
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.quality import read
from rlaif.prompts.judge import JudgePrompts
from rlaif.stages.context import Context, preferences_id, prompts_id, write_json
from rlaif.stages.evaluation import FIGURES, read_figures
from rlaif.stages.samples import draw_completions, sampled_pairs, sampling_options
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Completion, Figure, Preference

if TYPE_CHECKING:
    from rlaif.reporting.terminal import RunDisplay, StageDisplay

SIZES = ("XS", "S", "L")
BATCH = 250
BEST_OF = 16
CONTRASTS = (
    ("L chain", "S chain"),
    ("S chain", "XS chain"),
    ("L direct", "S direct"),
    ("S direct", "XS direct"),
    ("L chain", "L direct"),
    ("L chain", "L chain, empty rationale"),
    ("L chain", "L chain, other rationale"),
)
Labels = dict[str, list[Preference]]


def _options(context: Context) -> dict[str, object]:
    return {
        "pairs": preferences_id(context.data.eval_preferences),
        "prompts": prompts_id(context.data.eval_prompts),
        "models": [model_identity(f"pocket:{size}") for size in SIZES],
        "tokens": context.cfg.gate.max_rationale_tokens,
        "num_raters": context.cfg.evaluation.num_raters,
        **sampling_options(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    pairs = [label.comparison for label in context.data.eval_preferences]
    labels = _judge(context, pairs, display)
    sampled = sampled_pairs(context.result("samples"))
    on_samples = _label(_labelers(context, "L", pairs)["chain"], sampled, display)
    figures = [
        *_raters(pairs),
        *_alignments(pairs, labels),
        *_differences(pairs, labels),
        *_against_rater("L chain on SFT samples", sampled, on_samples),
        *_room(context, display),
    ]
    write_json(directory / FIGURES, [asdict(figure) for figure in figures])


def _labelers(context: Context, size: str, pairs: Sequence[Comparison]) -> dict[str, Labeler]:
    engine = TransformersEngine(f"pocket:{size}")
    limit = int(context.cfg.gate.max_rationale_tokens)
    chain = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit)
    labelers: dict[str, Labeler] = {"direct": PairwiseLabeler(JudgePrompts(), engine), "chain": chain}
    if size == "L":
        labelers["detailed"] = PairwiseLabeler(JudgePrompts(preamble="detailed"), engine)
        for rationale in ("empty", "other"):
            ablated = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit, rationale=rationale)
            labelers[f"chain, {rationale} rationale"] = ablated.for_plan(pairs)
    return labelers


def _judge(context: Context, pairs: Sequence[Comparison], display: StageDisplay) -> Labels:
    return {
        f"{size} {name}": _label(labeler, pairs, display)
        for size in SIZES
        for name, labeler in _labelers(context, size, pairs).items()
    }


def _label(labeler: Labeler, pairs: Sequence[Comparison], display: StageDisplay) -> list[Preference]:
    progress = display.progress(len(pairs), unit="pairs")
    labels: list[Preference] = []
    for start in range(0, len(pairs), BATCH):
        labels += labeler.label(pairs[start : start + BATCH])
        progress(len(labels), len(pairs))
    return labels


def _raters(pairs: Sequence[Comparison]) -> list[Figure]:
    """How far two raters agree, and how far a perfect labeler could agree with one of them."""
    people = SimulatedAnnotators()
    votes, second = annotator_votes(people, pairs, 1), people.prefer(pairs, rater=1)
    exact = [preference_probability(item) for item in pairs]
    perfect = [float(p > 0.5) for p in exact]
    prompts = [item.prompt.id for item in pairs]
    ceiling = clustered_mean([max(p, 1 - p) for p in exact], prompts)
    agreement = clustered_mean([p * p + (1 - p) * (1 - p) for p in exact], prompts)
    return [
        *alignment_figures(pairs, second, votes, SIMULATED, name="raters/agreement")[:1],
        *alignment_figures(pairs, perfect, votes, SIMULATED, name="raters/perfect labeler against rater 0")[:1],
        *figure("raters/ceiling", ceiling, "expected, exact probabilities"),
        *figure("raters/expected agreement", agreement, "exact probabilities"),
    ]


def _alignments(pairs: Sequence[Comparison], labels: Labels) -> list[Figure]:
    return [item for name, given in labels.items() for item in _against_rater(name, pairs, given)]


def _against_rater(name: str, pairs: Sequence[Comparison], given: Sequence[Preference]) -> list[Figure]:
    """Alignment with rater 0, its share of the ceiling, same-slot answers and missing labels."""
    votes = annotator_votes(SimulatedAnnotators(), pairs, 1)
    p_first = [label.p_first for label in given]
    aligned = alignment_figures(pairs, p_first, votes, SIMULATED, name=f"{name}/alignment")
    shares = [_share(item, pairs, p_first) for item in aligned]
    return [*aligned, *shares, *label_figures(given, group=name)]


def _share(alignment: Figure, pairs: Sequence[Comparison], p_first: Sequence[float | None]) -> Figure:
    """(alignment - 50 %) / (ceiling - 50 %), on the pairs that the alignment is on."""
    stratum = alignment.name.partition("/alignment/")[2]
    part = [
        preference_probability(pair)
        for pair, p in zip(pairs, p_first, strict=True)
        if p is not None and stratum in ("", pair.prompt.stratum)
    ]
    ceiling = sum(max(p, 1 - p) for p in part) / len(part)
    name = alignment.name.replace("/alignment", "/share of ceiling")
    return Figure(name=name, value=(alignment.value - 0.5) / (ceiling - 0.5), n=alignment.n)


def _differences(pairs: Sequence[Comparison], labels: Labels) -> list[Figure]:
    """Paired by pair, against the same rater; a pair that either misses is left out."""
    chosen = torch.tensor(SimulatedAnnotators().prefer(pairs, rater=0), dtype=torch.float64)
    scores = {
        name: agreement_scores(torch.tensor([_number(label.p_first) for label in given], dtype=torch.float64), chosen)
        for name, given in labels.items()
    }
    figures = []
    for better, worse in CONTRASTS:
        present = ~(scores[better].isnan() | scores[worse].isnan())
        clusters = [pair.prompt.id for pair, is_present in zip(pairs, present.tolist(), strict=True) if is_present]
        difference = paired_difference(scores[better][present], scores[worse][present], clusters)
        figures += figure(f"{better} minus {worse}", difference)
    return figures


def _number(p_first: float | None) -> float:
    return math.nan if p_first is None else p_first


def _room(context: Context, display: StageDisplay) -> list[Figure]:
    """SFT against itself is a tie, and the best of its samples shows how much RL could gain."""
    prompts, folder = context.data.eval_prompts, context.result("sft")
    draws = draw_completions(context, folder, prompts, display, num_samples=BEST_OF + 2, source="sft", purpose="gate")
    one, two = [row[0] for row in draws], [row[1] for row in draws]
    best = [
        max(row[2:], key=lambda answer: read(prompt, answer.trimmed).quality)
        for prompt, row in zip(prompts, draws, strict=True)
    ]
    return [*_win_rate(context, one, two, "SFT against SFT"), *_win_rate(context, best, one, "best of 16 against SFT")]


def _win_rate(context: Context, first: list[Completion], second: list[Completion], name: str) -> list[Figure]:
    pairs = pair(context.data.eval_prompts, first, second)
    votes = annotator_votes(SimulatedAnnotators(), pairs, context.cfg.evaluation.num_raters)
    return win_rate_figures(pairs, votes, SIMULATED, name=name)[:1]


def show_gate(context: Context, directory: Path, display: RunDisplay) -> None:
    """Print the gate's figures."""
    table = Table("figure", "value", "95 % interval", "n", box=None, title=f"gate: {context.task.name}")
    for item in read_figures(directory):
        interval = "" if item.low is None else f"{item.low:.3f} … {item.high:.3f}"
        table.add_row(item.name, f"{item.value:.3f}", interval, str(item.n or ""))
    display.console.print(table)


GATE = Stage(
    name="gate",
    inputs=("sft", "samples"),
    options=_options,
    code=("rlaif.stages.gate",),
    build=_build,
)

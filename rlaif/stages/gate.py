"""The gate of the pocket world: are its judges good enough, and its policies bad enough, for RL to mean anything?

`rlaif-run -m experiment=pocket_gate task=summarization,dialogue,harmless_dialogue`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from rlaif.engines.transformers import TransformersEngine
from rlaif.evaluation.ceiling import against_rater_figures, difference_figures, rater_figures
from rlaif.evaluation.files import read_figures, write_figures
from rlaif.evaluation.votes import SIMULATED, annotator_votes, pair
from rlaif.evaluation.win_rate import win_rate_figures
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.models.load import model_identity
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.quality import read
from rlaif.prompts.judge import JudgePrompts
from rlaif.stages.context import Context, preferences_id, prompts_id
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
        *[item for name, given in labels.items() for item in _against_rater(name, given)],
        *difference_figures(labels, SimulatedAnnotators().prefer(pairs, rater=0), CONTRASTS),
        *_against_rater("L chain on SFT samples", on_samples),
        *_room(context, display),
    ]
    write_figures(directory, figures)


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
    exact = [preference_probability(item) for item in pairs]
    return rater_figures(pairs, annotator_votes(people, pairs, 1), people.prefer(pairs, rater=1), exact, SIMULATED)


def _against_rater(name: str, labels: Sequence[Preference]) -> list[Figure]:
    """Alignment with rater 0, its share of the ceiling, same-slot answers and missing labels."""
    pairs = [label.comparison for label in labels]
    votes, exact = annotator_votes(SimulatedAnnotators(), pairs, 1), [preference_probability(pair) for pair in pairs]
    return against_rater_figures(name, labels, votes, exact, SIMULATED)


def _room(context: Context, display: StageDisplay) -> list[Figure]:
    """SFT against itself is a tie, and the best of its samples shows how much RL could gain."""
    prompts, folder = context.data.eval_prompts, context.result("sft")
    draws = draw_completions(context, folder, prompts, display, num_samples=BEST_OF + 2, source="sft", purpose="gate")
    one, two = [row[0] for row in draws], [row[1] for row in draws]
    best = [
        max(row[2:], key=lambda answer: read(prompt, answer.text).quality)
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

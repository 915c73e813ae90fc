"""The gate of the pocket world: are its judges good enough, and its policies bad enough, for RL to mean anything?

`rlaif-run -m experiment=pocket_gate task=summarization,dialogue,harmless_dialogue`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.table import Table

from rlaif.engines.transformers import TransformersEngine
from rlaif.evaluation.votes import SIMULATED, annotator_votes, pair
from rlaif.evaluation.win_rate import win_rate_figures
from rlaif.functional.agreement import agreement_scores
from rlaif.functional.labels import same_slot
from rlaif.functional.statistics import Estimate, clustered_mean, clustered_rate, paired_difference
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.models.load import model_identity
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.quality import read
from rlaif.prompts.judge import JudgePrompts
from rlaif.stages.context import Context, preferences_id, prompts_id, write_json
from rlaif.stages.evaluation import read_figures
from rlaif.stages.samples import draw_completions, sampled_pairs, sampling_options
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Completion, Figure, Preference

if TYPE_CHECKING:
    from rlaif.evaluation.terminal import RunDisplay, StageDisplay

SIZES = ("XS", "S", "L")
BATCH = 250
BEST_OF = 16
Labels = dict[str, list[Preference]]


def _options(context: Context) -> dict[str, object]:
    return {
        "pairs": preferences_id(context.data.eval_preferences),
        "prompts": prompts_id(context.data.eval_prompts),
        "models": [model_identity(f"pocket:{size}") for size in SIZES],
        "tokens": context.cfg.gate.max_rationale_tokens,
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
        *_on_samples(sampled, on_samples),
        *_room(context, display),
    ]
    write_json(directory / "figures.json", [asdict(figure) for figure in figures])


def _labelers(context: Context, size: str, pairs: Sequence[Comparison]) -> dict[str, Labeler]:
    engine = TransformersEngine(f"pocket:{size}")
    limit = int(context.cfg.gate.max_rationale_tokens)
    chain = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit)
    labelers: dict[str, Labeler] = {"direct": PairwiseLabeler(JudgePrompts(), engine), "chain": chain}
    if size == "L":
        labelers["detailed"] = PairwiseLabeler(JudgePrompts(preamble="detailed"), engine)
        for rationale in ("empty", "other"):
            ablated = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit, rationale=rationale)
            labelers[f"chain, {rationale} rationale"] = ablated.with_partners(pairs)
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


def _figure(name: str, estimate: Estimate, note: str = "") -> Figure:
    assert estimate.value is not None
    return Figure(name=name, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n, note=note)


def _ids(pairs: Sequence[Comparison]) -> list[str]:
    return [item.prompt.id for item in pairs]


def _raters(pairs: Sequence[Comparison]) -> list[Figure]:
    """How far two raters agree, and how far a perfect labeler could agree with one of them."""
    people = SimulatedAnnotators()
    first, second = people.prefer(pairs, rater=0), people.prefer(pairs, rater=1)
    perfect = [float(preference_probability(item) > 0.5) for item in pairs]
    ceiling = [max(p, 1 - p) for p in map(preference_probability, pairs)]
    return [
        _figure("raters/agreement", clustered_rate([float(a == b) for a, b in zip(first, second, strict=True)])),
        _figure("raters/perfect labeler against rater 0", _alignment(perfect, first, _ids(pairs))),
        _figure("raters/ceiling", clustered_mean(ceiling, _ids(pairs)), "expected, exact probabilities"),
    ]


def _alignment(p_first: Sequence[float], chosen: Sequence[float], clusters: Sequence[str]) -> Estimate:
    return clustered_rate(_scores(p_first, chosen), clusters)


def _scores(p_first: Sequence[float], chosen: Sequence[float]) -> list[float]:
    ai = torch.tensor(p_first, dtype=torch.float64)
    people = torch.tensor(chosen, dtype=torch.float64)
    return [float(score) for score in agreement_scores(ai, people)]


def _choices(pairs: Sequence[Comparison]) -> list[float]:
    return SimulatedAnnotators().prefer(pairs, rater=0)


def _alignments(pairs: Sequence[Comparison], labels: Labels) -> list[Figure]:
    chosen = _choices(pairs)
    figures = []
    for name, given in labels.items():
        for stratum in ("", "seen", "unseen"):
            rows = [
                i
                for i, label in enumerate(given)
                if label.p_first is not None and stratum in ("", pairs[i].prompt.stratum)
            ]
            part = [pairs[i] for i in rows]
            p_first = [p for i in rows if (p := given[i].p_first) is not None]
            estimate = _alignment(p_first, [chosen[i] for i in rows], _ids(part))
            ceiling = sum(max(p, 1 - p) for p in map(preference_probability, part)) / len(part)
            assert estimate.value is not None
            ratio = (estimate.value - 0.5) / (ceiling - 0.5)
            suffix = f"/{stratum}" if stratum else ""
            figures.append(_figure(f"{name}/alignment{suffix}", estimate, SIMULATED))
            figures.append(Figure(name=f"{name}/share of ceiling{suffix}", value=ratio, n=len(rows)))
        figures += _slots(name, pairs, given)
    return figures


def _slots(name: str, pairs: Sequence[Comparison], given: Sequence[Preference]) -> list[Figure]:
    both = [(*label.p_first_by_order, item.prompt.id) for label, item in zip(given, pairs, strict=True)]
    present = [(a, b, prompt) for a, b, prompt in both if a is not None and b is not None]
    shares = same_slot(
        torch.tensor([a for a, _, _ in present], dtype=torch.float64),
        torch.tensor([b for _, b, _ in present], dtype=torch.float64),
    )
    missing = sum(label.p_first is None for label in given) / len(given)
    return [
        _figure(f"{name}/same slot", clustered_rate(shares.tolist(), [prompt for _, _, prompt in present])),
        Figure(name=f"{name}/missing", value=missing, n=len(given)),
    ]


def _differences(pairs: Sequence[Comparison], labels: Labels) -> list[Figure]:
    """Paired by pair, against the same rater; a pair that either misses is left out."""
    chosen = _choices(pairs)
    contrasts = [
        ("L chain", "S chain"),
        ("S chain", "XS chain"),
        ("L direct", "S direct"),
        ("S direct", "XS direct"),
        ("L chain", "L direct"),
        ("L chain", "L chain, empty rationale"),
        ("L chain", "L chain, other rationale"),
    ]
    figures = []
    for better, worse in contrasts:
        rows = [
            (a.p_first, b.p_first, choice, item.prompt.id)
            for a, b, choice, item in zip(labels[better], labels[worse], chosen, pairs, strict=True)
            if a.p_first is not None and b.p_first is not None
        ]
        choices, clusters = [row[2] for row in rows], [row[3] for row in rows]
        difference = paired_difference(
            _scores([row[0] for row in rows], choices), _scores([row[1] for row in rows], choices), clusters
        )
        figures.append(_figure(f"{better} minus {worse}", difference))
    return figures


def _on_samples(pairs: Sequence[Comparison], given: Sequence[Preference]) -> list[Figure]:
    chosen = _choices(pairs)
    rows = [i for i, label in enumerate(given) if label.p_first is not None]
    part = [pairs[i] for i in rows]
    p_first = [p for i in rows if (p := given[i].p_first) is not None]
    estimate = _alignment(p_first, [chosen[i] for i in rows], _ids(part))
    ceiling = sum(max(p, 1 - p) for p in map(preference_probability, part)) / len(part)
    assert estimate.value is not None
    return [
        _figure("L chain/alignment on SFT samples", estimate, SIMULATED),
        Figure(name="L chain/share of ceiling on SFT samples", value=(estimate.value - 0.5) / (ceiling - 0.5)),
    ]


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
    for figure in read_figures(directory):
        interval = "" if figure.low is None else f"{figure.low:.3f} … {figure.high:.3f}"
        table.add_row(figure.name, f"{figure.value:.3f}", interval, str(figure.n or ""))
    display.console.print(table)


GATE = Stage(
    name="gate",
    inputs=("sft", "samples"),
    options=_options,
    code=("rlaif.stages.gate",),
    build=_build,
)

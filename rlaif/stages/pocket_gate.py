"""The gate of the pocket world: are its judges good enough, and its policies bad enough, for RL to mean anything?

`rlaif-run -m experiment=pocket_gate task=summarization,dialogue,harmless_dialogue`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.engines.transformers import TransformersEngine
from rlaif.evaluation.ceiling import against_rater_figures, difference_figures, rater_figures
from rlaif.evaluation.evaluators import PolicyEvaluator
from rlaif.evaluation.files import read_figures, write_figures
from rlaif.evaluation.judges import AnnotatorJudge
from rlaif.evaluation.records import Table
from rlaif.evaluation.votes import SIMULATED, annotator_votes, pair
from rlaif.labelers.base import Labeler
from rlaif.labelers.criteria import CriteriaLabeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.pointwise import BinaryLabeler, ChainOfThoughtScoreLabeler, ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.models.load import model_identity
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.quality import read
from rlaif.prompts.criteria import CriteriaPrompts
from rlaif.prompts.judge import JudgePrompts
from rlaif.ranges import AtLeastOne
from rlaif.roles import Reads
from rlaif.rollouts.pairs import sampled_pairs
from rlaif.rollouts.responses import draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Figure, Preference

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


class PocketGateStage(Stage):
    """Measures the pocket judges on held-out pairs, and how far the best of 16 SFT samples beats one.

    Args:
        task: Gives the text that a policy continues.
        sampling: How responses are sampled.
        num_raters: Simulated annotators per comparison.
        max_rationale_tokens: Longest rationale in tokens.
        dtype: Number format of the loaded weights.
    """

    shows = True

    def __init__(
        self,
        task: Task,
        sampling: SamplingSettings,
        num_raters: AtLeastOne,
        max_rationale_tokens: AtLeastOne,
        dtype: str = "float32",
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.num_raters = num_raters
        self.max_rationale_tokens = max_rationale_tokens
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The SFT policy, its samples, held-out pairs and prompts."""
        return {
            "policy": Reads(kind="policy", by="sft"),
            "samples": Reads(kind="samples"),
            "held_out": Reads(kind="held_out_pairs"),
            "prompts": Reads(kind="held_out_prompts"),
        }

    def leaves(self) -> frozenset[str]:
        """The gate's figures."""
        return frozenset({"pocket_gate"})

    def identity(self, work: Work) -> Mapping[str, object]:
        """The models that judge."""
        return {"models": [model_identity(f"pocket:{size}") for size in SIZES]}

    def build(self, work: Work) -> None:
        """Judge, draw, and compute all figures."""
        people = SimulatedAnnotators()
        pairs = [label.comparison for label in work.data("held_out").eval_preferences]
        labels = {
            f"{size} {name}": _label(labeler, pairs, work)
            for size in SIZES
            for name, labeler in self._labelers(size, pairs).items()
        }
        sampled = sampled_pairs(work.path("samples"))
        on_samples = _label(self._labelers("L", pairs)["chain"], sampled, work)
        votes, exact = annotator_votes(people, pairs, 1), [preference_probability(item) for item in pairs]
        figures = rater_figures(pairs, votes, people.prefer(pairs, rater=1), exact, SIMULATED)
        for name, given in labels.items():
            figures += against_rater_figures(name, given, votes, exact, SIMULATED)
        figures += difference_figures(labels, people.prefer(pairs, rater=0), CONTRASTS)
        figures += against_rater_figures(
            "L chain on SFT samples",
            on_samples,
            annotator_votes(people, sampled, 1),
            [preference_probability(item) for item in sampled],
            SIMULATED,
        )
        write_figures(work.directory, [*figures, *self._room(work)])

    def _labelers(self, size: str, pairs: Sequence[Comparison]) -> dict[str, Labeler]:
        engine, limit = TransformersEngine(f"pocket:{size}"), self.max_rationale_tokens
        chain = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit)
        labelers: dict[str, Labeler] = {"direct": PairwiseLabeler(JudgePrompts(), engine), "chain": chain}
        if size != "XS":
            labelers["scorer"] = ScoreLabeler(JudgePrompts(), engine)
            labelers["binary"] = BinaryLabeler(JudgePrompts(), engine)
        if size == "L":
            labelers["cot_scorer"] = ChainOfThoughtScoreLabeler(JudgePrompts(), engine, max_rationale_tokens=limit)
            labelers["ranking"] = RankingLabeler(JudgePrompts(), engine)
            labelers["criteria"] = CriteriaLabeler(CriteriaPrompts(), engine)
            labelers["detailed"] = PairwiseLabeler(JudgePrompts(preamble="detailed"), engine)
            for rationale in ("empty", "other"):
                ablated = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=limit, rationale=rationale)
                labelers[f"chain, {rationale} rationale"] = ablated.for_plan(pairs)
        return labelers

    def _room(self, work: Work) -> list[Figure]:
        """SFT against itself is a tie, and the best of its samples shows how much RL could gain."""
        prompts, folder = work.data("prompts").eval_prompts, work.path("policy")
        draws = draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=BEST_OF + 2,
            settings=self.sampling,
            seed=work.seed,
            purpose="gate",
            source="sft",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
        )
        one, two = [row[0] for row in draws], [row[1] for row in draws]
        best = [
            max(row[2:], key=lambda answer: read(prompt, answer.trimmed).quality)
            for prompt, row in zip(prompts, draws, strict=True)
        ]
        judge, evaluator = AnnotatorJudge(SimulatedAnnotators(), self.num_raters), PolicyEvaluator()

        def win_rate(first: list[Completion], second: list[Completion], name: str) -> list[Figure]:
            return evaluator.win_rates(pair(prompts, first, second), judge, name=name)[:1]

        return [*win_rate(one, two, "SFT against SFT"), *win_rate(best, one, "best of 16 against SFT")]

    def told(self, work: Work) -> Told:
        """A table of all figures."""
        rows = []
        for item in read_figures(work.directory):
            interval = "" if item.low is None else f"{item.low:.3f} … {item.high:.3f}"
            rows.append((item.name, f"{item.value:.3f}", interval, str(item.n or "")))
        columns = ("figure", "value", "95 % interval", "n")
        table = Table(title=f"gate: {self.task.name}", columns=columns, rows=tuple(rows))
        return Told(link=work.step, tables=(table,))


def _label(labeler: Labeler, pairs: Sequence[Comparison], work: Work) -> list[Preference]:
    progress = work.progress(len(pairs), unit="pairs")
    labels: list[Preference] = []
    for start in range(0, len(pairs), BATCH):
        labels += labeler.label(pairs[start : start + BATCH])
        progress(len(labels), len(pairs))
    return labels

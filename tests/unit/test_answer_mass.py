"""Answer mass: from the judge's log-probabilities to judgements, labels, counts, figures, checks and tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.engines.base import Engine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError
from rlaif.evaluation.alignment import label_figures
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.pointwise import BinaryLabeler, ChainOfThoughtScoreLabeler, ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler, answers
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.labeling.summary import summarize_labels
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Preference, Segment, StructuredPrompt

PAIRS = sample_comparisons()
Make = Callable[..., Any]
"""A labeler's constructor."""

LABELERS: dict[Make, tuple[str, ...]] = {
    PairwiseLabeler: ("1", "2"),
    ChainOfThoughtLabeler: ("1", "2"),
    SelfConsistencyLabeler: ("1", "2"),
    ScoreLabeler: tuple(map(str, range(1, 11))),
    ChainOfThoughtScoreLabeler: tuple(map(str, range(1, 11))),
    BinaryLabeler: ("bad", "good"),
    RankingLabeler: answers(2),
}


def judge(options: tuple[str, ...], mass: float) -> Engine:
    """Every answer equally likely, all of them together as likely as given."""
    return ScriptedEngine({"": dict.fromkeys(options, mass / len(options))})


def labeled(mass: float, **options: Any) -> list[Preference]:
    return PairwiseLabeler(JudgePrompts(), judge(("1", "2"), mass), **options).label(PAIRS)


@pytest.mark.parametrize("make", LABELERS)
def test_every_labeler_that_scores_answers_has_the_minimum(make: Make) -> None:
    options = LABELERS[make]
    enough = make(JudgePrompts(), judge(options, 0.26), min_answer_mass=0.25).label(PAIRS)
    assert all(label.missing is None for label in enough)
    masses = [judgment.answer_mass for label in enough for judgment in label.judgments]
    assert masses == pytest.approx([0.26] * len(masses))
    low = make(JudgePrompts(), judge(options, 0.24), min_answer_mass=0.25).label(PAIRS)
    assert {(label.p_first, label.missing) for label in low} == {
        (None, "answer mass below labeler.min_answer_mass=0.25")
    }
    for judgment in (judgment for label in low for judgment in label.judgments):
        assert judgment.missing == "answer mass 0.24 below labeler.min_answer_mass=0.25"
        assert judgment.unreadable, "asking again gives the same"
        assert judgment.p_slot1 is None and judgment.option_logprobs is not None
    identities = {
        make(JudgePrompts(), judge(options, 0.5), **chosen).identity for chosen in ({}, {"min_answer_mass": 0.25})
    }
    assert len(identities) == 2
    for out_of_range in (-0.1, 1.5, math.nan):
        with pytest.raises(ConfigError, match=r"labeler\.min_answer_mass=.*: must be between 0 and 1"):
            make(JudgePrompts(), judge(options, 0.5), min_answer_mass=out_of_range)


@pytest.mark.parametrize("make", [ScoreLabeler, ChainOfThoughtScoreLabeler, BinaryLabeler])
def test_a_rating_of_noise_is_missing(make: Any) -> None:
    rater = make(JudgePrompts(), judge(LABELERS[make], 0.01), min_answer_mass=0.02)
    (rating,) = rater.rate([PAIRS[0].prompt], [PAIRS[0].first])
    assert rating.reward is None and rating.missing == "answer mass below labeler.min_answer_mass=0.02"


@pytest.mark.parametrize(
    ("mass", "is_noise"), [(2.1e-7, True), (2e-6, False), (0.001, False)], ids=["2e-7", "2e-6", "0.001"]
)
def test_by_default_only_noise_is_missing(mass: float, is_noise: bool) -> None:
    assert all((label.missing is not None) == is_noise for label in labeled(mass))


def test_zero_takes_every_judgement() -> None:
    assert all(label.missing is None for label in labeled(1e-30, min_answer_mass=0))


def test_a_local_model_that_was_never_trained_is_judged_as_before(tmp_path: Path) -> None:
    """Its answers, words and rankings included, have as little probability as any model's; each labeler takes them.

    The mass is that of the next token where an answer is one: by the model's own softmax.
    """
    engine = TransformersEngine(str(make_tiny_model(tmp_path)))
    for make in (PairwiseLabeler, ScoreLabeler, BinaryLabeler, RankingLabeler):
        assert all(label.missing is None for label in make(JudgePrompts(), engine).label(PAIRS))
    prompt = StructuredPrompt(segments=(Segment(text="Which is better?"),))
    (scores,) = engine.score([prompt], ("1", "2"))
    assert scores.logprobs is not None
    tokenizer = load_tokenizer(ModelSpec(str(tmp_path)))
    with torch.no_grad():
        p_V = engine.load().model(torch.tensor([engine.token_ids(prompt)])).logits[0, -1].double().softmax(-1)
    expected = sum(float(p_V[tokenizer.convert_tokens_to_ids(option)]) for option in ("1", "2"))
    assert math.fsum(map(math.exp, scores.logprobs)) == pytest.approx(expected, rel=1e-5)


class TestFigures:
    def test_the_mean_over_judgements_and_its_check(self) -> None:
        """Three pairs at 0.9, the others at 0.02: the mean by hand, and the failing check names the figure."""
        labels = [*labeled(0.9)[:3], *labeled(0.02)[:3]]
        (figure,) = [item for item in label_figures(labels) if item.name == "labeler/answer_mass"]
        assert figure.value == pytest.approx((3 * 0.9 + 3 * 0.02) / 6)
        assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high
        (passed,) = [check for check in run_checks([figure]) if check.figure == figure.name]
        assert passed.passed and "46.0 %" in passed.detail
        (failed,) = [check for check in run_checks([figure], CheckLimits(min_answer_mass=0.5)) if not check.passed]
        assert failed.name == "the labeler answers what it is asked" and "at least 50.0 % is wanted" in failed.detail

    def test_a_judge_that_says_something_else_fails_the_check_by_default(self) -> None:
        figures = label_figures(labeled(0.02))
        assert "labeler/answer_mass" in [check.figure for check in run_checks(figures) if not check.passed]

    def test_it_is_absent_where_nobody_knows_it(self) -> None:
        labels = [Preference(comparison=pair, p_first=0.7) for pair in PAIRS]
        assert "labeler/answer_mass" not in [figure.name for figure in label_figures(labels)]

    def test_a_panel_shows_that_of_its_members(self) -> None:
        members = {"a": PairwiseLabeler(JudgePrompts(), judge(("1", "2"), 0.9)),
                   "b": PairwiseLabeler(JudgePrompts(), judge(("1", "2"), 0.5))}  # fmt: skip
        figures = {figure.name: figure.value for figure in label_figures(PanelLabeler(members).label(PAIRS))}
        assert figures["labeler/answer_mass"] == pytest.approx(0.7)


def test_the_summary_counts_one_reason_whatever_the_numbers() -> None:
    masses = iter(range(1, 1000))
    engine = ScriptedEngine(lambda prompt: dict.fromkeys(("1", "2"), 1e-9 * next(masses)))
    labels = PairwiseLabeler(JudgePrompts(), engine).label(PAIRS)
    reason = "answer mass below labeler.min_answer_mass=1e-06"
    assert len({judgment.missing for label in labels for judgment in label.judgments}) > 1
    summary = summarize_labels(labels)
    assert (summary.missing, summary.failed_judgments) == ({reason: len(labels)}, {})
    assert summary.answer_mass == pytest.approx(2e-9 * sum(range(1, 2 * len(labels) + 1)) / (2 * len(labels)))
    assert summarize_labels([]).answer_mass is None


class TestTables:
    def test_it_is_kept(self, tmp_path: Path) -> None:
        labels = labeled(0.9)
        write_preferences(tmp_path / "labels.parquet", labels)
        assert read_preferences(tmp_path / "labels.parquet") == labels
        assert [
            preference_from_json(pair, preference_to_json(one)) for pair, one in zip(PAIRS, labels, strict=True)
        ] == labels

    def test_a_table_of_an_earlier_version_reads_as_unknown(self, tmp_path: Path) -> None:
        write_preferences(tmp_path / "new.parquet", labeled(0.9))
        table = pq.read_table(tmp_path / "new.parquet")
        rows = table.to_pylist()
        for row in rows:
            for judgment in row["judgments"]:
                del judgment["answer_mass"]
        struct = table.schema.field("judgments").type.value_type
        older = pa.list_(pa.struct([field for field in struct if field.name != "answer_mass"]))
        fields = [pa.field(f.name, older) if f.name == "judgments" else f for f in table.schema]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), tmp_path / "old.parquet")
        old = read_preferences(tmp_path / "old.parquet")
        assert {judgment.answer_mass for label in old for judgment in label.judgments} == {None}
        assert [label.p_first for label in old] == [label.p_first for label in labeled(0.9)]

    def test_a_shard_of_an_earlier_version_reads_as_unknown(self) -> None:
        record = json.loads(preference_to_json(labeled(0.9)[0]))
        for judgment in record["judgments"]:
            del judgment["answer_mass"]
        assert preference_from_json(PAIRS[0], json.dumps(record)).judgments[0].answer_mass is None

"""A judge that exists only as a file: its two orders, what a verdict names, pairs of another file, chosen rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlaif.data.sources.files import FilesSource
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, DataError, RlaifError
from rlaif.evaluation.scorecard import scorecard_figures
from rlaif.labelers.file import FileLabeler
from rlaif.labelers.pairwise import PairwiseLabeler, combine_orders
from rlaif.labelers.panel import PanelLabeler
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.models.load import ModelSpec
from rlaif.pipeline.stage import Work
from rlaif.prompts.judge import JudgePrompts
from rlaif.stages.data import DataStage
from rlaif.stages.scorecard import ScorecardStage
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt

POST = "Name a river."


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(first: str = "Elbe", second: str = "Oder", prompt: str = POST) -> Comparison:
    return Comparison(
        prompt=Prompt(task="dialogue", text=prompt), first=Completion(text=first), second=Completion(text=second)
    )


def row(first: str, second: str, p_first: float | None, **more: Any) -> dict[str, Any]:
    return {"prompt": POST, "first": first, "second": second, "p_first": p_first, **more}


def orders(path: Path, rows: list[dict[str, Any]], **options: Any) -> FileLabeler:
    return FileLabeler(write(path / "v.jsonl", rows), source="gpt", rows="orders", **{"format": "table", **options})


@pytest.mark.parametrize("debias", ["probability", "logit", "none"])
def test_two_rows_of_a_pair_are_the_two_orders_of_one_label(debias: Any, tmp_path: Path) -> None:
    """Slot 1 has 0.9 in both orders: the label is that of a model with the same judgments."""
    labeler = orders(tmp_path, [row("Elbe", "Oder", 0.9), row("Oder", "Elbe", 0.8)], debias=debias)
    (label,) = labeler.label([pair()])
    assert label.p_first_by_order == (0.9, pytest.approx(0.2))
    judgments = (
        Judgment(order="given", prompt="…", p_slot1=0.9),
        Judgment(order="swapped", prompt="…", p_slot1=0.8),
    )
    assert label.p_first == combine_orders(pair(), judgments, debias, "", "").p_first
    assert [item.reply for item in label.judgments] == ["0.9", "0.8"], "the evidence shows the verdict as written"
    assert (label.source, label.missing) == ("gpt", None)
    (turned,) = labeler.label([pair("Oder", "Elbe")])
    assert turned.p_first_by_order == (0.8, pytest.approx(0.1))


def test_raters_are_averaged_as_before(tmp_path: Path) -> None:
    path = write(tmp_path / "v.jsonl", [row("Elbe", "Oder", 1.0), row("Oder", "Elbe", 1.0)])
    (label,) = FileLabeler(path, source="crowd").label([pair()])
    assert (label.p_first, label.judgments) == (0.5, ())


def test_several_verdicts_in_one_order_count_by_their_mean(tmp_path: Path) -> None:
    rows = [row("Elbe", "Oder", p) for p in (1.0, 1.0, 0.0, None)] + [row("Oder", "Elbe", 0.0)]
    (label,) = orders(tmp_path, rows).label([pair()])
    assert label.p_first_by_order == (pytest.approx(2 / 3), 1.0)
    assert label.p_first == pytest.approx((2 / 3 + 1.0) / 2)
    assert len(label.judgments) == 5


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row("Elbe", "Oder", 1.0), row("Oder", "Elbe", None)], "null in file"),
        ([row("Elbe", "Oder", 1.0)], "not in file in this order"),
        (
            [row("Elbe", "Oder", 1.0), row("Oder", "Elbe", 7)],
            "unusable label in file: unknown preference (p_first: 7 is not between 0 and 1)",
        ),
        ([row("Elbe", "Main", 1.0), row("Main", "Elbe", 1.0)], "not in file"),
    ],
)
@pytest.mark.parametrize("debias", ["probability", "none"])
def test_an_order_without_a_verdict_makes_the_label_missing(
    rows: list[dict[str, Any]], reason: str, debias: Any, tmp_path: Path
) -> None:
    """As of a model, also where ``debias=none`` would not need the other order."""
    (label,) = orders(tmp_path, rows, debias=debias).label([pair()])
    assert (label.p_first, label.missing) == (None, reason)
    assert all(item.unreadable == (item.missing is not None) for item in label.judgments), (
        "asking again changes nothing"
    )


def test_rows_are_chosen_by_a_word_that_comes_from_a_command_line(tmp_path: Path) -> None:
    """The word is equal to the one in our code, and another object."""
    typed: Any = "".join(["or", "ders"])
    labeler = orders(tmp_path, [row("Elbe", "Oder", 0.9)])
    chosen = FileLabeler(tmp_path / "v.jsonl", source="gpt", rows=typed, format="table")
    assert chosen.identity == labeler.identity
    assert chosen.reading.lines()[-1] == "1 pairs, 0 of them with a verdict in each order, 1 verdicts"


@pytest.mark.parametrize(
    ("names", "cell", "p_slot1", "p_first"),
    [("response", 1, 0.0, 1.0), ("response", 2, 1.0, 0.0), ("slot", 1, 1.0, 0.0), ("slot", 2, 0.0, 1.0)],
)
def test_a_verdict_of_the_swapped_order_names_the_slot_or_the_response(
    names: Any, cell: int, p_slot1: float, p_first: float, tmp_path: Path
) -> None:
    """Slot 1 of the swapped order holds the row's second response."""
    columns = {"preference": "a", "preference_swapped": "b"}
    rows = [row("Elbe", "Oder", None, a=1, b=cell)]
    labeler = orders(tmp_path, rows, columns=columns, preference="index1", swapped_names=names)
    (label,) = labeler.label([pair()])
    assert label.judgments[1].p_slot1 == p_slot1
    assert label.p_first_by_order == (1.0, p_first)
    flagged = [row("Elbe", "Oder", None, a=1, is_swapped=False), row("Elbe", "Oder", None, a=cell, is_swapped="TRUE")]
    columns = {"preference": "a", "swapped": "is_swapped"}
    by_flag = orders(tmp_path, flagged, columns=columns, preference="index1", swapped_names=names)
    assert by_flag.label([pair()])[0].p_first_by_order == (1.0, p_first)


@pytest.mark.parametrize("names", ["slot", "response"])
def test_a_verdict_that_is_the_name_of_a_writer_means_its_response(names: Any, tmp_path: Path) -> None:
    by = {"first_source": "m1", "second_source": "m2"}
    words: Any = {"preference": {"tie": 0.5}}
    rows = [row("Elbe", "Oder", None, a="m1", b="m1", **by)]
    labeler = orders(
        tmp_path, rows, columns={"preference": "a", "preference_swapped": "b"}, swapped_names=names, **words
    )
    assert labeler.label([pair()])[0].p_first_by_order == (1.0, 1.0)
    flagged = [row("Elbe", "Oder", None, a="m1", turned=turned, **by) for turned in (False, True)]
    by_flag = orders(tmp_path, flagged, columns={"preference": "a", "swapped": "turned"}, swapped_names=names, **words)
    assert by_flag.label([pair()])[0].p_first_by_order == (1.0, 1.0)


def test_a_word_for_a_slot_means_the_slot_where_a_writer_has_that_name(tmp_path: Path) -> None:
    by = {"first_source": "A", "second_source": "B"}
    rows = [row("Elbe", "Oder", None, a="A", b="A", **by)]
    options: dict[str, Any] = {"preference": {"A": 1, "B": 0}, "swapped_names": "slot"}
    labeler = orders(tmp_path, rows, columns={"preference": "a", "preference_swapped": "b"}, **options)
    assert labeler.label([pair()])[0].p_first_by_order == (1.0, 0.0)
    rows = [row("Elbe", "Oder", None, a=1, b=1, first_source="1", second_source="2")]
    options["preference"] = "index1"
    labeler = orders(tmp_path, rows, columns={"preference": "a", "preference_swapped": "b"}, **options)
    assert labeler.label([pair()])[0].p_first_by_order == (1.0, 0.0)


def test_an_order_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [row("Elbe", "Oder", 1.0, turned=0), row("Elbe", "Oder", 1.0, turned="maybe")]
    labeler = orders(tmp_path, rows, columns={"swapped": "turned"}, swapped_names="slot")
    assert labeler.reading.skipped == {"unknown order": 1}
    alone = orders(
        tmp_path,
        [row("Elbe", "Oder", 1.0, turned=0), row("Main", "Isar", 1.0, turned="maybe")],
        columns={"swapped": "turned"},
        swapped_names="slot",
    )
    (label,) = alone.label([pair("Main", "Isar")])
    assert alone.holds(pair("Main", "Isar")), "its judge was asked about it"
    assert label.missing is not None and "unusable label in file: unknown order" in label.missing
    assert labeler.reading.lines()[-1] == "1 pairs, 0 of them with a verdict in each order, 1 verdicts"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rows": "pairs"}, "labeler.rows=pairs: allowed are raters, orders"),
        ({"rows": "orders", "debias": "mean"}, "labeler.debias=mean: allowed are probability, logit, none"),
        ({"debias": "logit"}, "labeler.debias=logit: only with labeler.rows=orders"),
        (
            {"columns": {"preference_swapped": "b"}},
            "labeler.columns.preference_swapped=b: only with labeler.rows=orders",
        ),
        ({"rows": "orders", "columns": {"preference_swapped": "b"}}, "labeler.swapped_names=slot"),
        ({"rows": "orders", "columns": {"swapped": "b"}}, "say what a verdict in the swapped order names"),
        ({"rows": "orders", "swapped_names": "slot"}, "name labeler.columns.preference_swapped or"),
        (
            {"rows": "orders", "columns": {"swapped": "a", "preference_swapped": "b"}, "swapped_names": "slot"},
            "leave the other out",
        ),
        ({"key": "id"}, "labeler.pairs=PAIRS.parquet"),
    ],
)
def test_options_that_contradict_one_another_are_told(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FileLabeler("v.jsonl", source="gpt", **options)
    assert any(problem in line for line in caught.value.problems), caught.value.problems


def test_rows_without_texts_find_their_pair_in_another_file(tmp_path: Path) -> None:
    pairs = [row("Elbe", "Oder", 1.0, id=7, kind="rivers"), row("Main", "Isar", 0.0, id="8", kind="rivers")]
    write(tmp_path / "pairs.jsonl", pairs)
    verdicts = [{"id": "7", "p_first": 0.25}, {"id": 8, "p_first": None}, {"id": 9, "p_first": 1.0}]
    options: dict[str, Any] = {"source": "gpt", "key": "id", "pairs": tmp_path / "pairs.jsonl"}
    labeler = FileLabeler(write(tmp_path / "v.jsonl", verdicts), **options)
    labels = labeler.label([pair(), pair("Main", "Isar")])
    assert [label.p_first for label in labels] == [0.25, None], "the pairs' own label is not read as a verdict"
    assert labeler.reading.skipped == {"unknown pair": 1}
    before = labeler.identity
    write(tmp_path / "pairs.jsonl", [*pairs, row("Rhein", "Lahn", 0.0, id=9)])
    assert FileLabeler(tmp_path / "v.jsonl", **options).identity != before
    write(tmp_path / "pairs.jsonl", [*pairs, row("Rhein", "Lahn", 0.0, id=7)])
    with pytest.raises(DataError, match=r"pairs\.jsonl:3: id=7 names two pairs"):
        FileLabeler(tmp_path / "v.jsonl", **options).check()
    write(tmp_path / "v.jsonl", [{"number": 7, "p_first": 1}])
    with pytest.raises(DataError, match=r"v\.jsonl:1: lacks labeler\.key=id; it has number, p_first"):
        FileLabeler(tmp_path / "v.jsonl", **options).check()


def test_chosen_rows(tmp_path: Path) -> None:
    rows = [row("Elbe", "Oder", 1.0, judge="GPT-4", run=1), row("Elbe", "Oder", 0.0, judge="other", run=2)]
    path = write(tmp_path / "v.jsonl", rows)
    for where in ({"judge": "gpt-4"}, {"run": "1"}, {"judge": ["x", "GPT-4"]}, {"run": 1.0, "judge": "GPT-4"}):
        labeler = FileLabeler(path, source="gpt", where=where)
        assert labeler.label([pair()])[0].p_first == 1.0, where
        assert labeler.reading.num_rows == 1
    with pytest.raises(DataError, match=r"labeler\.where; there are other judge \('GPT-4'\), other judge \('other'\)"):
        FileLabeler(path, source="gpt", where={"judge": "GPT-5"}).check()
    with pytest.raises(DataError, match=r"lacks the key 'model'|there are other model"):
        FileLabeler(path, source="gpt", where={"model": "GPT-4"}).check()


def test_a_file_holds_the_pairs_that_its_judge_was_asked_about(tmp_path: Path) -> None:
    rows = [row("Elbe", "Oder", None), row("Main", "Isar", 7)]
    for labeler in (orders(tmp_path, rows), FileLabeler(tmp_path / "v.jsonl", source="gpt", format="table")):
        asked = [
            labeler.holds(item) for item in (pair(), pair("Oder", "Elbe"), pair("Main", "Isar"), pair("Po", "Ems"))
        ]
        assert asked == [True, True, True, False]


def by_name(labels: list[Preference], people: list[float]) -> dict[str, float]:
    return {f.name: f.value for f in scorecard_figures(labels, [(vote,) for vote in people], "people")}


def test_figures_of_both_orders_by_hand(tmp_path: Path) -> None:
    """Six pairs; people always want the first. As given / swapped, by response:

    1 / 1, 1 / 2 (slot 1 twice), 2 / 1 (slot 2 twice), 2 / 2, 1 / none, none / none.
    """
    answers = [(1, 1), (1, 2), (2, 1), (2, 2), (1, None), (None, None)]
    rows = [
        {"prompt": f"Question {n}", "first": "yes", "second": "no", "given": given, "turned": swapped}
        for n, (given, swapped) in enumerate(answers)
    ]
    columns = {"preference": "given", "preference_swapped": "turned"}
    labeler = orders(tmp_path, rows, columns=columns, preference="index1", swapped_names="response")
    labels = labeler.label([pair("yes", "no", f"Question {n}") for n in range(6)])
    figures = by_name(labels, [1.0] * 6)
    # Of all six pairs, missing is wrong.
    assert figures["labeler/correct_given"] == 3 / 6
    assert figures["labeler/correct_swapped"] == 2 / 6
    assert figures["labeler/correct_both"] == 1 / 6
    assert figures["labeler/same_answer"] == 3 / 6, "1 / 1, 2 / 2, and none twice"
    assert figures["labeler/alignment_missing_wrong"] == pytest.approx((1 + 0.5 + 0.5 + 0 + 0 + 0) / 6)
    # Of those with a verdict.
    assert figures["labeler/alignment_given"] == 3 / 5
    assert figures["labeler/alignment_swapped"] == 2 / 4
    assert figures["labeler/alignment"] == (1 + 0.5 + 0.5 + 0) / 4
    assert figures["labeler/missing_rate"] == 2 / 6
    assert figures["labeler/position_bias"] == 2 / 4 == 1 - figures["labeler/self_consistency"]
    assert figures["labeler/first_slot_share"] == 1 / 2
    assert figures["labeler/slot_p_value"] == 1.0
    assert figures["labeler/self_consistency_kappa"] == 0.0
    assert "labeler/confidence_slope" in figures


def test_missing_is_wrong_has_no_figure_where_nothing_is_missing(tmp_path: Path) -> None:
    labeler = orders(tmp_path, [row("Elbe", "Oder", 1.0), row("Oder", "Elbe", 0.0)])
    figures = by_name(labeler.label([pair()]), [0.5])
    assert "labeler/alignment_missing_wrong" not in figures
    assert figures["labeler/alignment"] == 0.5 and figures["labeler/correct_given"] == 0.0, "a tie of people alone"
    alone = by_name([Preference(comparison=pair(), p_first=0.9)], [1.0])
    assert not {name for name in alone if "correct" in name or "same_answer" in name}, "no orders were judged"


def test_agreement_beyond_chance_is_over_first_second_and_tie() -> None:
    """Six first against first, two second against second, two ties against first and second: by hand."""
    p_first = [0.9] * 6 + [0.1] * 2 + [0.5] * 2
    people = [1.0] * 6 + [0.0] * 2 + [1.0, 0.0]
    labels = [Preference(comparison=pair(prompt=f"{n}"), p_first=p) for n, p in enumerate(p_first)]
    figures = by_name(labels, people)
    by_chance = 0.6 * 0.7 + 0.2 * 0.3
    assert figures["labeler/alignment_kappa"] == pytest.approx((0.8 - by_chance) / (1 - by_chance))
    shares = (0.65, 0.25, 0.1)
    by_chance = sum(share * (1 - share) for share in shares) / 2
    assert figures["labeler/alignment_ac1"] == pytest.approx((0.8 - by_chance) / (1 - by_chance))
    assert figures["labeler/alignment"] == 0.9, "a tie counts one half there"
    same = by_name(labels[:6], people[:6])
    assert same["labeler/alignment"] == 1.0 and "labeler/alignment_kappa" not in same


def test_a_log_of_inspect_ai_is_read(tmp_path: Path) -> None:
    def sample(number: int, epoch: int, answer: str | None, swapped: bool, **more: Any) -> dict[str, Any]:
        texts = {"prompt": POST, "first": "Elbe", "second": "Oder", "swapped": swapped, "value": "mine"}
        score = {"value": "C", "answer": answer, "explanation": "…", "metadata": None}
        message = {"role": "assistant", "content": f"Verdict: {answer}"}
        return {
            "id": number,
            "epoch": epoch,
            "input": "Which is better?",
            "target": "A",
            "messages": [],
            "output": {"model": "m", "choices": [{"message": message, "stop_reason": "stop"}], "completion": "…"},
            "scores": {"verdict": score},
            "metadata": texts,
            **more,
        }

    samples = [sample(1, 1, "A", False), sample(1, 2, "B", False), sample(2, 1, "A", True)]
    samples.append(sample(2, 2, "A", True, error={"message": "timeout", "traceback": "", "traceback_ansi": ""}))
    log = {"version": 2, "status": "success", "eval": {"task": "judge", "model": "openai/gpt-4o"}, "samples": samples}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log), encoding="utf-8")
    options: dict[str, Any] = {"source": "gpt-4o", "rows": "orders", "swapped_names": "slot"}
    options |= {"preference": {"A": 1, "B": 0}, "columns": {"preference": "answer", "swapped": "swapped"}}
    (label,) = FileLabeler(path, **options).label([pair()])
    assert label.p_first_by_order == (0.5, 0.0), "two epochs as given; swapped, A is the second response"
    assert [item.missing for item in label.judgments] == [None, None, None, "null in file"], "a sample that failed"
    judged = FileLabeler(path, **options, where={"judge": "openai/gpt-4o", "metadata_value": "mine", "epoch": 1})
    assert judged.reading.num_rows == 2
    path.write_text(json.dumps({**log, "samples": None}), encoding="utf-8")
    with pytest.raises(DataError, match="holds no samples"):
        FileLabeler(path, **options).check()
    with pytest.raises(DataError, match=r"inspect log convert .*log\.eval --to json --output-dir"):
        FileLabeler(tmp_path / "log.eval", **options).check()


def test_no_tokenizer_limits_what_a_scorecard_of_recorded_verdicts_reads(tmp_path: Path) -> None:
    """A response of 3,000 words is above ``data.max_response_tokens``; the model, which is none, is never loaded."""
    path = write(tmp_path / "pairs.jsonl", [row("word " * 3000, f"Oder {n}", 1.0, id=n) for n in range(30)])
    source = FilesSource(str(path), format="table", eval_fraction=0.5)
    stage = DataStage(source, Dialogue(), ModelSpec("/no/such/model"))
    work = Work(step="data", directory=tmp_path, inputs={}, seed=0)
    assert not stage.needs_models
    read = stage.load(replace(work, needs_models=False))
    assert len(read.preferences) + len(read.eval_preferences) == 30
    with pytest.raises(RlaifError, match="no such folder"):
        stage.load(work)


def scorecard(labeler: Any, **options: Any) -> ScorecardStage:
    asking = AskingSettings(answers=AnswerPlace(place="none", root=""), prices=Prices(), budget=Budget())
    return ScorecardStage(Dialogue(), labeler, None, 1, 0.95, 8, asking=asking, **options)


def test_which_scorecards_need_a_model(tmp_path: Path) -> None:
    recorded = orders(tmp_path, [row("Elbe", "Oder", 1.0)])
    assert not scorecard(recorded).needs_models
    assert not scorecard(PanelLabeler({"one": recorded, "two": recorded})).needs_models
    asked = PairwiseLabeler(JudgePrompts(), ScriptedEngine())
    assert scorecard(asked).needs_models
    assert scorecard(PanelLabeler({"one": recorded, "two": asked})).needs_models
    (problem,) = scorecard(asked, measured_on="recorded")._problems_of_choice()
    assert problem.startswith("label.scorecard_on=recorded: only for labeler=file")

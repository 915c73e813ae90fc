"""What ``rlaif-labels show`` says of a label: whose judgement, of which answers, and nothing empty."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlaif.cli import labels as command
from rlaif.data.label_sets.show import label_lines
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.engines.scripted import ScriptedEngine
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.pointwise import BinaryLabeler, ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Preference, Prompt

PROMPTS = JudgePrompts()


def pair(task: str = "dialogue", second: str = "No.") -> Comparison:
    return Comparison(
        prompt=Prompt(task=task, text="\n\nHuman: Hi\n\nAssistant:"),
        first=Completion(text="Hello."),
        second=Completion(text=second),
    )


def shown(label: Preference) -> list[str]:
    return list(label_lines(label, 0))


def test_a_panel_is_shown_member_by_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = PairwiseLabeler(PROMPTS, ScriptedEngine({"no such prompt": "1"}))
    sure = PairwiseLabeler(PROMPTS, ScriptedEngine({"": {"1": 0.75, "2": 0.25}}))
    rater = ScoreLabeler(PROMPTS, ScriptedEngine({"": "7"}))
    panel = PanelLabeler({"sure": sure, "silent": silent, "nested": PanelLabeler({"again": sure, "rater": rater})})
    write_preferences(tmp_path / "labels.parquet", panel.label([pair()]))
    with pytest.raises(SystemExit) as stopped:
        command.main(["show", str(tmp_path / "labels.parquet")])
    lines = capsys.readouterr().out.splitlines()
    assert stopped.value.code == 0
    (label,) = read_preferences(tmp_path / "labels.parquet")
    assert f"panel: p_first {label.p_first!r}, pooled from 2 of 3 members that have a verdict" in lines
    starts = ("#####", "===", "verdict", "pooled", "no judge")
    heads = [re.sub(r"[\d.]{3,}$", lambda p: f"{float(p[0]):.3f}", line) for line in lines if line.startswith(starts)]
    assert heads == [
        "##### member sure #####",
        "verdict: p_first 0.500",
        "=== judgement 1 of 2, by sure, order: given ===",
        "=== judgement 2 of 2, by sure, order: swapped ===",
        "##### member silent #####",
        f"verdict: p_first -  missing: {silent.label([pair()])[0].missing}",
        "=== judgement 1 of 2, by silent, order: given ===",
        "=== judgement 2 of 2, by silent, order: swapped ===",
        "##### member nested #####",
        "verdict: p_first 0.500",
        "pooled from its members, order given: p_first 0.625",
        "pooled from its members, order swapped: p_first 0.375",
        "no judge prompts of its own",
        "##### member nested/again #####",
        "verdict: p_first 0.500",
        "=== judgement 1 of 2, by nested/again, order: given ===",
        "=== judgement 2 of 2, by nested/again, order: swapped ===",
        "##### member nested/rater #####",
        "verdict: p_first 0.500",
        "=== judgement 1 of 2, by nested/rater, order: first ===",
        "=== judgement 2 of 2, by nested/rater, order: second ===",
    ]
    assert not any("(0 characters)" in line or line.startswith("0 tokens") for line in lines)


def test_options_are_named_and_a_scale_is_summed_up() -> None:
    (rated,) = ScoreLabeler(PROMPTS, ScriptedEngine({"": {"1": 0.25, "4": 0.5, "10": 0.25}})).label([pair()])
    assert (
        'option log-probabilities: "1" -1.3862943611198906, "2" -inf, "3" -inf, "4" -0.6931471805599453, "5" -inf,'
        ' "6" -inf, "7" -inf, "8" -inf, "9" -inf, "10" -1.3862943611198906' in shown(rated)
    )
    assert shown(rated).count("expected score 4.7500 of 1 to 10") == 2
    assert not any("p_slot1" in line for line in shown(rated))
    (judged,) = BinaryLabeler(PROMPTS, ScriptedEngine({"": {"bad": 0.125, "good": 0.375}})).label([pair()])
    assert 'option log-probabilities: "bad" -2.0794415416798357, "good" -0.9808292530117262' in shown(judged)
    assert 'P("good") 0.7500' in shown(judged)


def test_rankings_of_three_candidates_are_named() -> None:
    pairs = [pair(), pair(second="Go away.")]
    ranked = RankingLabeler(PROMPTS, ScriptedEngine({"": "2 1 3"})).for_plan(pairs).label(pairs)
    (line, _) = [line for line in shown(ranked[0]) if line.startswith("option log-probabilities")]
    assert [part.split('"')[1] for part in line.split(", ")] == ["1 2 3", "1 3 2", "2 1 3", "2 3 1", "3 1 2", "3 2 1"]


@pytest.mark.parametrize(("task", "inverted"), [("dialogue", False), ("harmless_dialogue", True)])
def test_a_prompt_that_asks_for_the_worse_response_is_told(task: str, inverted: bool) -> None:
    (label,) = PairwiseLabeler(PROMPTS, ScriptedEngine({"": {"1": 0.75, "2": 0.25}})).label([pair(task)])
    assert 'option log-probabilities: "1" -0.2876820724517809, "2" -1.3862943611198906' in shown(label)
    told = ' (the prompt asks for the worse response: p_slot1 is 1 - P("1"))'
    judgment = label.judgments[0]
    assert judgment.p_slot1 == pytest.approx(0.25 if inverted else 0.75)
    said = f"p_slot1 {judgment.p_slot1!r}{told if inverted else ''}, p_first {judgment.p_first!r}"
    assert said in shown(label)


def test_answers_survive_tables_and_batches_and_old_tables_have_none(tmp_path: Path) -> None:
    labels = PairwiseLabeler(PROMPTS, ScriptedEngine()).label([pair("harmless_dialogue")])
    assert labels[0].judgments[0].options == ("1", "2") and labels[0].judgments[0].asks_for_worse
    write_preferences(tmp_path / "new.parquet", labels)
    assert read_preferences(tmp_path / "new.parquet") == labels
    assert preference_from_json(labels[0].comparison, preference_to_json(labels[0])) == labels[0]
    rows = pq.read_table(tmp_path / "new.parquet")
    judgments = rows.schema.field("judgments").type.value_type
    old = pa.struct([field for field in judgments if field.name not in ("options", "asks_for_worse")])
    lists = [
        [{key: value for key, value in item.items() if key in old.names} for item in row]
        for row in rows["judgments"].to_pylist()
    ]
    index = rows.schema.get_field_index("judgments")
    pq.write_table(
        rows.set_column(index, "judgments", pa.array(lists, pa.list_(old))),
        tmp_path / "old.parquet",
        compression="zstd",
    )
    (before,) = read_preferences(tmp_path / "old.parquet")
    assert before.p_first_by_order == labels[0].p_first_by_order and before.judgments[0].options == ()
    assert any("(the table names no answers)" in line for line in shown(before))
    with pytest.raises(SystemExit) as stopped:
        command.main(
            ["export", str(tmp_path / "old.parquet"), str(tmp_path / "set"), "--format", "dataset", "--evidence"]
        )
    assert stopped.value.code == 0
    (split,) = (tmp_path / "set" / "data").iterdir()
    assert read_preferences(split) == [before]

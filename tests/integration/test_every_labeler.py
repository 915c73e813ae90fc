"""Every labeler labels through the command, on the smallest pocket model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.slow

LABELERS = {
    "pairwise": (),
    "cot_pairwise": ("labeler.max_rationale_tokens=96",),
    "self_consistency": ("labeler.num_samples=2", "labeler.max_rationale_tokens=96"),
    "scorer": (),
    "cot_scorer": ("labeler.max_rationale_tokens=96",),
    "binary": (),
    "criteria": (),
    "ranking": ("label.samples_per_prompt=3",),
    "panel": (
        "labeler.weights=learned",
        "labeler.num_known=16",
        "+labeler.labelers.people={_target_: rlaif.labelers.people.HumanLabeler, rater: 1}",
    ),
    "human": (),
}


@pytest.mark.parametrize("labeler", LABELERS)
def test_labels_are_probabilities_or_missing_with_a_reason(command: Command, labeler: str) -> None:
    run = command.run(
        f"label-{labeler}", "pipeline=label", f"labeler={labeler}", *LABELERS[labeler], "label.max_missing_rate=1"
    )
    assert run.code == 0, run.stderr
    rows = pq.read_table(run.directory / "labels" / "labels.parquet").to_pylist()
    assert len(rows) > 20
    for row in rows:
        assert (row["p_first"] is None) == (row["missing"] is not None)
        assert row["p_first"] is None or 0.0 <= row["p_first"] <= 1.0
    assert any(row["p_first"] is not None for row in rows)
    if labeler == "ranking":
        assert (
            max(
                len([row for row in rows if row["prompt_id"] == prompt])
                for prompt in {row["prompt_id"] for row in rows}
            )
            == 3
        )
    if labeler == "panel":
        judges = {judgment["judge"] for row in rows for judgment in row["judgments"]}
        assert judges == {"", "pairwise", "scorer", "binary", "people"}


def test_a_reward_model_of_one_run_labels_another(command: Command) -> None:
    run = command.run("rlaif", "policy.steps=1")
    assert run.code == 0, run.stderr
    again = command.run(
        "by-rm", "pipeline=label", "labeler=reward_model", f"labeler.model={run.directory}/reward_model"
    )
    assert again.code == 0, again.stderr
    rows = pq.read_table(again.directory / "labels" / "labels.parquet").to_pylist()
    assert all(0.0 <= row["p_first"] <= 1.0 for row in rows)


def test_labels_of_pairs_that_came_with_the_data_train_nothing_first(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"chosen": f"\n\nHuman: {n}?\n\nAssistant: Yes {n}.", "rejected": f"\n\nHuman: {n}?\n\nAssistant: No."}
        for n in range(12)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("data=files", f"data.path={file}", "task=dialogue", "data.eval_fraction=0")
    run = command.run("human", "pipeline=label", "labeler=human", *data, store="no training")
    assert run.code == 0, run.stderr
    assert run.stored("labels") and not run.stored("sft") and not run.stored("samples")
    own = command.run(
        "own",
        "pipeline=label",
        "labeler.engine.model=stage:sft",
        *data,
        "label.max_missing_rate=1",
        store="no training",
    )
    assert own.code == 0, own.stderr
    assert own.stored("sft")


def test_a_reward_model_has_nothing_to_learn_from_missing_labels(command: Command) -> None:
    silent = ("labeler=cot_pairwise", "labeler.max_rationale_tokens=2", "label.max_missing_rate=1")
    run = command.run("silent", *silent)
    assert run.code == 2
    assert "are missing (" in run.stderr and "nothing to learn from" in run.stderr

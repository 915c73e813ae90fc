"""Every labeler labels through the command, on the smallest pocket model."""

from __future__ import annotations

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
    "ranking": ("label.samples_per_prompt=3",),
    "panel": (
        "labeler.weights=learned",
        "labeler.num_known=16",
        "+labeler.labelers.people={_target_: rlaif.labelers.file.HumanLabeler, rater: 1}",
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

"""Every algorithm of the group ``policy``, through the installed command."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command, Run

TRAINS = "pipeline.stages=[data,sft,samples,labels,reward_model,policy]"


def curve(run: Run, step: str) -> list[dict[str, float]]:
    lines = (run.directory / step / "curve.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_labels_train_a_policy_without_a_reward_model(command: Command) -> None:
    run = command.run("dpo", "policy=dpo", "policy.batch_size=8", "policy.steps=2")
    assert run.code == 0, run.stdout + run.stderr
    rows = curve(run, "preference")
    assert rows[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-3), "the policy starts as its reference"
    assert rows[0]["train/margin"] == pytest.approx(0.0, abs=1e-3) and len(rows) == 2
    assert {"policy/win_rate_vs_sft", "labeler/alignment", "policy/kl"} <= set(run.figures())
    assert not run.stored("reward_model") and not run.stored("policy")
    ipo = command.run("ipo", "policy=ipo", "policy.batch_size=8", "policy.steps=2")
    assert ipo.code == 0, ipo.stdout + ipo.stderr
    assert {"sft", "samples", "labels"} <= ipo.reused()
    assert curve(ipo, "preference")[0]["train/loss"] == pytest.approx(1 / (2 * 0.1) ** 2, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "num_updates"), [("grpo", 2), ("dr_grpo", 2), ("dapo", 2), ("gspo", 2), ("ppo", 4)])
def test_several_updates_on_a_rollout(command: Command, policy: str, num_updates: int) -> None:
    run = command.run(policy, f"policy={policy}", TRAINS)
    assert run.code == 0, run.stdout + run.stderr
    rows = curve(run, "policy")
    assert len(rows) == 2 * num_updates
    assert rows[0]["policy/clip_fraction"] == 0.0 and rows[0]["policy/ratio"] == pytest.approx(1.0, abs=1e-4)
    assert rows[0]["policy/importance_weight"] == pytest.approx(1.0, abs=1e-3)
    assert rows[1]["policy/update_kl"] > 0
    assert rows[0]["policy/reward"] == rows[1]["policy/reward"] != rows[-1]["policy/reward"]

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
    run = command.run("dpo", "policy=dpo", "policy.batch_size=8", "policy.steps=2", store="pairs_store")
    assert run.code == 0, run.stdout + run.stderr
    rows = curve(run, "preference")
    assert rows[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-3), "the policy starts as its reference"
    assert rows[0]["train/margin"] == pytest.approx(0.0, abs=1e-3) and len(rows) == 2
    assert {"policy/win_rate_vs_sft", "labeler/alignment", "policy/kl"} <= set(run.figures())
    assert not run.stored("reward_model") and not run.stored("policy")
    ipo = command.run("ipo", "policy=ipo", "policy.batch_size=8", "policy.steps=2", store="pairs_store")
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


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "first_loss"), [("online_dpo", math.log(2)), ("online_ipo", 1 / (2 * 0.1) ** 2)])
def test_a_labeler_judges_fresh_pairs_in_the_loop(command: Command, policy: str, first_loss: float) -> None:
    run = command.run(policy, f"policy={policy}", "pipeline.stages=[data,sft,policy]", store=f"{policy}_store")
    assert run.code == 0, run.stdout + run.stderr
    rows = curve(run, "policy")
    assert len(rows) == 2 and rows[0]["policy/loss"] == pytest.approx(first_loss, rel=1e-2)
    assert rows[0]["policy/pairs"] > 0 and rows[0]["policy/kl"] == pytest.approx(0.0, abs=1e-3)
    assert not run.stored("labels") and not run.stored("reward_model")


@pytest.mark.slow
def test_the_best_of_several_responses_is_imitated(command: Command) -> None:
    few = ("policy=best_of_n", "policy.samples_per_prompt=3", "policy.batch_size=4")
    run = command.run("best_of_n", *few, "reward=group_pairwise", "pipeline.stages=[data,sft,best_of_n]")
    assert run.code == 0, run.stdout + run.stderr
    assert len(curve(run, "best_of_n")) == 2
    counts = json.loads((run.directory / "best_of_n" / "picks.json").read_text())
    assert counts["num_prompts"] == 16 and counts["mean_best_reward"] >= counts["mean_reward"]


@pytest.mark.slow
def test_rounds_of_online_dpo_go_on_from_each_other(command: Command) -> None:
    rounds = ("policy=online_dpo", "pipeline=iterative")
    run = command.run("rounds", *rounds, "pipeline.rounds=2", store="rounds_store")
    assert run.code == 0, run.stdout + run.stderr
    assert len(run.stored("policy")) == 2
    page = (run.directory / "report.html").read_text()
    assert "Reinforcement learning: policy_1" in page and "Reinforcement learning: policy_2" in page
    longer = command.run("longer", *rounds, "pipeline.rounds=3", store="rounds_store")
    assert longer.code == 0 and {"sft", "policy 1", "policy 2"} <= longer.reused()


@pytest.mark.slow
def test_the_judge_chooses_the_weights_that_are_kept(command: Command) -> None:
    choice = ("policy.validate_every=1", "policy.keep=judged", "policy.judge=${evaluation.judge}")
    run = command.run("judged", "policy=rloo", *choice, "policy.export_every=1", TRAINS)
    assert run.code == 0, run.stdout + run.stderr
    written = json.loads((run.directory / "policy" / "checkpoints.json").read_text())
    assert {row["step"] for row in written["candidates"]} == {1, 2}
    best = max(written["candidates"], key=lambda row: (row["judge_win_rate"], row["reward"]))
    assert written["chosen"] == best["step"]
    assert [path.name for path in (run.directory / "policy" / "exports").iterdir()] == ["step=000000001"]
    assert not (run.directory / "policy" / "candidates").exists()


@pytest.mark.slow
def test_the_watch_keeps_what_it_saw_and_the_report_shows_it(command: Command) -> None:
    watch = ("policy.validate_every=1", "policy.watch.judge=${evaluation.judge}", "policy.watch.stop=true")
    run = command.run("watched", *watch)
    assert run.code == 0, run.stdout + run.stderr
    folder = run.directory / "policy"
    assert [path.name for path in sorted((folder / "watched").iterdir())] == [
        f"step={step:09d}.jsonl" for step in (0, 1, 2)
    ]
    rows = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert {"watch/win_rate", "watch/evidence", "win_rate", "entropy"} <= set(rows[-1])
    page = (run.directory / "report.html").read_text()
    assert "<h2>The watch</h2>" in page and "<h2>What the policy responded</h2>" in page
    assert "like the policy less while its reward rises" in page
    assert not (folder / "best").exists() and not (folder / "watch.json").exists()


@pytest.mark.slow
def test_a_reward_model_without_length(command: Command) -> None:
    run = command.run("debiased", "reward_model.debias=length")
    assert run.code == 0, run.stdout + run.stderr
    assert {"train/length_correlation", "train/head_overlap"} <= set(curve(run, "reward_model")[0])
    rows = [json.loads(line) for line in (run.directory / "reward_model" / "reward_lengths.jsonl").open()]
    assert rows and all(set(row["rewards"]) == set(rows[0]["rewards"]) for row in rows) and len(rows[0]["rewards"]) == 2
    assert "Correlation of the reward with length" in (run.directory / "report.html").read_text()

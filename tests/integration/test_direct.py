"""Direct RLAIF through the command: who scores, what is reported, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command

DIRECT = ("pipeline=direct", "labeler=scorer", "policy.validate_every=null")


def test_the_labelers_score_is_the_reward(command: Command) -> None:
    run = command.run("direct", *DIRECT)
    assert run.code == 0, run.stderr
    assert {path.name for path in run.store.iterdir() if path.is_dir()} >= {run.stored("policy")[0].name}
    assert run.stored("labels") == run.stored("reward_model") == []
    figures = run.figures()
    assert {"policy/win_rate_vs_sft", "policy/kl", "sft/distinct_rate"} <= set(figures)
    assert not [name for name in figures if name.startswith(("labeler/", "reward_model/"))]
    curve = [json.loads(line) for line in (run.directory / "policy" / "curve.jsonl").read_text().splitlines()]
    assert all(-1.0 <= row["policy/reward"] <= 1.0 for row in curve)
    cost = json.loads((run.directory / "policy" / "cost.json").read_text())
    assert cost["num_questions"] + cost["num_cached"] == 16  # two steps of eight responses
    times = run.figures(times=True)
    parts = [times[f"time/policy/{part}"]["value"] for part in ("sample", "reward", "learn")]
    assert times["time/policy/validate"]["value"] == 0.0  # policy.validate_every=null
    assert min(parts) > 0.0 and sum(parts) < times["time/policy"]["value"]


@pytest.mark.slow
def test_a_policy_is_held_against_that_of_another_run(command: Command) -> None:
    other, itself = command.run("other", *DIRECT, "seed=1"), command.run("itself", *DIRECT)
    assert other.code == itself.code == 0, other.stderr + itself.stderr
    run = command.run(
        "against", *DIRECT, f"evaluation.against={{other: {other.directory}, itself: {itself.directory}}}"
    )
    assert run.code == 0, run.stderr
    figures = run.figures()
    assert figures["policy/greedy_win_rate_vs_itself"]["value"] == 0.5  # equal responses are ties
    sampled = figures["policy/win_rate_vs_itself"]  # draws of its own: no random number is shared
    assert sampled["low"] < 0.5 < sampled["high"]
    assert all(figures[f"policy/{kind}_vs_other"]["n"] == 24 for kind in ("win_rate", "greedy_win_rate"))
    missing = command.run("nobody", *DIRECT, "evaluation.against={nobody: /nowhere}")
    assert missing.code == 2
    assert "evaluation.against.nobody=/nowhere: is no step of this run and no directory" in missing.stderr


@pytest.mark.slow
@pytest.mark.parametrize("labeler", ["pairwise", "binary", "panel"])
def test_other_labelers_reward_too(command: Command, labeler: str) -> None:
    """One of pairs holds each response against one of the SFT policy's."""
    run = command.run(f"by-{labeler}", "pipeline=direct", f"labeler={labeler}")
    assert run.code == 0, run.stderr


@pytest.mark.slow
def test_the_policys_own_start_can_be_its_labeler(command: Command) -> None:
    run = command.run("self", *DIRECT, "labeler.engine.model=stage:sft", "sft.steps=3")
    assert run.code == 0, run.stderr


@pytest.mark.slow
def test_a_pipeline_without_its_reward_is_refused(command: Command) -> None:
    run = command.run("no-labels", "reward=labeler", "labeler=scorer")
    assert run.code == 2 and "add pipeline=direct" in run.stderr
    run = command.run("no-model", *DIRECT, "reward=reward_model")
    assert run.code == 2 and "add reward=labeler or pipeline=rlaif" in run.stderr


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_one_that_was_not(command: Command) -> None:
    longer = (*DIRECT, "policy.steps=12", "policy.objective.beta=0.1", "store.checkpoint_every_s=0.01")
    process = command.start("killed", *longer, store="killed-store")
    deadline = time.monotonic() + 300
    while not list((command.home / "killed-store").glob("policy-*.partial/checkpoints/step=*.ckpt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again, whole = command.run("killed", *longer, store="killed-store"), command.run("whole", *longer)
    assert again.code == whole.code == 0, again.stderr
    for name in ("model.safetensors", "curve.jsonl"):
        assert (again.directory / "policy" / name).read_bytes() == (whole.directory / "policy" / name).read_bytes()
    assert again.figures() == whole.figures()

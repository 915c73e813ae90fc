"""Two processes learn what one process learns from the same global batches, in micro-batches of uneven rows too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlaif.artifacts.curve import read_curve
from rlaif.modules.checkpointing import list_checkpoints
from rlaif.testing.tiny import make_tiny_model

SCRIPT = Path(__file__).with_name("train_rank.py")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def train(kind: str, folder: Path, output: Path, devices: int, max_tokens: int = 0) -> dict[str, torch.Tensor]:
    output.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"] if devices > 1 else []
    subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), kind, str(folder), str(output), str(devices), str(max_tokens)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=400,
    )
    return torch.load(output / "weights.pt", weights_only=True)


@pytest.mark.parametrize("max_tokens", [0, 45])
@pytest.mark.parametrize("kind", ["sft", "reward_model", "length_debiased", "policy", "minibatches"])
def test_two_processes_equal_one(kind: str, max_tokens: int, tmp_path: Path) -> None:
    """One row fits into 45 tokens, sometimes two: the processes would make different numbers of forward passes."""
    folder = make_tiny_model(tmp_path / "model")
    one = train(kind, folder, tmp_path / "one", 1)
    two = train(kind, folder, tmp_path / "two", 2, max_tokens)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    rows = [read_curve(tmp_path / run / "curve.jsonl") for run in ("one", "two")]
    assert len(rows[0]) == len(rows[1])
    for single, joint in zip(*rows, strict=True):
        joint = {name: value for name, value in joint.items() if name != "policy/distinct"}  # distinct per process
        assert joint == pytest.approx({name: single[name] for name in joint}, rel=1e-3, abs=1e-4)


def test_two_processes_resume_with_their_own_dropout(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    whole = train("dropout", folder, tmp_path / "run", 2)
    checkpoints = list_checkpoints(tmp_path / "run")
    assert len(checkpoints) == 3
    for path in checkpoints[1:]:
        path.unlink()
    resumed = train("dropout", folder, tmp_path / "run", 2)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

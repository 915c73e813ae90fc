"""Lists of stages that cannot work are told before anything is spent, everything wrong with one at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

FindProblems = Callable[..., list[str]]
RLAIF_RUN = Path(sys.executable).parent / "rlaif-run"


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("[]", ["pipeline.stages=[]: must hold at least one stage"]),
        (
            "[sft,samples,labels]",
            [
                "pipeline.stages: step sft reads demonstrations, and no step before it leaves any",
                "pipeline.stages: step samples reads label prompts (as prompts), and no step before it leaves any",
            ],
        ),
        (
            "[labels,samples,sft,data]",
            [
                "pipeline.stages: step labels reads pairs, and no step before it leaves any",
                "pipeline.stages: step samples reads policy, and no step before it leaves any",
                "pipeline.stages: step samples reads label prompts (as prompts), and no step before it leaves any",
                "pipeline.stages: step sft reads demonstrations, and no step before it leaves any",
            ],
        ),
        (
            "[data,samples,sft]",
            ["pipeline.stages: step samples reads policy, and no step before it leaves any"],
        ),
        ("[data,sfft]", ["pipeline.stages: sfft is no stage; did you mean sft?"]),
        (
            "[data,sft,samples,labels,reward_model,evaluation,report]",
            ["pipeline.stages: step evaluation takes sft both as baseline and as policy"],
        ),
        (
            "[data,sft,samples,{stage: sft, name: again}]",
            [
                "pipeline.stages: no later step needs the pairs or samples or standard samples of step samples",
            ],
        ),
        ("[data,sft,sft]", ["pipeline.stages: two steps are named sft"]),
        (
            "[data,{stage: sft, form: {}},{repeat: 0, stages: [samples]}]",
            [
                "pipeline.stages: step sft has no key form",
                "pipeline.stages: repeat=0: must be a whole number of at least 1",
            ],
        ),
        (
            "[data,{stage: sft, with: {sft.lrr: 1}}]",
            ["pipeline.stages: step sft: with.sft.lrr=1: there is no such option"],
        ),
        (
            "[data,{stage: sft, from: {demonstrations: dta}}]",
            ["pipeline.stages: step sft: from.demonstrations=dta: is no step of this run and no directory"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_list_that_cannot_work(find_problems: FindProblems, stages: str, told: Sequence[str]) -> None:
    found = find_problems(f"pipeline.stages={stages}")
    for start in told:
        assert any(line.startswith(start) for line in found), found
    further = [line for line in found if not any(map(line.startswith, told))]
    assert all("no later step needs" in line for line in further), "a step whose reader is not bound is not needed"


def test_an_ensemble_of_one_reward_model_is_told_before_that_one_is_trained(find_problems: FindProblems) -> None:
    (found,) = find_problems("reward=ensemble")
    assert found == (
        "pipeline.stages: step policy reads at least 2 results as reward_model, and gets 1 (reward_model); add"
        " pipeline=ensemble, or several steps {stage: reward_model, name: …}"
    )
    assert find_problems("pipeline=ensemble") == []


def test_wrong_options_are_told_beside_a_wrong_list(find_problems: FindProblems) -> None:
    found = find_problems("pipeline.stages=[data,sft,labels]", "sft.batch_size=99")
    assert any(line.startswith("pipeline.stages: step labels reads pairs") for line in found)
    assert any(line.startswith("sft.batch_size=99: ") for line in found)


def test_the_command_exits_with_2_and_spends_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for overrides in (
        ["pipeline.stages=[labels,sft]"],
        ["pipeline=sft", "estimate=true"],
    ):
        places = [f"store.dir={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"]
        done = subprocess.run(
            [RLAIF_RUN, *overrides, *places], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert list((tmp_path / "store").glob("*")) == []
        if "estimate=true" in overrides:
            assert "estimate=true: this pipeline labels no plan of pairs" in done.stderr
        else:
            for words in ("step labels reads pairs", "step sft reads demonstrations"):
                assert words in done.stderr.replace("\n", " ")

"""Prompts that a policy's sampling cuts are counted, and told on terminal and page."""

from __future__ import annotations

from pathlib import Path

from bigram import make_bigram_policy

from rlaif.data.base import TaskData
from rlaif.pipeline.stage import Input, Work
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.respond import RespondStage
from rlaif.stages.standard_samples import StandardSampleStage
from rlaif.tasks.base import Dialogue
from rlaif.types import Prompt

SHORT, LONG = (Prompt(task="dialogue", text=f"Human: {words} Assistant:") for words in ("good", "good bad good bad"))
SETTINGS = SamplingSettings(temperature=0.9, max_new_tokens=2, max_prompt_tokens=4)


def test_prompts_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    folder = make_bigram_policy(tmp_path / "policy", {"good": 0.6, "bad": 0.4})
    count_cut_prompts(tmp_path, folder, Dialogue(), [SHORT, LONG, SHORT], SETTINGS, "policy")
    assert cut_prompts_told(tmp_path) == (
        "1 of 3 prompts are longer than policy.max_prompt_tokens=4: the policy sees their newest tokens only",
    )


def test_nothing_is_told_where_no_prompt_is_cut(tmp_path: Path) -> None:
    folder = make_bigram_policy(tmp_path / "policy", {"good": 0.6, "bad": 0.4})
    count_cut_prompts(tmp_path, folder, Dialogue(), [SHORT], SETTINGS, "policy")
    assert cut_prompts_told(tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_steps_that_sample_tell_it(tmp_path: Path) -> None:
    folder = make_bigram_policy(tmp_path / "policy", {"good": 0.6, "bad": 0.4})
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=[LONG], eval_prompts=[SHORT, LONG])
    inputs = {
        "policy": (Input(step="sft", stage="sft", path=folder),),
        "prompts": (Input(step="data", stage="data", data=data),),
    }
    told = []
    for stage in (RespondStage(Dialogue(), SETTINGS), StandardSampleStage(Dialogue(), SETTINGS)):
        work = Work(step="step", directory=tmp_path / type(stage).__name__, inputs=inputs, seed=0)
        work.directory.mkdir()
        stage.build(work)
        told += stage.told(work).notes
    assert [note.split(":")[0] for note in told] == [
        "1 of 2 prompts are longer than evaluation.sampling.max_prompt_tokens=4",
        "1 of 1 prompts are longer than sampling.max_prompt_tokens=4",
    ]

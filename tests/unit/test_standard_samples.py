"""Samples that give a reward its zero and unit: drawn once, in a step that every policy shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bigram import make_bigram_policy
from omegaconf import DictConfig

from rlaif.data.base import TaskData
from rlaif.data.preferences_io import read_samples
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Input, Work
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.standard_samples import StandardSampleStage
from rlaif.tasks.base import Dialogue
from rlaif.types import Prompt


@pytest.mark.parametrize(
    ("overrides", "sources"),
    [
        ("", ["samples"]),
        ("reward.standardized=false", []),
        ("pipeline=direct reward.standardized=true", ["standard_samples_sft"]),
        ("pipeline=direct reward=rubric reward.standardized=true", ["standard_samples_sft"]),
        ("pipeline=another_sampler sampler.model=pocket:S2", ["standard_samples_sft"]),
        ("pipeline=iterative pipeline.rounds=2", ["samples_1", "samples_1"]),
    ],
)
def test_a_reward_reads_the_samples_that_are_labeled_or_those_of_a_step_of_its_own(
    make_config: Callable[..., DictConfig], tmp_path: Path, overrides: str, sources: list[str]
) -> None:
    steps = Plan(make_config(*overrides.split()), tmp_path / "run").steps
    names = [step.name for step in steps]
    found = [source.name for step in steps for source in step.inputs.get("standard_samples", ())]
    assert found == sources
    assert ("standard_samples_sft" in names) == ("standard_samples_sft" in sources)
    for step in steps:
        assert all(names.index(source.name) < names.index(step.name) for source in step.sources())


def test_one_sample_of_each_of_the_first_prompts_is_drawn(tmp_path: Path) -> None:
    folder = make_bigram_policy(tmp_path / "sft", {"good": 0.6, "bad": 0.4})
    prompts = [Prompt(task="dialogue", text=f"Human: {number} Assistant:") for number in range(70)]
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=prompts, eval_prompts=[])
    inputs = {
        "policy": (Input(step="sft", stage="sft", path=folder),),
        "prompts": (Input(step="data", stage="data", data=data),),
    }
    work = Work(step="standard_samples_sft", directory=tmp_path / "step", inputs=inputs, seed=0)
    work.directory.mkdir()
    stage = StandardSampleStage(Dialogue(), SamplingSettings(temperature=0.9, max_new_tokens=4), num_prompts=66)
    stage.build(work)
    rows = read_samples(work.directory / SAMPLES)
    assert [prompt.id for prompt, _ in rows] == [prompt.id for prompt in prompts[:66]]
    assert {len(samples) for _, samples in rows} == {1}
    assert {samples[0].text.strip() for _, samples in rows} == {"good", "bad"}
    assert [path.name for path in work.directory.iterdir()] == [SAMPLES]
    assert stage.told(work).line == "66 samples of sft for the reward's zero and unit"

"""The stage that imitates the best of its responses: what it trains, how it samples, and what survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from caught_training import CaughtTraining, work_in

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.inference.adapters import has_adapter
from rlaif.inference.recomputing import recomputes
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.models.adapters import LoraSettings
from rlaif.modules.best_of_n import BestOfNSettings
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Work
from rlaif.rewards.base import Cause, RewardBatch, RewardResources
from rlaif.rewards.missing import check_missing
from rlaif.roles import Reads
from rlaif.rollouts.picks import Picks
from rlaif.rollouts.responses import PROMPTS_AT_ONCE
from rlaif.stages.best_of_n import BestOfNStage
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: {n}\n\nAssistant:") for n in range(2 * PROMPTS_AT_ONCE + 3)]
ASKING = AskingSettings(answers=AnswerPlace("none", ""), prices=Prices(), budget=Budget())


class CountedReward:
    """The number of letters; dies in a call, and lacks the reward of the first response for a cause."""

    def __init__(self, last: int = 99, cause: Cause | None = None) -> None:
        self.last = last
        self.cause = cause
        self.calls: list[int] = []

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> CountedReward:
        return self

    def to(self, device: torch.device | str) -> None:
        pass

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        self.calls.append(len(prompts) // samples_per_prompt)
        if len(self.calls) == self.last:
            raise KeyboardInterrupt
        values_B = torch.tensor([len(response.text) / 3 for response in responses])
        if self.cause is None:
            return RewardBatch(values_B, values_B.isfinite())
        values_B[0] = float("nan")
        causes = (self.cause, *(None for _ in responses[1:]))
        return RewardBatch(values_B, values_B.isfinite(), causes=causes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


def stage_of(reward: CountedReward, **options: Any) -> BestOfNStage:
    settings = BestOfNSettings(
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        batch_size=2,
        samples_per_prompt=2,
        max_new_tokens=2,
        max_prompt_tokens=8,
    )
    return BestOfNStage(Dialogue(), settings, reward, asking=ASKING, **options)


def work_of(directory: Path, folder: Path, prompts: Sequence[Prompt] = PROMPTS, training: Any = None) -> Work:
    return work_in(directory, {"policy": folder, "reference": folder}, prompts, training=training)


def picked(directory: Path, folder: Path, reward: CountedReward) -> Picks:
    return stage_of(reward)._picked(work_of(directory, folder), reward)


def test_rewards_survive_a_kill(folder: Path, tmp_path: Path) -> None:
    dying = CountedReward(last=3)
    with pytest.raises(KeyboardInterrupt):
        picked(tmp_path, folder, dying)
    assert dying.calls == [PROMPTS_AT_ONCE, PROMPTS_AT_ONCE, 3]
    again, whole = CountedReward(), CountedReward()
    assert picked(tmp_path, folder, again) == picked(tmp_path / "other", folder, whole)
    assert again.calls == [3], "only what was not finished is rewarded"


def test_responses_are_rewarded_without_the_symbols_that_are_stripped(folder: Path, tmp_path: Path) -> None:
    class Texts(CountedReward):
        def __call__(
            self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
        ) -> RewardBatch:
            seen.extend(response.text for response in responses)
            return super().__call__(prompts, responses, samples_per_prompt=samples_per_prompt)

    seen: list[str] = []
    drawn = picked(tmp_path / "as-sampled", folder, Texts())
    letter = next(text[-1] for text in seen if text)
    seen.clear()
    stage = stage_of(Texts())
    stage.settings = replace(stage.settings, strip_trailing=letter)
    stage._picked(work_of(tmp_path / "stripped", folder), stage.reward)
    assert seen and not any(text.endswith(letter) for text in seen)
    assert any(completion.text.endswith(letter) for _, completion in drawn.samples)


@pytest.mark.parametrize(("cause", "calls"), [("failed", [PROMPTS_AT_ONCE, PROMPTS_AT_ONCE, 3]), ("unreadable", [3])])
def test_a_part_that_a_judge_failed_in_is_asked_for_again(
    folder: Path, tmp_path: Path, cause: Cause, calls: list[int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        picked(tmp_path, folder, CountedReward(last=3, cause=cause))
    again = CountedReward(cause=cause)
    assert picked(tmp_path, folder, again).counts.num_missing == 3
    assert again.calls == calls


class LastMissing(CountedReward):
    """A response in two of the last prompts has no reward: few of all, and many of the last portion."""

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        batch = super().__call__(prompts, responses, samples_per_prompt=samples_per_prompt)
        if prompts[-1] == PROMPTS[-1]:
            batch.values_B[:4:2] = float("nan")
        reasons = ["silent" if is_missing else None for is_missing in batch.values_B.isnan().tolist()]
        check_missing(reasons, 0.2, reward=self)
        return RewardBatch(batch.values_B, ~batch.values_B.isnan())


def test_missing_rewards_count_over_all_prompts_also_after_a_kill(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        picked(tmp_path, folder, LastMissing(last=3))
    again = LastMissing()
    assert picked(tmp_path, folder, again).counts.num_missing == 2 and again.calls == [3]
    assert picked(tmp_path / "other", folder, LastMissing()).counts.num_missing == 2


def test_one_process_draws_and_asks_and_the_others_wait_for_its_picks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = CountedReward(), CountedReward()
    works = [replace(work_of(tmp_path, folder, PROMPTS[:3]), rank=rank, world_size=2) for rank in (0, 1)]
    found: list[Picks] = []
    monkeypatch.setattr(
        "rlaif.stages.best_of_n.time.sleep",
        lambda seconds: found.append(stage_of(first)._picks(works[0], None)),  # type: ignore[arg-type]
    )
    assert stage_of(second)._picks(works[1], None) == found[0]  # type: ignore[arg-type]
    assert first.calls == [3] and not second.calls
    assert len(found) == 1 and found[0].counts.num_prompts == 3


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapter_and_gradient_checkpointing_are_those_that_were_asked_for(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")

    def trained(name: str, **options: Any) -> Any:
        training = CaughtTraining()
        stage_of(CountedReward(), **options).build(work_of(tmp_path / name, folder, PROMPTS[:4], training))
        return training.module.model

    plain, adapted = trained("plain"), trained("adapted", lora=LoraSettings(rank=2), gradient_checkpointing=True)
    assert not any(map(has_adapter, plain.modules())) and any(map(has_adapter, adapted.modules()))
    assert recomputes(adapted) and not recomputes(plain)
    assert (tmp_path / "adapted" / "adapter").is_dir() and not (tmp_path / "plain" / "adapter").exists()


def test_its_options_are_those_of_the_run(make_plan: Callable[..., Plan]) -> None:
    typed = ("lora=all", "model.gradient_checkpointing=true", "sampling.top_p=0.75", "policy.batch_size=2")
    stage = make_plan("policy=best_of_n", *typed).step("best_of_n").stage
    assert isinstance(stage, BestOfNStage)
    assert stage.lora == LoraSettings() and stage.gradient_checkpointing
    assert stage.settings.sampling.top_p == stage.settings.sampling.sampling().top_p == 0.75
    assert [use.lora for use in stage.model_uses()][1] == LoraSettings()

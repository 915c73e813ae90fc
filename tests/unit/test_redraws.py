"""Dynamic sampling: prompts whose rewards are all equal are replaced by further ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.models.load import load_causal_lm
from rlaif.modules.drawing import Rewarded, draw_rewarded
from rlaif.objectives.grpo import Grpo
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepSampler
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(12)]
USEFUL = {prompt.id for prompt in PROMPTS[::3]}


class SomePromptsInform:
    """Rewards differ within every third prompt alone."""

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> SomePromptsInform:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        rows = range(len(responses))
        values = [float(row % samples_per_prompt) if prompts[row].id in USEFUL else math.nan for row in rows]
        values_B = torch.tensor(values)
        return RewardBatch(values_B, ~values_B.isnan())

    def to(self, device: torch.device | str) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


class FailsInCall(SomePromptsInform):
    """Tells causes in one call alone: what it does not reward failed there, and is worth 0 in the others."""

    def __init__(self, call: int) -> None:
        self.call, self.calls = call, 0

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        found = super().__call__(prompts, responses, samples_per_prompt=samples_per_prompt)
        self.calls += 1
        if self.calls - 1 != self.call:
            return RewardBatch(found.values_B.nan_to_num(0.0), torch.ones_like(found.scored_mask_B))
        return found._replace(causes=tuple(None if scored else "failed" for scored in found.scored_mask_B.tolist()))


def draw(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    redraws: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    reward: SomePromptsInform | None = None,
) -> Rewarded:
    settings = SamplingSettings(temperature=1.0, max_new_tokens=3)
    responses = StepSampler(
        tokenizer, task=Dialogue(), prompts=PROMPTS, prompts_per_step=4, samples_per_prompt=2, settings=settings, seed=1
    )
    sampler = LocalSampler.of_model(load_causal_lm(str(folder)), tokenizer)
    reward = SomePromptsInform() if reward is None else reward
    return draw_rewarded(responses, sampler, reward, 0, rank=rank, world_size=world_size, redraws=redraws)


def test_prompts_without_information_are_replaced_until_all_inform(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    plain, full = (draw(folder, tokenizer, redraws) for redraws in (0, 80))
    missing = [row for row, scored in enumerate(plain.rewards.scored_mask_B.tolist()) if not scored]
    assert missing and plain.num_redrawn == 0
    assert full.rewards.scored_mask_B.all() and full.num_redrawn >= len(missing) / 2
    assert {prompt.id for prompt in full.drawn.prompts} <= USEFUL
    kept = [row for row in range(8) if row not in missing]
    assert [full.drawn.completions[row] for row in kept] == [plain.drawn.completions[row] for row in kept]
    rollouts = full.drawn.rollouts
    for row, completion in enumerate(full.drawn.completions):
        tokens = rollouts.tokens_BT[row][rollouts.mask_BT[row]].tolist()
        assert tuple(tokens) == completion.token_ids, "texts, tokens and rewards are of the same responses"
    for prompt, ids in zip(full.drawn.prompts[::2], rollouts.prompt_ids, strict=True):
        assert prompt.text.strip().splitlines()[0] in tokenizer.decode(ids)


def test_the_number_of_redraws_ends_them_and_equal_calls_draw_alike(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    first, second = (draw(folder, tokenizer, 1) for _ in range(2))
    assert first.drawn.completions == second.drawn.completions
    plain = draw(folder, tokenizer, 0)
    assert first.num_redrawn == int((~plain.rewards.scored_mask_B).sum()) / 2


def test_processes_replace_their_own_prompts(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = draw(folder, tokenizer, 2)
    parts = [draw(folder, tokenizer, 2, rank=rank, world_size=2) for rank in (0, 1)]
    assert [prompt.id for part in parts for prompt in part.drawn.prompts] == [p.id for p in whole.drawn.prompts]
    assert sum(part.num_redrawn for part in parts) == whole.num_redrawn


@pytest.mark.parametrize("call", [0, 1])
def test_causes_stay_with_the_responses_that_were_not_replaced(
    folder: Path, tokenizer: PreTrainedTokenizerBase, call: int
) -> None:
    found = draw(folder, tokenizer, 1, reward=FailsInCall(call))
    assert found.num_redrawn > 0
    expected = [None if scored else "failed" for scored in found.rewards.scored_mask_B.tolist()]
    assert list(found.rewards.causes) == expected
    assert ("failed" in expected) == (call == 1)


def test_redraws_without_dynamic_sampling_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"redraws=2: .* type policy.objective.dynamic_sampling=true"):
        Grpo(redraws=2)
    assert Grpo(redraws=2, dynamic_sampling=True).needs.redraws == 2

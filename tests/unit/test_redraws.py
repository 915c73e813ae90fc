"""Dynamic sampling: prompts whose rewards are all equal are replaced by further ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from made_rollouts import rollouts
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.errors import ConfigError, GateStopped
from rlaif.models.load import load_causal_lm
from rlaif.modules.drawing import Rewarded, draw_rewarded
from rlaif.objectives.grpo import Grpo
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.rewards.missing import check_missing
from rlaif.roles import Reads
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepResponses, StepSampler
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


class Counts:
    """Gives the numbers of a list in turn, four responses to two prompts in each draw."""

    samples_per_prompt = 2

    def __init__(self) -> None:
        self.redrawn: list[tuple[list[int], int, int, int]] = []

    def draw(self, sampler: object, step: int, *, rank: int, world_size: int) -> StepResponses:
        made = rollouts([0.0] * 6, [1, 2, 3, 1, 2, 3], 2)
        texts = [Completion(text=f"drawn {row}") for row in range(6)]
        return StepResponses([PROMPTS[row // 2] for row in range(6)], texts, made)

    def redraw(
        self, sampler: object, step: int, places: Sequence[int], *, attempt: int, rank: int, world_size: int
    ) -> StepResponses:
        self.redrawn.append((list(places), attempt, rank, world_size))
        count = 2 * len(places)
        texts = [Completion(text=f"redrawn {row}") for row in range(count)]
        return StepResponses([PROMPTS[5]] * count, texts, rollouts([0.0] * count, [4] * count, 2))


class InTurn:
    """Rewards a draw after the other as a list says."""

    def __init__(self, *batches: RewardBatch) -> None:
        self.batches = list(batches)

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int
    ) -> RewardBatch:
        assert samples_per_prompt == 2
        return self.batches.pop(0)


def batch(*values: float, **further: Any) -> RewardBatch:
    values_B = torch.tensor(values, dtype=torch.float32)
    return RewardBatch(values_B, ~values_B.isnan(), **further)


def drawn_in_turn(*batches: RewardBatch, **options: int) -> tuple[Rewarded, Counts]:
    responses = Counts()
    given = {"rank": 1, "world_size": 3, **options}
    return draw_rewarded(responses, None, InTurn(*batches), 7, **given), responses  # type: ignore[arg-type]


def test_only_the_prompt_that_teaches_nothing_is_drawn_again() -> None:
    found, responses = drawn_in_turn(batch(1, 2, 5, 5, 3, 4), batch(7, 7), batch(8, 9), redraws=5)
    assert responses.redrawn == [([1], 1, 1, 3), ([1], 2, 1, 3)], "after that all prompts teach"
    assert found.rewards.values_B.tolist() == [1, 2, 8, 9, 3, 4] and found.num_redrawn == 2
    texts = [completion.text for completion in found.drawn.completions]
    assert texts == ["drawn 0", "drawn 1", "redrawn 0", "redrawn 1", "drawn 4", "drawn 5"]
    assert found.drawn.rollouts.mask_BT.sum(-1).tolist() == [1, 2, 4, 4, 2, 3]


def test_no_prompt_is_drawn_again_unless_asked_for() -> None:
    found, responses = drawn_in_turn(batch(1, 1, 5, 5, 3, 3))
    assert responses.redrawn == [] and found.num_redrawn == 0
    with pytest.raises(TypeError, match="positional"):
        draw_rewarded(Counts(), None, InTurn(), 7, 0, 1)  # type: ignore[arg-type, call-arg, misc]


def test_redraws_end_at_their_number() -> None:
    found, responses = drawn_in_turn(batch(1, 1, 5, 5, 3, 4), batch(2, 2, 6, 7), batch(8, 8), redraws=2)
    assert [places for places, *_ in responses.redrawn] == [[0, 1], [0]]
    assert found.rewards.values_B.tolist() == [8, 8, 6, 7, 3, 4] and found.num_redrawn == 3


CAUSES = ("failed", None, "unreadable", "none given", None, None)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((), (), ()),
        (CAUSES, (), ("failed", None, None, None, None, None)),
        ((), ("failed", None), (None, None, "failed", None, None, None)),
        (CAUSES, (None, "failed"), ("failed", None, None, "failed", None, None)),
    ],
    ids=["neither", "the first draw", "the redraw", "both"],
)
def test_causes_are_those_of_the_draw_that_a_response_is_from(
    first: tuple[Any, ...], second: tuple[Any, ...], expected: tuple[Any, ...]
) -> None:
    found, _ = drawn_in_turn(batch(1, 2, 5, 5, 3, 4, causes=first), batch(7, 8, causes=second), redraws=1)
    assert found.rewards.causes == expected


def test_figures_beside_the_reward_are_missing_where_a_draw_lacks_them() -> None:
    both = torch.arange(6.0)
    first = batch(1, 2, 5, 5, 3, 4, parts={"both": both, "first": both})
    second = batch(7, 8, parts={"both": torch.tensor([10.0, 11.0]), "second": torch.tensor([20.0, 21.0])})
    parts = drawn_in_turn(first, second, redraws=1)[0].rewards.parts
    nan = math.nan
    expected = {
        "both": [0, 1, 10, 11, 4, 5],
        "first": [0, 1, nan, nan, 4, 5],
        "second": [nan, nan, 20, 21, nan, nan],
    }
    assert list(parts) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(parts[name], torch.tensor(values, dtype=torch.float32), equal_nan=True)
    assert both.tolist() == [0, 1, 2, 3, 4, 5], "what the reward gave is left as it is"


@pytest.mark.parametrize("missing", [None, 0, 1])
def test_judged_pairs_are_kept_where_both_draws_have_them(missing: int | None) -> None:
    p_BK = torch.tensor([[math.nan, 0.25], [0.75, math.nan]])
    wins = [p_BK.repeat(3, 1), 1 - p_BK]
    first, second = (
        batch(*values, p_beats_BK=None if missing == number else wins[number])
        for number, values in enumerate(((1, 2, 5, 5, 3, 4), (7, 8)))
    )
    found = drawn_in_turn(first, second, redraws=1)[0].rewards.p_beats_BK
    if missing is not None:
        assert found is None
        return
    assert found is not None
    assert found[::2, 1].tolist() == [0.25, 0.75, 0.25] and found[1::2, 0].tolist() == [0.75, 0.25, 0.75]


def test_redraws_without_dynamic_sampling_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"redraws=2: .* type policy.objective.dynamic_sampling=true"):
        Grpo(redraws=2)
    assert Grpo(redraws=2, dynamic_sampling=True).needs.redraws == 2


def test_missing_rewards_count_over_the_whole_step(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Half of the four responses of two redrawn prompts have no reward: 2 of 12, and not 2 of 4."""
    limit = 0.2

    class HalfMissingAtRedraw(SomePromptsInform):
        calls = 0

        def __call__(
            self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
        ) -> RewardBatch:
            is_first, self.calls = self.calls == 0, self.calls + 1
            count = len(responses)
            missing = [not is_first and row % samples_per_prompt == 0 for row in range(count)]
            check_missing(["late" if one else None for one in missing], limit, reward=self)
            values_B = torch.tensor([math.nan if one else float(row) for row, one in enumerate(missing)])
            if is_first:
                values_B[:4] = 0.0  # two prompts inform of nothing
            return RewardBatch(values_B, ~values_B.isnan())

    assert draw(folder, tokenizer, 1, reward=HalfMissingAtRedraw()).num_redrawn == 2
    limit = 0.15
    with pytest.raises(GateStopped, match=r"2 of 12 responses of this step have no score \(2 × late\)"):
        draw(folder, tokenizer, 1, reward=HalfMissingAtRedraw())
    with pytest.raises(GateStopped, match=r"1 of 2 responses"):
        check_missing(["late", None], 0.2, reward=None)

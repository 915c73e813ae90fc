"""The rollout record, sampling settings, samplers, and responses drawn for a list of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.sample import sample
from rlaif.models.load import load_causal_lm
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.responses import PROMPTS_AT_ONCE, draw_completions
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.statistics import rollout_statistics
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt, Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def rollouts() -> Rollouts:
    """Two prompts with two responses each, of 1, 3, 2 and 1 tokens."""
    mask_BT = torch.arange(3) < torch.tensor([[1], [3], [2], [1]])
    return Rollouts(
        prompt_ids=[[5], [6, 7]],
        tokens_BT=torch.arange(12).view(4, 3),
        mask_BT=mask_BT,
        finished_B=torch.tensor([True, False, True, True]),
        samples_per_prompt=2,
        policy_version=3,
        rewards_B=torch.tensor([1.0, 2.0, float("nan"), 4.0]),
        scored_mask_B=torch.tensor([True, True, False, True]),
        logprobs_BT=-torch.arange(12.0).view(4, 3),
        ref_logprobs_BT=-torch.arange(12.0).view(4, 3) - 1.0,
    )


def test_rows_are_cut_in_every_field_to_their_longest_response() -> None:
    part = rollouts().rows(slice(2, 4))
    assert len(part) == 2 and part.prompt_ids == [[6, 7]]
    assert part.tokens_BT.tolist() == [[6, 7], [9, 10]]
    assert part.mask_BT.tolist() == [[True, True], [True, False]]
    assert part.rewards_B is not None and part.rewards_B.isnan().tolist() == [True, False]
    assert part.logprobs_BT is not None and part.logprobs_BT.tolist() == [[-6.0, -7.0], [-9.0, -10.0]]
    assert (part.values_BT, part.policy_version, part.samples_per_prompt) == (None, 3, 2)
    with pytest.raises(AssertionError):
        rollouts().rows(slice(1, 3))


def test_the_joint_rollouts_of_two_processes_are_those_of_one() -> None:
    """Each process knows its own part, as wide as its own longest response."""
    whole = rollouts()
    parts = [whole.rows(slice(0, 2)), whole.rows(slice(2, 4))]

    def gathering() -> Callable[[Tensor], Tensor]:
        """A stand-in for ``all_gather``: remembers what the first process gives, and gives both to the second."""
        seen: list[Tensor] = []

        def gather(tensor: Tensor) -> Tensor:
            seen.append(tensor)
            return torch.stack([tensor, tensor])

        gather.seen = seen  # type: ignore[attr-defined]
        return gather

    first, second = gathering(), gathering()
    parts[0].joint(first, width=3)
    parts[1].joint(second, width=3)
    pairs = iter(zip(first.seen, second.seen, strict=True))  # type: ignore[attr-defined]

    def both(tensor: Tensor) -> Tensor:
        one, other = next(pairs)
        width = max(one.shape[-1], other.shape[-1])
        return torch.stack([torch.nn.functional.pad(item, (0, width - item.shape[-1])) for item in (one, other)])

    joint = parts[0].joint(both, width=3)
    assert joint.mask_BT.tolist() == whole.mask_BT.tolist()
    assert joint.tokens_BT[joint.mask_BT].tolist() == whole.tokens_BT[whole.mask_BT].tolist()
    assert joint.finished_B.tolist() == whole.finished_B.tolist()
    assert joint.scored_mask_B is not None and joint.scored_mask_B.tolist() == [True, True, False, True]
    assert joint.advantages_BT is None and joint.prompt_ids == whole.prompt_ids


def test_statistics_leave_missing_rewards_out() -> None:
    completions = [Completion(text=text, finished=text != "b") for text in "abca"]
    found = rollout_statistics(rollouts(), completions, torch.full((4, 3), 0.5))
    means = {name: part.mean.item() for name, part in found.items()}
    assert means == pytest.approx(
        {
            "reward": 7 / 3,  # (1 + 2 + 4) / 3
            "kl": 7 / 4,  # one nat for each of seven tokens
            "length": 7 / 4,
            "entropy": 6 / 7,  # the caller gives 0 where padded; here every place counts
            "distinct": 3 / 4,
            "finished": 3 / 4,
            "missing": 1 / 4,
        }
    )


def test_all_options_of_a_sampling_out_of_range_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        SamplingSettings(temperature=-0.1, max_new_tokens=0, max_prompt_tokens=0)
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "sampling.temperature",
        "sampling.max_new_tokens",
        "sampling.max_prompt_tokens",
    ]
    assert SamplingSettings(temperature=0.0).sampling() == Sampling(max_new_tokens=128, temperature=0.0)


def test_log_probs_and_entropies_of_sampling_are_those_of_the_sampled_tokens(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    sampler = LocalSampler.of_folder(folder, tokenizer)
    sampling = Sampling(max_new_tokens=5, temperature=0.7)
    drawn = sampler.sample([[1, 70, 71], [1, 72]], num_samples=2, sampling=sampling, seeds=[1, 2, 3, 4])
    with torch.no_grad():
        read = response_logprobs(
            sampler.model, drawn.prompt_ids, drawn.tokens_BT, drawn.mask_BT, temperature=0.7, with_entropy=True
        )
    assert drawn.sampled_logprobs_BT is not None and drawn.sampled_entropy_BT is not None
    torch.testing.assert_close(drawn.sampled_logprobs_BT, read.logprobs_BT, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn.sampled_entropy_BT, read.entropy_BT, rtol=1e-4, atol=1e-4)
    assert (drawn.samples_per_prompt, drawn.policy_version) == (2, 0)


def test_loaded_weights_are_sampled_from(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    sampler, other = LocalSampler.of_folder(folder, tokenizer), load_causal_lm(str(folder))
    with torch.no_grad():
        other.model.norm.weight.mul_(-1.0)
    options = {"num_samples": 1, "sampling": Sampling(max_new_tokens=4, temperature=1.0), "seeds": [7]}
    before = sampler.sample([[1, 70]], **options)  # type: ignore[arg-type]
    sampler.load(other.state_dict(), version=12)
    after = sampler.sample([[1, 70]], **options)  # type: ignore[arg-type]
    assert after.policy_version == 12
    expected = sample(other, [[1, 70]], eos_id=sampler.eos_id, pad_id=sampler.pad_id, **options)  # type: ignore[arg-type]
    assert after.tokens_BT.tolist() == expected.tokens_BT.tolist() != before.tokens_BT.tolist()


def test_a_draw_depends_on_purpose_and_number_and_not_on_its_neighbours(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    sampler = LocalSampler.of_folder(folder, tokenizer)
    prompts = [Prompt(task="dialogue", text=f"\n\nHuman: {n}\n\nAssistant:") for n in range(PROMPTS_AT_ONCE + 2)]
    told: list[tuple[int, int]] = []

    def draw(some: list[Prompt], *, num_samples: int = 2, purpose: str = "samples") -> list[tuple[Completion, ...]]:
        return draw_completions(
            sampler,
            tokenizer,
            Dialogue(),
            some,
            num_samples=num_samples,
            settings=SamplingSettings(max_new_tokens=4, max_prompt_tokens=8),
            seed=3,
            purpose=purpose,
            source="sft",
            progress=lambda done, total: told.append((done, total)),
        )

    drawn = draw(prompts)
    assert told == [(PROMPTS_AT_ONCE, len(prompts)), (len(prompts), len(prompts))]
    assert draw(prompts[-1:]) == drawn[-1:]
    assert draw(prompts[-1:], num_samples=1) == [drawn[-1][:1]]
    assert draw(prompts[:4], purpose="reference") != drawn[:4]
    assert sum(first != second for first, second in drawn) > len(prompts) / 2, "two samples of a prompt are two draws"
    (first,), seed = draw(prompts[:1], num_samples=1), derive_seed(3, "samples", prompts[0].id, 0)
    ids = tokenizer(prompts[0].text)["input_ids"][-8:]
    expected = sample(
        sampler.model,
        [ids],
        sampling=Sampling(max_new_tokens=4, temperature=0.9),
        eos_id=tokenizer.eos_token_id,
        pad_id=0,
        seeds=[seed],
    )
    assert list(first[0].token_ids) == expected.tokens_BT[0][expected.mask_BT[0]].tolist()
    assert first[0].text == tokenizer.decode(first[0].token_ids, skip_special_tokens=True).strip()
    assert replace(first[0], source="sft") == first[0]


class DyingSampler:
    """A sampler that dies in its ``last`` call; keeps the number of prompts of each call."""

    def __init__(self, sampler: LocalSampler, last: int) -> None:
        self.sampler = sampler
        self.last = last
        self.calls: list[int] = []

    def sample(self, prompt_ids: Sequence[Sequence[int]], **options: Any) -> Rollouts:
        self.calls.append(len(prompt_ids))
        if len(self.calls) == self.last:
            raise KeyboardInterrupt
        return self.sampler.sample(prompt_ids, **options)

    def load(self, weights: object, version: int) -> None:
        pass


def test_drawn_responses_survive_a_kill(folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    local = LocalSampler.of_folder(folder, tokenizer)
    prompts = [Prompt(task="dialogue", text=f"\n\nHuman: {n}\n\nAssistant:") for n in range(2 * PROMPTS_AT_ONCE + 3)]

    def draw(sampler: Any, parts: Path | None) -> list[tuple[Completion, ...]]:
        settings = SamplingSettings(max_new_tokens=2, max_prompt_tokens=8)
        options = {"num_samples": 2, "settings": settings, "seed": 3, "purpose": "samples", "source": "sft"}
        return draw_completions(
            sampler,
            tokenizer,
            Dialogue(),
            prompts,
            progress=lambda done, total: None,
            parts=parts,
            **options,  # type: ignore[arg-type]
        )

    dying = DyingSampler(local, last=3)
    with pytest.raises(KeyboardInterrupt):
        draw(dying, tmp_path / "drawn")
    assert dying.calls == [PROMPTS_AT_ONCE, PROMPTS_AT_ONCE, 3]
    again = DyingSampler(local, last=9)
    assert draw(again, tmp_path / "drawn") == draw(local, None)
    assert again.calls == [3], "only what was not finished is drawn"


def test_portions_of_long_prompts_are_the_rows_of_one_call(
    folder: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = LocalSampler.of_folder(folder, tokenizer)
    prompts = [list(range(5, 6 + length)) for length in (2, 9, 4, 7, 1)]
    options: dict[str, Any] = {"num_samples": 2, "sampling": Sampling(max_new_tokens=5, temperature=0.9)}
    sampler.eos_id = int(sampler.sample(prompts, seeds=range(10), **options).tokens_BT[0, 2])  # ends a response early
    whole = sampler.sample(prompts, seeds=range(10), **options)
    monkeypatch.setattr("rlaif.rollouts.sampler.automatic_max_tokens", lambda model, precision: 12)
    parts = sampler.sample(prompts, seeds=range(10), **options)
    assert whole.mask_BT.sum() < whole.mask_BT.numel(), "responses have several lengths"
    for name, tensor in vars_of(whole).items():
        torch.testing.assert_close(vars_of(parts)[name], tensor, rtol=0, atol=1e-5)


def vars_of(rollouts: Rollouts) -> dict[str, Tensor]:
    return {name: value for name, value in rollouts.state_dict().items() if isinstance(value, Tensor)}

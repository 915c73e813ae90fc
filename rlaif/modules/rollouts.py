"""One policy step's experience: which prompts, which responses, which rewards.

Everything here is a function of (seed, step, weights): a resumed run draws what an uninterrupted one draws.
Shapes: B responses (prompt-major), G prompts, T response tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.data.batches.examples import pad_id, prompt_ids
from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed, generator
from rlaif.inference.sample import sample
from rlaif.objectives.base import Credit
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt, Sampling


def draw_prompts(num_prompts: int, count: int, step: int, seed: int) -> list[int]:
    """Which prompts a policy step uses: passes over all prompts, each in a new order.

    Args:
        num_prompts: How many there are.
        count: Prompts per step.
        step: Policy step, from 0.
        seed: The run's seed.

    Returns:
        ``count`` positions; no prompt comes again before all had their turn.

    >>> sorted(draw_prompts(4, 2, 0, seed=0) + draw_prompts(4, 2, 1, seed=0))
    [0, 1, 2, 3]
    """
    places = range(step * count, (step + 1) * count)
    orders = {
        turn: torch.randperm(num_prompts, generator=generator(seed, "policy", "prompts", turn))
        for turn in {place // num_prompts for place in places}
    }
    return [int(orders[place // num_prompts][place % num_prompts]) for place in places]


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Responses to G prompts, k consecutive rows for each."""

    prompt_ids: list[list[int]]
    """Tokens of each prompt."""
    tokens_BT: Tensor
    """Response tokens, end token included, then padding."""
    mask_BT: Tensor
    """True for response tokens."""

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def rows(self, rows: slice) -> Responses:
        """Consecutive rows, whole prompts only, cut to their longest response."""
        per_prompt = len(self) // len(self.prompt_ids)
        mask_BT = self.mask_BT[rows]
        width = int(mask_BT.sum(-1).max())
        prompts = self.prompt_ids[rows.start // per_prompt : rows.stop // per_prompt]
        return Responses(prompt_ids=prompts, tokens_BT=self.tokens_BT[rows, :width], mask_BT=mask_BT[:, :width])


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBatch:
    """A minibatch of responses with what each token earned, on the device where it was made."""

    responses: Responses
    credit: Credit
    denominator: Tensor
    """Responses that count in the whole policy step, divided by minibatches and processes: Lightning averages over
    both, so the accumulated gradient is that of the mean over the step's responses."""

    def to(self, device: torch.device | str) -> PolicyBatch:
        """Lightning moves what has this method; these tensors already are where they are needed."""
        return self


class ResponseSampler:
    """Draws a step's responses from the policy, all samples of the first prompt first.

    Args:
        tokenizer: The policy's.
        task: Says what text the policy continues.
        prompts: What responses are drawn for.
        prompts_per_step: Prompts of one policy step, over all devices.
        samples_per_prompt: Responses per prompt; the prompt is read once for all of them.
        temperature: Of the sampling, above 0. Training is on this distribution, with no top-k or top-p.
        max_new_tokens: Longest response in tokens.
        max_prompt_tokens: A longer prompt is cut from the left.
        strip_trailing: Characters stripped from the end of a response before it is rewarded (the paper strips
            trailing periods and spaces before rating); empty rewards it as sampled.
        seed: The run's seed.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        task: Task,
        prompts: Sequence[Prompt],
        prompts_per_step: int,
        samples_per_prompt: int = 1,
        temperature: float = 0.9,
        max_new_tokens: int = 128,
        max_prompt_tokens: int = 1024,
        strip_trailing: str = "",
        seed: int = 0,
    ) -> None:
        counts = {
            "prompts_per_step": prompts_per_step,
            "samples_per_prompt": samples_per_prompt,
            "max_new_tokens": max_new_tokens,
            "max_prompt_tokens": max_prompt_tokens,
        }
        problems = [f"policy.{name}={count}: must be at least 1" for name, count in counts.items() if count < 1]
        if not temperature > 0:
            problems.append(f"policy.temperature={temperature}: must be above 0, a policy learns from samples")
        if not prompts:
            problems.append("data.num_policy_prompts: there is no prompt to train the policy on")
        if problems:
            raise ConfigError(problems)
        self.tokenizer = PromptTokenizer(tokenizer)
        self.eos_id = int(tokenizer.eos_token_id)
        self.pad_id = pad_id(tokenizer)
        self.task = task
        self.prompts = prompts
        self.prompts_per_step = prompts_per_step
        self.samples_per_prompt = samples_per_prompt
        self.temperature = temperature
        self.max_new_tokens = max_new_tokens
        self.max_prompt_tokens = max_prompt_tokens
        self.strip_trailing = strip_trailing
        self.seed = seed

    def draw(
        self, policy: PreTrainedModel, step: int, *, rank: int = 0, world_size: int = 1
    ) -> tuple[list[Prompt], list[Completion], Responses]:
        """Responses of one step; a process draws its own share of the prompts.

        Returns:
            Each response's prompt, each response's text, and the tokens of all.
        """
        if self.prompts_per_step % world_size:
            raise ConfigError(
                f"policy.prompts_per_step={self.prompts_per_step}: must be a multiple of the number of devices,"
                f" {world_size}"
            )
        share = self.prompts_per_step // world_size
        places = range(rank * share, (rank + 1) * share)
        chosen = draw_prompts(len(self.prompts), self.prompts_per_step, step, self.seed)
        prompts = [self.prompts[chosen[place]] for place in places]
        ids = [ids[-self.max_prompt_tokens :] for ids in prompt_ids(self.tokenizer, self.task, prompts)]
        rollouts = sample(
            policy,
            ids,
            num_samples=self.samples_per_prompt,
            sampling=Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature),
            eos_id=self.eos_id,
            pad_id=self.pad_id,
            seeds=[
                derive_seed(self.seed, "policy", "sample", step, place, number)
                for place in places
                for number in range(self.samples_per_prompt)
            ],
        )
        lengths = rollouts.mask_BT.sum(-1).tolist()
        completions = [
            self._completion(tokens[:length], finished)
            for tokens, length, finished in zip(
                rollouts.tokens_BT.tolist(), lengths, rollouts.finished_B.tolist(), strict=True
            )
        ]
        row_prompts = [prompt for prompt in prompts for _ in range(self.samples_per_prompt)]
        responses = Responses(prompt_ids=ids, tokens_BT=rollouts.tokens_BT, mask_BT=rollouts.mask_BT)
        return row_prompts, completions, responses

    def _completion(self, tokens: list[int], finished: bool) -> Completion:
        text = self.tokenizer.response_text(tokens)
        trimmed = text.strip()
        kept = trimmed.rstrip(self.strip_trailing) if self.strip_trailing else trimmed
        if kept != trimmed:  # the reward reads the shortened text, whose tokens were never sampled
            return Completion(text=kept, finished=finished, source="policy")
        return Completion(text=text, token_ids=tuple(tokens), finished=finished, source="policy")


class RolloutLoader:
    """Serves the minibatches of every policy step, drawn only when the step before has been learned.

    It is sized, so Lightning never fetches ahead, and says where it stands, so Lightning resumes it.
    One epoch is the whole training.

    Args:
        collect: Gives the minibatches of a step.
        num_steps: Policy steps.
        num_minibatches: Minibatches per step.
        current_step: Policy steps (= optimizer steps) done so far.
    """

    def __init__(
        self,
        collect: Callable[[int], list[PolicyBatch]],
        *,
        num_steps: int,
        num_minibatches: int,
        current_step: Callable[[], int],
    ) -> None:
        self.collect = collect
        self.num_steps = num_steps
        self.num_minibatches = num_minibatches
        self.current_step = current_step
        self._next_step = 0

    def __len__(self) -> int:
        return self.num_steps * self.num_minibatches

    def __iter__(self) -> Iterator[PolicyBatch]:
        for step in range(self._next_step, self.num_steps):
            yield from self.collect(step)

    def state_dict(self) -> dict[str, int]:
        """Checkpoints are made between steps: the next one has not been drawn."""
        return {"next_step": self.current_step()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._next_step = state_dict["next_step"]

"""The rollout record: sampled responses and everything that is computed from them before a policy learns.

Shapes: G prompts, B responses (prompt-major: all samples of the first prompt first), T response tokens. The end of a
field's name gives its axes, so that cutting and gathering are written once for all fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlaif.inference.logprobs import MIN_SHARED_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Responses to G prompts; no tensor carries a gradient.

    A sampler fills the fields up to ``policy_version``, the policy module the rewards, log-probs and values, and the
    objective's ``credit`` the advantages, returns, ``counted_mask_B`` and, where it weighs tokens, the last two.
    """

    prompt_ids: list[list[int]]
    """Tokens of each prompt."""
    tokens_BT: Tensor
    """Response tokens, the end token included, then padding."""
    mask_BT: Tensor
    """Bool, True for response tokens."""
    finished_B: Tensor
    """Bool, False where the token limit ended the response."""
    samples_per_prompt: int = 1
    """K: rows ``i*K .. (i+1)*K - 1`` answer prompt ``i``."""
    sampled_logprobs_BT: Tensor | None = None
    """log π of each token when it was sampled, at the sampling temperature; 0 where padded. None where the sampler
    does not tell them."""
    sampled_entropy_BT: Tensor | None = None
    """Entropy in nats of the distribution that each token was sampled from; 0 where padded. None where the sampler does
    not tell it."""
    policy_version: int = 0
    """Optimizer steps that the policy had made when it sampled."""
    rewards_B: Tensor | None = None
    """Reward of each response; read only where ``scored_mask_B``."""
    unshaped_rewards_B: Tensor | None = None
    """Rewards before ``policy.shaping``; None where it changed none."""
    scored_mask_B: Tensor | None = None
    """Bool, responses that have a reward: a missing one is left out everywhere."""
    last_values_B: Tensor | None = None
    """Value of the last state that was read, in the place of the reward of a response that the token limit ended; NaN
    for every other one. None where no reward is replaced."""
    p_beats_BK: Tensor | None = None
    """P(this response is better than the k-th response to the same prompt), NaN where it was not judged; None where the
    reward judges single responses. After ``credit`` of an objective of pairs: the label of each pair that is learned
    from, once."""
    logprobs_BT: Tensor | None = None
    """log π of the same tokens in the number format of the training, before the first update on these rollouts. Equal
    to the sampled ones up to rounding while the sampler has the policy's newest weights."""
    ref_logprobs_BT: Tensor | None = None
    """log π_SFT of the same tokens, at the sampling temperature."""
    values_BT: Tensor | None = None
    """V of the state before each token; None for objectives without a learned baseline."""
    advantages_BT: Tensor | None = None
    """Advantage of each token over its baseline; 0 outside ``mask_BT``."""
    returns_BT: Tensor | None = None
    """Z_t, what a learned baseline is fitted to."""
    counted_mask_B: Tensor | None = None
    """Bool, responses that count in the loss: those with a reward and a baseline."""
    weights_BT: Tensor | None = None
    """Weight of each token in the sums of the losses; None weighs each token of a response that counts by 1."""
    shares_B: Tensor | None = None
    """Contribution of each response to the denominator of the step's losses; None takes 1 for each that counts."""

    def __len__(self) -> int:
        return len(self.tokens_BT)

    @property
    def loss_shares(self) -> Tensor:
        """What each response adds to the denominator of the step's losses: their sum over rows and processes."""
        assert self.counted_mask_B is not None
        return self.counted_mask_B.float() if self.shares_B is None else self.shares_B

    def rows(self, rows: slice) -> Rollouts:
        """Consecutive rows, whole prompts only, cut to their longest response.

        Args:
            rows: Start and stop are multiples of ``samples_per_prompt``.
        """
        num_samples = self.samples_per_prompt
        assert rows.start % num_samples == rows.stop % num_samples == 0
        return self._cut(rows, self.prompt_ids[rows.start // num_samples : rows.stop // num_samples])

    def of_prompts(self, prompts: Sequence[int]) -> Rollouts:
        """All responses to some prompts, cut to the longest of them.

        Args:
            prompts: Positions of prompts, in any order.
        """
        return self._cut(rows_of(prompts, self.samples_per_prompt), [self.prompt_ids[prompt] for prompt in prompts])

    def with_prompts(self, prompts: Sequence[int], others: Rollouts) -> Rollouts:
        """The rollouts with some prompts and all their responses exchanged.

        Args:
            prompts: Positions of the prompts to exchange.
            others: Responses to as many other prompts, with the same fields.
        """
        rows, width = rows_of(prompts, self.samples_per_prompt), max(self.tokens_BT.shape[1], others.tokens_BT.shape[1])
        new = dict(others._row_tensors())
        tensors: dict[str, Any] = {}
        for name, tensor in self._row_tensors():
            tensors[name] = _widened(name, tensor, width).clone()
            tensors[name][rows] = _widened(name, new[name], width)
        ids = dict(zip(prompts, others.prompt_ids, strict=True))
        return replace(self, prompt_ids=[ids.get(n, old) for n, old in enumerate(self.prompt_ids)], **tensors)

    def tokens_of_prompts(self, *, prompts_once: bool = True) -> list[int]:
        """Tokens that each prompt takes in a forward pass with all its responses.

        Args:
            prompts_once: Whether a prompt with many responses is read once for all of them.
        """
        num_samples = self.samples_per_prompt
        longest = self.mask_BT.sum(-1).view(-1, num_samples).amax(-1).tolist()
        num_copies = 1 if prompts_once and num_samples >= MIN_SHARED_SAMPLES else num_samples
        return [
            num_copies * len(prompt) + num_samples * int(response)
            for prompt, response in zip(self.prompt_ids, longest, strict=True)
        ]

    def placed(self, parts: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
        """Numbers per token of all rows, from those of parts.

        Args:
            parts: Positions of prompts, and the numbers [rows, tokens] of their responses.

        Returns:
            [B, T], 0 beyond the tokens of a part.
        """
        placed_BT = parts[0][1].new_zeros(self.tokens_BT.shape)
        for prompts, numbers in parts:
            placed_BT[rows_of(prompts, self.samples_per_prompt), : numbers.shape[1]] = numbers
        return placed_BT

    def _cut(self, rows: slice | list[int], prompts: list[list[int]]) -> Rollouts:
        width = int(self.mask_BT[rows].sum(-1).max())
        cut: dict[str, Any] = {
            name: tensor[rows, :width] if _has_tokens(name) else tensor[rows] for name, tensor in self._row_tensors()
        }
        return replace(self, prompt_ids=prompts, **cut)

    def to(self, device: torch.device | str) -> Rollouts:
        """The rollouts on a device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._row_tensors()}
        return replace(self, **moved)

    def state_dict(self) -> dict[str, Any]:
        """Every field that is set, as a checkpoint keeps it."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def joint(self, gather: Callable[[Tensor], Tensor], *, width: int) -> Rollouts:
        """The rollouts of all processes, in the order in which one process would have drawn them.

        Args:
            gather: Stacks a tensor of equal shape on every process along a new first axis.
            width: T after padding, at least that of every process.
        """

        def joined(tensor: Tensor) -> Tensor:
            return gather(tensor.contiguous()).flatten(0, 1)

        tensors: dict[str, Any] = {name: joined(_widened(name, tensor, width)) for name, tensor in self._row_tensors()}
        return replace(self, prompt_ids=self._joint_prompts(joined), **tensors)

    def _joint_prompts(self, joined: Callable[[Tensor], Tensor]) -> list[list[int]]:
        device = self.tokens_BT.device
        lengths = joined(torch.tensor([len(ids) for ids in self.prompt_ids], device=device)).tolist()
        widest = max(lengths)
        padded = [ids + [0] * (widest - len(ids)) for ids in self.prompt_ids]
        rows = joined(torch.tensor(padded, device=device)).tolist()
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def _row_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of every field that has one row per response and is set."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value


def _widened(name: str, tensor: Tensor, width: int) -> Tensor:
    """A field padded to a width, where it has one number per token."""
    return pad(tensor, (0, width - tensor.shape[1])) if _has_tokens(name) else tensor


def _has_tokens(name: str) -> bool:
    return name.endswith("_BT")


def rows_of(prompts: Sequence[int], samples_per_prompt: int) -> list[int]:
    """Rows of all responses to some prompts.

    >>> rows_of([2, 0], samples_per_prompt=2)
    [4, 5, 0, 1]
    """
    return [prompt * samples_per_prompt + sample for prompt in prompts for sample in range(samples_per_prompt)]

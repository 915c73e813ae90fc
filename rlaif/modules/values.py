"""Baselines V(X_t): what return to expect after the prompt and the tokens so far.

Shapes: B rows (prompt-major), G prompts, T response tokens, D hidden.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.data.batches.examples import pad_right
from rlaif.objectives.base import Needs


def _scalar_head(width: int) -> nn.Linear:
    """A linear map to one number that starts at 0 for every state."""
    head = nn.utils.skip_init(nn.Linear, width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _width(model: PreTrainedModel) -> int:
    # Not config.hidden_size: some bodies end with a projection to the width of the embedding.
    width: int = model.get_output_embeddings().weight.shape[-1]
    return width


class Baseline(nn.Module):
    """A baseline that starts at the mean return of the first policy step, so that the first advantages are centred."""

    num_observed: Tensor
    """Policy steps with a reward so far; kept in checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("num_observed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, mean_return: Tensor) -> bool:
        """Take note of a step's mean return.

        Args:
            mean_return: Over all tokens of the step that count, a scalar.

        Returns:
            True for the first one: the baseline was 0 until now and is ``mean_return`` from now on.
        """
        is_first = int(self.num_observed) == 0
        self._observe(mean_return, is_first)
        self.num_observed += 1
        return is_first

    def _observe(self, mean_return: Tensor, is_first: bool) -> None:
        raise NotImplementedError

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """Values [B, T] of the states before each of ``tokens_BT``."""
        raise NotImplementedError


class RunningAverage(Baseline):
    """One number for all states: the mean returns of the earlier steps, newer ones weighing more."""

    DECAY = 0.9
    """Share of the old average that each step keeps."""
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(()))

    def _observe(self, mean_return: Tensor, is_first: bool) -> None:
        self.average.lerp_(mean_return.to(self.average), 1.0 if is_first else 1.0 - self.DECAY)

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """The average, everywhere."""
        return self.average.expand(tokens_BT.shape)


class ValueHead(Baseline):
    """A linear head on the policy's own hidden states, which it does not train.

    Far cheaper than the paper's second model: no forward pass of its own.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.head = _scalar_head(_width(policy))

    def _observe(self, mean_return: Tensor, is_first: bool) -> None:
        if is_first:
            self.head.bias.fill_(mean_return)

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """Values [B, T] of the states that the policy's ``hidden_BTD`` describes."""
        return _values(self.head, hidden_BTD.detach())


class ValueModel(Baseline):
    """A model of its own, initialised from SFT like the policy (arXiv 2309.00267, appendix F)."""

    def __init__(self, sft: PreTrainedModel) -> None:
        super().__init__()
        # What an adapter leaves frozen is shared with the policy.
        frozen = {id(weight): weight for weight in sft.parameters() if not weight.requires_grad}
        self.body = deepcopy(sft.base_model, frozen)
        self.head = _scalar_head(_width(sft))

    def _observe(self, mean_return: Tensor, is_first: bool) -> None:
        if is_first:
            self.head.bias.fill_(mean_return)

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """Values [B, T] of the states before each of ``tokens_BT``, which follow G prompts (B = G * k rows)."""
        num_rows, width = tokens_BT.shape
        rows = [prompt for prompt in prompt_ids for _ in range(num_rows // len(prompt_ids))]
        joined = [prompt + response for prompt, response in zip(rows, tokens_BT.tolist(), strict=True)]
        ids_BS = pad_right(joined, 0)[0].to(tokens_BT.device)
        starts_B1 = torch.tensor([[len(prompt) - 1] for prompt in rows], device=tokens_BT.device)
        columns_BT = starts_B1 + torch.arange(width, device=tokens_BT.device)
        hidden_BSD = self.body(input_ids=ids_BS, use_cache=False).last_hidden_state
        states_BTD = hidden_BSD.gather(1, columns_BT[:, :, None].expand(-1, -1, hidden_BSD.shape[-1]))
        return _values(self.head, states_BTD)


def _values(head: nn.Linear, states_BTD: Tensor) -> Tensor:
    """Values [B, T] in float32, also under autocast: bfloat16 has three digits, too few for raw rewards."""
    with torch.autocast(states_BTD.device.type, enabled=False):
        values_BT1: Tensor = head(states_BTD.float())
    return values_BT1.squeeze(-1)


def make_baseline(policy: PreTrainedModel, needs: Needs, kind: Literal["head", "model"]) -> Baseline | None:
    """The baseline that an objective needs; None where it needs none.

    Args:
        policy: The policy at its start.
        needs: Of the objective.
        kind: Of a learned baseline.
    """
    if not needs.values:
        return None
    if needs.values_from == "running_average":
        return RunningAverage()
    return ValueHead(policy) if kind == "head" else ValueModel(policy)

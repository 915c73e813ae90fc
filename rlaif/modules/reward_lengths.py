"""The rewards and lengths of labeled pairs, which a trained reward model leaves for its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch

from rlaif.data.batches.examples import PairBatch, PairExample
from rlaif.data.batches.modules import PreferenceDataModule
from rlaif.inference.micro_batches import cut_by_tokens
from rlaif.modules.distributed import has_whole_weights
from rlaif.modules.reward_model import RewardModelModule

REWARD_LENGTHS = "reward_lengths.jsonl"
MOST_PAIRS = 512
"""Held-out pairs first, then those of the training: length is not what a reward model memorizes."""


class ScoredPair(NamedTuple):
    """Two responses to one prompt, with their lengths and rewards."""

    prompt_id: str
    lengths: tuple[int, int]
    """In tokens, end token included."""
    rewards: dict[str, tuple[float, float]]
    """By name of the reward."""


def read_reward_lengths(file: Path) -> list[ScoredPair]:
    """What :func:`write_reward_lengths` wrote; nothing without a file."""
    if not file.is_file():
        return []
    return [ScoredPair(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def write_reward_lengths(module: RewardModelModule, data: PreferenceDataModule, file: Path) -> None:
    """Score pairs with a trained model, on the first process; nothing where its weights are sharded.

    Args:
        module: The trained model, with the trainer that trained it.
        data: The pairs.
        file: Gets a JSON object per pair.
    """
    trainer = module.trainer
    if not trainer.is_global_zero or not has_whole_weights(trainer):
        return
    pairs = [*data.validation_examples, *data.train_examples][:MOST_PAIRS]
    parts = cut_by_tokens([len(pair.first_ids) + len(pair.second_ids) for pair in pairs], module.token_budget)
    module.to(trainer.strategy.root_device).eval()
    with trainer.precision_plugin.forward_context():  # as in the training: a mixed precision is faster
        rows = [row for part in parts for row in _scored(module, data, [pairs[number] for number in part])]
    module.cpu()
    file.write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows), encoding="utf-8")


@torch.no_grad()
def _scored(module: RewardModelModule, data: PreferenceDataModule, pairs: list[PairExample]) -> list[ScoredPair]:
    batch = PairBatch(*(tensor.to(module.device) for tensor in data.collate(pairs)))
    lengths_B2 = batch.response_lengths().T.tolist()
    rewards = {name: scores_2B.T.tolist() for name, scores_2B in module.rewards(batch).items()}
    return [
        ScoredPair(pair.prompt_id, tuple(lengths_B2[row]), {name: tuple(rewards[name][row]) for name in rewards})
        for row, pair in enumerate(pairs)
    ]

"""The recipe of the pocket models: sizes, training, resume.

`rlaif-run experiment=pocket_pretraining` runs it. Every batch depends on (seed, step) alone and the
whole state is saved every few minutes, so a run that was killed goes on where it stopped and ends
with the same weights.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlaif.inference.linear import fast_linear
from rlaif.pocket.corpus import draw_example
from rlaif.pocket.examples import Piece
from rlaif.pocket.families import Recipe, build_model, train_tokenizer

RECIPES: dict[str, Recipe] = {
    "XS": Recipe(hidden_size=64, num_layers=2, num_heads=4, num_steps=1_500, seed=1),
    "S": Recipe(hidden_size=128, num_layers=4, num_heads=4, num_steps=2_000, seed=4),
    "S2": Recipe(family="neox", hidden_size=128, num_layers=4, num_heads=4, num_steps=3_500, seed=5),
    "L": Recipe(hidden_size=160, num_layers=5, num_heads=5, num_steps=6_000, lr=2e-3, seed=3, bf16_operands=True),
    "judge": Recipe(hidden_size=160, num_layers=5, num_heads=5, num_steps=6_000, lr=2e-3, seed=2, bf16_operands=True),
}
"""Three sizes of about 0.2M, 0.9M and 1.7M parameters; S2, of S's size and of another family; and the evaluation's LLM
judge: L, another seed. A judge of S's size read facts that it never met worse than the policies it judged."""


class _Bf16Linear(torch.autograd.Function):
    """Matrix products of bfloat16 operands; inputs, outputs and gradients stay float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x16, weight16 = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x16, weight16)
        return F.linear(x16, weight16).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x16, weight16 = ctx.saved_tensors
        grad16 = grads[0].bfloat16()
        flat_grad, flat_x = grad16.reshape(-1, grad16.shape[-1]), x16.reshape(-1, x16.shape[-1])
        return (grad16 @ weight16).float(), (flat_grad.t() @ flat_x).float()


def _use_bf16_operands(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.forward = partial(_apply_bf16, module)  # type: ignore[method-assign]


def _apply_bf16(module: torch.nn.Linear, x: Tensor) -> Tensor:
    return cast(Tensor, _Bf16Linear.apply(x, module.weight))


class Batches:
    """Turns (seed, step) into length-sorted microbatches of token ids and loss weights."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self.recipe = recipe
        self.backend = tokenizer.backend_tokenizer
        self.eos_id = int(tokenizer.eos_token_id)
        self.pad_id = int(tokenizer.pad_token_id)

    def at(self, step: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Microbatches of one step.

        Yields:
            Token ids [B, T] and the weight of each token as a *target* [B, T] (0 for padding).
        """
        count = self.recipe.examples_per_step
        examples = [draw_example(self.recipe.seed, step * count + i) for i in range(count)]
        rows = sorted(self._encode(examples), key=lambda row: -len(row[0]))
        while rows:
            size = max(self.recipe.tokens_per_microbatch // len(rows[0][0]), 1)
            yield self._pad(rows[:size])
            rows = rows[size:]

    def _pad(self, rows: list[tuple[list[int], list[float]]]) -> tuple[Tensor, Tensor]:
        width = len(rows[0][0])
        ids_BT = torch.full((len(rows), width), self.pad_id)
        weights_BT = torch.zeros(len(rows), width)
        for i, (ids, weights) in enumerate(rows):
            ids_BT[i, : len(ids)] = torch.tensor(ids)
            weights_BT[i, : len(ids)] = torch.tensor(weights)
        return ids_BT, weights_BT

    def _encode(self, examples: list[list[Piece]]) -> list[tuple[list[int], list[float]]]:
        pieces = [piece for example in examples for piece in example]
        encoded = iter(self.backend.encode_batch([piece.text for piece in pieces]))
        rows = []
        for example in examples:
            ids: list[int] = []
            weights: list[float] = []
            for piece in example:
                new = next(encoded).ids + ([self.eos_id] if piece.ends else [])
                ids += new
                weights += [piece.weight] * len(new)
            rows.append((ids, weights))
        return rows


def pretrain(
    size: str,
    directory: Path,
    *,
    recipe: Recipe | None = None,
    device: str = "cpu",
    save_every_s: float = 120.0,
    report: Callable[[int], None] | None = None,
) -> Path:
    """Train one pocket model, or go on where a killed run stopped.

    Args:
        size: A name of ``RECIPES``.
        directory: Gets ``<size>/`` (a Hugging Face folder in bf16) and, while training, ``<size>.pt``.
        recipe: Another recipe than the committed one.
        device: Where to train.
        save_every_s: Seconds between checkpoints.
        report: Called with the number of finished steps, at the start and every ten.

    Returns:
        The model folder.
    """
    recipe = recipe or RECIPES[size]
    folder, state_path = directory / size, directory / f"{size}.pt"
    if folder.exists():
        return folder
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(recipe.family)
    model = build_model(recipe, tokenizer)
    torch.nn.Module.to(model, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
    )
    if recipe.bf16_operands:
        _use_bf16_operands(model)
    else:
        fast_linear(model)
    start = 0
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    batches = Batches(recipe, tokenizer)
    last_save = time.monotonic()
    for step in range(start, recipe.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * _schedule(step, recipe)
        if step % 10 == 0 and report is not None:
            report(step)
        train_step(model, optimizer, list(batches.at(step)), recipe.max_grad_norm, device)
        if time.monotonic() - last_save > save_every_s:
            _save_state(state_path, model, optimizer, step + 1)
            last_save = time.monotonic()
    partial_folder = directory / f"{size}.partial"
    model.cpu().bfloat16().save_pretrained(partial_folder)
    tokenizer.save_pretrained(partial_folder)
    os.replace(partial_folder, folder)  # a folder of that name is always whole
    state_path.unlink(missing_ok=True)
    return folder


def train_step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    microbatches: list[tuple[Tensor, Tensor]],
    max_grad_norm: float,
    device: str = "cpu",
) -> tuple[float, int]:
    """One optimizer step on the weighted cross-entropy.

    Returns:
        The weighted mean loss in nats and the number of real tokens.
    """
    total_weight = sum(float(weights_BT[:, 1:].sum()) for _, weights_BT in microbatches)
    loss_sum, num_tokens, head = 0.0, 0, model.get_output_embeddings()
    for ids_BT, weights_BT in microbatches:
        ids_BT, weights_BT = ids_BT.to(device), weights_BT.to(device)
        counts_BT = weights_BT[:, 1:] > 0
        hidden_BTH = model.base_model(input_ids=ids_BT[:, :-1], use_cache=False).last_hidden_state
        logits_NV = head(hidden_BTH[counts_BT]).float()
        losses_N = F.cross_entropy(logits_NV, ids_BT[:, 1:][counts_BT], reduction="none")
        loss = (losses_N * weights_BT[:, 1:][counts_BT]).sum() / total_weight
        loss.backward()
        loss_sum += float(loss.detach())
        num_tokens += int(counts_BT.sum())
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_sum, num_tokens


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to a tenth."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(recipe.num_steps - recipe.warmup_steps, 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def _save_state(path: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, step: int) -> None:
    partial = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)
    os.replace(partial, path)

"""TRL's side of ``training.py``: its own trainers on the same tokens, as they are and as they are fastest."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import Sampler
from training_data import END, NEW_TOKENS, PAD, SAMPLES, Example, Size, Stage, reward_of
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

Way = Literal["in_order", "default", "best"]
"""The examples in their order, without gradient checkpointing; TRL's defaults; or batches of similar lengths, reference
log-probs before the training, and no gradient checkpointing."""

logging.getLogger("transformers").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Clock(TrainerCallback):
    """Seconds of all optimizer steps."""

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.end = time.perf_counter()


class _Tokenized:
    """A trainer whose data are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any, **options: Any) -> Dataset:
        return dataset


class _InOrder:
    """A trainer that takes its prompts in their order, whatever the replayed responses are."""

    replayed: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] | None = None

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler[int]:
        self.shuffle_dataset = False
        return super()._get_train_sampler(dataset)  # type: ignore[misc,no-any-return]

    def _generate_single_turn(self, prompt_ids: list[list[int]], *arguments: Any, **options: Any) -> Any:
        if self.replayed is None:
            return super()._generate_single_turn(prompt_ids, *arguments, **options)  # type: ignore[misc]
        rows = [list(self.replayed[tuple(ids)][n % SAMPLES]) for n, ids in enumerate(prompt_ids)]
        return (rows, None) if isinstance(self, GRPOTrainer) else rows


class Sft(_Tokenized, SFTTrainer):
    """SFT on tokens."""


class Reward(_Tokenized, RewardTrainer):
    """Reward model on tokens."""


class Dpo(_Tokenized, DPOTrainer):
    """DPO on tokens."""


class Grpo(_InOrder, GRPOTrainer):
    """GRPO on given prompts."""


class Rloo(_InOrder, RLOOTrainer):
    """RLOO on given prompts."""


TRAINERS: dict[Stage, tuple[Any, Any]] = {
    "sft": (Sft, SFTConfig),
    "reward_model": (Reward, RewardConfig),
    "dpo": (Dpo, DPOConfig),
    "grpo": (Grpo, GRPOConfig),
    "rloo": (Rloo, RLOOConfig),
}


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token per word: ``t7`` is token 7."""
    words = {"<pad>": PAD, "<end>": END, "<start>": 2, "<unknown>": 3}
    words |= {f"t{number}": number for number in range(len(words), vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>"
    )


def train(
    stage: Stage,
    model: Any,
    reference: Any,
    examples: Sequence[Example],
    size: Size,
    *,
    lr: float,
    way: Way,
    bf16: bool,
) -> tuple[list[float], float]:
    """One pass over the examples.

    Args:
        stage: What is trained.
        model: Learns.
        reference: The frozen model of DPO and of rollouts; None for the others.
        examples: In the order of the steps.
        size: Of the model.
        lr: Rate of every step.
        way: How.
        bf16: Compute in bfloat16.

    Returns:
        The losses, and seconds of all steps with the reference's pass.
    """
    make_trainer, make_config = TRAINERS[stage]
    with tempfile.TemporaryDirectory() as folder:
        options = _common(folder, size, lr, way, bf16) | _own(stage, size, way)
        clock = Clock()
        start = time.perf_counter()
        extra = {"reward_funcs": [_even_tokens]} if stage in ("grpo", "rloo") else {}
        if stage == "dpo":
            extra = {"ref_model": reference}
        elif reference is not None:  # TRL reads it from where the model's configuration says that it came from
            reference.save_pretrained(f"{folder}/reference")
            model.config._name_or_path = f"{folder}/reference"
        trainer = make_trainer(
            model=model,
            args=make_config(**options),
            train_dataset=_rows(stage, examples),
            processing_class=word_tokenizer(size.shape.vocabulary),
            callbacks=[clock],
            **extra,
        )
        if way == "in_order":
            trainer.replayed = {example.prompt: example.sampled for example in examples}
        if stage != "dpo" or way != "best":
            start = time.perf_counter()  # else the reference's pass belongs to it
        trainer.train()
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, clock.end - start


def _common(folder: str, size: Size, lr: float, way: Way, bf16: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": size.batch_size,
        "num_train_epochs": 1,
        "learning_rate": lr,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": bf16,
        "seed": 0,
        "dataloader_drop_last": True,
        "remove_unused_columns": False,
    }
    if way != "default":
        options["gradient_checkpointing"] = False
    return options


def _own(stage: Stage, size: Size, way: Way) -> dict[str, Any]:
    if stage in ("grpo", "rloo"):
        own = {
            "per_device_train_batch_size": size.prompts_per_step * SAMPLES,
            "num_generations": SAMPLES,
            "max_completion_length": NEW_TOKENS,
            "temperature": 1.0,
            "steps_per_generation": 1,
            "beta": 0.04 if stage == "grpo" else 0.05,
        }
        return own | ({"loss_type": "grpo", "scale_rewards": "none"} if stage == "grpo" else {})
    own = {"max_length": 2048}
    if way == "in_order":
        own["train_sampling_strategy"] = "sequential"
    elif way == "best":
        own |= {"train_sampling_strategy": "group_by_length", "length_column_name": "length"}
    if stage == "sft":
        own["completion_only_loss"] = True
    if stage == "dpo":
        own |= {"beta": 0.1, "precompute_ref_log_probs": way == "best"}
    return own


def _rows(stage: Stage, examples: Sequence[Example]) -> Dataset:
    rows: list[dict[str, Any]] = []
    for e in examples:
        length = len(e.prompt) + max(len(e.first), len(e.second))
        if stage == "sft":
            labels = [-100] * len(e.prompt) + list(e.first)
            rows.append({"input_ids": [*e.prompt, *e.first], "labels": labels, "length": len(e.prompt) + len(e.first)})
        elif stage == "reward_model":
            rows.append({"chosen_ids": [*e.prompt, *e.first], "rejected_ids": [*e.prompt, *e.second], "length": length})
        elif stage == "dpo":
            sides = {"chosen_ids": list(e.first), "rejected_ids": list(e.second)}
            rows.append({"prompt_ids": list(e.prompt), **sides, "length": length})
        else:
            rows.append({"prompt": " ".join(f"t{token}" for token in e.prompt)})
    return Dataset.from_list(rows)


def _even_tokens(completion_ids: list[list[int]], **more: Any) -> list[float]:
    return [reward_of(ids) for ids in completion_ids]

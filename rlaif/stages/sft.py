"""Supervised fine-tuning: the policy's starting point and reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.batches.modules import SFTDataModule
from rlaif.functional.seeds import derive_seed
from rlaif.inference.recomputing import recompute_layers
from rlaif.models.adapters import LoraSettings, lora_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.models.saving import save_folder
from rlaif.models.uses import ModelUse
from rlaif.modules.settings import dtype_problems
from rlaif.modules.sft import SFTSettings
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads
from rlaif.stages.demonstrations import demonstrations_of
from rlaif.stages.supervised import batch_problems, examples_told, train_supervised
from rlaif.tasks.base import Task

LORA = "lora.sft"
"""Options of its adapter."""


class SFTStage(Stage):
    """Trains a model to imitate demonstrations, or takes it as it is (``sft=skip``).

    Args:
        model: What is fine-tuned.
        task: Gives the text that a policy continues.
        settings: Config group ``sft``.
        precision: Number format of the computation (``trainer.precision``).
        lora: Adapter that is trained; None trains all weights.
    """

    trains = True

    def __init__(
        self,
        model: ModelSpec,
        task: Task,
        settings: SFTSettings,
        precision: str = "32-true",
        lora: LoraSettings | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.settings = settings
        self.precision = precision
        self.lora = lora

    def reads(self) -> Mapping[str, Reads]:
        """The demonstrations."""
        return {"demonstrations": Reads(kind="demonstrations")}

    def leaves(self) -> frozenset[str]:
        """A policy."""
        return frozenset({"policy"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Training on demonstrations."""
        if not self.settings.skip:
            yield ModelUse(
                purpose="imitate",
                num_tokens=self.settings.max_length,
                option="sft.max_length",
                lora=self.lora,
                lora_option=LORA,
            )

    def problems(self, work: Work) -> Iterator[str]:
        """A batch that the demonstrations cannot fill or the devices not share, and weights of 16 bits."""
        if not self.settings.skip:
            yield from dtype_problems(self.model.dtype)
            yield from lora_problems(self.lora, LORA)
            given, count, what = work.input("demonstrations"), None, "demonstrations"
            if given.data is not None:
                count = len(demonstrations_of(work))
            elif given.most_demonstrations is not None:  # an earlier step has yet to write them
                count, what = given.most_demonstrations, f"demonstrations that {given.step} will write"
            yield from batch_problems("sft", self.settings.batching, count, what, num_processes=work.num_processes)

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        model, tokenizer = load_causal_lm(self.model), load_tokenizer(self.model)
        if self.settings.skip:
            save_folder(model, tokenizer, work.directory)
            return
        data = SFTDataModule(
            demonstrations_of(work),
            task=self.task,
            tokenizer=tokenizer,
            seed=work.seed,
            batching=self.settings.batching,
        )
        if self.model.gradient_checkpointing:
            recompute_layers(model)
        if self.lora is not None:
            model = self.lora.on(model, base=self.model.place, seed=derive_seed(work.seed, "adapter"), option=LORA)
        train_supervised(work, self.settings.module(model), data, tokenizer, self.lora)

    def told(self, work: Work) -> Told:
        """Number of demonstrations and last loss."""
        rows = read_curve(work.directory / CURVE)
        count = len(demonstrations_of(work))
        if not rows:
            return Told(link=work.step)
        cut = examples_told(work.directory, "sft", self.settings.max_length)
        return Told(line=f"{count:,} demonstrations, loss {rows[-1]['train/loss']:.3f}{cut}", link=work.step)

"""A policy that learns from labeled pairs, without a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.base import PairSource
from rlaif.data.batches.modules import SplitDataModule
from rlaif.data.batches.preferences import (
    PreferenceBatch,
    PreferenceExample,
    collate_preferences,
    preference_examples,
)
from rlaif.data.label_sets.mixing import MixSettings
from rlaif.errors import ConfigError
from rlaif.functional.labels import Targets
from rlaif.functional.seeds import derive_seed
from rlaif.inference.recomputing import recompute_layers
from rlaif.models.adapters import LoraSettings, lora_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.preference import PreferenceSettings
from rlaif.modules.reference_logprobs import ReferenceLogprobs
from rlaif.modules.settings import dtype_problems
from rlaif.pipeline.stage import Told, Work
from rlaif.roles import Reads
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.labeled import LabeledStage, sources_told
from rlaif.stages.supervised import examples_told, train_supervised
from rlaif.tasks.base import Task

REFERENCE_LOGPROBS = "reference_logprobs.json"
"""log π_SFT of both responses of every pair, for a training that goes on."""

LORA = "lora.policy"
"""Options of its adapter."""


class PreferenceStage(LabeledStage):
    """Trains the nearest earlier policy on soft labels; the SFT policy is the reference.

    Args:
        task: Gives the text that a policy continues.
        settings: Config group ``policy``.
        mix: Weight of this run's labels, and labels of further sources.
        targets: What is learned from each label: its probability, or the preferred response alone.
        dtype: Number format of the loaded weights.
        precision: Number format of the computation (``trainer.precision``).
        lora: Adapter that is trained; None trains all weights.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        samples_per_prompt: Responses to each prompt that is labeled: how many pairs there can be.
        pairs: Source of the labeled pairs (``data.pairs``).
        sampling: How pairs are sampled; only compared with the length limit.
    """

    settings: PreferenceSettings

    def __init__(
        self,
        task: Task,
        settings: PreferenceSettings,
        mix: MixSettings,
        targets: Targets = "soft",
        dtype: str = "float32",
        precision: str = "32-true",
        lora: LoraSettings | None = None,
        gradient_checkpointing: Runtime[bool] = False,
        samples_per_prompt: Runtime[int] = 2,
        pairs: Runtime[PairSource] = "policy",
        sampling: Runtime[SamplingSettings | None] = None,
    ) -> None:
        if not isinstance(settings, PreferenceSettings):
            raise ConfigError(
                "pipeline.stages: the step preference learns from labeled pairs; type policy=dpo or policy=ipo"
            )
        self.task = task
        self.settings = settings
        self.mix = mix
        self.targets: Targets = targets
        self.dtype = dtype
        self.precision = precision
        self.lora = lora
        self.gradient_checkpointing = gradient_checkpointing
        self.samples_per_prompt = samples_per_prompt
        self.pairs: PairSource = pairs
        self.sampling = sampling

    def reads(self) -> Mapping[str, Reads]:
        """The policy to start from, the SFT policy as reference, and labels."""
        return {
            "policy": Reads(kind="policy"),
            "reference": Reads(kind="policy", by="sft"),
            **self.label_roles(),
        }

    def leaves(self) -> frozenset[str]:
        """A policy."""
        return frozenset({"policy"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Log-probabilities of both responses."""
        yield ModelUse(
            purpose="imitate",
            num_tokens=self.settings.max_length,
            option="policy.max_length",
            lora=self.lora,
            lora_option=LORA,
        )

    def problems(self, work: Work) -> Iterator[str]:
        """A batch that the pairs cannot fill, as far as their number is known, and weights of 16 bits."""
        yield from dtype_problems(self.dtype)
        yield from lora_problems(self.lora, LORA, trains_with_dropout=False)
        yield from super().problems(work)

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        settings, start = self.settings, self._spec(work, "policy")
        tokenizer = load_tokenizer(start)
        data = self._data(work)
        reference = ReferenceLogprobs(
            work.directory / REFERENCE_LOGPROBS,
            data.read_examples,
            lambda: load_causal_lm(self._spec(work, "reference")),
            batch_size=settings.batch_size,
            begin=partial(work.progress, unit="pairs read by the reference"),
        )
        model = load_causal_lm(start)
        if self.gradient_checkpointing:
            recompute_layers(model)
        if self.lora is not None:
            model = self.lora.on(model, base=start.place, seed=derive_seed(work.seed, "adapter"), option=LORA)
        train_supervised(work, settings.module(model, reference), data, tokenizer, self.lora)

    def _spec(self, work: Work, role: str) -> ModelSpec:
        return ModelSpec(str(work.path(role)), dtype=self.dtype)

    def _data(self, work: Work) -> SplitDataModule[PreferenceExample, PreferenceBatch]:
        tokenizer = load_tokenizer(self._spec(work, "policy"))
        return SplitDataModule(
            preference_examples(self.labels(work), self.task, tokenizer, self.settings.max_length),
            collate_preferences,
            batching=self.settings.batching,
            name="policy",
            seed=work.seed,
        )

    def told(self, work: Work) -> Told:
        """First and last loss, the last margin, and how many labels each source gave where several were mixed."""
        rows = read_curve(work.directory / CURVE)
        line = ""
        if rows:
            first, last = rows[0], rows[-1]
            line = f"{int(last['step'])} steps, loss {first['train/loss']:.3f} to {last['train/loss']:.3f}"
            line += f", margin {last['train/margin']:+.2f} nats" if "train/margin" in last else ""
        line += sources_told(work.directory) + examples_told(work.directory, "policy", self.settings.max_length)
        return Told(line=line, link=work.step)

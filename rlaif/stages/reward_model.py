"""The reward model: learns soft labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.base import PairSource
from rlaif.data.batches.modules import PreferenceDataModule
from rlaif.data.label_sets.mixing import MixSettings
from rlaif.evaluation.length_correlation import length_tables
from rlaif.functional.labels import Targets
from rlaif.functional.seeds import derive_seed
from rlaif.inference.recomputing import recompute_layers
from rlaif.models.adapters import LoraSettings, lora_problems
from rlaif.models.classifiers import load_reward_model
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.reward_lengths import REWARD_LENGTHS, read_reward_lengths, write_reward_lengths
from rlaif.modules.reward_model_settings import RewardModelSettings
from rlaif.modules.settings import dtype_problems
from rlaif.pipeline.stage import Told, Work
from rlaif.roles import Reads
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.labeled import LabeledStage, sources_told
from rlaif.stages.supervised import examples_told, train_supervised
from rlaif.tasks.base import Task

LORA = "lora.reward_model"
"""Options of its adapter."""


class RewardModelStage(LabeledStage):
    """Trains a sequence classifier with one output on soft labels.

    Args:
        model: The model before SFT, whose weights it starts from with ``init=base``; its tokenizer.
        task: Gives the text that a policy continues.
        settings: Config group ``reward_model``.
        mix: Weight of this run's labels, and labels of further sources.
        targets: What is learned from each label: its probability, or the preferred response alone.
        precision: Number format of the computation (``trainer.precision``).
        lora: Adapter that is trained with the scalar head; None trains all weights.
        samples_per_prompt: Responses to each prompt that is labeled: how many pairs there can be.
        pairs: Source of the labeled pairs (``data.pairs``).
        sampling: How pairs are sampled; only compared with the length limit.
    """

    settings: RewardModelSettings
    unread_hint = "remove it, or for a policy that a labeler rewards (reward=labeler) add pipeline=direct"

    def __init__(
        self,
        model: ModelSpec,
        task: Task,
        settings: RewardModelSettings,
        mix: MixSettings,
        targets: Targets = "soft",
        precision: str = "32-true",
        lora: LoraSettings | None = None,
        samples_per_prompt: Runtime[int] = 2,
        pairs: Runtime[PairSource] = "policy",
        sampling: Runtime[SamplingSettings | None] = None,
    ) -> None:
        self.samples_per_prompt = samples_per_prompt
        self.pairs: PairSource = pairs
        self.sampling = sampling
        self.model = model
        self.task = task
        self.settings = settings
        self.mix = mix
        self.targets: Targets = targets
        self.precision = precision
        self.lora = lora

    def reads(self) -> Mapping[str, Reads]:
        """Labels, the SFT policy where the weights start there, and held-out prompts where files are mixed in."""
        roles = self.label_roles()
        if self.settings.init == "sft":
            roles["init"] = Reads(kind="policy", by="sft")
        return roles

    def leaves(self) -> frozenset[str]:
        """A reward model."""
        return frozenset({"reward_model"})

    def model_uses(self) -> Iterator[ModelUse]:
        """A scalar head on its body, which is trained."""
        yield ModelUse(
            purpose="reward_model",
            num_tokens=self.settings.max_length,
            option="reward_model.max_length",
            lora=self.lora,
            lora_option=LORA,
        )

    def problems(self, work: Work) -> Iterator[str]:
        """A batch that the pairs cannot fill, as far as their number is known, and weights of 16 bits."""
        yield from dtype_problems(self.model.dtype)
        yield from lora_problems(self.lora, LORA)
        yield from super().problems(work)

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        spec = self.model
        if self.settings.init == "sft":
            spec = ModelSpec(str(work.path("init")), dtype=spec.dtype)
        model = load_reward_model(spec, seed=derive_seed(work.seed, "reward head"))
        tokenizer = load_tokenizer(spec)
        data = PreferenceDataModule(
            self.labels(work),
            task=self.task,
            tokenizer=tokenizer,
            seed=work.seed,
            batching=self.settings.batching,
        )
        if self.model.gradient_checkpointing:
            recompute_layers(model)
        if self.lora is not None:
            model = self.lora.on(model, base=spec.place, seed=derive_seed(work.seed, "adapter"), option=LORA)
        module = self.settings.module(model)
        score = partial(write_reward_lengths, module, data, work.directory / REWARD_LENGTHS)
        train_supervised(work, module, data, tokenizer, self.lora, before_saving=score)

    def told(self, work: Work) -> Told:
        """Last loss, and how many labels each source gave where several were mixed."""
        rows = read_curve(work.directory / CURVE)
        line = f"loss {rows[-1]['train/loss']:.3f}" if rows and "train/loss" in rows[-1] else ""
        line += sources_told(work.directory) + examples_told(work.directory, "reward_model", self.settings.max_length)
        sections = length_tables(read_reward_lengths(work.directory / REWARD_LENGTHS))
        return Told(line=line.removeprefix(", "), link=work.step, sections=sections)

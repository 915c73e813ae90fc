"""What the stages of one run share: the configuration, what it names, and finished results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rlaif.artifacts import Store, code_digest, fingerprint
from rlaif.data.base import DataSource, TaskData
from rlaif.errors import ConfigError
from rlaif.models.load import ModelSpec, load_tokenizer, model_identity
from rlaif.stages.stage import Stage
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Demonstration, Preference, Prompt, content_id

if TYPE_CHECKING:
    from lightning import Trainer
    from transformers import PreTrainedTokenizerBase

CODE_OF_NODE = "_target_"
LIBRARIES = frozenset({"torch", "transformers", "lightning"})
"""Packages whose code does not count: their versions are provenance."""


class Context:
    """The run's configuration and what it names, made when first asked for.

    Args:
        cfg: The composed configuration.
        stages: All stages by name.
    """

    def __init__(self, cfg: DictConfig, stages: Mapping[str, Stage]) -> None:
        self.cfg = cfg
        self.stages = stages
        self.store = Store(cfg.store.dir)
        self.seed = int(cfg.seed)
        self._fingerprints: dict[str, str] = {}

    @cached_property
    def task(self) -> Task:
        return cast(Task, instantiate(self.cfg.task))

    @cached_property
    def model_spec(self) -> ModelSpec:
        return cast(ModelSpec, instantiate(self.cfg.model))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.model_spec)

    @cached_property
    def source(self) -> DataSource:
        return cast(DataSource, instantiate(self.cfg.data))

    @cached_property
    def data(self) -> TaskData:
        """Prompts, demonstrations and people's labels; the policy's tokenizer counts tokens."""
        counts = PromptTokenizer(self.tokenizer)
        return self.source.load(self.task, lambda text: len(counts.data_ids(text)))

    @property
    def precision(self) -> str:
        return str(self.cfg.trainer.get("precision", "32-true"))

    def trainer_factory(self) -> Callable[..., Trainer]:
        return cast("Callable[..., Trainer]", instantiate(self.cfg.trainer))

    def logger(self) -> Any:
        """The Lightning logger of the group ``logger``; False for none."""
        return False if self.cfg.get("logger") is None else instantiate(self.cfg.logger)

    def base_identity(self) -> str:
        return model_identity(self.model_spec)

    def options_of(self, group: str) -> dict[str, object]:
        """A group's composed options as plain values."""
        return cast("dict[str, object]", OmegaConf.to_container(self.cfg[group], resolve=True))

    def result(self, name: str) -> Path:
        """The finished directory of an earlier stage."""
        stage = self.stages[name]
        path = self.store.complete(name, self.fingerprint(stage))
        if path is None:
            raise ConfigError(f"pipeline: stage {name} has not run; pipeline.stages must list it before its readers")
        return path

    def runs(self, name: str) -> bool:
        """True when this run's pipeline has that stage; pairs that came with the data need no samples."""
        needed = name != "samples" or self.cfg.data.pairs == "policy"
        return needed and name in self.cfg.pipeline.stages

    def inputs(self, stage: Stage) -> list[str]:
        """The stages of this pipeline whose results a stage reads (direct RLAIF has no reward model, for one)."""
        return [name for name in stage.inputs if self.runs(name)]

    def fingerprint(self, stage: Stage) -> str:
        """Hash of everything that a stage's result depends on."""
        if stage.name not in self._fingerprints:
            options = {"task": self.task.name, "seed": self.seed, **stage.options(self)}
            self._fingerprints[stage.name] = fingerprint(
                stage.name,
                options,
                [self.fingerprint(self.stages[name]) for name in self.inputs(stage)],
                [code_digest(stage.code)],
            )
        return self._fingerprints[stage.name]


def num_devices(cfg: DictConfig) -> int:
    """Devices per machine that the group ``trainer`` asks for."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1, "-1"):
        import torch  # asked only where the answer depends on the machine

        return max(torch.cuda.device_count(), 1) if cfg.trainer.accelerator != "cpu" else 1
    return int(devices)


def num_machines(cfg: DictConfig) -> int:
    """Machines that the group ``trainer`` asks for."""
    return int(cfg.trainer.get("num_nodes", 1))


def component_code(*nodes: DictConfig | None) -> str:
    """Digest of the code that config nodes and the nodes in them instantiate: ours and plugins', not libraries'."""
    containers = [OmegaConf.to_container(node, resolve=True) for node in nodes if node is not None]
    return code_digest(sorted(set(_modules(containers))))


def annotators_code(context: Context) -> str | None:
    """Digest of the simulated annotators' code, which no stage imports; None where there are none."""
    annotators = context.data.annotators
    return None if annotators is None else code_digest([type(annotators).__module__])


def _modules(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        target = value.get(CODE_OF_NODE)
        if isinstance(target, str) and target.split(".")[0] not in LIBRARIES:
            yield target.rsplit(".", 1)[0]
        for child in value.values():
            yield from _modules(child)
    elif isinstance(value, list):
        for child in value:
            yield from _modules(child)


def prompts_id(prompts: Sequence[Prompt]) -> str:
    return content_id(*(prompt.id for prompt in prompts))


def demonstrations_id(demonstrations: Sequence[Demonstration]) -> str:
    return content_id(*(content_id(item.prompt.id, item.response) for item in demonstrations))


def preferences_id(preferences: Sequence[Preference]) -> str:
    return content_id(*(f"{item.comparison.id} {item.p_first}" for item in preferences))


def texts(completions: Sequence[Completion]) -> list[str]:
    """The responses without surrounding white space, as they are judged and measured."""
    return [completion.trimmed for completion in completions]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

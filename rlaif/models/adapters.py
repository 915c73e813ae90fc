"""LoRA (arXiv 2106.09685) through peft: a few small matrices learn, the model's own weights stay as they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from rlaif.errors import ConfigError, EngineError
from rlaif.inference.adapters import has_adapter
from rlaif.inference.linear import fast_linear
from rlaif.ranges import AtLeastOne, Positive, ShareBelowOne

ADAPTER = "adapter"
"""Folder of the adapter inside that of the merged model."""
AUTO, ALL_LINEAR = "auto", "all-linear"
_NAME = "default"
"""What peft calls an only adapter."""
MISSING = "peft is not installed; type pip install 'rlaif[lora]' (or pip install --no-deps peft, and accelerate)"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Options of the adapter that one step trains. Group ``lora``."""

    rank: AtLeastOne = 16
    """Rank of the learned matrices."""
    alpha: Positive = 32.0
    """The learned matrices are scaled by ``alpha / rank``."""
    dropout: ShareBelowOne = 0.0
    """Share of the adapters' inputs that is dropped in training."""
    target_modules: str | Sequence[str] = ALL_LINEAR
    """Layers with an adapter: ``auto`` (those that peft names for the architecture), ``all-linear`` (all but the head),
    or the last parts of their names."""
    keep_adapter: bool = True
    """Whether the adapter is kept beside the merged weights, in the folder ``adapter``."""

    def __post_init__(self) -> None:
        problems = []
        if self.rank < 1:
            problems.append(f"lora.rank={self.rank}: must be at least 1")
        if not 0 < self.alpha < math.inf:
            problems.append(f"lora.alpha={self.alpha}: must be a finite number above 0")
        if not 0 <= self.dropout < 1:
            problems.append(f"lora.dropout={self.dropout}: must be at least 0 and below 1")
        if problems:
            raise ConfigError(problems)

    def on(self, model: PreTrainedModel, *, base: str, seed: int, option: str = "lora") -> PreTrainedModel:
        """Give a model an adapter that changes nothing yet, and freeze its own weights.

        Args:
            model: A causal LM, or a classifier, whose head keeps learning; it is changed in place.
            base: Folder or hub name of these weights, which the adapter's folder will name.
            seed: Of the random half of the adapter; the global random state is left as it was.
            option: Where these settings were typed, for messages.

        Returns:
            The same model.

        Raises:
            ConfigError: The model has no such layers.
            EngineError: peft is not installed.
        """
        if find_spec("peft") is None:
            raise EngineError(f"{option}: {MISSING}")
        from peft import LoraConfig, inject_adapter_in_model

        names = self.target_modules
        options: dict[str, Any] = {
            "task_type": "CAUSAL_LM" if model.can_generate() else "SEQ_CLS",
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": None if names == AUTO else names if isinstance(names, str) else list(names),
            "modules_to_save": None if model.can_generate() else ["score"],
        }
        if absent := _absent(names, model):
            raise ConfigError(_no_such_layers(names, option, model, f"has no layers named {', '.join(absent)}"))
        config = LoraConfig(**options)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(seed)
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # peft then sets it itself
            # Those of experts, which peft writes itself; it looks for them among modules, and applies them to weights.
            warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys did not match")
            try:
                inject_adapter_in_model(config, model)
            except ValueError as error:
                raise ConfigError(_no_such_layers(names, option, model, _refusal(names, error))) from error
        if model.config.get_text_config().tie_word_embeddings and _adapts_embeddings(model):
            raise ConfigError(
                f"{option}.target_modules={_told(names)}: {model.config.model_type} has one matrix for its embedding"
                f" and its head, which an adapter of one of them would tear apart; type {ALL_LINEAR}, or leave them out"
            )
        return fast_linear(model)

    def keep(self, model: PreTrainedModel, directory: Path) -> None:
        """Write the trained adapter into the folder ``adapter`` of a directory, where the settings say so."""
        if self.keep_adapter:
            save_adapter(model, directory / ADAPTER)


def _absent(names: str | Sequence[str], model: PreTrainedModel) -> list[str]:
    """Names of a list that no layer has: peft takes the others and leaves these out."""
    paths = [f".{path}" for path, _ in model.named_modules()]
    listed = () if isinstance(names, str) else names
    return [name for name in listed if not any(path.endswith(f".{name}") for path in paths)]


def _refusal(names: str | Sequence[str], error: Exception) -> str:
    if names == AUTO:
        return "has no layers that peft names for it"
    if isinstance(names, str):
        return f"is refused by peft: {str(error).splitlines()[0]}"
    return "has layers of these names that take no adapter"


def _no_such_layers(names: str | Sequence[str], option: str, model: PreTrainedModel, why: str) -> str:
    kind = model.config.model_type
    linear = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
    return (
        f"{option}.target_modules={_told(names)}: {kind} {why}; its linear layers are {', '.join(linear)}; type"
        f" {option}.target_modules={ALL_LINEAR}, or some of them, as [{linear[0]}]"
    )


def _told(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else f"[{','.join(names)}]"


def _adapts_embeddings(model: PreTrainedModel) -> bool:
    heads = [model.get_input_embeddings(), model.get_output_embeddings() if model.can_generate() else None]
    return any(head is not None and has_adapter(head) for head in heads)


def lora_problems(settings: LoraSettings | None, option: str, *, trains_with_dropout: bool = True) -> Iterator[str]:
    """What is wrong with a step's adapter whatever the model is: one line each.

    Args:
        settings: Of the step; None trains all weights.
        option: Where they were typed, e.g. ``lora.policy``.
        trains_with_dropout: False for a policy that learns from its samples, or beside a reference.
    """
    if settings is None:
        return
    if find_spec("peft") is None:
        yield f"{option}: {MISSING}"
    names = settings.target_modules
    if not names or (isinstance(names, str) and names not in (AUTO, ALL_LINEAR)):
        yield (
            f"{option}.target_modules={_told(names)}: allowed are {AUTO}, {ALL_LINEAR}, or a list of names of layers,"
            " as [q_proj,v_proj]"
        )
    if settings.dropout and not trains_with_dropout:
        yield (
            f"{option}.dropout={settings.dropout}: a policy is trained as it is sampled and compared with the"
            f" reference, without dropout; type {option}.dropout=0"
        )


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A second model with the same weights in the same memory: for one that gets an adapter, the other stays without.

    Args:
        model: All its weights become frozen.
    """
    model.requires_grad_(False)
    tensors: list[torch.Tensor] = [*model.parameters(), *model.buffers()]
    return deepcopy(model, {id(tensor): tensor for tensor in tensors})


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model with its adapter added to the weights; a model without an adapter as it is."""
    if not has_adapter(model):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    copy = deepcopy(model)
    modules: list[tuple[str, Any]] = list(copy.named_modules())
    inside: dict[str, nn.Module] = {}
    for name, layer in modules:
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            inside[name] = layer.get_base_layer()
        elif isinstance(layer, ModulesToSaveWrapper):
            inside[name] = layer.modules_to_save[_NAME]
    for name, layer in inside.items():
        # Experts have an adapter in an adapter, one for each of their matrices: the outer one is replaced.
        wrapper, is_inner, _ = name.rpartition(".base_layer")
        if not (is_inner and wrapper in inside):
            copy.set_submodule(name, layer)
    del copy.peft_config
    return copy.requires_grad_(True)


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's adapter as a folder that peft loads onto the weights that it was trained on.

    Args:
        model: From :meth:`LoraSettings.on`.
        folder: Made when missing.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    configs: Any = model.peft_config
    config = deepcopy(configs[_NAME])
    config.target_modules = sorted(config.target_modules)
    config.target_parameters = sorted(config.target_parameters or ()) or None
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
    weights = {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)

"""Loading of models by name: pocket weights, a local folder, or the hub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors import SafetensorError

from rlaif.errors import ConfigError, EngineError
from rlaif.inference.linear import fast_linear
from rlaif.models.names import POCKET, POCKET_NAMES, pocket_problem
from rlaif.models.packaged import converted_folder
from rlaif.runtime import Runtime
from rlaif.types import content_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ChatTemplate = Literal["auto", "model", "none"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flex_attention")

ADAPTER = "adapter_config.json"
ADAPTER_HINT = (
    "this folder holds an adapter of peft without the model's weights; merge them (merge_and_unload of peft), save the"
    " result with its tokenizer, and give that folder"
)
_POCKET_WEIGHTS = Path(__file__).resolve().parent.parent / "pocket" / "weights"
_IDENTITY_PATTERNS = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class ModelSpec:
    """Name and loading options of a model. Group ``model``."""

    name: Runtime[str]
    """``pocket:L`` or another pocket model, the path of a Hugging Face folder, or a hub ``org/name``."""
    dtype: str = "float32"
    """Number format of the loaded weights: ``float32``, ``bfloat16`` or ``float16``."""
    attn_implementation: Runtime[str | None] = None
    """Attention of the loaded model; scoring and sampling work with ``sdpa`` and ``eager``. None takes that of the run
    (:func:`use_attention`)."""
    revision: Runtime[str | None] = None
    """Branch, tag or commit on the hub; None is its main branch, and is ignored by local folders."""
    chat_template: ChatTemplate = "auto"
    """Form of prompts: ``auto`` writes them in the chat template of the model's tokenizer where it has one, ``model``
    refuses a model without one, ``none`` writes plain text and leaves the template out of saved folders."""
    package: Runtime[str | None] = None
    """Installed Python package whose GGUF file is converted into the folder ``name`` once; None: the model is where its
    name says."""
    gradient_checkpointing: Runtime[bool] = False
    """Whether the layers of trained models compute their activations again in the backward pass instead of keeping
    them: less memory, a third more computation, the same gradients."""

    def __post_init__(self) -> None:
        problems = []
        if self.dtype not in DTYPES:
            problems.append(f"model.dtype={self.dtype}: allowed are {', '.join(DTYPES)}")
        if self.attn_implementation not in (None, *ATTENTION):
            problems.append(f"model.attn_implementation={self.attn_implementation}: allowed are {', '.join(ATTENTION)}")
        if self.chat_template not in get_args(ChatTemplate):
            allowed = ", ".join(get_args(ChatTemplate))
            problems.append(f"model.chat_template={self.chat_template}: allowed are {allowed}")
        if problems:
            raise ConfigError(problems)

    @property
    def identity(self) -> str:
        """Content hash of weights, configuration, tokenizer and form of prompts; their path does not count."""
        return model_identity(self)

    @property
    def place(self) -> str:
        """Where the library finds the model: the absolute path of its folder, or its name on the hub."""
        folder = self.folder
        return self.name if folder is None else str(folder.resolve())

    @property
    def attention(self) -> str:
        """The attention of this model, or that of the run."""
        return self.attn_implementation or _RUN["attention"]

    @property
    def folder(self) -> Path | None:
        """The model's folder, converted from its package where it is not there yet; None for the hub.

        Raises:
            ConfigError: The name leads nowhere.
            EngineError: The package is not installed or holds no model.
        """
        if self.package is not None:
            return converted_folder(self.package, Path(self.name).expanduser())
        return local_folder(self.name)


_RUN = {"attention": "sdpa"}
"""What models of this process are loaded with that name nothing else."""


def use_attention(name: str) -> None:
    """Load models that name no attention of their own with this one from now on, in this process.

    A run calls it once with ``model.attn_implementation``, so that all its steps load their models alike.
    """
    _RUN["attention"] = name


def local_folder(name: str) -> Path | None:
    """The folder behind a model name, or None when the name means the hub.

    Args:
        name: As in :class:`ModelSpec`.

    Raises:
        ConfigError: The name is a path, or a pocket size, that does not exist.

    >>> local_folder("HuggingFaceTB/SmolLM2-135M") is None
    True
    """
    if name.startswith("stage:"):
        raise ConfigError(f"model.name={name}: a stage's model is named by its folder here; pipeline stages resolve it")
    if name.startswith("pocket:"):
        return _pocket_folder(name)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            if (path / ADAPTER).is_file():
                raise ConfigError(f"model.name={name}: {ADAPTER_HINT}")
            raise ConfigError(f"model.name={name}: this folder holds no config.json, so it is no Hugging Face model")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ConfigError(
            f"model.name={name}: no such folder; allowed are {POCKET_NAMES}, the path of a Hugging Face folder, "
            "or a hub name such as HuggingFaceTB/SmolLM2-135M"
        )
    return None


def _pocket_folder(name: str) -> Path:
    size = name.removeprefix(POCKET)
    if (problem := pocket_problem("model.name", name)) is not None:
        raise ConfigError(problem)
    folder = _POCKET_WEIGHTS / size
    if not (folder / "config.json").is_file():
        raise EngineError(
            f"model.name={name}: its weights are not installed at rlaif/pocket/weights/{size}; "
            "reinstall rlaif, or make them with `rlaif-run experiment=pocket_pretraining`"
        )
    return folder


def model_identity(spec: ModelSpec | str) -> str:
    """Content hash of a model: weights, tokenizer and configuration, not its path.

    Args:
        spec: A specification, or just its name.

    Returns:
        16 hexadecimal digits. A local folder is hashed by content, a hub model by name and commit.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: The hub model is not in the local cache and the hub does not answer.
    """
    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    form = (spec.chat_template,) if spec.chat_template == "none" else ()
    folder = spec.folder
    if folder is None:
        return content_id("hub", spec.name, _hub_commit(spec), *form)
    parts = ["folder", *form]
    for path in sorted({path for pattern in _IDENTITY_PATTERNS for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            parts += [path.name, hashlib.file_digest(file, "sha256").hexdigest()]
    return content_id(*parts)


def _hub_commit(spec: ModelSpec) -> str:
    from huggingface_hub import model_info, try_to_load_from_cache

    cached = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision or "main")
    if isinstance(cached, str):
        return Path(cached).parent.name
    try:
        return str(model_info(spec.name, revision=spec.revision).sha)
    except Exception as error:
        raise _cannot_load(spec, error) from error


def _cannot_load(spec: ModelSpec, error: Exception) -> EngineError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in reason or "custom code" in reason:
        hint = "models that bring code of their own are not run; take one whose architecture transformers has"
    elif spec.folder is None:
        hint = "check the name, or without a network give model.name the path of a folder that was saved before"
    else:
        hint = "the folder must hold config.json, weights (*.safetensors) and tokenizer.json of one model"
    return EngineError(f"model.name={spec.name}: cannot be loaded ({type(error).__name__}: {reason}); {hint}")


def from_pretrained(auto: Any, spec: ModelSpec, **kwargs: Any) -> Any:
    """``auto.from_pretrained`` of a model's place.

    Args:
        auto: A class of transformers, such as ``AutoConfig``.
        spec: Name and revision.
        kwargs: Further arguments.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read.
    """
    from transformers.utils import logging

    source = spec.folder
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        place = spec.name if source is None else str(source)
        return auto.from_pretrained(place, revision=spec.revision, trust_remote_code=False, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise _cannot_load(spec, error) from error
    finally:
        if bars:
            logging.enable_progress_bar()


def load_weights(auto: Any, spec: ModelSpec, device_map: str | None = None) -> PreTrainedModel:
    """A model in evaluation mode, all of whose weights are in its files; arguments as of :func:`from_pretrained`."""
    model, info = from_pretrained(
        auto,
        spec,
        dtype=DTYPES[spec.dtype],
        attn_implementation=spec.attention,
        device_map=device_map,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise EngineError(
            f"model.name={spec.name}: its files hold no weights for {names}, which would be random; "
            f"is it another kind of model than {type(model).__name__}?"
        )
    _check_finite(spec, model)
    return fast_linear(model.eval())


def _check_finite(spec: ModelSpec, model: PreTrainedModel) -> None:
    """Refuse weights that are no numbers: all that is sampled from them would be one token.

    Raises:
        EngineError: Some are NaN or infinite.
    """
    for name, weight in model.named_parameters():
        if weight.device.type == "meta" or weight.dtype not in (*DTYPES.values(), torch.float64):
            continue  # placed elsewhere, or quantized: formats of 8 bits have no sum
        if not torch.isfinite(weight.detach().sum(dtype=torch.float32)):  # one pass, without a copy of the weights
            raise EngineError(
                f"model.name={spec.name}: its weight {name} holds NaN or infinite values, as after a training that"
                " diverged or a conversion to float16; save the model again"
            )


def load_tokenizer(spec: ModelSpec | str, *, needs_end: bool = True) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the right, with its own pad token or else the end token as pad.

    Args:
        spec: A specification, or just its name.
        needs_end: False for models that end no text, such as encoders.

    Raises:
        ConfigError: The name leads nowhere, or there is no chat template where one is asked for.
        EngineError: It cannot be read, or it has no end token and needs one.
    """
    from transformers import AutoTokenizer

    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    tokenizer: PreTrainedTokenizerBase = from_pretrained(AutoTokenizer, spec)
    if not tokenizer.is_fast:
        raise EngineError(
            f"model.name={spec.name}: its tokenizer is not one of the tokenizers library ({type(tokenizer).__name__}),"
            " which can keep text of data apart from special tokens; take a model with a tokenizer.json"
        )
    tokenizer.padding_side = "right"
    if tokenizer.eos_token_id is None and needs_end:
        raise EngineError(f"model.name={spec.name}: its tokenizer has no end token (eos_token); set one and save it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.chat_template == "none":
        tokenizer.chat_template = None
    elif spec.chat_template == "model" and not tokenizer.chat_template:
        raise ConfigError(
            f"model.chat_template=model: the tokenizer of {spec.name} has no chat template; type"
            " model.chat_template=none, or take an instruction-tuned model"
        )
    return tokenizer


def load_causal_lm(spec: ModelSpec | str, *, device_map: str | None = None) -> PreTrainedModel:
    """A causal language model in evaluation mode, on the CPU, with the faster linear layers where there are any.

    Args:
        spec: A specification, or just its name.
        device_map: ``auto`` spreads the layers over all GPUs, then the CPU, by accelerate; None stays on the CPU.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read.
    """
    from transformers import AutoModelForCausalLM

    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    return load_weights(AutoModelForCausalLM, spec, device_map)

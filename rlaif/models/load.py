"""Loading of models by name: pocket weights, a local folder, or the hub."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from rlaif.errors import ConfigError, EngineError
from rlaif.functional.seeds import generator
from rlaif.inference.linear import fast_linear
from rlaif.models.names import POCKET, POCKET_NAMES, pocket_problem
from rlaif.runtime import Runtime
from rlaif.types import content_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flex_attention")

_POCKET_WEIGHTS = Path(__file__).resolve().parent.parent / "pocket" / "weights"
_IDENTITY_PATTERNS = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class ModelSpec:
    """Name and loading options of a model. Group ``model``."""

    name: Runtime[str]
    """``pocket:L`` or another pocket model, the path of a Hugging Face folder, or a hub ``org/name``."""
    dtype: str = "float32"
    """Number format of the loaded weights: ``float32``, ``bfloat16`` or ``float16``."""
    attn_implementation: Runtime[str] = "sdpa"
    """Attention of the loaded model; scoring and sampling work with ``sdpa`` and ``eager``."""
    revision: Runtime[str | None] = None
    """Branch, tag or commit on the hub; None is its main branch, and is ignored by local folders."""

    def __post_init__(self) -> None:
        problems = []
        if self.dtype not in DTYPES:
            problems.append(f"model.dtype={self.dtype}: allowed are {', '.join(DTYPES)}")
        if self.attn_implementation not in ATTENTION:
            problems.append(f"model.attn_implementation={self.attn_implementation}: allowed are {', '.join(ATTENTION)}")
        if problems:
            raise ConfigError(problems)

    @property
    def identity(self) -> str:
        """Content hash of weights, configuration and tokenizer; their path does not count."""
        return model_identity(self)


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
    folder = local_folder(spec.name)
    if folder is None:
        return content_id("hub", spec.name, _hub_commit(spec))
    parts = ["folder"]
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
    if local_folder(spec.name) is None:
        hint = "check the name, or without a network give model.name the path of a folder that was saved before"
    else:
        hint = "the folder must hold config.json, weights (*.safetensors) and tokenizer.json of one model"
    return EngineError(f"model.name={spec.name}: cannot be loaded ({type(error).__name__}: {reason}); {hint}")


def _from_pretrained(auto: Any, spec: ModelSpec, **kwargs: Any) -> Any:
    from transformers.utils import logging

    source = local_folder(spec.name)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return auto.from_pretrained(spec.name if source is None else str(source), revision=spec.revision, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _cannot_load(spec, error) from error
    finally:
        if bars:
            logging.enable_progress_bar()


def _load_weights(auto: Any, spec: ModelSpec, device_map: str | None = None) -> PreTrainedModel:
    model, info = _from_pretrained(
        auto,
        spec,
        dtype=DTYPES[spec.dtype],
        attn_implementation=spec.attn_implementation,
        device_map=device_map,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise EngineError(
            f"model.name={spec.name}: its files hold no weights for {names}, which would be random; "
            f"is it another kind of model than {type(model).__name__}?"
        )
    return fast_linear(model.eval())


def load_tokenizer(spec: ModelSpec | str, *, needs_end: bool = True) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the right, with its own pad token or else the end token as pad.

    Args:
        spec: A specification, or just its name.
        needs_end: False for models that end no text, such as encoders.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, or it has no end token and needs one.
    """
    from transformers import AutoTokenizer

    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, spec)
    tokenizer.padding_side = "right"
    if tokenizer.eos_token_id is None and needs_end:
        raise EngineError(f"model.name={spec.name}: its tokenizer has no end token (eos_token); set one and save it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
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
    return _load_weights(AutoModelForCausalLM, spec, device_map)


def load_reward_model(spec: ModelSpec | str, *, seed: int = 0, head_std: float = 0.02) -> PreTrainedModel:
    """A model with one scalar output: a saved reward model, or a causal LM with a new head.

    Args:
        spec: A folder or hub name of either kind.
        seed: Seed of the new head's weights.
        head_std: Standard deviation of the new head's weights; 0 starts with equal rewards.

    Returns:
        An ``AutoModelForSequenceClassification`` with one label, in evaluation mode. Its forward reads the
        last token that is not ``config.pad_token_id``.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, or a saved classifier has more than one label.
    """
    from transformers import AutoConfig

    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    config = _from_pretrained(AutoConfig, spec)
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        if config.num_labels != 1:
            raise EngineError(f"model.name={spec.name}: a reward model has one label, this one has {config.num_labels}")
        return _load_classifier(spec)
    return reward_model_from(load_causal_lm(spec), load_tokenizer(spec).pad_token_id, seed=seed, head_std=head_std)


def load_classifier(spec: ModelSpec | str) -> PreTrainedModel:
    """Any saved ``AutoModelForSequenceClassification``, in evaluation mode, on the CPU, with a padding token.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, or it is no sequence classifier.
    """
    from transformers import AutoConfig

    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    architectures = _from_pretrained(AutoConfig, spec).architectures or ()
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise EngineError(
            f"model.name={spec.name}: a {', '.join(architectures) or 'model without architecture'}, where a sequence "
            "classifier is expected; rlaif's own are the reward_model/ of a run directory"
        )
    return _load_classifier(spec)


def _load_classifier(spec: ModelSpec) -> PreTrainedModel:
    """A saved classifier; one without a padding token gets an id that ends no text, which its forward looks for."""
    from transformers import AutoModelForSequenceClassification

    model = _load_weights(AutoModelForSequenceClassification, spec)
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        tokenizer = load_tokenizer(spec, needs_end=False)
        candidates = (tokenizer.pad_token_id, tokenizer.bos_token_id, 0, 1)
        config.pad_token_id = next(one for one in candidates if one not in (None, tokenizer.eos_token_id))
    return model


def reward_model_from(
    causal_lm: PreTrainedModel, pad_token_id: int, *, seed: int = 0, head_std: float = 0.02
) -> PreTrainedModel:
    """A reward model on a copy of a causal LM's body; the global random state is left as it was.

    Args:
        causal_lm: Whose weights below the language head are copied.
        pad_token_id: Padding that the reward model skips when it looks for the last token.
        seed: Seed of the head.
        head_std: Standard deviation of the head's weights.
    """
    from transformers import AutoModelForSequenceClassification

    config = deepcopy(causal_lm.config)
    config.num_labels = 1
    config.pad_token_id = pad_token_id
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
            config, dtype=causal_lm.dtype, attn_implementation=causal_lm.config._attn_implementation
        )
    model.base_model.load_state_dict(causal_lm.base_model.state_dict())
    head = model.get_submodule("score").get_parameter("weight")
    noise = torch.randn(head.shape, generator=generator(seed, "reward head"))
    head.data.copy_(noise * head_std)
    return fast_linear(model.eval())

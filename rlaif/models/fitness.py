"""Whether a model can do what a run will ask of it: found from its configuration and tokenizer, in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from rlaif.errors import EngineError, RlaifError
from rlaif.inference.recomputing import recompute_layers
from rlaif.models.contexts import context_limit
from rlaif.models.load import ADAPTER, ADAPTER_HINT, ModelSpec, from_pretrained, load_tokenizer
from rlaif.models.names import POCKET
from rlaif.models.trial import adapted_problems, small_copy, trial_problems
from rlaif.models.uses import ModelUse

OTHERS = "take another model, e.g. of the Llama, Qwen, Mistral, Gemma, Phi, GPT-2 or GPT-NeoX families"


def model_problems(spec: ModelSpec, uses: Sequence[ModelUse]) -> Iterator[str]:
    """Everything that the model cannot do and the steps of a run need, one line each.

    Nothing of the weights is read. A small random copy of the architecture samples, scores with shared prefixes,
    gives log-probabilities and carries a scalar head, and all is compared with the library's own forward pass.

    Args:
        spec: The model.
        uses: What the steps will do with it; nothing is checked where there are none.

    Raises:
        ConfigError: The model's name leads nowhere.
        EngineError: Its configuration or tokenizer cannot be read.
    """
    if not uses:
        return
    config = from_pretrained(AutoConfig, spec)
    for problem in (
        _kind_problem(spec, config),
        _weights_problem(spec),
        _quantization_problem(spec, config, uses),
    ):
        if problem is not None:
            yield problem
            return
    yield from _length_problems(spec, config, uses)
    yield from _adapter_problems(spec, config, uses)
    if spec.gradient_checkpointing:
        yield from _recomputing_problems(spec, config)
    if spec.attention not in ("sdpa", "eager"):
        yield (
            f"model.attn_implementation={spec.attention}: the model is sampled from and scored, which sdpa and eager"
            " can; type model.attn_implementation=sdpa"
        )
    elif not spec.name.startswith(POCKET):
        yield from _vocabulary_problems(spec, config)
        purposes = frozenset(use.purpose for use in uses)
        if problems := architecture_problems(config, spec.attention, purposes):
            yield f"model.name={spec.name} ({config.model_type}): {'; '.join(problems)}; or {OTHERS}"


def _weights_problem(spec: ModelSpec) -> str | None:
    """A local folder without weights; what is in them is read later."""
    folder = spec.folder
    if folder is None:
        return None
    files = [path.name for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    if any(not name.startswith("adapter_model") for name in files):
        return None
    hint = ADAPTER_HINT if (folder / ADAPTER).is_file() else "this folder holds no weights (*.safetensors)"
    return f"model.name={spec.name}: {hint}"


def _kind_problem(spec: ModelSpec, config: PreTrainedConfig) -> str | None:
    if config.is_encoder_decoder:
        return f"model.name={spec.name}: {config.model_type} has an encoder and a decoder; {OTHERS}"
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return f"model.name={spec.name}: {config.model_type} is no causal language model; {OTHERS}"
    return None


def _quantization_problem(spec: ModelSpec, config: PreTrainedConfig, uses: Sequence[ModelUse]) -> str | None:
    """Quantized weights where some step trains them."""
    found = getattr(config, "quantization_config", None)
    if found is None or not any(use.purpose in ("imitate", "reward_model") for use in uses):
        return None
    method = found.get("quant_method") if isinstance(found, dict) else found.quant_method
    return (
        f"model.name={spec.name}: its weights are quantized ({getattr(method, 'value', method)}), and policies and"
        " reward models learn in float32; take the unquantized model, and a quantized one for a judge alone"
        " (labeler.engine.model)"
    )


def _vocabulary_problems(spec: ModelSpec, config: PreTrainedConfig) -> Iterator[str]:
    rows = int(config.get_text_config(decoder=True).vocab_size)
    vocabulary = load_tokenizer(spec).get_vocab()
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    if beyond:
        number, token = beyond[0]
        yield (
            f"model.name={spec.name}: its tokenizer has {len(beyond):,} tokens that its embedding of {rows:,} rows"
            f" lacks, the first {token!r} with id {number}; save the model's own tokenizer beside it, or enlarge the"
            " embedding with resize_token_embeddings of transformers and save both"
        )


def _adapter_problems(spec: ModelSpec, config: PreTrainedConfig, uses: Sequence[ModelUse]) -> Iterator[str]:
    """Layers that an adapter asks for and the architecture lacks, and adapters that are not sampled as they learn."""
    for option, use in {use.lora_option: use for use in uses if use.lora is not None}.items():
        try:
            model = small_copy(config, spec.attention)
        except Exception:  # the check of the architecture tells why
            return
        assert use.lora is not None
        try:
            problems = list(adapted_problems(model, use.lora, use.purpose, option))
        except RlaifError as error:
            yield str(error)
        else:
            yield from (f"{option}: with an adapter, {spec.name} ({config.model_type}): {each}" for each in problems)


def _recomputing_problems(spec: ModelSpec, config: PreTrainedConfig) -> Iterator[str]:
    try:
        recompute_layers(small_copy(config, spec.attention))
    except EngineError as error:
        yield f"{error}; type model.gradient_checkpointing=false"
    except Exception:  # the check of the architecture tells why
        return


def _length_problems(spec: ModelSpec, config: PreTrainedConfig, uses: Sequence[ModelUse]) -> Iterator[str]:
    # Groups of options take one another's values by default: the first option is told.
    distinct: dict[tuple[str, int, int], ModelUse] = {}
    for use in uses:
        distinct.setdefault((use.purpose, use.num_tokens, use.num_other), use)
    for use in distinct.values():
        limit = context_limit(config, sampled=use.purpose == "sample")
        if limit is None or use.num_tokens <= limit[0]:
            continue
        room = limit[0] - use.num_other
        remedy = f"type {use.option}={room} or less" if room > 0 else "generate fewer tokens"
        yield (
            f"{use.told}: {use.num_tokens:,} tokens in all, and {spec.name} reads at most {limit[0]:,} ({limit[1]} in"
            f" its config.json); {remedy}, or take a model with a longer context"
        )


def architecture_problems(
    config: PreTrainedConfig, attn_implementation: str, purposes: frozenset[str]
) -> tuple[str, ...]:
    """What an architecture cannot do, found by a small copy; found once per configuration and process.

    Args:
        config: Of the model.
        attn_implementation: ``sdpa`` or ``eager``.
        purposes: Of :class:`~rlaif.models.uses.ModelUse`.
    """
    written = json.dumps(config.to_dict(), sort_keys=True, default=str)
    return _architecture_problems(_Configuration(written, config), attn_implementation, purposes)


class _Configuration:
    """A configuration that is equal to another one with the same entries."""

    def __init__(self, written: str, config: PreTrainedConfig) -> None:
        self.written = written
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Configuration) and self.written == other.written

    def __hash__(self) -> int:
        return hash(self.written)


@lru_cache(maxsize=16)
def _architecture_problems(
    configuration: _Configuration, attn_implementation: str, purposes: frozenset[str]
) -> tuple[str, ...]:
    try:
        model = small_copy(configuration.config, attn_implementation)
    except Exception as error:  # an architecture may refuse an attention, or need what is not installed
        if attn_implementation == "sdpa" and _can_be_made(configuration.config, "eager"):
            return ("transformers has no sdpa attention for it; type model.attn_implementation=eager",)
        reason = str(error).splitlines()[0] if str(error) else ""
        return (f"a small copy cannot be made: {type(error).__name__}: {reason}",)
    return tuple(trial_problems(model, dict.fromkeys(purposes, True)))


def _can_be_made(config: PreTrainedConfig, attn_implementation: str) -> bool:
    try:
        small_copy(config, attn_implementation)
    except Exception:  # as above
        return False
    return True

"""A small copy of a model, with random weights, that shows whether its architecture can do what a run needs.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from rlaif.errors import EngineError, RlaifError
from rlaif.functional.seeds import generator
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.sample import sample
from rlaif.inference.score import score_options
from rlaif.models.adapters import LoraSettings
from rlaif.models.classifiers import reward_model_from
from rlaif.models.response_scorer import classifier_logits
from rlaif.types import Sampling

NUM_TOKENS = 96
"""Vocabulary of the copy."""
TOLERANCE = 1e-3
"""Largest difference of log-probabilities in nats: rounding is below 1e-5, a wrong mask far above."""
_SMALL = ("intermediate_size", "ffn_dim", "n_inner", "moe_intermediate_size", "shared_expert_intermediate_size")
_MAX_LAYERS = 8


def small_copy(config: PreTrainedConfig, attn_implementation: str) -> PreTrainedModel:
    """A causal LM of this architecture with two layers, or as many as have its first layers of each kind.

    Its weights are random and large enough for a wrong mask or position to show in the log-probabilities.

    Args:
        config: Of the whole model.
        attn_implementation: ``sdpa`` or ``eager``.
    """
    try:
        model = _made(_shortened(config, narrow=True), attn_implementation)
    except (ValueError, RuntimeError, AssertionError):  # some architectures tie these widths to others
        model = _made(_shortened(config, narrow=False), attn_implementation)
    draw = generator(0, "trial")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=draw) / weight.shape[-1] ** 0.5)
    return model.eval()


def _made(config: PreTrainedConfig, attn_implementation: str) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attn_implementation
        )
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.tensor([[1, 2]]), use_cache=False)
    return model


def _shortened(config: PreTrainedConfig, *, narrow: bool) -> PreTrainedConfig:
    short = deepcopy(config)
    text: Any = short.get_text_config(decoder=True)
    num_layers = int(text.num_hidden_layers)
    kept = min(num_layers, max(2, _first_of_each(getattr(text, "layer_types", None) or ())))
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == num_layers and num_layers > kept:
            setattr(text, name, value[:kept])
    text.num_hidden_layers = kept
    text.vocab_size = NUM_TOKENS
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, 0)  # those of the model are beyond the short vocabulary, and some configurations want one
    for name in _SMALL if narrow else ():
        if isinstance(getattr(text, name, None), int):
            setattr(text, name, min(getattr(text, name), 64))
    return short


def _first_of_each(kinds: Sequence[str]) -> int:
    """Layers from the first on until every kind was there, at most 8.

    >>> _first_of_each(["full", "sliding", "full"])
    2
    """
    return min(_MAX_LAYERS, 1 + max((list(kinds).index(kind) for kind in set(kinds)), default=1))


def trial_problems(model: PreTrainedModel, purposes: Mapping[str, bool]) -> Iterator[str]:
    """What a model cannot do, each in one line.

    Args:
        model: A small copy.
        purposes: ``imitate``, ``sample`` and ``reward_model``: whether a run needs it; ``score`` for a model that is a
            reward model already.
    """
    for purpose, what, trial in (
        ("sample", "sample and score with shared prefixes", _score_and_sample),
        ("sample", "give the log-probabilities of samples", _read_samples),
        ("imitate", "learn from texts", _reads_ahead),
        ("reward_model", "carry the scalar head of a reward model", _score_rows),
        ("score", "score texts", _rows_apart),
    ):
        if not purposes.get(purpose):
            continue
        try:
            difference = trial(model)
        except RlaifError as error:
            yield f"it cannot {what}: {error}"
        except Exception as error:  # an architecture that was not made for this may raise anything
            yield f"it cannot {what} ({type(error).__name__}{f': {error}'.splitlines()[0]})"
        else:
            if not difference <= TOLERANCE:
                yield f"it cannot {what}: log-probabilities differ by {difference:.2g} nats from its own forward pass"


def adapted_problems(model: PreTrainedModel, lora: LoraSettings, purpose: str, option: str) -> Iterator[str]:
    """What a model cannot do once its layers have an adapter, each in one line.

    Args:
        model: A small copy; it is changed.
        lora: The adapter.
        purpose: Of :class:`~rlaif.models.uses.ModelUse`.
        option: Where the adapter's options were typed.

    Raises:
        ConfigError: The model has no such layers.
        EngineError: peft is not installed.
    """
    if purpose == "reward_model":
        model = reward_model_from(model, 0)
    lora.on(model, base="", seed=0, option=option).eval()  # the adapter's dropout, too
    draw = generator(0, "adapter of a trial")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=draw) / weight.shape[-1] ** 0.5)
    yield from trial_problems(model, {"score" if purpose == "reward_model" else purpose: True})


def _texts() -> list[list[int]]:
    """Three texts of which all share a beginning, and two more of it."""
    tokens = torch.randint(3, NUM_TOKENS, (64,), generator=generator(0, "trial texts")).tolist()
    return [tokens[:20] + tokens[20:38] + [5, 6], tokens[:20] + tokens[20:38] + [7], tokens[:20] + tokens[40:45]]


@torch.no_grad()
def own_logprobs(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """Log-probabilities of a response's tokens by the model's own forward pass of the whole text."""
    ids = torch.tensor([[*prompt, *response]])
    logits_TV = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    return logits_TV.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


@torch.no_grad()
def _reads_ahead(model: PreTrainedModel) -> float:
    """How much a later token changes what is predicted before it.

    Raises:
        EngineError: It does.
    """
    text = _texts()[0]
    ids = torch.tensor([text, [*text[:-1], text[-1] + 1]])
    logits_BTV = model(input_ids=ids, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    difference = float((logits_BTV[0] - logits_BTV[1]).abs().max())
    if difference > TOLERANCE:
        raise EngineError(
            "it reads the tokens that come later, and would copy what it has to predict; where its config.json has"
            " is_decoder, set it to true"
        )
    return difference


def _score_and_sample(model: PreTrainedModel) -> float:
    options, texts = [[8], [9, 10], [9, 11]], _texts()
    scores = score_options(model, texts, options)
    expected = torch.stack(
        [torch.stack([own_logprobs(model, text, option).sum() for option in options]) for text in texts]
    )
    drawn = sample(
        model, texts, num_samples=2, sampling=Sampling(max_new_tokens=4, temperature=1.0), eos_id=2, pad_id=0
    )
    differences = [(scores - expected).abs().max()]
    for row, text in enumerate(text for text in texts for _ in range(2)):
        length = int(drawn.mask_BT[row].sum())
        own = own_logprobs(model, text, drawn.tokens_BT[row, :length].tolist())
        differences.append((drawn.logprobs_BT[row, :length] - own).abs().max())
    return float(torch.stack(differences).max())


def _read_samples(model: PreTrainedModel) -> float:
    texts = _texts()[1:]
    tokens_BT = torch.randint(3, NUM_TOKENS, (8, 3), generator=generator(0, "trial samples"))
    mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    model.zero_grad(set_to_none=True)
    read = response_logprobs(model, texts, tokens_BT, mask_BT)
    read.logprobs_BT.sum().backward()
    model.zero_grad(set_to_none=True)
    rows = [text for text in texts for _ in range(4)]
    own = torch.stack([own_logprobs(model, text, row.tolist()) for text, row in zip(rows, tokens_BT, strict=True)])
    return float((read.logprobs_BT.detach() - own).abs().max())


def _score_rows(model: PreTrainedModel) -> float:
    """As :func:`_rows_apart` of a reward model with this body."""
    return _rows_apart(reward_model_from(model, 0, head_std=1.0))


@torch.no_grad()
def _rows_apart(scorer: PreTrainedModel) -> float:
    """How much a row's score depends on the padding beside it."""
    texts = _texts()
    width = max(map(len, texts))
    lengths_B = torch.tensor([len(text) for text in texts])
    together_B = classifier_logits(scorer, torch.tensor([t + [0] * (width - len(t)) for t in texts]), lengths_B)[:, 0]
    alone_B = torch.stack([classifier_logits(scorer, torch.tensor([t]), torch.tensor([len(t)]))[0, 0] for t in texts])
    return float((together_B - alone_B).abs().max())

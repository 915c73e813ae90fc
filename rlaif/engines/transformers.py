"""Local Hugging Face models as engines."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from rlaif.engines.chat_templates import (
    OWN_ARGUMENTS,
    check_arguments,
    check_scorable,
    message_text,
    opened_reasoning,
)
from rlaif.engines.local_answers import NOT_FINITE, Reply, option_scores, replies, why_not
from rlaif.errors import ConfigError, EngineError
from rlaif.functional.seeds import derive_seed
from rlaif.models.load import DTYPES, ChatTemplate, ModelSpec, load_causal_lm, load_tokenizer, model_identity
from rlaif.models.names import POCKET
from rlaif.outcome import Generation, OptionScores
from rlaif.runtime import Runtime
from rlaif.types import Sampling, StructuredPrompt, content_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rlaif.inference.forward import Forward
    from rlaif.inference.prefill import PrefixStore
    from rlaif.inference.stops import StopStrings
    from rlaif.tokenization import PromptTokenizer

NO_LIMIT = 2**31
"""Context, in tokens, of a model whose configuration names none."""
_ONE_AT_A_TIME = threading.RLock()
"""Held while a model is read or asked: reading one changes torch's defaults, and its store of prefixes is one."""
_VOTES = "serve it and take labeler/engine=openai with labeler.engine.api=chat labeler.engine.scoring=votes"


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: PreTrainedModel
    prompts: PromptTokenizer
    forward: Forward
    store: PrefixStore
    context: int
    eos_ids: tuple[int, ...]
    pad_id: int


class TransformersEngine:
    """A causal language model on this machine. Group ``rlaif.engines``, name ``transformers``.

    Args:
        model: ``pocket:L`` or another pocket model, the path of a Hugging Face folder, or a hub ``org/name``.
        dtype: ``float32`` is exact enough for near-ties; ``bfloat16`` is faster and moves logits by about 0.01.
        device: ``auto`` takes this process's GPU (the first, where there is one process) if there is one, else the CPU.
            ``map`` spreads a model larger than one GPU over all GPUs, then the CPU (extra ``device-map``).
        batch_size: Prompts of a forward pass; None means 64 on a GPU, and 16 to 64 on a CPU, more for a smaller model.
            On a CPU up to four forward passes run at once, each on its share of the cores, where the model is a Llama.
        attn_implementation: ``sdpa`` or ``eager``.
        max_context: Longest prompt with its answer, in tokens; None means the model's own limit.
        revision: Branch, tag or commit on the hub.
        chat_template: ``auto`` wraps the prompt in one user turn of the chat template of the model's tokenizer, whose
            answers are whole messages, where it has one; ``model`` refuses a model without one; ``none`` continues
            the bare prompt.
        chat_template_kwargs: Arguments of that template, e.g. ``{"enable_thinking": False}``.
    """

    runs_here: Literal[True] = True

    def __init__(
        self,
        model: Runtime[str] = "pocket:L",
        *,
        dtype: str = "float32",
        device: Runtime[str] = "auto",
        batch_size: Runtime[int | None] = None,
        attn_implementation: Runtime[Literal["sdpa", "eager"]] = "sdpa",
        max_context: int | None = None,
        revision: Runtime[str | None] = None,
        chat_template: ChatTemplate = "auto",
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        arguments = {} if chat_template_kwargs is None else dict(chat_template_kwargs)
        _check_options(dtype, device, batch_size, attn_implementation, max_context, chat_template, arguments)
        self.spec = ModelSpec(model, dtype=dtype, attn_implementation=attn_implementation, revision=revision)
        self.device = device
        self.batch_size = batch_size
        self.max_context = max_context
        self.chat_template = chat_template
        self.chat_template_kwargs = arguments
        self._loaded: _Loaded | None = None
        self._identity: str | None = None
        self._has_template: bool | None = None
        self._stops: dict[tuple[str, ...], StopStrings] = {}

    @property
    def identity(self) -> str:
        """Content hash of weights, tokenizer and of the options that change answers."""
        if self._identity is None:
            options = (self.spec.dtype, str(self.max_context), self.form)
            # Without arguments the identity, and so the cached answers, are those of earlier versions.
            arguments = (json.dumps(self.chat_template_kwargs, sort_keys=True),) if self.chat_template_kwargs else ()
            self._identity = content_id("transformers", model_identity(self.spec), *options, *arguments)
        return self._identity

    @property
    def is_chat(self) -> bool:
        """As :attr:`rlaif.engines.base.AnswersInMessages.is_chat`."""
        return self.form == "model"

    @property
    def form(self) -> Literal["none", "model"]:
        """Form of the prompts: with ``auto`` that of the model's tokenizer."""
        if self.chat_template != "auto":
            return self.chat_template
        if self._has_template is None:
            is_plain = self.spec.name.startswith(POCKET)
            self._has_template = not is_plain and bool(load_tokenizer(self.spec).chat_template)
        return "model" if self._has_template else "none"

    def load(self) -> _Loaded:
        """Read the model, once; called by the first question.

        Raises:
            ConfigError: The model's name leads nowhere.
            EngineError: The model cannot be read, or the device does not exist.
        """
        if self._loaded is None:
            with _ONE_AT_A_TIME:
                self._loaded = self._loaded or self._read()
        return self._loaded

    def _read(self) -> _Loaded:
        from rlaif.inference.forward import forward_for
        from rlaif.inference.prefill import PrefixStore
        from rlaif.models.contexts import context_limit
        from rlaif.models.ends import end_token_ids
        from rlaif.tokenization import PromptTokenizer

        tokenizer, arguments = load_tokenizer(self.spec), self.chat_template_kwargs
        check_arguments(tokenizer, arguments)
        model = self._placed_model()
        found = context_limit(model.config, sampled=True)
        limit = NO_LIMIT if found is None else found[0]
        return _Loaded(
            model=model,
            prompts=PromptTokenizer(tokenizer, chat_template=self.form, template_arguments=arguments),
            forward=forward_for(model),
            store=PrefixStore(),
            context=min(limit, self.max_context or limit),
            eos_ids=end_token_ids(model, tokenizer),
            pad_id=tokenizer.pad_token_id,
        )

    def _placed_model(self) -> PreTrainedModel:
        import torch

        if self.device == "map":
            _require_accelerate()
            return load_causal_lm(self.spec, device_map="auto").requires_grad_(False)
        model, device = load_causal_lm(self.spec).requires_grad_(False), _device(self.device)
        try:
            torch.nn.Module.to(model, device)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"labeler.engine.device={self.device}: the model needs {model.get_memory_footprint() / 2**30:.1f} GiB "
                f"in {self.spec.dtype} and {device} has {torch.cuda.mem_get_info(device)[0] / 2**30:.1f} GiB free; "
                "take dtype=bfloat16, or device=map to spread it over all GPUs and the CPU"
            ) from error
        return model

    def token_ids(self, prompt: StructuredPrompt) -> list[int]:
        """The ids that the model reads for this prompt."""
        return self.load().prompts.prompt_ids(prompt)

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """The prompt's token ids, four bytes each."""
        return np.asarray(self.token_ids(prompt), dtype="<u4").tobytes()

    def num_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer."""
        return len(self.load().prompts.data_ids(text))

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """As :meth:`rlaif.engines.base.Engine.score`.

        Raises:
            ConfigError: The chat template opens a think block, in which no answer stands.
        """
        from rlaif.inference.forward import evaluating
        from rlaif.inference.score import prefix_free, score_options

        loaded = self.load()
        check_scorable(loaded.prompts, self.chat_template_kwargs, _VOTES)
        option_ids = [loaded.prompts.trusted_ids(option) for option in options]
        if not prefix_free(option_ids):
            option_ids = [loaded.prompts.trusted_ids(option + "\n") for option in options]
            if not prefix_free(option_ids):
                raise EngineError(f"options {list(options)}: two of them have the same tokens, or one is empty")
        prompt_ids = [loaded.prompts.prompt_ids(prompt) for prompt in prompts]
        longest = max(len(ids) for ids in option_ids)
        reasons = [why_not(ids, longest, loaded.context) for ids in prompt_ids]
        good = [index for index, reason in enumerate(reasons) if reason is None]
        with _ONE_AT_A_TIME, evaluating(loaded.model):
            scores = score_options(
                loaded.forward,
                [prompt_ids[index] for index in good],
                option_ids,
                batch_size=self._rows(),
                store=loaded.store,
            ).tolist()
        by_index = dict(zip(good, scores, strict=True))
        return [
            option_scores(by_index.get(index), len(prompt_ids[index]), reason) for index, reason in enumerate(reasons)
        ]

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As :meth:`rlaif.engines.base.Engine.generate`; the text ends before a stop string."""
        from rlaif.inference.sample import sample

        loaded = self.load()
        prompt_ids = [loaded.prompts.prompt_ids(prompt) for prompt in prompts]
        reasons = [why_not(ids, sampling.max_new_tokens, loaded.context) for ids in prompt_ids]
        good = [index for index, reason in enumerate(reasons) if reason is None]
        stop = self._stop_strings(sampling.stop)
        with _ONE_AT_A_TIME:
            rollouts = sample(
                loaded.model,
                [prompt_ids[index] for index in good],
                sampling=sampling,
                eos_id=loaded.eos_ids,
                pad_id=loaded.pad_id,
                seeds=[derive_seed(sampling.seed, *prompt_ids[index]) for index in good],
                batch_size=self._rows(),
                stop=stop,
                forward=loaded.forward,
                store=loaded.store,
            )
        by_index = dict(zip(good, replies(rollouts), strict=True))
        return [
            self._generation(by_index.get(index), stop, len(prompt_ids[index]), reason)
            for index, reason in enumerate(reasons)
        ]

    def _generation(
        self, reply: Reply | None, stop: StopStrings | None, num_prompt_tokens: int, reason: str | None
    ) -> Generation:
        if reply is None or not reply.finite:
            return Generation(
                missing=reason or NOT_FINITE,
                is_final=reason is not None,
                finished=False,
                num_prompt_tokens=num_prompt_tokens,
            )
        text = self._text(reply.token_ids)
        return Generation(
            text=text if stop is None else stop.cut(text),
            token_ids=reply.token_ids,
            finished=reply.finished,
            num_prompt_tokens=num_prompt_tokens,
        )

    def _text(self, token_ids: tuple[int, ...]) -> str:
        """A reply's text; one that begins inside of a think block begins with its mark."""
        prompts = self.load().prompts
        return (
            opened_reasoning(prompts) + message_text(prompts, token_ids) if self.is_chat else prompts.decode(token_ids)
        )

    def _stop_strings(self, strings: tuple[str, ...]) -> StopStrings | None:
        from rlaif.inference.stops import StopStrings

        if strings and strings not in self._stops:
            loaded = self.load()
            num_tokens = loaded.model.config.get_text_config(decoder=True).vocab_size
            self._stops[strings] = StopStrings(strings, loaded.prompts.decode, num_tokens)
        return self._stops.get(strings)

    def _rows(self) -> int:
        from rlaif.inference.cache import rows_at_once

        return self.batch_size or rows_at_once(self.load().model)

    def __getstate__(self) -> dict[str, object]:
        """Options only: a copy in another process loads the model itself."""
        return self.__dict__ | {"_loaded": None, "_stops": {}}


def _check_options(
    dtype: str,
    device: str,
    batch_size: int | None,
    attn_implementation: str,
    max_context: int | None,
    chat_template: str,
    chat_template_kwargs: Mapping[str, Any],
) -> None:
    problems = []
    if dtype not in DTYPES:
        problems.append(f"labeler.engine.dtype={dtype}: allowed are {', '.join(DTYPES)}")
    if batch_size is not None and batch_size < 1:
        problems.append(f"labeler.engine.batch_size={batch_size}: must be at least 1, or null to choose")
    if attn_implementation not in ("sdpa", "eager"):
        problems.append(f"labeler.engine.attn_implementation={attn_implementation}: allowed are sdpa, eager")
    if not re.fullmatch(r"auto|cpu|map|cuda(:\d+)?", device):
        problems.append(f"labeler.engine.device={device}: allowed are auto, cpu, cuda, cuda:N, map")
    if max_context is not None and max_context < 2:
        problems.append(f"labeler.engine.max_context={max_context}: must be at least 2, or null for the model's limit")
    if chat_template not in get_args(ChatTemplate):
        allowed = ", ".join(get_args(ChatTemplate))
        problems.append(f"labeler.engine.chat_template={chat_template}: allowed are {allowed}")
    problems += [
        f"labeler.engine.chat_template_kwargs.{name}: is set by the engine itself"
        for name in sorted(OWN_ARGUMENTS & chat_template_kwargs.keys())
    ]
    if chat_template_kwargs and chat_template == "none":
        problems.append("labeler.engine.chat_template_kwargs: needs labeler.engine.chat_template=auto or model")
    if problems:
        raise ConfigError(problems)


def _require_accelerate() -> None:
    from importlib.util import find_spec

    if find_spec("accelerate") is None:
        raise EngineError(
            "labeler.engine.device=map: spreading a model over devices needs accelerate; "
            "install it with `pip install 'rlaif[device-map]'`"
        )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise EngineError(f"labeler.engine.device={name}: no GPU is available here; take auto or cpu")
    return name

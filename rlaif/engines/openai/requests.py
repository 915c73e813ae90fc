"""Requests for prompts: text or token ids, completions or chat, the fields of sampling."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from rlaif.engines.chat_templates import opened_reasoning
from rlaif.engines.openai.client import Body
from rlaif.engines.openai.options import load_prompt_tokenizer
from rlaif.engines.openai.scores import Target, terminated
from rlaif.functional.seeds import derive_seed
from rlaif.types import Sampling, StructuredPrompt, as_unicode

if TYPE_CHECKING:
    from rlaif.tokenization import PromptTokenizer

Api = Literal["completions", "chat"]
Prompt = str | list[int]
"""A prompt as it is sent: text, or token ids where the tokenizer is known."""

_SEEDS = 2**31
_BYTES_PER_TOKEN = 4


class RequestForm:
    """The form of requests; the parameters are those of :class:`rlaif.engines.openai.engine.OpenAIEngine`."""

    def __init__(
        self,
        model: str,
        *,
        api: Api,
        system: str | None,
        tokenizer: str | None,
        chat_template: str,
        top_logprobs: int,
        supports_top_k: bool,
        token_limit_key: str,
        extra: dict[str, Any],
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.api = api
        self.system = system
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.top_logprobs = top_logprobs
        self.supports_top_k = supports_top_k
        self.token_limit_key = token_limit_key
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        # A chat's template is the server's: it gets the arguments as a field of every request.
        sent = {"chat_template_kwargs": self.chat_template_kwargs} if api == "chat" and chat_template_kwargs else {}
        self.extra = extra | sent

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes a request besides the prompt, the tokenizer by its content."""
        tokenizer = self.prompts.tokenizer.backend_tokenizer.to_str() if self.tokenizer is not None else ""
        options = (self.api, self.system, self.chat_template, self.supports_top_k)
        rendered = self.chat_template_kwargs if self.api == "completions" else {}
        # Without arguments the identity, and so the cached answers, are those of earlier versions.
        own = (json.dumps(rendered, sort_keys=True),) if rendered else ()
        return self.model, repr(options), json.dumps(self.extra, sort_keys=True), tokenizer, *own

    @property
    def path(self) -> str:
        """Below the base url."""
        return "/chat/completions" if self.api == "chat" else "/completions"

    @cached_property
    def prompts(self) -> PromptTokenizer:
        """The served model's tokenizer, read once."""
        assert self.tokenizer is not None
        return load_prompt_tokenizer(self.tokenizer, self.chat_template, self.chat_template_kwargs)

    @cached_property
    def opened(self) -> str:
        """The mark of the think block that every prompt leaves open, where the template is rendered here."""
        return "" if self.tokenizer is None else opened_reasoning(self.prompts)

    def prompt(self, prompt: StructuredPrompt) -> Prompt:
        """The prompt as it is sent; a lone surrogate, which UTF-8 cannot encode, becomes a question mark."""
        if self.tokenizer is not None:
            return self.prompts.prompt_ids(prompt)
        return as_unicode(prompt.text)

    def question(self, prompt: Prompt, read: Target = "") -> Body:
        """The field that holds the prompt, with a beginning of an option after it."""
        if isinstance(prompt, list):
            prompt = [*prompt, *(token for token in read if isinstance(token, int))]
        else:
            assert isinstance(read, str)
            prompt += read
        if self.api == "completions":
            return {"prompt": prompt}
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return {"messages": [*system, {"role": "user", "content": prompt}]}

    def body(self, question: Body, max_tokens: int) -> Body:
        """The whole request."""
        return {"model": self.model, **question, self.token_limit_key: max_tokens, **self.extra}

    def for_top_logprobs(self) -> Body:
        """Fields that ask for the likeliest next tokens."""
        if self.api == "completions":
            return {"temperature": 0.0, "logprobs": self.top_logprobs}
        return {"temperature": 0.0, "logprobs": True, "top_logprobs": self.top_logprobs}

    def for_echo(self) -> Body:
        """Fields that ask for the log-probabilities of the prompt itself."""
        return {"temperature": 0.0, "logprobs": 1, "echo": True}

    def for_vote(self, prompt: Prompt, temperature: float, *seeds: int) -> Body:
        """Fields of one sampled answer."""
        return {"temperature": temperature, "seed": _seed("vote", *seeds, prompt=prompt)}

    def for_sampling(self, prompt: Prompt, sampling: Sampling) -> Body:
        """Fields of a continuation, its seed drawn from the sampling's and the prompt."""
        body: Body = {"temperature": sampling.temperature, "seed": _seed(sampling.seed, prompt=prompt)}
        if sampling.top_p < 1.0:
            body["top_p"] = sampling.top_p
        if sampling.top_k > 0 and self.supports_top_k:
            body["top_k"] = sampling.top_k
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        return body

    def targets(self, options: Sequence[str]) -> list[Target]:
        """The text or tokens that are scored for each option, none a prefix of another."""
        if self.tokenizer is None:
            return list(terminated(options))
        ids = [tuple(self.prompts.trusted_ids(option)) for option in options]
        if any(a != b and b[: len(a)] == a for a in ids for b in ids):
            ids = [tuple(self.prompts.trusted_ids(f"{option}\n")) for option in options]
        return list(ids)

    def token_text(self, token: int) -> str:
        """Text of one token id."""
        return str(self.prompts.tokenizer.decode([token]))

    def num_tokens(self, text: str) -> int:
        """Tokens by the tokenizer where one is given, else one for every four bytes."""
        if self.tokenizer is not None:
            return len(self.prompts.data_ids(text))
        return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)

    def num_read(self, question: Body) -> int:
        """Tokens of a question, estimated where they are not sent."""
        prompt = question.get("prompt")
        return len(prompt) if isinstance(prompt, list) else math.ceil(len(json.dumps(question)) / _BYTES_PER_TOKEN)

    def __getstate__(self) -> dict[str, object]:
        """Options only: a copy in another process reads the tokenizer itself."""
        return {name: value for name, value in self.__dict__.items() if name != "prompts"}


def _seed(*parts: int | str, prompt: Prompt) -> int:
    return derive_seed(*parts, json.dumps(prompt)) % _SEEDS

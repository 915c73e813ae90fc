"""Requests for prompts: text or token ids, completions or chat, the fields of sampling."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from rlaif.engines.chat_templates import opened_reasoning
from rlaif.engines.openai.client import Body
from rlaif.engines.openai.options import ChoiceField, load_prompt_tokenizer
from rlaif.engines.openai.scores import Target, terminated
from rlaif.functional.seeds import derive_seed
from rlaif.types import Sampling, StructuredPrompt, as_unicode

if TYPE_CHECKING:
    from rlaif.tokenization import PromptTokenizer

Api = Literal["completions", "chat"]
Prompt = str | list[int]
"""A prompt as it is sent: text, or token ids where the tokenizer is known."""

_GUIDED = ("guided_choice", "guided_regex", "guided_json", "guided_grammar", "structured_outputs", "response_format")
_FORBIDDING = ("regex", "ebnf", "json_schema", "grammar", "logit_bias", "allowed_token_ids", "bad_words", "min_tokens")
CONSTRAINTS = frozenset((*_GUIDED, *_FORBIDDING))
"""Fields of requests that let a server write another token than the likeliest."""
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
        omit: Sequence[str] = (),
        choice_field: ChoiceField | None = None,
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
        self.omit = tuple(omit)
        self.choice_field = choice_field
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
        further = (sorted(self.omit), self.choice_field, rendered)
        # Options at their defaults leave the identity, and so the cached answers, of earlier versions as they were.
        own = (json.dumps(further, sort_keys=True),) if any(further) else ()
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
        """The whole request, without the fields that the option ``omit`` names."""
        body = {"model": self.model, **question, self.token_limit_key: max_tokens}
        left_out = {*self.omit}
        left_out |= {self.token_limit_key} if "max_tokens" in left_out else set()
        left_out |= {"top_logprobs"} if "logprobs" in left_out else set()
        return {name: value for name, value in body.items() if name not in left_out} | self.extra

    def with_other_prompt(self, body: Body) -> Body:
        """A request with a short prompt of ours in place of its own."""
        short = "Answer with the number 1."
        other = self.prompts.trusted_ids(short) if self.tokenizer is not None else short
        return body | {name: value for name, value in self.question(other).items() if name in body}

    def for_top_logprobs(self) -> Body:
        """Fields that ask for the likeliest next tokens."""
        if self.api == "completions":
            return {"temperature": 0.0, "logprobs": self.top_logprobs, **self._in_ids()}
        return {"temperature": 0.0, "logprobs": True, "top_logprobs": self.top_logprobs}

    def for_echo(self) -> Body:
        """Fields that ask for the log-probabilities of the prompt itself."""
        return {"temperature": 0.0, "logprobs": 1, "echo": True, **self._in_ids()}

    def _in_ids(self) -> Body:
        """Ask vLLM to name tokens by their ids, which are never alike; llama.cpp and SGLang take no notice."""
        return {} if self.tokenizer is None else {"return_tokens_as_token_ids": True}

    @property
    def is_constrained(self) -> bool:
        """True where a field of ``extra`` may forbid the likeliest token."""
        return not CONSTRAINTS.isdisjoint(self.extra)

    def for_vote(self, prompt: Prompt, temperature: float, *seeds: int) -> Body:
        """Fields of one sampled answer."""
        return {"temperature": temperature, "seed": _seed("vote", *seeds, prompt=prompt)}

    def for_choice(self, options: Sequence[str]) -> Body:
        """The field that allows these answers alone, as the server takes it; none where no field is chosen."""
        fields: dict[str | None, Body] = {
            None: {},
            "guided_choice": {"guided_choice": list(options)},
            "structured_outputs": {"structured_outputs": {"choice": list(options)}},
            "regex": {"regex": "|".join(map(re.escape, options))},
            "grammar": {"grammar": "root ::= " + " | ".join(map(json.dumps, options))},
        }
        return fields[self.choice_field]

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

    def num_prompt_tokens(self, prompt: StructuredPrompt) -> int:
        """Tokens of a prompt as it is sent, estimated where no tokenizer is given."""
        sent = self.prompt(prompt)
        return len(sent) if isinstance(sent, list) else self.num_tokens(f"{self.system or ''}{sent}")

    def num_target_tokens(self, target: Target) -> int:
        """Tokens of an option."""
        return self.num_tokens(target) if isinstance(target, str) else len(target)

    def num_sent(self, question: Body) -> int:
        """Tokens of a question's prompt, counted as :meth:`num_prompt_tokens` does."""
        prompt = question.get("prompt")
        if isinstance(prompt, list):
            return len(prompt)
        messages: Any = question.get("messages") or [{"content": prompt}]
        return self.num_tokens("".join(str(message["content"]) for message in messages))

    def num_read(self, question: Body) -> int:
        """Tokens of a question, estimated where they are not sent."""
        prompt = question.get("prompt")
        return len(prompt) if isinstance(prompt, list) else math.ceil(len(json.dumps(question)) / _BYTES_PER_TOKEN)

    def __getstate__(self) -> dict[str, object]:
        """Options only: a copy in another process reads the tokenizer itself."""
        return {name: value for name, value in self.__dict__.items() if name != "prompts"}


def _seed(*parts: int | str, prompt: Prompt) -> int:
    return derive_seed(*parts, json.dumps(prompt)) % _SEEDS

"""Checks of the ``openai`` engine's options against each other, and its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from rlaif.engines.chat_templates import OWN_ARGUMENTS, check_arguments
from rlaif.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlaif.tokenization import PromptTokenizer

TokenLimitKey = Literal["max_tokens", "max_completion_tokens"]
ChoiceField = Literal["guided_choice", "structured_outputs", "regex", "grammar"]

MAY_BE_OMITTED = ("temperature", "seed", "stop", "max_tokens", "logprobs", "top_p", "top_k")
"""Fields of a request that the option ``omit`` may name."""

_CHOICES = {
    "api": ("completions", "chat"),
    "chat_template": ("none", "model"),
    "scoring": ("top_logprobs", "echo", "votes"),
    "token_limit_key": ("max_tokens", "max_completion_tokens"),
    "choice_field": (None, "guided_choice", "structured_outputs", "regex", "grammar"),
}
_AT_LEAST = {
    "top_logprobs": 1,
    "num_votes": 1,
    "max_vote_tokens": 1,
    "max_concurrency": 1,
    "max_retries": 0,
    "break_after": 1,
    "max_response_bytes": 1000,
}
_ABOVE_0 = (
    "vote_temperature",
    "requests_per_minute",
    "tokens_per_minute",
    "connect_timeout_s",
    "read_timeout_s",
    "total_timeout_s",
    "first_backoff_s",
    "max_backoff_s",
)
KEY_ENV = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""Names of environment variables; many keys would pass for one in small letters, or longer."""
AZURE = (
    "takes no query; Azure needs no api-version at https://RESOURCE.openai.azure.com/openai/v1, and takes the name of "
    "the deployment as labeler.engine.model"
)
_OURS = frozenset({"model", "prompt", "messages", "stream", "n", "echo", "logprobs", "top_logprobs", "temperature"})


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that cannot work.

    Args:
        options: Constructor arguments of :class:`rlaif.engines.openai.engine.OpenAIEngine` by name.

    Raises:
        ConfigError: With every problem.
    """
    if problems := [f"labeler.engine.{problem}" for problem in _problems(options)]:
        raise ConfigError(problems)


def load_prompt_tokenizer(
    name: str, chat_template: str, chat_template_kwargs: Mapping[str, Any] | None = None
) -> PromptTokenizer:
    """Read the tokenizer of the served model; a folder needs no more than the tokenizer's own files.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read.
    """
    from rlaif.models.load import ModelSpec, load_tokenizer
    from rlaif.tokenization import PromptTokenizer

    try:
        read = _read_folder(Path(name)) if _holds_tokenizer_only(Path(name)) else load_tokenizer(ModelSpec(name))
        check_arguments(read, chat_template_kwargs or {})
        return PromptTokenizer(read, chat_template=chat_template, template_arguments=chat_template_kwargs)
    except (ConfigError, EngineError) as error:
        raise type(error)(str(error).replace("model.name=", "labeler.engine.tokenizer=")) from error


def _holds_tokenizer_only(folder: Path) -> bool:
    files = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    return not (folder / "config.json").is_file() and any((folder / file).is_file() for file in files)


def _read_folder(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    known = (folder / "tokenizer_config.json").is_file()
    try:
        if known and "tokenizer_class" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")):
            read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
        else:
            read = PreTrainedTokenizerFast.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise EngineError(
            f"model.name={folder}: its tokenizer cannot be read ({type(error).__name__}: {error}); save it there with "
            "tokenizer.save_pretrained of transformers"
        ) from error
    return read


def _problems(options: Mapping[str, Any]) -> Iterator[str]:
    if not options["model"]:
        yield "model=: must be the model's name at the server, e.g. one of those that GET /v1/models lists"
    yield from _url_problems(options["url"])
    for name, allowed in _CHOICES.items():
        if options[name] not in allowed:
            yield f"{name}={options[name]}: allowed are {', '.join(filter(None, allowed))}"
    for name, least in _AT_LEAST.items():
        if options[name] < least:
            yield f"{name}={options[name]}: must be at least {least}"
    for name in _ABOVE_0:
        if options[name] is not None and not 0.0 < options[name] < float("inf"):
            yield f"{name}={options[name]:g}: must be a finite number above 0"
    yield from _combination_problems(options)
    # The value may be a key that was typed by mistake: the message does not repeat it.
    if options["key_env"] is not None and not KEY_ENV.fullmatch(options["key_env"]):
        yield "key_env: must be the name of an environment variable, in capitals, never the key itself"
    yield from _extra_problems(options["extra"] or {})
    yield from _omit_problems(options)


def _omit_problems(options: Mapping[str, Any]) -> Iterator[str]:
    for name in options["omit"]:
        if name not in MAY_BE_OMITTED:
            yield f"omit=[{name}]: may name {', '.join(MAY_BE_OMITTED)}"
    if "logprobs" in options["omit"] and options["scoring"] != "votes":
        yield (
            f"omit=[logprobs]: scoring={options['scoring']} reads them; labeler.engine.scoring=votes does without them"
        )
    if options["guided_choice"] and options["scoring"] != "votes":
        yield "guided_choice=true: is for votes, whose text it limits; take labeler.engine.scoring=votes, or false"
    if options["guided_choice"] and options["choice_field"] is None:
        yield (
            "guided_choice=true: needs labeler.engine.choice_field, the field in which this server takes the allowed "
            "answers; labeler/engine=vllm, sglang and llamacpp set it"
        )


def _url_problems(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.query.startswith("api-version="):
        yield f"url: {AZURE}"
    elif parts.username or parts.password or parts.query or parts.fragment:
        yield "url: takes no user, password or query; keys come from the environment (labeler.engine.key_env)"
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"url={url}: must be like http://localhost:8000/v1"
    elif parts.path.rstrip("/").endswith("/completions"):
        yield f"url={url}: must be the base url, without /completions"


def _combination_problems(options: Mapping[str, Any]) -> Iterator[str]:
    chat = options["api"] == "chat"
    if chat and options["scoring"] == "echo":
        yield "scoring=echo: a chat echoes no prompt; take labeler.engine.api=completions or scoring=top_logprobs"
    if options["system"] is not None and not chat:
        yield "system: needs labeler.engine.api=chat"
    if options["token_limit_key"] == "max_completion_tokens" and not chat:
        yield (
            "token_limit_key=max_completion_tokens: /completions has no such field, and servers ignore fields that "
            "they do not know; take labeler.engine.api=chat, or max_tokens"
        )
    if options["tokenizer"] is not None and chat:
        yield "tokenizer: a chat takes no token ids; take labeler.engine.api=completions with chat_template=model"
    if options["chat_template"] == "model" and options["tokenizer"] is None:
        yield "chat_template=model: needs labeler.engine.tokenizer"
    yield from _template_problems(options["chat_template_kwargs"] or {}, options)


def _template_problems(arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    chat, rendered_here = options["api"] == "chat", options["chat_template"] == "model"
    if arguments and not chat and not rendered_here:
        yield (
            "chat_template_kwargs: no chat template is used; take labeler.engine.api=chat, or chat_template=model with "
            "labeler.engine.tokenizer"
        )
    for name in sorted(OWN_ARGUMENTS & arguments.keys()):
        yield f"chat_template_kwargs.{name}: is set by the engine itself"
    if "chat_template_kwargs" in (options["extra"] or {}) and (arguments or rendered_here):
        yield "extra.chat_template_kwargs: take labeler.engine.chat_template_kwargs, which also templates here read"


def _extra_problems(extra: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(_OURS & extra.keys()):
        if name != "stream":
            yield f"extra.{name}: is set by the engine itself"
        elif extra[name] is not False:
            yield "extra.stream: replies are read whole; may only be false, for a server that streams by default"
    try:
        json.dumps(extra)
    except TypeError as error:
        yield f"extra: must be JSON ({error})"

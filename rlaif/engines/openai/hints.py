"""What to type against a failed request, from its reason and the provider's words."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_KEY = "labeler.engine.key_env must name the environment variable that holds a key of this server"
_VOTES = "labeler.engine.scoring=votes does without them"
REASONING_CUT = "reasoning cut at the token limit"
_PRINT_ALIKE = (
    "two of the model's tokens print alike; with labeler.engine.tokenizer=FOLDER the engine asks vLLM for token ids "
    "(return_tokens_as_token_ids), or take labeler.engine.api=chat, whose tables are lists"
)
_BY_REASON = {
    "http 401": _KEY,
    "http 402": "the provider asks for payment",
    "http 403": _KEY,
    "no log-probs in the reply": f"{_VOTES}; instead of echo, labeler.engine.scoring=top_logprobs may",
    "no option among *": (
        "labeler.engine.top_logprobs asks for more tokens, and labeler.engine.scoring=votes does without them"
    ),
    "written token contradicts the likeliest tokens": _PRINT_ALIKE,
    "likeliest tokens took one another's place": _PRINT_ALIKE,
    "written token is not the likeliest": (
        "is the server's own sampling in the way? labeler.engine.extra={repeat_penalty:1.0} takes the penalty off that "
        "llama-cpp-python sets by itself"
    ),
    "log-probs of another text": _VOTES,
    "one token does not distinguish *": (
        "labeler.engine.scoring=votes reads whole answers, and labeler.engine.api=completions follows their tokens"
    ),
    "an option after a space is likelier *": (
        "labeler.engine.api=chat counts both as one answer; or the model expects its chat template"
    ),
    "option and prompt share a token": "labeler.engine.scoring=top_logprobs",
    "none of * votes could be read*": (
        "labeler.engine.max_vote_tokens gives an answer more room; labeler.engine.guided_choice=true limits it to the "
        "options, where the server can"
    ),
    "prompt too long": (
        "serve the model with a longer context, then label.ask_refused_again=true asks for these prompts again"
    ),
    "prompt too long: *": (
        "labeler.engine.model with a longer context; fewer labeler.prompt.num_exemplars and a lower "
        "labeler.max_rationale_tokens make room"
    ),
    REASONING_CUT: "labeler.max_rationale_tokens (votes: labeler.engine.max_vote_tokens) gives the reasoning room",
    "rationale cut at *": "labeler.max_rationale_tokens gives it more room",
    "reasoning cut at *": "labeler.max_rationale_tokens gives it more room",
    "http 30?": "redirects are not followed: labeler.engine.url must be the place itself (https:// for http://?)",
    "refused: *": "label.ask_refused_again=true asks for these prompts again",
    "reply of more than *": "labeler.engine.max_response_bytes reads longer replies",
    "wrong shape: tokens by their numbers": _VOTES,
    "wrong shape: a stream": "the server streams unless it is told not to: labeler.engine.extra={stream: false}",
    "cannot connect": "start the server, or set labeler.engine.url",
    "connection cut": (
        "labeler.engine.url may name another port, or http:// of a server that speaks https://; else its log may tell "
        "which field it does not take"
    ),
    "timeout": "labeler.engine.total_timeout_s and read_timeout_s wait longer",
}
_NOT_TAKEN = (
    r"unsupported|unrecognized|unknown|not support\w*|not (?:allowed|permitted|available)|disabled|"
    r"extra[ _](?:inputs|fields|forbidden)|only the default|strictly positive|greater than 0"
)
LIMITS_REPLY = re.compile(
    r"max_(?:completion_|output_)?tokens\W{1,3}(?:\d+ (?:cannot be greater than|> \d)|integer above maximum|must be"
    r" less than or equal|is too large: \d+\. This model supports)|maximum tokens you requested exceed",
    re.IGNORECASE,
)
"""Words for a limit of new tokens that is too high for the model, whatever the prompt."""
CUT_REPLY = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)
"""OpenAI's words, with HTTP 400, for a model that was still reasoning where the limit of new tokens ended it."""
_LONG_REPLY = re.compile(r"max_(?:completion_|new_)?tokens\b.{0,40}\d", re.IGNORECASE)
_SHORTER = "labeler.max_rationale_tokens (votes: labeler.engine.max_vote_tokens) asks for fewer new tokens"
_NAMES = "temperature|seed|stop|top_p|top_k"
_MODEL = "labeler.engine.model must be one of the names that GET /models at this url lists"
_BY_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"use ['\"`]?max_completion_tokens|unsupported parameter: ['\"`]?max_tokens",
        "labeler.engine.token_limit_key=max_completion_tokens",
    ),
    (rf"(?:{_NOT_TAKEN})\W.{{0,60}}max_completion_tokens", "labeler.engine.token_limit_key=max_tokens"),
    (r"mean to use v1/chat/completions|not support completions api", "labeler.engine.api=chat"),
    (r"mean to use v1/completions|not support chat completions api|not a chat model", "labeler.engine.api=completions"),
    (
        r"chat[ _]?template",
        "labeler.engine.api=completions sends the prompt without one; or give the server a chat template",
    ),
    (rf"(?:{_NOT_TAKEN})\W.{{0,60}}logprobs|logprobs?\W.{{0,60}}(?:{_NOT_TAKEN})", _VOTES),
    (
        rf"(?:{_NOT_TAKEN})\W.{{0,60}}\becho\b|\becho\b.{{0,60}}(?:{_NOT_TAKEN})|no echo is supported",
        "labeler.engine.scoring=top_logprobs",
    ),
    (LIMITS_REPLY.pattern, _SHORTER),
    (r"wrong[ _]version[ _]number", "labeler.engine.url=http://…: the server there speaks HTTP without TLS"),
    (r"plain http request was sent to https", "labeler.engine.url=https://…: the server there speaks HTTPS"),
    (rf"(?:{_NOT_TAKEN})\W.{{0,80}}max_tokens", "labeler.engine.omit=[max_tokens]"),
    (r"deployment.{0,80}not (?:found|exist)", "labeler.engine.model must be the name of a deployment"),
    (
        r"model.{0,80}(?:not (?:found|exist)|unknown|invalid)|model_not_found|(?:no such|invalid|unknown) model",
        _MODEL,
    ),
)
_TOO_MANY = re.compile(
    r"(?:logprobs|top_n_tokens)\D{0,80}(?:\d+\D{0,60})??"
    r"(?:less than or equal to|<=|at most|max\w*(?: value)?(?: allowed)?(?: of| is|:)?"
    r"|and|up to)\s*:?\s*(\d+)",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    rf"(?:{_NOT_TAKEN})\W.{{0,80}}?\b({_NAMES})\b|\b({_NAMES})\b.{{0,80}}?(?:{_NOT_TAKEN})", re.IGNORECASE
)
_AZURE = re.compile(r"https://[\w.-]+\.azure\.com(?=/|$)")


def hint(reason: str, words: str = "", url: str = "") -> str:
    """The option to set against a failure, as it is typed; empty where none is known.

    Args:
        reason: Of the failure.
        words: The provider's.
        url: Base url that was asked.

    >>> hint("http 400", "Unsupported value: 'temperature' does not support 0 with this model.")
    'labeler.engine.omit=[temperature]'
    >>> hint("http 400", "Invalid value for 'top_logprobs': must be less than or equal to 5.")
    'labeler.engine.top_logprobs=5'
    >>> hint("wrong model gpt-4o-2024-08-06")
    "labeler.engine.accept_model='gpt-4o-2024-08-06', or a pattern such as 'gpt-*'"
    """
    if reason.startswith("wrong model "):
        return _accept(reason.removeprefix("wrong model "))
    if reason == "prompt too long" and _LONG_REPLY.search(words):
        return f"{_BY_REASON[reason]}; or {_SHORTER}"
    if (found := _from_words(words)) and not reason.startswith(("refused", "prompt")):
        return found
    if "404" in reason or "405" in reason or reason == "invalid json" or reason.endswith("own API"):
        return f"{_typed(url)}: the base url usually ends in /v1"
    return next((told for pattern, told in _BY_REASON.items() if fnmatchcase(reason, pattern)), "")


def names_an_option(words: str) -> bool:
    """True where the provider's words say which option of the request it does not take."""
    return bool(_from_words(words))


def _from_words(words: str) -> str:
    if limit := _TOO_MANY.search(words):
        return f"labeler.engine.top_logprobs={limit.group(1)}"
    for pattern, told in _BY_WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return told
    named = _PARAMETER.search(words)
    return f"labeler.engine.omit=[{(named.group(1) or named.group(2)).lower()}]" if named else ""


def _typed(url: str) -> str:
    """The base url to try, as it is typed."""
    azure = _AZURE.match(url)
    better = f"{azure[0]}/openai/v1" if azure else f"{url}/v1"
    return f"labeler.engine.url={better}" if url and not url.endswith("/v1") else "labeler.engine.url"


def _accept(name: str) -> str:
    if name == "(none)":
        return "the reply names no model; labeler.engine.accept_model='*' takes any"
    family = name.partition("-")[0]
    return f"labeler.engine.accept_model={name!r}, or a pattern such as {family + '-*'!r}"

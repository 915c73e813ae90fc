"""Tokens that a server says it read, held against the prompts that it was sent.

A server with a small context may read the end of a prompt, or its beginning, and answer all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rlaif.engines.openai.failures import RequestFailed
from rlaif.reasons import prompt_cut

SHORTEST = 128
"""Tokens of the shortest prompt that is compared: every context is longer."""
_SLACK_TOKENS, _SLACK_SHARE = 8, 0.01
"""What may be missing where our own count is exact: tokens that a server does not count (a begin token)."""
_CHARACTERS_PER_TOKEN = 8
"""Text without white space takes a token for every eight characters at least, and for every word at least one."""
_CONTEXT_OPTIONS = (
    "the server's context is set by --ctx-size (llama.cpp), num_ctx or OLLAMA_CONTEXT_LENGTH (Ollama), "
    "--max-model-len (vLLM), --context-length (SGLang)"
)

log = logging.getLogger(__name__)


def least_tokens(text: str) -> int:
    """A lower bound of the tokens of a text.

    >>> least_tokens("A summary of a post"), least_tokens("x" * 80)
    (5, 10)
    """
    words = text.split()
    return max(len(words), sum(map(len, words)) // _CHARACTERS_PER_TOKEN)


class PromptLengths:
    """Compares the lengths of prompts; as the context of a call, warns at its end about those that were cut.

    There is one warning about prompts of token ids, and one about those of text.
    """

    def __init__(self) -> None:
        self._cut: dict[str, list[tuple[int, int]]] = {"ids": [], "text": []}
        self._warned: set[str] = set()

    def compare(self, num_read: int, question: Mapping[str, object]) -> None:
        """Hold what the server read of one request against it.

        Args:
            num_read: By its ``usage``; 0 is untold.
            question: The request's field ``prompt`` (text or token ids) or ``messages``.

        Raises:
            RequestFailed: It read fewer token ids than it was sent.
        """
        prompt = question.get("prompt")
        if isinstance(prompt, list):
            num_sent, kind = len(prompt), "ids"
            slack = max(_SLACK_TOKENS, int(_SLACK_SHARE * num_sent))
        else:
            num_sent, kind, slack = least_tokens(_text(question)), "text", 0
        if not num_read or num_sent < SHORTEST or num_read >= num_sent - slack:
            return
        self._cut[kind].append((num_read, num_sent))
        if kind == "ids":
            raise RequestFailed(prompt_cut(num_read, num_sent), of_server=False, of_setup=True)

    def __enter__(self) -> None:
        """Begin a call."""

    def __exit__(self, *raised: object) -> None:
        """Warn about what was cut in the call, the first time that anything was."""
        for kind, cut in self._cut.items():
            if cut and kind not in self._warned:
                self._warned.add(kind)
                read, sent = max(cut, key=lambda lengths: lengths[1] - lengths[0])
                of_sent = f"{sent:,}" if kind == "ids" else f"at least {sent:,}, by their words,"
                result = "their judgements are missing" if kind == "ids" else "the answers may be to half a prompt"
                log.warning(
                    "the server read fewer tokens than it was sent of %d prompts (%s of %s, in the worst): %s; %s",
                    *(len(cut), f"{read:,}", of_sent, result, _CONTEXT_OPTIONS),
                )
            cut.clear()


def _text(question: Mapping[str, object]) -> str:
    messages = question.get("messages")
    if isinstance(messages, list):
        return " ".join(str(message.get("content")) for message in messages if isinstance(message, dict))
    return str(question.get("prompt", ""))

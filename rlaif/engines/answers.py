"""One question to an engine as a key, and its answer as bytes, without a change of a single bit."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rlaif.engines.base import Answer
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling

ANSWER_FORMAT = 3
"""Increased when the bytes of an answer, or the meaning of a key, change."""
KEY_BYTES = 20

_SCORES, _GENERATION, _FINAL_SCORES, _FINAL_GENERATION, _SHARES, _REASONED = 1, 2, 3, 4, 5, 9
_SCORES_HEAD = struct.Struct("<BIIH")
_GENERATION_HEAD = struct.Struct("<BBIII")
_FINAL_HEAD = struct.Struct("<BII")
_REASONED_HEAD = struct.Struct("<BI")
REFUSALS = ("refused", "prompt too long")
"""Beginnings of the reasons of prompts that a server refused: facts about a prompt, until the server changes."""


def score_key(identity: str, rendered: bytes, options: Sequence[str]) -> bytes:
    """The key of a scored question: engine, input of the model, options.

    Args:
        identity: ``Engine.identity``.
        rendered: ``Engine.rendered`` of the prompt.
        options: In the order of the answer's log-probabilities.

    Returns:
        20 bytes.
    """
    return _key(b"score", identity, rendered, options)


def generate_key(identity: str, rendered: bytes, sampling: Sampling) -> bytes:
    """The key of a continuation: engine, input of the model, sampling with its seed."""
    drawn = (
        str(sampling.max_new_tokens),
        repr(float(sampling.temperature)),
        str(sampling.top_k),
        repr(float(sampling.top_p)),
        str(sampling.seed),
        *sampling.stop,
    )
    return _key(b"generate", identity, rendered, drawn)


def final_key(key: bytes) -> bytes:
    """The key of a question's final failure. An answer has the question's own key, and goes first.

    Args:
        key: From :func:`score_key` or :func:`generate_key`.
    """
    return hashlib.sha256(b"final" + key).digest()[:KEY_BYTES]


def is_refusal(reason: str | None) -> bool:
    """True for the reason of a prompt that a server refused or found too long.

    >>> is_refusal("refused: content filter"), is_refusal("http 500"), is_refusal(None)
    (True, False, False)
    """
    return reason is not None and reason.startswith(REFUSALS)


def _key(kind: bytes, identity: str, rendered: bytes, asked: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    parts = [kind, str(ANSWER_FORMAT).encode(), identity.encode(), rendered]
    for part in parts + [text.encode("utf-8", "surrogatepass") for text in asked]:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()[:KEY_BYTES]


def pack(answer: Answer) -> bytes:
    """An answer as bytes: log-probabilities as doubles, token ids as four bytes each, text compressed.

    Reasoning, where there is some, stands in front.

    Args:
        answer: Given, or missing for good; a failure that may pass is no answer.
    """
    assert not answer.failed, "a failure is no answer"
    if answer.reasoning:
        reasoning = zlib.compress(answer.reasoning.encode("utf-8", "surrogatepass"))
        return _REASONED_HEAD.pack(_REASONED, len(reasoning)) + reasoning + pack(replace(answer, reasoning=""))
    if answer.missing is not None:
        kind = _FINAL_SCORES if isinstance(answer, OptionScores) else _FINAL_GENERATION
        return _FINAL_HEAD.pack(kind, answer.num_prompt_tokens, answer.num_counted_tokens) + answer.missing.encode()
    if isinstance(answer, OptionScores):
        assert answer.logprobs is not None
        kind = _SHARES if answer.shares else _SCORES
        head = _SCORES_HEAD.pack(kind, answer.num_prompt_tokens, answer.num_counted_tokens, len(answer.bounded))
        bounded = np.asarray(answer.bounded, dtype="<u2").tobytes()
        return head + bounded + np.asarray(answer.logprobs, dtype="<f8").tobytes()
    num_tokens = (answer.num_prompt_tokens, answer.num_counted_tokens, len(answer.token_ids))
    head = _GENERATION_HEAD.pack(_GENERATION, answer.finished, *num_tokens)
    token_ids = np.asarray(answer.token_ids, dtype="<u4").tobytes()
    return head + zlib.compress(token_ids + answer.text.encode("utf-8", "surrogatepass"))


def unpack(data: bytes) -> Answer:
    """The answer that :func:`pack` wrote.

    Raises:
        ValueError: These bytes are no answer.
    """
    try:
        if data[0] == _REASONED:
            end = _REASONED_HEAD.size + _REASONED_HEAD.unpack_from(data)[1]
            reasoning = zlib.decompress(data[_REASONED_HEAD.size : end]).decode("utf-8", "surrogatepass")
            return replace(unpack(data[end:]), reasoning=reasoning)
        if data[0] in (_FINAL_SCORES, _FINAL_GENERATION):
            return _unpack_final(data)
        if data[0] in (_SCORES, _SHARES):
            kind, num_prompt_tokens, num_counted_tokens, num_bounded = _SCORES_HEAD.unpack_from(data)
            start = _SCORES_HEAD.size
            bounded = np.frombuffer(data, dtype="<u2", count=num_bounded, offset=start)
            logprobs = np.frombuffer(data, dtype="<f8", offset=start + bounded.nbytes)
            return OptionScores(
                logprobs=tuple(logprobs.tolist()),
                bounded=tuple(bounded.tolist()),
                shares=kind == _SHARES,
                num_prompt_tokens=num_prompt_tokens,
                num_counted_tokens=num_counted_tokens,
            )
        _, finished, num_prompt_tokens, num_counted_tokens, num_tokens = _GENERATION_HEAD.unpack_from(data)
        content = zlib.decompress(data[_GENERATION_HEAD.size :])
        return Generation(
            text=content[4 * num_tokens :].decode("utf-8", "surrogatepass"),
            token_ids=tuple(np.frombuffer(content, dtype="<u4", count=num_tokens).tolist()),
            finished=bool(finished),
            num_prompt_tokens=num_prompt_tokens,
            num_counted_tokens=num_counted_tokens,
        )
    except (IndexError, struct.error, zlib.error) as error:
        raise ValueError(f"not an answer ({error})") from error


def _unpack_final(data: bytes) -> Answer:
    kind, num_prompt_tokens, num_counted_tokens = _FINAL_HEAD.unpack_from(data)
    reason = data[_FINAL_HEAD.size :].decode()
    if kind == _FINAL_SCORES:
        return OptionScores(
            logprobs=None,
            missing=reason,
            is_final=True,
            num_prompt_tokens=num_prompt_tokens,
            num_counted_tokens=num_counted_tokens,
        )
    return Generation(
        missing=reason,
        is_final=True,
        finished=False,
        num_prompt_tokens=num_prompt_tokens,
        num_counted_tokens=num_counted_tokens,
    )

"""Why a reply ended, in the words of the servers that speak OpenAI's protocol.

The lists hold what is known to mean that a reply is whole, cut at a limit, or refused. Everything else (vLLM's and
SGLang's ``abort``, OpenRouter's and Mistral's ``error``, DeepSeek's ``insufficient_system_resource``, a call of a tool
that nobody offered) is half a reply at best, and a failure.
"""

from __future__ import annotations

from rlaif.engines.openai.failures import RequestFailed
from rlaif.types import as_unicode

STOP, LENGTH, CONTENT_FILTER, REFUSAL = "stop", "length", "content_filter", "refusal"
_MEANINGS = {
    STOP: STOP,  # OpenAI, vLLM, SGLang, llama.cpp, Ollama, LM Studio
    "eos": STOP,  # Together
    "eos_token": STOP,  # Text Generation Inference
    "stop_sequence": STOP,  # Text Generation Inference, gateways to Anthropic
    "end_turn": STOP,  # gateways to Anthropic
    "complete": STOP,  # gateways to Cohere
    LENGTH: LENGTH,
    "max_tokens": LENGTH,  # gateways to Anthropic, Cohere and Gemini
    "model_length": LENGTH,  # Mistral
    "model_context_window_exceeded": LENGTH,  # gateways to Anthropic
    CONTENT_FILTER: CONTENT_FILTER,  # OpenAI, Azure, OpenRouter
    "content_filtered": CONTENT_FILTER,  # gateways to Bedrock
    "guardrail_intervened": CONTENT_FILTER,  # gateways to Bedrock
    "safety": CONTENT_FILTER,  # gateways to Gemini
    "prohibited_content": CONTENT_FILTER,  # gateways to Gemini
    "blocklist": CONTENT_FILTER,  # gateways to Gemini
    "recitation": CONTENT_FILTER,  # gateways to Gemini
    "spii": CONTENT_FILTER,  # gateways to Gemini
    "sensitive": CONTENT_FILTER,  # Zhipu
    "error_toxic": CONTENT_FILTER,  # gateways to Cohere
    REFUSAL: REFUSAL,  # gateways to Anthropic
}
_MAX_NAME = 40


def read_finish_reason(value: object, native: object = None) -> str:
    """``stop``, ``length``, ``content_filter`` or ``refusal``.

    Args:
        value: The reply's ``finish_reason``, in any case of letters.
        native: What a gateway tells of its provider's (``native_finish_reason`` of OpenRouter); where it is known, it
            goes before a ``stop``.

    Raises:
        RequestFailed: It is none of those that are known to end a reply; asking again may help.

    >>> read_finish_reason("STOP"), read_finish_reason("max_tokens"), read_finish_reason("stop", "MAX_TOKENS")
    ('stop', 'length', 'length')
    """
    if not isinstance(value, str):
        raise RequestFailed("wrong shape: no finish_reason", retryable=True)
    meaning = _MEANINGS.get(value.strip().lower())
    if meaning is None:
        raise RequestFailed(f"reply broken off: {as_unicode(value)[:_MAX_NAME]}", retryable=True)
    return _MEANINGS.get(str(native).strip().lower(), STOP) if meaning == STOP else meaning

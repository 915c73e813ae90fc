"""The body of a server's reply: read no further than a limit, decompressed, taken from JSON."""

from __future__ import annotations

import json
import zlib

import httpx2

from rlaif.engines.openai.failures import RequestFailed

A_STREAM = "wrong shape: a stream"
_GZIP_OR_ZLIB = 47
"""``wbits`` of zlib that reads either, as the data's own header says."""


async def read_json(response: httpx2.Response, max_bytes: int) -> object:
    """The JSON of a reply.

    Some gateways compress although the request allows no encoding (``Accept-Encoding: identity``); that is read.

    Args:
        response: Open, and not read yet.
        max_bytes: Of the body, as it is sent and as it is read.

    Raises:
        RequestFailed: The body is longer, a stream of events, compressed otherwise than by gzip or zlib, or no JSON.
    """
    data, is_whole = await _beginning(response, max_bytes)
    if not is_whole:
        raise _longer_than(max_bytes)
    data = _decompressed(data, response.headers.get("content-encoding", ""), max_bytes)
    if data.lstrip().startswith((b"data:", b"event:")):
        raise RequestFailed(A_STREAM)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise RequestFailed("invalid json", retryable=True) from None


async def read_beginning(response: httpx2.Response, max_bytes: int) -> tuple[str, bool]:
    """The text of a body up to a limit, and whether that is all of it; what cannot be decompressed stays as it is."""
    data, is_whole = await _beginning(response, max_bytes)
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        data = reader.decompress(data, max_bytes)
        is_whole = is_whole and reader.eof
    except zlib.error:
        pass
    return data.decode("utf-8", "replace"), is_whole


async def _beginning(response: httpx2.Response, max_bytes: int) -> tuple[bytes, bool]:
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > max_bytes:
            return bytes(data[:max_bytes]), False
    return bytes(data), True


def _decompressed(data: bytes, encoding: str, max_bytes: int) -> bytes:
    if encoding.strip().lower() in ("", "identity"):
        return data
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        text = reader.decompress(data, max_bytes)
    except zlib.error:
        raise RequestFailed("wrong shape: a compressed reply", detail=f"content-encoding {encoding}") from None
    if reader.unconsumed_tail:
        raise _longer_than(max_bytes)
    if not reader.eof:
        raise RequestFailed("connection cut", detail="a compressed reply without its end", retryable=True)
    return text


def _longer_than(max_bytes: int) -> RequestFailed:
    return RequestFailed(f"reply of more than {max_bytes} bytes")

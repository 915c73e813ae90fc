"""The text of a token in a reply: its ``bytes`` where they are sent, else its name.

Some servers name tokens as the tokenizer's vocabulary does (``Ġ1``, ``▁1``, ``<0x31>``) and send the text as ``bytes``.
Without ``bytes`` the marks of the two common tokenizers are read: ``Ġ`` and ``▁`` begin a word after a space, ``Ċ`` is
a newline, ``<0x31>`` is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlaif.engines.openai.failures import RequestFailed

TOKEN_ID = "token_id:"
"""What vLLM writes before a number where it is asked for token ids."""
_BYTE = re.compile(r"<0x([0-7][0-9A-Fa-f])>")
_MARKS = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})
_MARKED = re.compile(r"[Ġ▁Ċ]+[\x21-\x7e]*")


def text_of(item: Mapping[str, object]) -> str:
    """The text of one token of a reply; bytes that are a part of a character leave its name.

    Args:
        item: Its ``token`` and perhaps its ``bytes``.

    Raises:
        RequestFailed: It has no name, or its bytes are none.

    >>> text_of({"token": "Ġ1", "bytes": [32, 49]}), text_of({"token": "<0x31>"}), text_of({"token": "Ġone"})
    (' 1', '1', ' one')
    """
    name, sent = item.get("token"), item.get("bytes")
    if not isinstance(name, str):
        raise RequestFailed("wrong shape: a token")
    if sent is None or name.startswith(TOKEN_ID):
        return plain(name)
    if not isinstance(sent, list) or not all(isinstance(one, int) and 0 <= one < 256 for one in sent):
        raise RequestFailed("wrong shape: bytes of a token")
    try:
        text = bytes(sent).decode()
    except UnicodeDecodeError:
        return name
    # LMDeploy sends the bytes of the name.
    return plain(name) if text in ("", name) else text


def plain(name: str) -> str:
    """A token's name as text, with the marks of its vocabulary read; a name with other letters is its own text.

    >>> plain("▁1"), plain("Ġ"), plain("Ġesù")
    (' 1', ' ', 'Ġesù')
    """
    if byte := _BYTE.fullmatch(name):
        return chr(int(byte[1], 16))
    return name.translate(_MARKS) if _MARKED.fullmatch(name) else name

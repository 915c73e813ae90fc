"""Stop strings: a row ends with the token that completes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BROKEN = "�"


class StopStrings:
    """Ends rows whose text holds a stop string.

    Only tokens that can complete a stop string make a row's text be decoded: those that hold its last character,
    or bytes of an unfinished one.

    Args:
        strings: Stop strings, none empty.
        decode: Token ids to text.
        num_tokens: Size of the vocabulary.
    """

    def __init__(self, strings: Sequence[str], decode: Callable[[list[int]], str], num_tokens: int) -> None:
        self.strings = tuple(strings)
        self._decode = decode
        last = {string[-1] for string in strings} | {BROKEN}
        self._candidates = torch.tensor([bool(last & set(decode([token]))) for token in range(num_tokens)])

    def ends(self, token_A: Tensor, response: Callable[[int], list[int]]) -> Tensor:
        """As :class:`rlaif.inference.sample.Stop`."""
        ended = self._candidates.to(token_A.device)[token_A.clamp_max(len(self._candidates) - 1)]
        for row in ended.nonzero().squeeze(1).tolist():
            text = self._decode(response(row))
            ended[row] = any(string in text for string in self.strings)
        return ended

    def cut(self, text: str) -> str:
        """The text before the first stop string.

        >>> StopStrings(["."], lambda ids: "", 0).cut("One. Two.")
        'One'
        """
        ends = [text.find(string) for string in self.strings]
        return text[: min([end for end in ends if end >= 0], default=len(text))]

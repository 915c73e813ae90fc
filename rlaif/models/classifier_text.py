"""The text that a sequence classifier reads, in the form that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from rlaif.chat_format import chat_pieces
from rlaif.data.batches.examples import completion_ids, prompt_ids
from rlaif.data.transcripts import instruction_in
from rlaif.errors import EngineError
from rlaif.tasks.base import Task, get_task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt, Turn, turns_in

TextFormat = Literal["plain", "pair", "chat"]


class ClassifierInput(NamedTuple):
    """One row."""

    ids: list[int]
    type_ids: list[int]
    """0, and 1 for the second text of a pair."""


class ClassifierText:
    """Writes prompt and response as a classifier reads them; both are data, which never becomes a special token.

    Args:
        tokenizer: The classifier's.
        text_format: ``plain``: the response follows the prompt, then the end token, as a policy writes it: in the chat
            template of the tokenizer where it has one, as rlaif's own reward models are trained; ``pair``: the
            tokenizer's form for two texts (``[CLS] prompt [SEP] response [SEP]``), a dialogue of one turn without its
            turn marks; ``chat``: the turns of user and assistant in the tokenizer's chat template, whole.
        max_length: Tokens of prompt and response; a longer prompt is cut from the left.
        task: Says how a prompt is written; None takes each prompt's own.

    Raises:
        EngineError: The tokenizer has no end token (``plain``) or no chat template (``chat``).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_format: TextFormat = "plain",
        *,
        max_length: int,
        task: Task | None = None,
    ) -> None:
        if text_format == "plain" and tokenizer.eos_token_id is None:
            raise EngineError(
                "labeler.text_format=plain: the classifier's tokenizer has no end token (eos_token), so it was trained "
                "on another form; most encoders take labeler.text_format=pair"
            )
        self.tokenizer = PromptTokenizer(tokenizer)
        self.text_format = text_format
        self.max_length = max_length
        self.task = task
        self._frame = cache(self._chat_frame)

    def __call__(self, prompt: Prompt, response: Completion) -> ClassifierInput:
        """Token ids of one response to one prompt."""
        task = self.task or get_task(prompt.task)
        if self.text_format == "plain":
            (prompt_row,) = prompt_ids(self.tokenizer, task, [prompt])
            response_row = completion_ids(self.tokenizer, response)
            return self._joined(self.tokenizer.cut(prompt_row, self._room(response_row)), response_row)
        text = task.policy_text(prompt.text)
        if self.text_format == "chat":
            turns = prompt.turns if prompt.has_own_turns else turns_in(text)
            return self._chat(turns, response.trimmed)
        pair = self.tokenizer.pair(instruction_in(text), response.trimmed, max_length=self.max_length)
        return ClassifierInput(pair.ids, pair.type_ids)

    def _chat(self, turns: Sequence[Turn], response: str) -> ClassifierInput:
        *frame, before_response, after = self._frame(tuple(turn.role for turn in turns))
        ids: list[int] = []
        for piece, turn in zip(frame, turns, strict=True):
            ids += [*piece, *self.tokenizer.data_ids(turn.text)]
        response_row = [*self.tokenizer.data_ids(response), *after]
        prompt_row = self.tokenizer.cut(ids + list(before_response), self._room(response_row))
        return self._joined(prompt_row, response_row)

    def _chat_frame(self, roles: tuple[str, ...]) -> list[list[int]]:
        """Ids around the turns' texts and the response."""
        pieces = chat_pieces(self.tokenizer.tokenizer, [*roles, "assistant"], option="labeler.text_format=chat")
        return [self.tokenizer.trusted_ids(piece) for piece in pieces]

    def _room(self, response_row: list[int]) -> int:
        """Tokens that are left for the prompt."""
        return max(1, self.max_length - len(response_row))

    def _joined(self, prompt_row: list[int], response_row: list[int]) -> ClassifierInput:
        ids = prompt_row + response_row
        return ClassifierInput(ids, [0] * len(ids))

"""What a model's chat template means for a judge: think blocks that it opens, and marks of reasoning in replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rlaif.engines.reasoning import is_reasoning_mark, open_mark
from rlaif.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlaif.tokenization import PromptTokenizer

OWN_ARGUMENTS = frozenset(
    {"conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize"}
)
"""Arguments of a template that an engine sets itself."""
_SWITCHES = ("enable_thinking", "thinking", "enable_reasoning")
"""Arguments by which templates turn their think block off."""


def opened_reasoning(prompts: PromptTokenizer) -> str:
    """The mark of a think block that the template leaves open at the end of every prompt; empty for none.

    A reply then begins inside of the block.
    """
    return open_mark(str(prompts.tokenizer.decode(prompts.after_ids, skip_special_tokens=False)))


def check_scorable(prompts: PromptTokenizer, arguments: Mapping[str, Any], otherwise: str) -> None:
    """Refuse to score answers after a prompt that ends inside of a think block.

    Args:
        prompts: Renders the prompts.
        arguments: Of the template, as they are set.
        otherwise: What to type where the template cannot close the block.

    Raises:
        ConfigError: The template opens a block.
    """
    mark = opened_reasoning(prompts)
    if mark:
        template = str(prompts.tokenizer.get_chat_template())
        switch = next((name for name in _SWITCHES if _reads(template, name) and name not in arguments), None)
        off = f"labeler.engine.chat_template_kwargs={{{switch}: false}}, or " if switch else ""
        raise ConfigError(
            f"labeler.engine.chat_template=model: this model's template ends every prompt with {mark}, so an answer "
            f"would be scored inside of a think block; take {off}{otherwise}"
        )


def check_arguments(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the template does not read, and would ignore without a word.

    Raises:
        ConfigError: With every such argument.
    """
    template = str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""
    known = [name for name in _SWITCHES if _reads(template, name)]
    hint = f"; it reads {', '.join(known)}" if known else ""
    problems = [
        f"labeler.engine.chat_template_kwargs.{name}: this model's chat template has no variable of that name{hint}"
        for name in arguments
        if not _reads(template, name)
    ]
    if problems:
        raise ConfigError(problems)


def message_text(prompts: PromptTokenizer, ids: Sequence[int]) -> str:
    """Text of a reply in which special tokens that mark reasoning (``[THINK]``, ``<|channel|>``) are kept."""
    special = zip(prompts.tokenizer.all_special_ids, prompts.tokenizer.all_special_tokens, strict=True)
    marks = {number: token for number, token in special if is_reasoning_mark(token)}
    if marks.keys().isdisjoint(ids):
        return prompts.decode(list(ids))
    runs = groupby(ids, marks.get)
    return "".join(prompts.decode(list(run)) if mark is None else mark * len(list(run)) for mark, run in runs)


def _reads(template: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", template) is not None

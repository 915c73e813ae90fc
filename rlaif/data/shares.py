"""One pool of prompts divided by share: a teacher's responses to the first prompts, feedback on those to the others.

Source: arXiv 2402.12366, in which every condition has the same prompts and the teacher either writes a response to one
or judges two; its splits are by the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from rlaif.data.base import TaskData
from rlaif.data.large import Selected
from rlaif.errors import DataError
from rlaif.types import Demonstration, Preference

T = TypeVar("T")
OPTION = "data.sft_share"


def divided_by_share(data: TaskData, share: float | None, *, num_label: int | None, num_policy: int | None) -> TaskData:
    """Divide the prompts of the demonstrations between SFT and feedback.

    Args:
        data: Its demonstrations are the pool; prompts stand in the order in which they come first.
        share: Of the prompts whose demonstrations SFT imitates, in (0, 1); None leaves the data as they are.
        num_label: At most so many of the other prompts are labeled; None takes all.
        num_policy: At most so many of them are those of RL; None takes all.

    Returns:
        Data in which no prompt of SFT is labeled or one of RL. The demonstrations of the other prompts are the
        ``references``, and people's labels of pairs are those of the other prompts.

    Raises:
        DataError: One of the sides would be empty.
    """
    if share is None:
        return data
    prompts = {item.prompt.id: item.prompt for item in data.demonstrations}
    count = round(share * len(prompts))
    if not 0 < count < len(prompts):
        raise DataError(
            f"{OPTION}={share}: the data have demonstrations for {len(prompts):,} prompts, so one side would have none;"
            " give more data, or another share"
        )
    ids = list(prompts)
    for_sft = set(ids[:count])
    others = [prompts[each] for each in ids[count:]]
    return replace(
        data,
        demonstrations=_demonstrations(data.demonstrations, for_sft, inside=True),
        references=_demonstrations(data.demonstrations, for_sft, inside=False),
        label_prompts=others[:num_label],
        policy_prompts=others[:num_policy],
        preferences=_pairs(data.preferences, set(ids[count:])),
    )


def _demonstrations(items: Sequence[Demonstration], ids: set[str], *, inside: bool) -> Sequence[Demonstration]:
    rows = [row for row, item in enumerate(items) if (item.prompt.id in ids) == inside]
    return Selected(items, rows, _same)


def _pairs(labels: Sequence[Preference], ids: set[str]) -> Sequence[Preference]:
    return Selected(labels, [row for row, label in enumerate(labels) if label.comparison.prompt.id in ids], _same)


def _same(record: T) -> T:
    return record


def reference_of(references: Sequence[Demonstration]) -> Mapping[str, Demonstration]:
    """The first response of the teacher to each prompt, by prompt id."""
    found: dict[str, Demonstration] = {}
    for item in references:
        found.setdefault(item.prompt.id, item)
    return found

"""Pairs that differ by their prompt alone."""

from __future__ import annotations

from rlaif.types import Comparison, Completion, Prompt


def numbered_pairs(count: int) -> list[Comparison]:
    """One pair, "yes" against "no", for each of some prompts, which are numbers from 0."""
    return [
        Comparison(
            prompt=Prompt(task="dialogue", text=f"\n\nHuman: {number}\n\nAssistant:"),
            first=Completion(text="yes"),
            second=Completion(text="no"),
        )
        for number in range(count)
    ]

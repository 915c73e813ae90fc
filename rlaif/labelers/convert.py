"""A labeler of pairs as a judge of single responses: each is compared with a reference response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.labelers.base import Labeler
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating, content_id


class AgainstReference:
    """Rates a response by how probably it beats a reference response to the same prompt.

    The scale has two steps, *loses* (0) and *wins* (1), so the score is P(beats the reference) and the reward is
    its distance from a tie, in [-1, 1].

    Args:
        labeler: Compares pairs.
        references: The response to beat, by prompt id; a prompt without one is missing.
    """

    members = ("labeler",)

    def __init__(self, labeler: Labeler, references: Mapping[str, Completion]) -> None:
        self.labeler = labeler
        self.references = references
        self.name = labeler.name
        self.source = labeler.source

    @property
    def identity(self) -> str:
        """Content hash of the labeler and of the references."""
        references = (f"{prompt_id} {item.trimmed}" for prompt_id, item in sorted(self.references.items()))
        return content_id(self.labeler.identity, *references)

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """One rating per response, in order, from one call of the labeler."""
        asked = [index for index, prompt in enumerate(prompts) if prompt.id in self.references]
        pairs = [
            Comparison(prompt=prompts[index], first=completions[index], second=self.references[prompts[index].id])
            for index in asked
        ]
        labels = dict(zip(asked, self.labeler.label(pairs), strict=True))
        return [
            _rating(prompt, completion, labels.get(index))
            for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]


def _rating(prompt: Prompt, completion: Completion, label: Preference | None) -> Rating:
    p_wins = None if label is None else label.p_first
    missing = "no reference response for this prompt" if label is None else label.missing
    return Rating(
        prompt=prompt,
        completion=completion,
        distribution=None if p_wins is None else (1.0 - p_wins, p_wins),
        missing=missing,
        lowest=0.0,
        highest=1.0,
        judgments=() if label is None else label.judgments,
        labeler="" if label is None else label.labeler,
        source="" if label is None else label.source,
    )

"""A labeler of pairs as a judge of single responses: each is compared with a reference response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.errors import PluginError
from rlaif.labelers.base import Labeler
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating, content_id


class AgainstReference:
    """Rates a response by how probably it beats a reference response to the same prompt.

    The scale has two steps, *loses* (0) and *wins* (1), so the score is P(beats the reference) and the reward is
    its distance from a tie, in [-1, 1]. A response that equals its reference ties and is not judged.

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
        pairs = {
            index: Comparison(prompt=prompt, first=completion, second=self.references[prompt.id])
            for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
            if prompt.id in self.references
        }
        asked = {index: pair for index, pair in pairs.items() if not pair.is_identical}
        judged = self.labeler.label(list(asked.values()))
        if [label.comparison.id for label in judged] != [pair.id for pair in asked.values()]:
            raise PluginError(
                f"labeler {self.name}: returned {len(judged)} labels for {len(asked)} comparisons, or not in their "
                f"order; `rlaif-plugins check {self.name}` tests its contract"
            )
        labels = dict(zip(asked, judged, strict=True))
        return [
            _rating(prompt, completion, labels.get(index), is_tie=index in pairs and index not in asked)
            for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]


def _rating(prompt: Prompt, completion: Completion, label: Preference | None, *, is_tie: bool) -> Rating:
    p_wins = label.p_first if label is not None else 0.5 if is_tie else None
    missing = label.missing if label is not None else None if is_tie else "no reference response for this prompt"
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

"""A figure of its own: how many different words a policy uses, computed by a stage that reads its responses."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.preferences_io import read_samples
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.files import read_figures, write_figures
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES
from rlaif.types import Figure

FIGURES = (
    FigureSpec(
        name="policy/vocabulary",
        label="different words",
        unit="number",
        explanation="Different words in all responses to held-out prompts.",
        order=65,
    ),
)


class VocabularyStage(Stage):
    """Counts the words in the responses of the nearest earlier policy."""

    def reads(self) -> Mapping[str, Reads]:
        """The policy and its responses."""
        return {
            "policy": Reads(kind="policy"),
            "responses": Reads(kind="responses", of="policy", by="respond"),
        }

    def leaves(self) -> frozenset[str]:
        """Figures."""
        return frozenset({"figures"})

    def build(self, work: Work) -> None:
        """Count."""
        rows = read_samples(work.path("responses") / SAMPLES)
        words = {word for _, responses in rows for response in responses for word in response.text.split()}
        write_figures(work.directory, [Figure(name="policy/vocabulary", value=float(len(words)), n=len(rows))])

    def told(self, work: Work) -> Told:
        """The figure."""
        return Told(figures=tuple(read_figures(work.directory)))

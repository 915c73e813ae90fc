"""The data of a run: prompts, demonstrations, people's labels, held-out pairs. Loaded in every run, kept in memory."""

from __future__ import annotations

from rlaif.data.base import DATA_KINDS, DataSource, SkippedRows, TaskData
from rlaif.evaluation.records import Text
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer


class DataStage(Stage):
    """Loads the data. What depends on it depends on its content alone.

    Args:
        source: Where the data come from; config group ``data``.
        task: Which task's data.
        model: Its tokenizer counts the tokens of prompts and responses. In a run that needs no model, no text is too
            long.
    """

    stored = False

    def __init__(self, source: DataSource, task: Task, model: ModelSpec) -> None:
        self.source = source
        self.task = task
        self.model = model

    def leaves(self) -> frozenset[str]:
        """All kinds of data, and ``pairs`` where the data's own pairs are labeled (``data.pairs=dataset``)."""
        own_pairs = {"pairs"} if self.source.pairs == "dataset" else set()
        return frozenset(DATA_KINDS) - {"pairs"} | own_pairs

    @property
    def needs_models(self) -> bool:
        """Data need a tokenizer only for what other steps do with them."""
        return False

    def load(self, work: Work) -> TaskData:
        """Read or draw everything."""
        if not work.needs_models:
            return self.source.load(self.task, lambda text: 0)
        counts = PromptTokenizer(load_tokenizer(self.model))
        return self.source.load(self.task, lambda text: len(counts.data_ids(text)))

    def content_id(self, kind: str, result: TaskData) -> str:
        """Content hash of one kind of the data."""
        return result.content_id(kind)

    def told(self, work: Work) -> Told:
        """Counts, and rows that were left out."""
        data: TaskData = work.result
        line = (
            f"{len(data.demonstrations):,} demonstrations, {len(data.label_prompts) or len(data.preferences):,} to"
            f" label, {len(data.eval_prompts):,} held out{_skipped(data.skipped)}"
        )
        notes = [*data.read, *(f"left out  {example}" for example in data.skipped.examples)]
        sections = (Text(title="Data as they were read", text="\n\n".join(data.read)),) if data.read else ()
        return Told(line=line, notes=tuple(notes), sections=sections)


def _skipped(skipped: SkippedRows) -> str:
    if not skipped.counts:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
    return f"; left out of {skipped.num_rows:,}: {reasons}"

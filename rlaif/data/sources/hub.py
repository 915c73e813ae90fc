"""The papers' human preferences, by name, for those who have the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Literal

from rlaif.data.base import TaskData
from rlaif.data.demonstrations import demonstrations_identity, with_demonstrations
from rlaif.data.files.rows import Row
from rlaif.data.formats.base import check_choices
from rlaif.data.formats.layouts import layout_named
from rlaif.data.formats.rows import LayoutReader
from rlaif.data.split import PairOptions, RecordReader
from rlaif.errors import DataError
from rlaif.tasks.base import Task
from rlaif.types import content_id


@dataclass(frozen=True, kw_only=True)
class HubTable:
    """Address of a data set on the hub, and the layout of its rows."""

    repo: str
    revision: str
    files: str
    """Path inside the repository, with the split's name in it."""
    splits: tuple[str, ...]
    layout: str
    """Name of the layout of its rows."""
    has_confidence: bool = False


HH_REVISION = "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa"
TABLES = {
    "hh_harmless": HubTable(
        repo="Anthropic/hh-rlhf",
        revision=HH_REVISION,
        files="harmless-base/{split}.jsonl.gz",
        splits=("train", "test"),
        layout="hh",
    ),
    "hh_helpful": HubTable(
        repo="Anthropic/hh-rlhf",
        revision=HH_REVISION,
        files="helpful-base/{split}.jsonl.gz",
        splits=("train", "test"),
        layout="hh",
    ),
    "tldr": HubTable(
        repo="openai/summarize_from_feedback",
        revision="refs/convert/parquet",
        files="comparisons/{split}/*.parquet",
        splits=("train", "validation"),
        layout="tldr_comparisons",
        has_confidence=True,
    ),
}


def load_rows(table: HubTable, split: str) -> Iterable[Mapping[str, object]]:
    """Download one split (or find it in the cache of ``datasets``)."""
    from datasets import load_dataset

    files = {split: table.files.format(split=split)}
    rows: Iterable[Mapping[str, object]] = load_dataset(
        table.repo, data_files=files, revision=table.revision, split=split
    )
    return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class HubSource(PairOptions):
    """``data=hub``: Anthropic HH or the OpenAI TL;DR comparisons, through ``datasets``."""

    dataset: Literal["hh_harmless", "hh_helpful", "tldr"] = field(kw_only=False)
    """Name of the data set."""
    split: str = "train"
    """``train``, or what the data set calls its other part (HH ``test``, TL;DR ``validation``)."""

    def __post_init__(self) -> None:
        check_choices("data", dataset=(self.dataset, tuple(TABLES)))
        super().__post_init__()
        check_choices("data", split=(self.split, self.table.splits))
        if not self.table.has_confidence:
            check_choices("data", eval_confidences=(str(list(self.eval_confidences)), ("[]",)))

    @property
    def table(self) -> HubTable:
        """Address and layout of the data set."""
        return TABLES[self.dataset]

    @cached_property
    def identity(self) -> str:
        """Hash of the rows and of every option."""
        digest = hashlib.sha256()
        for row in self._rows():
            digest.update(json.dumps(row.values, sort_keys=True).encode())
        chosen = demonstrations_identity(self)
        parts = ("hub", digest.hexdigest(), self.limits_identity)
        return content_id(*parts, chosen) if chosen else content_id(*parts)

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Download, check and split the rows.

        Args:
            task: What the texts are.
            count_tokens: The policy's tokenizer; None counts words.

        Raises:
            DataError: The hub cannot be reached, or too many rows cannot be used.
        """
        reader = RecordReader(task=task, options=self, count_tokens=count_tokens)
        layout = LayoutReader(layout_named(self.table.layout, "data.dataset"))
        data = reader.read(layout.read(self._rows()), name=self._name)
        return with_demonstrations(data, self, task, count_tokens, splits_by_content=True)

    @property
    def _name(self) -> str:
        return f"data.dataset={self.dataset} ({self.table.repo}, {self.split})"

    def _rows(self) -> Iterator[Row]:
        rows = (
            Row(f"{self.dataset}/{self.split}:{number}", values) for number, values in enumerate(self._downloaded, 1)
        )
        return islice(rows, self.max_rows)

    @cached_property
    def _downloaded(self) -> Iterable[Mapping[str, object]]:
        try:
            return load_rows(self.table, self.split)
        except Exception as error:  # the hub's client has no common error type
            raise DataError(
                f"{self._name}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {error})."
                " With a network, start again; without one, bring the file over and use"
                " data=files data.path=... (HH: the .jsonl.gz as it is; others: rows with prompt, chosen, rejected,"
                " data.format=chosen_rejected), or use data=pocket"
            ) from error

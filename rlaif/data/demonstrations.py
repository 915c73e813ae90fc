"""What SFT imitates on data of one's own: ``data.demonstrations``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from rlaif.data.base import TaskData
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.shares import divided_by_share
from rlaif.data.sides import text_number
from rlaif.data.split import PairOptions, RecordReader
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import content_id


@dataclass(frozen=True, kw_only=True, eq=False)
class DemonstrationFile:
    """Where demonstrations are read with ``data.demonstrations=file``, as ``data=files`` reads its own."""

    path: Runtime[str | Sequence[str] | None] = None
    """A file of any kind, a folder of shards, a pattern, or a list of them; None for none."""
    format: str = AUTO
    """Name of a layout, the path of a layout's YAML, or ``auto``."""
    columns: Mapping[str, str] | None = None
    """Names of columns that differ from those that the layout reads: {layout's name: the file's}."""
    preference: str | Mapping[str, float] | Sequence[Sequence[object]] | None = None
    """Encoding of the preference column, where rows are pairs."""
    where: Mapping[str, object] | None = None
    """Only rows in which these paths have one of these values."""
    accept: Sequence[str] = ()
    """Signs of a wrong reading that are accepted."""
    encoding: str = "utf-8"
    """Of texts without a byte order mark, e.g. ``cp1252``."""

    def __post_init__(self) -> None:
        _ = self.reading  # says which options have no such value

    @cached_property
    def reading(self) -> ReadingOptions:
        """How its rows are read."""
        return ReadingOptions(
            group="data.demonstrations_file",
            format=self.format,
            columns=self.columns,
            preference=self.preference,
            where=self.where,
            accept=self.accept,
            encoding=self.encoding,
        )

    @cached_property
    def opened(self) -> PairFile:
        """The file with its layout."""
        assert self.path is not None
        return PairFile(self.path, self.reading)


def with_demonstrations(
    data: TaskData,
    options: PairOptions,
    task: Task,
    count_tokens: Callable[[str], int] | None,
    *,
    splits_by_content: bool,
) -> TaskData:
    """Data with the demonstrations that were chosen, divided by ``options.sft_share``; the others are the references.

    Args:
        data: With the preferred responses for demonstrations.
        options: Which demonstrations, and limits of length.
        task: What the texts are.
        count_tokens: The policy's tokenizer; None counts words.
        splits_by_content: Whether the beginning of a conversation decides if it is held out.

    Raises:
        DataError: The file of the demonstrations cannot be read, or holds none for training.
    """
    chosen = _chosen(data, options, task, count_tokens, splits_by_content=splits_by_content)
    chosen = replace(chosen, references=chosen.demonstrations)
    return divided_by_share(chosen, options.sft_share, num_label=None, num_policy=None)


def _chosen(
    data: TaskData,
    options: PairOptions,
    task: Task,
    count_tokens: Callable[[str], int] | None,
    *,
    splits_by_content: bool,
) -> TaskData:
    if options.demonstrations == "preferred":
        return data
    if options.demonstrations == "none":
        return replace(data, demonstrations=[], demonstrations_from="data.demonstrations=none")
    assert options.demonstrations_file is not None
    file = options.demonstrations_file.opened
    reader = RecordReader(task=task, options=options, count_tokens=count_tokens)
    prompts = [*data.eval_prompts, *data.tuning_prompts, *(item.comparison.prompt for item in data.eval_preferences)]
    read = reader.demonstrations(
        islice(file.read(), options.max_rows),
        name=file.name,
        held_out={text_number(prompt) for prompt in prompts},
        by_beginning=splits_by_content,
    )
    told = [f"{read.num_held_out:,} held out"] if read.num_held_out else []
    told += [f"{count:,} left out: {reason}" for reason, count in read.skipped.counts.items()]
    return replace(data, demonstrations=read.found, demonstrations_from="; ".join([file.name, *told]))


def demonstrations_identity(options: PairOptions) -> str:
    """Hash of the choice, and of the file's content; empty for the default."""
    if options.demonstrations == "preferred":
        return ""
    file = options.demonstrations_file
    return content_id(options.demonstrations, "" if file is None or file.path is None else file.opened.identity)

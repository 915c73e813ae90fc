"""What SFT imitates on data of one's own: ``data.demonstrations``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from rlaif.data.base import TaskData
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.split import PairOptions, RecordReader
from rlaif.tasks.base import Task
from rlaif.types import content_id


def with_demonstrations(
    data: TaskData,
    options: PairOptions,
    task: Task,
    count_tokens: Callable[[str], int] | None,
    *,
    splits_by_content: bool,
) -> TaskData:
    """Data with the demonstrations that were chosen.

    Args:
        data: With the preferred responses for demonstrations.
        options: Which demonstrations, and limits of length.
        task: What the texts are.
        count_tokens: The policy's tokenizer; None counts words.
        splits_by_content: Whether the beginning of a conversation decides if it is held out.

    Raises:
        DataError: The file of the demonstrations cannot be read, or holds none for training.
    """
    if options.demonstrations == "preferred":
        return data
    if options.demonstrations == "none":
        return replace(data, demonstrations=[], demonstrations_from="data.demonstrations=none")
    file = demonstration_file(options)
    reader = RecordReader(task=task, options=options, count_tokens=count_tokens)
    prompts = [*data.eval_prompts, *data.tuning_prompts, *(item.comparison.prompt for item in data.eval_preferences)]
    read = reader.demonstrations(
        islice(file.read(), options.max_rows),
        name=file.name,
        held_out={int(prompt.id, 16) for prompt in prompts},
        by_beginning=splits_by_content,
    )
    told = [f"{read.num_held_out:,} held out"] if read.num_held_out else []
    told += [f"{count:,} left out: {reason}" for reason, count in read.skipped.counts.items()]
    return replace(data, demonstrations=read.found, demonstrations_from="; ".join([file.name, *told]))


def demonstration_file(options: PairOptions) -> PairFile:
    """The file of the demonstrations."""
    assert options.demonstrations_path is not None
    return PairFile(options.demonstrations_path, ReadingOptions(format=options.demonstrations_format))


def demonstrations_identity(options: PairOptions) -> str:
    """Hash of the choice, and of the file's content; empty for the default."""
    if options.demonstrations == "preferred":
        return ""
    return content_id(
        options.demonstrations, demonstration_file(options).identity if options.demonstrations_path else ""
    )

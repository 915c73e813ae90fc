"""The data of a run: prompts, demonstrations, people's labels, held-out pairs. Loaded in every run, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator

from rlaif.data.base import DATA_KINDS, PREFERRED, DataSource, SkippedRows, TaskData
from rlaif.data.batches.examples import prompt_turns
from rlaif.data.repeated import CONTRADICTING, REPEATED
from rlaif.errors import EngineError
from rlaif.evaluation.records import Text
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.models.names import POCKET
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Turn


class DataStage(Stage):
    """Loads the data. What depends on it depends on its content alone.

    Args:
        source: Where the data come from; config group ``data``.
        task: Which task's data.
        model: Its tokenizer counts the tokens of prompts and responses. In a run that needs no model, no text is too
            long.
    """

    stored = False
    _form = ""
    """Form of the prompts, once they are loaded."""

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
        self._form = _form_in_words(self.model, counts)
        return self.source.load(self.task, lambda text: len(counts.data_ids(text)))

    def problems(self, work: Work) -> Iterator[str]:
        """Dialogues that the model's chat template refuses, one line for each order of roles."""
        if not work.needs_models or self.model.name.startswith(POCKET):
            return
        if (chat := PromptTokenizer(load_tokenizer(self.model)).chat) is None:
            return
        data: TaskData = work.result
        prompts = [*data.label_prompts, *data.policy_prompts, *data.eval_prompts, *data.tuning_prompts]
        prompts += [item.prompt for item in data.demonstrations]
        dialogues = {tuple(turn.role for turn in prompt_turns(self.task, prompt)) for prompt in prompts}
        for roles in sorted(dialogues):
            try:
                chat.framed([Turn(role, role) for role in roles])
            except EngineError as error:
                yield f"{error}; type model.chat_template=none for plain text"

    def content_id(self, kind: str, result: TaskData) -> str:
        """Content hash of one kind of the data."""
        return result.content_id(kind)

    def told(self, work: Work) -> Told:
        """Counts, and rows that were left out."""
        data: TaskData = work.result
        line = (
            f"{len(data.demonstrations):,} demonstrations, {_to_label(data)}, {len(data.eval_prompts):,} held out"
            f"{_skipped(data.skipped)}"
        )
        left_out = [f"left out  {example}" for example in data.skipped.examples]
        chosen = [] if data.demonstrations_from in ("", PREFERRED) else [f"demonstrations: {data.demonstrations_from}"]
        notes = [*filter(None, [self._form]), *chosen, *data.read, *left_out]
        texts = {
            "Form of prompts": self._form,
            "Demonstrations": data.demonstrations_from,
            "Data as they were read": "\n\n".join(data.read),
        }
        sections = tuple(Text(title=title, text=text) for title, text in texts.items() if text)
        return Told(line=line, notes=tuple(notes), sections=sections)


def _form_in_words(model: ModelSpec, tokenizer: PromptTokenizer) -> str:
    if tokenizer.chat is not None:
        return f"prompts are messages in the chat template of {model.name}"
    why = "model.chat_template=none" if model.chat_template == "none" else f"{model.name} has no chat template"
    return f"prompts are plain text ({why})"


def _to_label(data: TaskData) -> str:
    prompts, pairs = len(data.label_prompts), len(data.preferences)
    if not prompts or not pairs:
        return f"{prompts or pairs:,} to label"
    labeled = sum(pair.p_first is not None for pair in data.preferences)
    told = f"{pairs:,} labeled pairs" if labeled == pairs else f"{pairs:,} pairs, {labeled:,} of them with a label"
    return f"{prompts:,} prompts to label, with {told}"


def _skipped(skipped: SkippedRows) -> str:
    """What became of rows that are no record of their own; the labels of a repeated pair count in its mean."""
    merged = {reason for reason in skipped.counts if reason in (REPEATED, CONTRADICTING)}
    told = ""
    for verb, reasons in (("left out", skipped.counts.keys() - merged), ("merged", merged)):
        counts = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items() if reason in reasons)
        told += f"; {verb} of {skipped.num_rows:,}: {counts}" if counts else ""
    cut = f"; {skipped.num_cut:,} dialogues lost their oldest turns (data.max_prompt_tokens)"
    return told + (cut if skipped.num_cut else "")

"""The built-in prompt strategy: preamble, exemplars, the sample, an ending (arXiv 2309.00267, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed
from rlaif.prompts.forms import data, ours
from rlaif.prompts.wording import Exemplar, TaskTemplates, known_tasks, load_templates, template_folder
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import Segment, StructuredPrompt, content_id


class JudgePrompts:
    """Builds the prompts that a judge model reads.

    Every prompt is a sequence of segments: our words, and data (context, candidates, rationale)
    that an engine tokenizes without special tokens. A data segment starts with its space.

    Args:
        preamble: ``base`` is one sentence of role; ``detailed`` names the axes first.
        num_exemplars: Solved examples in front of the sample, 0 to 8.
        exemplar_seed: 0 takes the first ones of the file, another number draws them at random.
        templates: A folder with a TOML file per task; keys that a file leaves out are the built-in ones. None takes
            those alone.

    Raises:
        ConfigError: An option is out of range, or the folder holds no templates.
    """

    def __init__(
        self,
        *,
        preamble: Literal["base", "detailed"] = "base",
        num_exemplars: int = 0,
        exemplar_seed: int = 0,
        templates: Runtime[str | None] = None,
    ) -> None:
        problems = []
        if preamble not in ("base", "detailed"):
            problems.append(f"labeler.prompt.preamble={preamble}: must be base or detailed")
        if not 0 <= num_exemplars <= 8:
            problems.append(f"labeler.prompt.num_exemplars={num_exemplars}: must be between 0 and 8")
        try:
            template_folder(templates)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        self.preamble = preamble
        self.num_exemplars = num_exemplars
        self.exemplar_seed = exemplar_seed
        self.templates = templates

    @property
    def identity(self) -> str:
        """Content hash of the options and of every template file."""
        names = known_tasks(template_folder(self.templates))
        templates = [load_templates(name, self.templates).template_id for name in names]
        return content_id(self.preamble, str(self.num_exemplars), str(self.exemplar_seed), *templates)

    def words(self, task: Task) -> TaskTemplates:
        """The templates of a task.

        Raises:
            ConfigError: There are none for it.
        """
        return load_templates(task.name, self.templates)

    def pairwise(
        self, task: Task, prompt_text: str, first: str, second: str, *, rationale: str | None = None
    ) -> StructuredPrompt:
        """Ask which candidate is better (or worse: see ``asks_for_worse``); the answer is "1" or "2".

        Args:
            task: Names the input and the candidates.
            prompt_text: ``Prompt.text``.
            first: Candidate in slot 1.
            second: Candidate in slot 2.
            rationale: The thoughts to judge by (second step of chain of thought); None asks directly.
        """
        words = self.words(task)
        explain = rationale is not None
        segments = self._question(task, words, prompt_text, first, second, explain=explain)
        if rationale is not None:
            segments += [ours(words.rationale), data(rationale), ours("\n")]
        return self._finish(task, [*segments, ours(words.ending)], words)

    def rationale_request(self, task: Task, prompt_text: str, first: str, second: str) -> StructuredPrompt:
        """First step of chain of thought: ask for a rationale, which ends with its line."""
        words = self.words(task)
        segments = self._question(task, words, prompt_text, first, second, explain=True)
        return self._finish(task, [*segments, ours(words.rationale)], words)

    def rating(self, task: Task, prompt_text: str, response: str, *, rationale: str | None = None) -> StructuredPrompt:
        """Ask for a score; the answer is "1" to "10" and ends with its line.

        Args:
            task: Names the input and the response.
            prompt_text: ``Prompt.text``.
            response: What is rated.
            rationale: The thoughts to judge by (second step of chain of thought); None asks directly.
        """
        words = self.words(task)
        if rationale is None:
            return self._single(task, words.rating, prompt_text, response, "Score=")
        thoughts = (data(rationale), ours("\nScore="))
        return self._single(task, words.rating_explain, prompt_text, response, words.rating_rationale, *thoughts)

    def rating_rationale_request(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """First step of a chain of thought about one response: ask for a rationale, which ends with its line."""
        words = self.words(task)
        return self._single(task, words.rating_explain, prompt_text, response, words.rating_rationale)

    def binary(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """Ask whether a response is good; the answer is "good" or "bad"."""
        return self._single(task, self.words(task).binary, prompt_text, response, "Verdict=")

    def ranking(self, task: Task, prompt_text: str, responses: Sequence[str]) -> StructuredPrompt:
        """Ask for the order of several responses; the answer reads like "2 3 1", best first."""
        words = self.words(task)
        segments = [
            ours(f"{self._without_pairs(words, words.ranking)}\n\n"),
            *_sample(task, prompt_text, responses),
            ours("\nBest to worst="),
        ]
        return self._finish(task, segments, words, asks_for_worse=False)

    def _question(
        self, task: Task, words: TaskTemplates, prompt_text: str, first: str, second: str, *, explain: bool
    ) -> list[Segment]:
        request = words.explain if explain else words.choose
        preamble = words.base if self.preamble == "base" else words.detailed
        segments = [ours(f"{preamble} {request}\n\n")]
        for exemplar in self.exemplars(words):
            segments += _solved(task, words, exemplar, explain=explain)
        if self.num_exemplars:
            segments.append(ours("Now your turn.\n"))
        return [*segments, *_sample(task, prompt_text, (first, second)), ours("\n")]

    def exemplars(self, words: TaskTemplates) -> Sequence[Exemplar]:
        """The solved examples of one prompt, fixed for a seed."""
        if len(words.exemplars) < self.num_exemplars:
            raise ConfigError(
                f"labeler.prompt.num_exemplars={self.num_exemplars}: the templates hold {len(words.exemplars)}"
            )
        if self.exemplar_seed == 0:
            return words.exemplars[: self.num_exemplars]
        return Random(derive_seed(self.exemplar_seed, "exemplars")).sample(words.exemplars, self.num_exemplars)

    def _single(
        self, task: Task, request: str, prompt_text: str, response: str, ending: str, *thoughts: Segment
    ) -> StructuredPrompt:
        """One response after the request, then the ending and what may follow it."""
        words = self.words(task)
        segments = [
            ours(f"{self._without_pairs(words, request)}\n\n{task.context_noun}:"),
            data(task.judge_text(prompt_text)),
            ours(f"\n{task.response_noun}:"),
            data(response),
            ours(f"\n\n{ending}"),
            *thoughts,
        ]
        return self._finish(task, segments, words, asks_for_worse=False)

    def _without_pairs(self, words: TaskTemplates, request: str) -> str:
        """The preamble of a request about anything else than a pair, which exemplars cannot show."""
        if self.num_exemplars:
            raise ConfigError(
                f"labeler.prompt.num_exemplars={self.num_exemplars}: exemplars are pairs, and this labeler does not "
                "show pairs; take labeler/prompt=base or labeler/prompt=detailed"
            )
        return request if self.preamble == "base" else f"{words.axes}\n{request}"

    def _finish(
        self, task: Task, segments: Sequence[Segment], words: TaskTemplates, *, asks_for_worse: bool | None = None
    ) -> StructuredPrompt:
        return StructuredPrompt(
            segments=tuple(segments),
            asks_for_worse=words.asks_for_worse if asks_for_worse is None else asks_for_worse,
            template_id=content_id(
                words.template_id, task.name, self.preamble, str(self.num_exemplars), str(self.exemplar_seed)
            ),
        )


def _sample(task: Task, prompt_text: str, responses: Sequence[str]) -> list[Segment]:
    """The input and its candidates, a line each."""
    segments = [ours(f"{task.context_noun}:"), data(task.judge_text(prompt_text)), ours("\n")]
    for number, response in enumerate(responses, start=1):
        segments += [ours(f"{task.response_noun} {number}:"), data(response), ours("\n")]
    return segments


def _solved(task: Task, words: TaskTemplates, exemplar: Exemplar, *, explain: bool) -> list[Segment]:
    sample = _sample(task, exemplar.context, (exemplar.first, exemplar.second))
    thoughts = f"{words.rationale} {exemplar.rationale}\n" if explain else ""
    shown = "".join(segment.text for segment in sample)
    return [ours(f"Example\n{shown}\n{thoughts}{words.ending}{exemplar.answer}\n\n")]

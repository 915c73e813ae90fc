"""Critique and revision: a model criticises responses by a principle and rewrites them; SFT learns the revisions.

Source: Constitutional AI (Bai et al., arXiv 2212.08073, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from rlaif.data.preferences_io import read_samples
from rlaif.engines.base import Engine, is_chat
from rlaif.errors import ConfigError
from rlaif.functional.seeds import generator
from rlaif.labeling.asking import AskingSettings
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.prompts.revision import RevisionPrompts, read_principles
from rlaif.ranges import AtLeastOne, NonNegative
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES
from rlaif.runtime import Runtime
from rlaif.stages.written import ASKED, Writer, Written, counts_in_words, store
from rlaif.tasks.base import Task
from rlaif.types import Prompt, Sampling, content_id


class Draft(NamedTuple):
    """A response, and the principle that it is criticised by."""

    prompt: Prompt
    response: str
    principle: str


class RevisionStage(Stage):
    """Asks a model where each sampled response breaks a principle, and then for the response as it should be.

    Each distinct response gets one of the principles, drawn by the seed, the prompt and the response. A critique or a
    revision that met the token limit, is empty or failed leaves the response out, and is told.

    Args:
        task: How the texts look to the model.
        engine: Criticises and rewrites; with ``labeler.engine.model=stage:first_sft`` the policy itself.
        principles: A file with one principle a line; empty lines and lines that begin with ``#`` are passed over. None
            takes our own (``rlaif/prompts/templates/principles.txt``).
        max_new_tokens: Longest critique, and longest revision, in tokens of the engine.
        temperature: Of both; 0 decodes greedily.
        batch_size: Responses per call.
        asking: Where answers of models are kept, what they cost, when to stop.
        samples_per_prompt: Responses to each prompt that is sampled: how many revisions there can be.

    Raises:
        ConfigError: There is no engine, or the file holds no principles.
    """

    def __init__(
        self,
        task: Task,
        engine: Engine | None,
        principles: Runtime[str | None],
        max_new_tokens: AtLeastOne,
        temperature: NonNegative,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
        samples_per_prompt: Runtime[int] = 2,
    ) -> None:
        if engine is None:
            raise ConfigError("labeler.engine=null: a model writes the revisions; take a labeler that has one")
        self.task = task
        self.principles = read_principles(principles, "revision.principles")
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.asking = asking
        self.samples_per_prompt = samples_per_prompt
        self.writer = Writer(engine, batch_size)

    def reads(self) -> Mapping[str, Reads]:
        """Sampled responses, and the prompts that say how many there can be."""
        return {
            "samples": Reads(kind="samples"),
            "prompts": Reads(kind="label_prompts", by="data", optional=True, hashed=False),
        }

    def leaves(self) -> frozenset[str]:
        """Demonstrations."""
        return frozenset({"demonstrations"})

    def most_demonstrations(self, work: Work) -> int | None:
        """One for each response, if all are different."""
        data = work.input("prompts").data if work.has("prompts") else None
        return None if data is None else len(data.label_prompts) * self.samples_per_prompt

    def identity(self, work: Work) -> Mapping[str, object]:
        """The principles themselves: their file may be edited."""
        return {"principles": content_id(*self.principles)}

    def build(self, work: Work) -> None:
        """Criticise, rewrite, and store the revisions.

        Raises:
            GateStopped: The budget is spent, or too many revisions are missing.
        """
        asking = self.asking.begin(work.directory / ASKED)
        self.writer.begin(asking)
        drafts, forms = self._drafts(work), RevisionPrompts()
        requests = [forms.critique_request(self.task, item.prompt.text, *item[1:]) for item in drafts]
        critiques = self.writer.write(requests, self._sampling(work, "\n"), work, "critiques")
        kept = [(item, critique) for item, critique in zip(drafts, critiques, strict=True) if critique.missing is None]
        requests = [
            forms.revision_request(self.task, item.prompt.text, item.response, item.principle, critique.text)
            for item, critique in kept
        ]
        revised = iter(self.writer.write(requests, self._sampling(work, "\n\nHuman:"), work, "revisions"))
        written = [
            Written("", f"critique {critique.missing}") if critique.missing is not None else next(revised)
            for critique in critiques
        ]
        store(work, [item.prompt for item in drafts], written, asking)

    def _sampling(self, work: Work, stop: str) -> Sampling:
        """A chat ends its message itself; a model that continues text ends at a stop string."""
        stops = () if is_chat(self.writer.engine) else (stop,)
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, stop=stops, seed=work.seed % 2**31
        )

    def _drafts(self, work: Work) -> Sequence[Draft]:
        drafts: dict[tuple[str, str], Draft] = {}
        for prompt, completions in read_samples(work.path("samples") / SAMPLES):
            for completion in completions:
                key = (prompt.id, completion.trimmed)
                drafts.setdefault(key, Draft(prompt, completion.trimmed, self._principle(work.seed, *key)))
        return list(drafts.values())

    def _principle(self, seed: int, prompt_id: str, response: str) -> str:
        drawn = torch.randint(
            len(self.principles), (1,), generator=generator(seed, "revision", "principle", prompt_id, response)
        )
        return self.principles[int(drawn)]

    def told(self, work: Work) -> Told:
        """Counts."""
        return Told(line=counts_in_words(work.directory), link=work.step)

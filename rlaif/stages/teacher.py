"""A teacher: any language model writes demonstrations for the run's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rlaif.engines.base import Engine, is_chat
from rlaif.errors import ConfigError
from rlaif.labeling.asking import AskingSettings
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.prompts.teacher import TeacherPrompts
from rlaif.ranges import AtLeastOne, NonNegative, PositiveShare
from rlaif.roles import Reads
from rlaif.runtime import Runtime
from rlaif.stages.written import ASKED, Writer, counts_in_words, store
from rlaif.tasks.base import Task
from rlaif.types import Prompt, Sampling

PromptsOf = Literal["demonstrations", "label_prompts", "policy_prompts"]


class TeacherStage(Stage):
    """Asks a language model for one response to each prompt, which SFT imitates.

    A reply that met the token limit, is empty or failed is left out and told. What the model thought before is no part
    of its response.

    Args:
        task: How the prompts are asked.
        engine: The teacher.
        prompts: Whose prompts: those of the data's demonstrations, those to label, or those of the policy.
        max_new_tokens: Longest response in tokens of the engine.
        temperature: 0 decodes greedily.
        top_p: Share of the probability that is sampled from, in (0, 1].
        batch_size: Prompts per call.
        asking: Where answers of models are kept, what they cost, when to stop.
    """

    def __init__(
        self,
        task: Task,
        engine: Engine | None,
        prompts: PromptsOf,
        max_new_tokens: AtLeastOne,
        temperature: NonNegative,
        top_p: PositiveShare,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
    ) -> None:
        if engine is None:
            raise ConfigError("labeler.engine=null: a model is the teacher; take a labeler that has one")
        self.task = task
        self.prompts: PromptsOf = prompts
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.asking = asking
        self.writer = Writer(engine, batch_size)

    def reads(self) -> Mapping[str, Reads]:
        """The prompts, which are the data's: another teacher's demonstrations are none."""
        return {"prompts": Reads(kind=self.prompts, by="data")}

    def leaves(self) -> frozenset[str]:
        """Demonstrations; where they answer the prompts to label, also what samples can be set against."""
        return frozenset({"demonstrations", "references"} if self.prompts == "label_prompts" else {"demonstrations"})

    def most_demonstrations(self, work: Work) -> int | None:
        """One for each prompt."""
        return None if work.input("prompts").data is None else len(self._prompts(work))

    def build(self, work: Work) -> None:
        """Write, and store what was written.

        Raises:
            GateStopped: The budget is spent, or too many responses are missing.
        """
        asking = self.asking.begin(work.directory / ASKED)
        self.writer.begin(asking)
        prompts, forms = self._prompts(work), TeacherPrompts()
        requests = [forms.answer_request(self.task, prompt.text) for prompt in prompts]
        stop = () if is_chat(self.writer.engine) else ("\n\nHuman:",)
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=stop,
            seed=work.seed % 2**31,
        )
        store(work, prompts, self.writer.write(requests, sampling, work, "prompts"), asking)

    def _prompts(self, work: Work) -> Sequence[Prompt]:
        """Each prompt once."""
        data = work.data("prompts")
        if self.prompts == "demonstrations":
            found: Sequence[Prompt] = [item.prompt for item in data.demonstrations]
        else:
            found = data.label_prompts if self.prompts == "label_prompts" else data.policy_prompts
        return list({prompt.id: prompt for prompt in found}.values())

    def told(self, work: Work) -> Told:
        """Counts."""
        return Told(line=counts_in_words(work.directory), link=work.step)

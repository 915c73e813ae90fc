"""Prompts that a policy's sampling cuts: counted beside a step's result, and told with it.

A labeler and a reward read the whole prompt, so a response to the rest of it may be about something else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rlaif.data.batches.examples import prompt_ids
from rlaif.models.load import load_tokenizer
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Prompt

CUT = "cut_prompts.json"


def count_cut_prompts(
    directory: Path, policy: Path, task: Task, prompts: Sequence[Prompt], settings: SamplingSettings, option: str
) -> None:
    """Write down how many prompts lose their oldest tokens; nothing where none does.

    Args:
        directory: Result of the step that samples.
        policy: Folder of the policy, whose tokenizer counts.
        task: Gives the text that the policy continues.
        prompts: What it responds to.
        settings: With the longest prompt.
        option: Config group of the settings, e.g. ``sampling``.
    """
    tokenizer = PromptTokenizer(load_tokenizer(str(policy)))
    num_cut = sum(len(ids) > settings.max_prompt_tokens for ids in prompt_ids(tokenizer, task, prompts))
    if num_cut:
        limit = f"{option}.max_prompt_tokens={settings.max_prompt_tokens}"
        written = {"num_cut": num_cut, "num_prompts": len(prompts), "limit": limit}
        (directory / CUT).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def cut_prompts_told(directory: Path) -> tuple[str, ...]:
    """The note about the prompts that were cut; empty where none was.

    Args:
        directory: Result of the step that sampled.
    """
    file = directory / CUT
    if not file.is_file():
        return ()
    found = json.loads(file.read_text(encoding="utf-8"))
    return (
        f"{found['num_cut']:,} of {found['num_prompts']:,} prompts are longer than {found['limit']}: the policy sees"
        " their newest tokens only",
    )

"""How many held-out prompts are answered: told where one of two options leaves the other without its effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

if TYPE_CHECKING:
    from rlaif.pipeline.plan import Plan

ANSWERED, HELD_OUT = "evaluation.num_prompts", "data.num_eval_prompts"


def answered_prompts_notices(plan: Plan) -> Iterator[str]:
    """A line for each data step of which fewer prompts are answered than one of the options asks for.

    Args:
        plan: The run, with its data loaded.
    """
    responding = [step for step in plan.steps if "responses" in step.stage.leaves()]
    names = dict.fromkeys(source.name for step in responding for source in step.inputs.get("prompts", ()))
    answered, limit = (OmegaConf.select(plan.cfg, option) for option in (ANSWERED, HELD_OUT))
    for count in (len(plan.memory[name].eval_prompts) for name in names if name in plan.memory):
        if answered > count and count == limit:
            yield f"{ANSWERED}={answered}: only {HELD_OUT}={limit} prompts are held out; raise it, too"
        elif answered < count:
            yield f"{ANSWERED}={answered}: {count:,} prompts are held out, of which the first ones are answered"

"""How a run's labels were made, as their data set tells it."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.stages.context import Context


def provenance(context: Context) -> dict[str, object]:
    """The labeler's composed options (keys of servers are in no config), and what its prompts are made from."""
    node = context.cfg.labeler
    prompt = OmegaConf.select(node, "prompt")
    return {
        "task": context.task.name,
        "labeler": context.options_of("labeler"),
        "prompt_identity": None if prompt is None else instantiate(prompt).identity,
        "model": OmegaConf.select(node, "engine.model"),
    }

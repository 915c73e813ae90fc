"""The labels of a run as a data set beside their table: splits, card, and how they were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.data.label_sets.cards import PROVENANCE, Card
from rlaif.data.label_sets.data_set import write_label_set
from rlaif.stages.context import Context, write_json


def write_card(context: Context, table: Path) -> None:
    """Write ``provenance.json``, ``data/`` and ``README.md`` beside a finished label table.

    ``load_dataset`` of the directory then reads the labels split by prompt. The card is without time and
    cost, so that equal labels have equal files.
    """
    write_json(table.parent / PROVENANCE, _provenance(context))
    write_label_set(table, table.parent, replace(Card.beside(table), meta={}))


def _provenance(context: Context) -> dict[str, Any]:
    """The labeler's composed options (keys of servers are in no config), and what its prompts are made from."""
    node = context.cfg.labeler
    prompt = OmegaConf.select(node, "prompt")
    return {
        "task": context.task.name,
        "labeler": context.options_of("labeler"),
        "prompt_identity": None if prompt is None else instantiate(prompt).identity,
        "model": OmegaConf.select(node, "engine.model"),
    }

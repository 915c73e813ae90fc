"""The Lightning logger of a step (config group ``logger``), made once before the run to see that it can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from rlaif.signatures import read_signature

_HINTS = {"TensorBoardLogger": "; pip install 'rlaif[tensorboard]'"}


def make_logger(cfg: DictConfig, step: str) -> Any:
    """The logger of a step, which gets the step's name where it takes one and has none; False without one."""
    node = cfg.get("logger")
    if node is None:
        return False
    takes_name = "name" in read_signature(node._target_).parameters and "name" not in node
    return instantiate(node, name=step) if takes_name else instantiate(node)


def logger_problems(cfg: DictConfig, step: str) -> Iterator[str]:
    """Why the logger of a step cannot be made; nothing where it can."""
    try:
        make_logger(cfg, step)
    except InstantiationException as error:
        name = str(cfg.logger._target_).rpartition(".")[2]
        reason = str(error.__cause__ or error).splitlines()[0].removesuffix(".")
        yield f"logger: {name} cannot be made ({reason}){_HINTS.get(name, '; choose another logger')}"

"""A component made in Python without options is the one that a configuration makes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from rlaif.conf_files import conf_dir

GROUPS = ("labeler", "labeler/engine", "reward", "policy/objective", "policy/pair_objective")
COMPONENTS = ("rlaif.labelers.", "rlaif.engines.", "rlaif.rewards.", "rlaif.objectives.")
"""Settings of a training are no components: their files choose what is best for the pocket world."""
OTHERWISE = {("policy/objective/grpo.yaml", "minibatches")}
"""The file makes the objective the one of its paper; in Python there are no settings beside the objective."""


def own_nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every labeler, engine, reward and objective in a file, at any depth."""
    if isinstance(value, dict):
        if str(value.get("_target_", "")).startswith(COMPONENTS):
            yield value
        for child in value.values():
            yield from own_nodes(child)


@pytest.mark.parametrize("group", GROUPS)
def test_defaults_of_a_class_are_those_of_its_file(group: str) -> None:
    compared = 0
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        for node in own_nodes(OmegaConf.to_container(OmegaConf.load(file), resolve=False)):
            parameters = inspect.signature(get_object(node["_target_"])).parameters
            for name, value in node.items():
                if name not in parameters or isinstance(value, dict) or "${" in str(value):
                    continue
                default = parameters[name].default
                where = f"{group}/{Path(file).name}"
                if default is inspect.Parameter.empty or (where, name) in OTHERWISE:
                    continue
                compared += 1
                assert (list(default) if isinstance(default, tuple) else default) == value, f"{where}: {name}"
    assert compared >= 3

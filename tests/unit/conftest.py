"""A run's plan without the command line."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
from omegaconf import DictConfig, open_dict
from rich.console import Console

from rlaif.config.check import compose
from rlaif.errors import ConfigError
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import check, load_early
from rlaif.reporting.terminal import RunDisplay

SMALL = (
    *(f"data.num_{kind}=8" for kind in ("demonstrations", "label_prompts", "policy_prompts", "eval_prompts")),
    "data.num_eval_preferences=8",
    "sft.batch_size=2",
    "reward_model.batch_size=2",
)
MakePlan = Callable[..., Plan]
composed = lru_cache(compose)


def load(plan: Plan) -> Plan:
    """The plan with its data loaded."""
    load_early(plan, RunDisplay(Console(quiet=True)))
    return plan


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes a small run's configuration. It is composed once, and each caller gets a copy of its own."""

    def make(*overrides: str) -> DictConfig:
        chosen = {override.lstrip("+").partition("=")[0] for override in overrides}
        pocket = not any(override.startswith("data=") for override in overrides)
        small = [line for line in SMALL if line.partition("=")[0] not in chosen and (pocket or line[:5] != "data.")]
        cfg = deepcopy(composed((*small, *overrides)))
        with open_dict(cfg):
            cfg.store.dir = str(tmp_path / "store")
        return cfg

    return make


@pytest.fixture
def make_plan(make_config: Callable[..., DictConfig], tmp_path: Path) -> MakePlan:
    """Makes a small run's plan from overrides as typed, with its data loaded; nothing is trained or asked."""

    def make(*overrides: str) -> Plan:
        return load(Plan(make_config(*overrides), tmp_path / "run"))

    return make


@pytest.fixture
def find_problems(make_config: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., list[str]]:
    """Everything that a run with these overrides tells before anything is spent; empty where it would start."""

    def find(*overrides: str) -> list[str]:
        problems: list[str] = []
        try:
            plan = load(Plan(make_config(*overrides), tmp_path / "run", problems))
            check(plan, problems)
        except ConfigError as error:
            assert not (tmp_path / "store").exists()
            return error.problems
        return []

    return find

"""Contract tests of one component, built as a run builds it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif import registry
from rlaif.artifacts.identity import stable_identity
from rlaif.conf_files import conf_dir, option_files
from rlaif.config.check import compose
from rlaif.errors import PluginError
from rlaif.testing.contract import CheckResult


class Contract(NamedTuple):
    """Module and functions with the contract tests of a kind of component."""

    module: str
    function: str


CONTRACTS = {
    "labeler": Contract("rlaif.testing.conformance", "check_labeler"),
    "labeler/prompt": Contract("rlaif.testing.prompt_contract", "check_prompts"),
    "labeler/engine": Contract("rlaif.testing.engine_contract", "check_engine"),
    "task": Contract("rlaif.testing.task_contract", "check_task"),
    "reward": Contract("rlaif.testing.reward_contract", "check_reward"),
    "policy/objective": Contract("rlaif.testing.objective_contract", "check_objective"),
    "policy/pair_objective": Contract("rlaif.testing.objective_contract", "check_pair_objective"),
    "stage": Contract("rlaif.testing.stage_contract", "check_stage"),
}


def split_name(name: str) -> tuple[str, str]:
    """Config group and option of a component as typed: ``length`` is ``labeler=length``.

    Raises:
        PluginError: Its group has no contract tests.
    """
    kind, _, option = name.rpartition("=")
    kind = kind or "labeler"
    if kind not in CONTRACTS:
        raise PluginError(f"{name}: contract tests exist for {', '.join(f'{known}=…' for known in CONTRACTS)}")
    return kind, option


def find_component(kind: str, option: str) -> registry.Component:
    """The installed component behind an option; our presets (``labeler/prompt=base``) are options of one component.

    Raises:
        PluginError: There is no such component.
    """
    group = next(group for group, config_group in registry.CONFIG_GROUPS.items() if config_group == kind)
    installed = registry.components(group)
    presets = set() if kind == "stage" else option_files(conf_dir() / kind)
    if option not in {component.name for component in installed} and option in presets:
        node = OmegaConf.select(compose([f"{kind}={option}"]), kind.replace("/", "."))
        return next(component for component in installed if component.dotted_target == node["_target_"])
    return registry.find(group, option)


def contract_results(kind: str, option: str, overrides: Sequence[str]) -> list[CheckResult]:
    """Build the component from its composed options, twice, and run the contract tests of its kind.

    Raises:
        ConfigError: The options do not compose.
        PluginError: Two constructions with the same options have different identities.
    """
    subject = _stage(option, overrides) if kind == "stage" else _component(kind, option, overrides)
    contract = importlib.import_module(CONTRACTS[kind].module)  # imports torch
    results: list[CheckResult] = getattr(contract, CONTRACTS[kind].function)(subject)
    return results


def _component(kind: str, option: str, overrides: Sequence[str]) -> Any:
    place, chosen = kind.replace("/", "."), ["labeler=pairwise", f"{kind}={option}"]
    if kind == "labeler":
        chosen = [f"labeler={option}"]
    if kind == "policy/pair_objective":
        chosen = ["policy=dpo", f"{kind}={option}"]
    node = OmegaConf.select(compose([*chosen, *overrides]), place)
    stable_identity(lambda: instantiate(node), f"{kind}={option}")
    return instantiate(node)


def _stage(option: str, overrides: Sequence[str]) -> Any:
    from rlaif.config.entries import Entry
    from rlaif.pipeline.compose import Composer

    return Composer(compose(list(overrides))).step(Entry(stage=option, name=option)).stage

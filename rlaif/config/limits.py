"""Problems of ``evaluation.limits``, a node that names only the limits that differ from their defaults."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from rlaif.config.values import parameter_problem
from rlaif.near_miss import near_miss
from rlaif.signatures import read_signature

LIMITS, LIMITS_CLASS = "evaluation.limits", "rlaif.evaluation.checks.CheckLimits"


def limit_problems(cfg: DictConfig) -> list[str]:
    """Limits that do not exist, and values out of their bounds.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
    """
    node = OmegaConf.select(cfg, LIMITS)
    limits = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    assert isinstance(limits, dict)
    named = {str(name): value for name, value in limits.items()}
    parameters = read_signature(LIMITS_CLASS).parameters
    problems = []
    for name, value in named.items():
        if (parameter := parameters.get(name)) is None:
            near = near_miss(name, parameters)
            hint = f"did you mean {near}? " if near else ""
            problems.append(f"{LIMITS}.{name}: there is no such limit; {hint}allowed are {', '.join(parameters)}")
        elif problem := parameter_problem(f"{LIMITS}.{name}", value, parameter, LIMITS_CLASS):
            problems.append(problem)
    return problems

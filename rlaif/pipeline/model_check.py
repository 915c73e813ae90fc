"""One check, before anything is spent, of what the steps of a run will need from its models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from rlaif.errors import EngineError
from rlaif.models.load import ModelSpec
from rlaif.models.uses import ModelUse
from rlaif.pipeline.compose import construct
from rlaif.pipeline.graph import Elsewhere, Step
from rlaif.roles import MODEL_KINDS

if TYPE_CHECKING:
    from rlaif.pipeline.plan import Plan


def model_check(plan: Plan) -> Iterator[str]:
    """What the run's model, and policies from elsewhere, cannot do that some step needs: one line each."""
    needed: dict[ModelSpec, list[ModelUse]] = {}
    for step in plan.steps:
        if (folder := _no_policy(step)) is not None:
            for role in step.entry.sources.keys() & {role for role, _ in _models(step)}:
                yield (
                    f"pipeline.stages: step {step.name}: from.{role}={folder}: holds no policy (no config.json); give a"
                    " finished run's directory with its step, run:DIR/policy, or a model's"
                )
        elif uses := list(_uses(step)):
            needed.setdefault(_model_of(plan, step), []).extend(uses)
    if not needed:
        return
    from rlaif.models.fitness import model_problems  # the library's model classes: only where a model is used

    for spec, uses in needed.items():
        try:
            yield from model_problems(spec, uses)
        except EngineError as error:
            yield str(error)


def _uses(step: Step) -> Iterator[ModelUse]:
    """What a step does with the model. A role of the purpose's name may bring another one from elsewhere."""
    for use in step.stage.model_uses():
        if not any(isinstance(source, Elsewhere) for source in step.inputs.get(use.purpose, ())):
            yield use


def _no_policy(step: Step) -> Path | None:
    """A directory that a step takes a policy from, and that holds none; a stage tells of those of its own options."""
    folders = (source.path for _, sources in _models(step) for source in sources if isinstance(source, Elsewhere))
    return next((folder for folder in folders if not (folder / "config.json").is_file()), None)


def _models(step: Step) -> Iterator[tuple[str, tuple[Step | Elsewhere, ...]]]:
    """Role and sources of every model that a step reads."""
    for role, sources in step.inputs.items():
        if step.reads[role].kind in MODEL_KINDS:
            yield role, sources


def _model_of(plan: Plan, step: Step) -> ModelSpec:
    """The policy that a step takes from elsewhere, or the run's model."""
    for source in step.inputs.get("policy", ()):
        if isinstance(source, Elsewhere):
            return ModelSpec(str(source.path))
    spec = construct(OmegaConf.to_container(plan.cfg.model, resolve=True))  # type: ignore[arg-type]
    assert isinstance(spec, ModelSpec)
    return spec

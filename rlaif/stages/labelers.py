"""A run's labeler: composed from its configuration, bound to people's labels, and taught by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rlaif.errors import ConfigError
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import People, bind_people, num_raters_used
from rlaif.labeling.learning import depends_on_people
from rlaif.stages.context import Context, annotators_code, component_code

_STAGE_MODEL = "stage:"
_OWN_MODEL = "stage:sft"


def build_labeler(context: Context, node: DictConfig) -> Labeler:
    """Instantiate a labeler and its members.

    ``stage:sft`` as the model of an engine means this run's own SFT policy; people among the members answer from the
    data's own labels, and where there are simulated annotators from these.

    Raises:
        ConfigError: An option is wrong, or another stage than ``sft`` is to label.
    """
    if asks_own_model(node):
        node = with_own_model(node, str(context.result("sft")))
    labeler = cast(Labeler, instantiate(node))
    if num_raters_used(labeler):
        bind_people(labeler, people_of(context))
    return labeler


def asks_own_model(node: DictConfig) -> bool:
    """True when the labeler, or a member of it, asks the run's own SFT policy.

    Raises:
        ConfigError: Another stage is named.
    """
    models = {engine["model"] for engine in _stage_engines(OmegaConf.to_container(node, resolve=True))}
    if models - {_OWN_MODEL}:
        raise ConfigError(f"labeler.engine.model={min(models - {_OWN_MODEL})}: of the stages only stage:sft can label")
    return bool(models)


def with_own_model(node: DictConfig, model: str) -> DictConfig:
    """A copy of a labeler's configuration with a model in the place of ``stage:sft``, however deep."""
    container = OmegaConf.to_container(node, resolve=True)
    for engine in _stage_engines(container):
        engine["model"] = model
    return cast(DictConfig, OmegaConf.create(container))


def labeler_options(context: Context) -> dict[str, object]:
    """What the judgements of this run's labeler depend on.

    Its own options count besides its identity, so that a plugin whose identity forgets one is still asked again.
    """
    node = context.cfg.labeler
    options: dict[str, object] = {"code": component_code(node)}
    if asks_own_model(node):
        options["labeler"] = context.options_of("labeler")
        options["sft"] = context.fingerprint(context.stages["sft"])
    else:
        options["labeler"] = build_labeler(context, node).identity
        options["composed"] = _own_options(OmegaConf.to_container(node, resolve=True))
    if depends_on_people(composed_labeler(context)):
        options["annotators"] = annotators_code(context)
        options["people"] = context.source.identity
    return options


def composed_labeler(context: Context) -> Labeler:
    """The run's labeler as composed, to look at: it may name a model that is still to be trained."""
    return cast(Labeler, instantiate(context.cfg.labeler))


def people_of(context: Context) -> People:
    """The people of the run's data."""
    return People.of(context.data, context.source.identity)


def _own_options(node: Any) -> Any:
    """A labeler's options without those of prompts and engines, whose identities count as they themselves say."""
    if isinstance(node, list):
        return [_own_options(item) for item in node]
    if isinstance(node, dict):
        return {name: _own_options(item) for name, item in node.items() if name not in ("prompt", "engine")}
    return node


def _stage_engines(node: Any) -> Iterator[dict[str, Any]]:
    """The ``engine`` nodes whose model is a stage's, however deep in a labeler's configuration."""
    if isinstance(node, list):
        for item in node:
            yield from _stage_engines(item)
    if isinstance(node, dict):
        engine = node.get("engine")
        if isinstance(engine, dict) and str(engine.get("model")).startswith(_STAGE_MODEL):
            yield engine
        for item in node.values():
            yield from _stage_engines(item)

"""Problems of options that say how long a supervised training is, where one is typed and another decides."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from omegaconf import DictConfig, OmegaConf

GROUPS = ("sft", "reward_model")


def length_problems(cfg: DictConfig, typed: Collection[str]) -> Iterator[str]:
    """Passes over the data that are typed and without effect, one line each.

    Args:
        cfg: The composed configuration.
        typed: Keys of the command line.
    """
    for group in GROUPS:
        epochs, steps = (OmegaConf.select(cfg, f"{group}.{name}") for name in ("epochs", "steps"))
        if f"{group}.epochs" in typed and epochs is not None and steps is not None:
            yield (
                f"{group}.epochs={epochs}: has no effect beside {group}.steps={steps}, which sets the length of the"
                f" training; type {group}.steps=null too, or leave {group}.epochs out"
            )

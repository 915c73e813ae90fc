"""Problems of options that say how long a supervised training is, where one is typed and another decides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from omegaconf import DictConfig, OmegaConf

GROUPS = ("sft", "reward_model", "policy")


def length_problems(cfg: DictConfig, typed: Collection[str], declared: Mapping[str, object]) -> Iterator[str]:
    """Passes over the data that are given and without effect, one line each.

    Args:
        cfg: The composed configuration.
        typed: Keys of the command line.
        declared: Passes over the data in the file of each group's option, which a configuration may change, too; None
            where it has none.
    """
    for group in GROUPS:
        epochs, steps = (OmegaConf.select(cfg, f"{group}.{name}") for name in ("epochs", "steps"))
        is_given = f"{group}.epochs" in typed or declared.get(group) not in (None, epochs)
        if is_given and epochs is not None and steps is not None:
            yield (
                f"{group}.epochs={epochs}: has no effect beside {group}.steps={steps}, which sets the length of the"
                f" training; type {group}.steps=null too, or leave {group}.epochs out"
            )

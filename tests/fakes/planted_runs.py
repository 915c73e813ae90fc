"""Run directories with given figures, as finished runs leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

COMMIT = "0123456789ab"


def plant(
    place: Path,
    seed: int,
    figures: Mapping[str, float],
    *,
    overrides: tuple[str, ...] = (),
    commit: str = COMMIT,
    kind: str = "report",
    **options: object,
) -> Path:
    """A run directory: configuration, overrides, figures and one linked step."""
    (place / ".hydra").mkdir(parents=True)
    config = {
        "task": {"_target_": "rlaif.tasks.base.Dialogue"},
        "data": {"_target_": "rlaif.pocket.source.PocketSource", "split": "test", "seed": seed},
        "policy": {"steps": 60},
        "evaluation": {"confidence": 0.95, "num_prompts": 400},
        "store": {"dir": str(place)},
        "seed": seed,
    }
    for key, value in options.items():
        node = config
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]  # type: ignore[assignment]
        node[last] = value
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*overrides, f"seed={seed}"]))
    rows = [
        {"name": name, "value": value, "low": value - 0.0392, "high": value + 0.0392, "n": 400, "note": "annotators; x"}
        for name, value in figures.items()
    ]
    (place / f"{kind}.json").write_text(json.dumps(rows))
    (place / "sft").mkdir()
    (place / "sft" / "meta.json").write_text(json.dumps({"libraries": {"rlaif": "0.1.0"}, "commit": commit}))
    return place

"""``experiment=paper_*`` and ``paper2_*`` compose to the table of docs/pages/papers.md, and to nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.types import RunMode
from omegaconf import OmegaConf

from rlaif.conf_files import conf_dir
from rlaif.config.loader import open_loader

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "papers.md"
NOT_THERE, MAIN_JOB = "–", "·"
LOADER, _ = open_loader(None)


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value with its dotted path; a list is one value."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from flat(child, f"{path}.{key}" if path else str(key))


@lru_cache
def composed(*overrides: str) -> dict[str, Any]:
    cfg = LOADER.load_configuration("config", list(overrides), RunMode.RUN, from_shell=False)
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    del plain["hydra"]
    return dict(flat(plain))


def columns() -> dict[str, dict[str, str]]:
    """Of each experiment the cells of its column, by key."""
    section = PAGE.read_text(encoding="utf-8").partition("## Settings of the papers")[2].partition("\n## ")[0]
    found: dict[str, dict[str, str]] = {}
    names: list[str] = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| Key |"):
            names = [cell.strip("`") for cell in cells[1:-1]]
            found |= {name: {} for name in names}
        elif line.startswith("| ") and names:
            for name, cell in zip(names, cells[1:], strict=False):
                found[name][cells[0].strip("`*")] = cell
    return found


COLUMNS = columns()


def test_every_experiment_of_the_papers_has_a_column() -> None:
    files = {path.stem for path in (conf_dir() / "experiment").glob("paper*.yaml")}
    assert set(COLUMNS) == files and len(files) >= 9


@pytest.mark.parametrize("experiment", COLUMNS)
def test_every_value_is_that_of_the_table(experiment: str) -> None:
    rows = dict(COLUMNS[experiment])
    chosen = re.findall(r"`([\w=]+)`", rows.pop("chosen"))
    values, main = composed(f"experiment={experiment}"), composed(*chosen)
    for key, cell in rows.items():
        if cell == NOT_THERE:
            assert key not in values, key
        elif cell == MAIN_JOB:
            assert values[key] == main[key], key
        else:
            value = values[key].rpartition(".")[2] if key.endswith("_target_") else values[key]
            assert value == yaml.safe_load(cell), key
    others = [key for key, value in values.items() if key not in main or main[key] != value]
    assert [key for key in others if key not in rows] == [], "set by the experiment and not in the table"


def test_what_the_second_review_found_missing_is_there() -> None:
    """Raw reward, value model, the start of the reward model on people's labels, and the steps of RL (8 epochs)."""
    values = composed("experiment=paper_rlhf_summarization")
    assert values["reward.standardized"] is False and values["policy.value"] == "model"
    assert (
        values["reward_model.init"] == "base"
        and composed("experiment=paper_summarization")["reward_model.init"] == "sft"
    )
    for name, prompts in (("summarization", 116_722), ("dialogue", 43_835), ("harmless_dialogue", 42_537)):
        steps = composed(f"experiment=paper_{name}")["policy.steps"]
        assert abs(8 * prompts / 128 - steps) < 1, name

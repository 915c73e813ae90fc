"""What README and docs show is there: commands compose, links resolve, tables name everything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from rlaif.conf_files import conf_dir, option_files
from rlaif.config.check import check, compose
from rlaif.data.preferences_io import PREFERENCE_SCHEMA
from rlaif.errors import ConfigError
from rlaif.evaluation.catalogue import declared_figures
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.pipeline.plan import Plan
from rlaif.testing.objective_contract import policy_outputs, rollouts
from rlaif.types import Judgment

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = REPOSITORY / "docs" / "pages"
TEXTS = [REPOSITORY / "README.md", *sorted(PAGES.rglob("*.md")), *sorted((REPOSITORY / "plugins").glob("*/README.md"))]
SET_UP = (
    "pip install -e . && rlaif-run                       # set-up and the main job",
    "pip install -e '.[test]' && pytest                  # set-up and the tests",
)
PLUGIN_OPTIONS = {
    "labeler": {"length", "my_labeler", "criterion", "profanity"},
    "labeler/prompt": {"terse", "my_prompt"},
    "reward": {"length_penalty"},
    "task": {"my_task"},
    "policy/objective": {"my_objective"},
    "pipeline": {"NAME", "rounds"},
    "experiment": {"long"},
}
"""Options of the packages under ``plugins/``, which their own tests install and run, and of a reader's own YAML."""
EXTRAS = ("hydra/launcher=",)
"""Overrides that need an optional package."""


class Command(NamedTuple):
    """One ``rlaif-run`` with overrides that a reader may copy."""

    place: str
    line: str


def code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of fenced and indented code, a line that ends with a backslash joined to the next."""
    fenced, joined = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            yield number, joined
            joined = ""


def commands() -> list[Command]:
    """Every command once, at its first place; without overrides there is nothing to compose."""
    found: dict[str, Command] = {}
    for path in TEXTS:
        for number, line in code_lines(path.read_text(encoding="utf-8")):
            command = line.rpartition("&&")[2].partition(" #")[0].strip()
            if command.startswith("rlaif-run ") and "=" in command and "\N{HORIZONTAL ELLIPSIS}" not in command:
                found.setdefault(command, Command(f"{path.relative_to(REPOSITORY)}:{number}", command))
    return list(found.values())


def is_of_a_plugin(problem: str) -> bool:
    """True for an option that is only there when a package of ``plugins/`` is installed."""
    group, _, option = problem.partition(":")[0].partition("=")
    return option in PLUGIN_OPTIONS.get(group.lstrip("+").partition("@")[0], set())


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.place} {command.line[:40]}")
def test_every_command_composes(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.line)[1:]
    overrides = [word for word in words if "=" in word and not word.startswith(("-", *EXTRAS))]
    problems = check(overrides, multirun="-m" in words, places=False)
    assert [problem for problem in problems if not is_of_a_plugin(problem)] == []


def pipelines() -> list[str]:
    """Every block of YAML that is a whole pipeline."""
    blocks = [block for path in TEXTS for block in re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)]
    return [block for block in blocks if block.startswith("stages:")]


@pytest.mark.parametrize("block", pipelines(), ids=lambda block: block.split("\n")[-2].strip()[:40])
def test_every_pipeline_binds(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    (tmp_path / "conf" / "pipeline" / "mine.yaml").write_text(block)
    if "drop_ties" in block:  # of a plugin, which tests/packages has
        with pytest.raises(ConfigError, match="drop_ties is no stage"):
            Plan(compose(["pipeline=mine"], config_dir=str(tmp_path / "conf")), tmp_path)
    else:
        assert Plan(compose(["pipeline=mine"], config_dir=str(tmp_path / "conf")), tmp_path).steps


def test_the_experiment_of_ones_own_composes(tmp_path: Path) -> None:
    text = (PAGES / "reference" / "configuration.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(# @package _global_\n.*?)```", text, re.DOTALL)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "long.yaml").write_text(block)
    cfg = compose(["experiment=long"], config_dir=str(tmp_path))
    assert cfg.policy.steps == 640 and cfg.policy.objective._target_.endswith("Rloo")
    assert compose(["experiment=long", "policy.steps=320"], config_dir=str(tmp_path)).policy.steps == 320


def test_there_are_pipelines_to_check() -> None:
    assert len(pipelines()) >= 5


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 50


@pytest.mark.parametrize("path", [REPOSITORY / "README.md", PAGES / "index.md"], ids=lambda path: path.name)
def test_the_two_commands_stand_as_they_are_typed(path: Path) -> None:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in SET_UP if line not in lines] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_between_files_resolve(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    broken = [target for target in targets if not (path.parent / target.partition("#")[0]).exists()]
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((REPOSITORY / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = set(re.findall(r"[\w/-]+\.md", str(navigation)))
    assert listed == {path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.md")}


def test_every_option_of_every_group_is_in_the_reference() -> None:
    text = (PAGES / "reference" / "configuration.md").read_text(encoding="utf-8")
    groups = text.partition("## Groups")[2].partition("\n## ")[0]
    rows = {row.split("`")[1]: row for row in groups.splitlines() if row.startswith("| `")}
    for file in sorted(option_files(conf_dir()) - {"config"}):
        group, _, option = file.rpartition("/")
        if not group.startswith("hydra/"):
            assert f"`{option}`" in rows.get(group, ""), f"{group}={option} is not in the table of groups"


@pytest.mark.parametrize("option", sorted(option_files(conf_dir())))
def test_every_key_is_in_the_reference(option: str) -> None:
    group = option.rpartition("/")[0]
    if group in ("", "hydra/help", "hydra/hydra_logging", "hydra/job_logging", "experiment", "pipeline", "logger"):
        return
    if group == "stage":  # no options: what a stage is given of the configuration
        return
    text = (PAGES / "reference" / "configuration.md").read_text(encoding="utf-8")
    loaded = yaml.safe_load((conf_dir() / f"{option}.yaml").read_text(encoding="utf-8")) or {}
    for key, value in loaded.items():
        if key.startswith("_") or key == "defaults" or value is None or isinstance(value, dict):
            continue
        assert f"`{group.replace('/', '.')}.{key}`" in text, f"{option}: {key}"


def test_every_figure_is_in_the_reference() -> None:
    text = (PAGES / "reference" / "figures.md").read_text(encoding="utf-8")
    ours = [name for name in declared_figures() if "*" not in name]
    assert len(ours) > 40
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_every_column_of_a_label_table_is_in_the_reference() -> None:
    text = (PAGES / "reference" / "labels.md").read_text(encoding="utf-8")
    names = [*PREFERENCE_SCHEMA.names, *(name for name in Judgment.__dataclass_fields__)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_logged_metric_is_in_the_reference() -> None:
    text = (PAGES / "reference" / "logged-metrics.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "rlaif" / "modules").glob("*.py"))
    logged = set(re.findall(r'"((?:train|validation|policy)/\w+)"', source))
    statistics = (REPOSITORY / "rlaif" / "rollouts" / "statistics.py").read_text(encoding="utf-8")
    figures = set(re.findall(r'^ +"(\w+)": \(', statistics, re.MULTILINE))
    names = set()
    for objective in (Reinforce(kl="loss"), Rloo(), Grpo(entropy=0.1), Ppo(entropy=0.1)):
        losses = objective.losses(policy_outputs(objective), objective.credit(rollouts(objective)))
        names |= losses.logged().keys()
    assert figures >= {"reward", "kl", "missing"} and names >= {"loss", "value_loss", "kl_loss", "clip_fraction"}
    logged |= {f"policy/{name}" for name in figures | names}
    assert sorted(name for name in logged if f"`{name}`" not in text) == []


def test_files_and_tests_behind_the_formulas_exist() -> None:
    text = (PAGES / "papers.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w/]+\.py)`", text)
    assert len(files) > 30
    missing = [name for name in files if not any((REPOSITORY / top / name).is_file() for top in ("rlaif", "tests"))]
    assert missing == []
    for name, symbols in re.findall(r"`([\w/]+\.py)` (`\w+`(?:, `\w+`)*)", text):
        source = (REPOSITORY / "rlaif" / name).read_text(encoding="utf-8")
        for symbol in re.findall(r"\w+", symbols):
            assert re.search(rf"(def|class) {symbol}\b", source), f"papers.md: {name} has no {symbol}"


def test_the_files_of_each_example_package_are_as_many_as_the_architecture_says() -> None:
    text = (PAGES / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.* \| (\d+) \| (\d+) \| `(rlaif-[\w-]+)` \|$", text, re.MULTILINE)
    packages = REPOSITORY / "tests" / "packages"
    assert {name for *_, name in rows} == {
        path.name for path in packages.iterdir() if (path / "pyproject.toml").is_file()
    }
    for in_rlaif, in_plugin, name in rows:
        files = [path for path in (packages / name).rglob("*") if path.suffix in (".py", ".yaml")]
        assert (int(in_rlaif), int(in_plugin)) == (0, len(files)), name

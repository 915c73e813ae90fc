"""What decides whether results of a plugin are used again: its code, its options, a stable identity."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console

from rlaif.artifacts.fingerprints import code_digest
from rlaif.artifacts.identity import stable_identity
from rlaif.errors import PluginError
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import check, load_early
from rlaif.reporting.terminal import RunDisplay
from rlaif.signatures import read_signature
from rlaif.tasks import base


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("by_statement", "from helper_by_statement import rule\n"),
        ("by_call", "import importlib\nhelper = importlib.import_module('helper_by_call')\n"),
        ("by_builtin", "helper = __import__('helper_by_builtin')\n"),
    ],
)
def test_helpers_outside_the_package_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {f"{module}.py": source, f"helper_{module}.py": "rule = 1\n"})
    before = code_digest([module])
    write(tmp_path, {f"helper_{module}.py": "rule = 2_000\n"})
    assert code_digest([module]) != before


def test_relative_imports_by_call_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = "import importlib\nrules = importlib.import_module('.rules', __package__)\n"
    write(tmp_path, {"calls/__init__.py": "", "calls/labeler.py": source, "calls/rules.py": "rule = 1\n"})
    before = code_digest(["calls.labeler"])
    write(tmp_path, {"calls/rules.py": "rule = 2_000\n"})
    assert code_digest(["calls.labeler"]) != before


def test_a_computed_import_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(
        tmp_path, {"computes.py": "import importlib\n\n\ndef load(name):\n    return importlib.import_module(name)\n"}
    )
    with caplog.at_level(logging.WARNING):
        code_digest(["computes"])
    assert any("computes.py:5 imports a module by a computed name" in message for message in caplog.messages)


def test_an_identity_that_changes_is_refused() -> None:
    numbers = itertools.count()

    class Random:
        def __init__(self) -> None:
            self.identity = f"{next(numbers)}"

    class Same:
        identity = "same"

    with pytest.raises(PluginError, match="labeler: its identity is 0 and, made again from the same options, 1"):
        stable_identity(Random, "labeler")
    assert stable_identity(Same, "labeler") == "same"
    assert stable_identity(dict, "labeler") is None


def test_a_task_in_use_keeps_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asks(base.Dialogue):
        def policy_text(self, prompt_text: str) -> str:
            return f"{prompt_text} Why?"

    monkeypatch.setattr(base, "_IN_USE", {})
    assert base.get_task("dialogue").policy_text("So.") == "So."
    base.use_task(Asks())
    assert base.get_task("dialogue").policy_text("So.") == "So. Why?"


@pytest.mark.parametrize(
    ("policy_text", "said"),
    [
        (lambda self, prompt_text: None, r"policy_text returned a NoneType, must be a text that shows the prompt"),
        (lambda self, prompt_text: "Be brief: ", r"policy_text gives two prompts one text, 'Be brief: ': it must show"),
    ],
)
def test_a_task_that_does_not_show_the_prompt_is_refused(
    policy_text: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy would learn on it without a word."""
    task = type("Asks", (base.Dialogue,), {"policy_text": policy_text})()
    monkeypatch.setattr(base, "_IN_USE", {})
    with pytest.raises(PluginError, match=said):
        base.use_task(task)


def test_a_task_of_prompts_in_another_form_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    task = type("Asks", (base.Dialogue,), {"policy_text": lambda self, prompt_text: json.loads(prompt_text)["ask"]})()
    monkeypatch.setattr(base, "_IN_USE", {})
    base.use_task(task)
    assert base.get_task("dialogue").policy_text('{"ask": "So."}') == "So."


@pytest.mark.parametrize(
    ("target", "runtime", "result"),
    [
        (
            "rlaif.engines.openai.engine.OpenAIEngine",
            {"url", "key_env", "max_retries", "read_timeout_s"},
            {"model", "scoring"},
        ),
        ("rlaif.engines.transformers.TransformersEngine", {"device", "batch_size"}, {"dtype", "max_context"}),
    ],
)
def test_engines_mark_what_changes_no_answer(target: str, runtime: set[str], result: set[str]) -> None:
    marked = {name for name, parameter in read_signature(target).parameters.items() if parameter.runtime}
    assert runtime <= marked
    assert not result & marked


TASK = """
from rlaif.tasks.base import Dialogue


class Asks(Dialogue):
    def __init__(self, word: str = "Why?") -> None:
        super().__init__()
        self.word = word

    def policy_text(self, prompt_text: str) -> str:
        return f"{prompt_text} {self.word}"
"""
RANDOM = """
import uuid

from rlaif.types import Preference


class Random:
    name = "random"
    source = "ai"

    def __init__(self, prompt=None, engine=None):
        self.identity = uuid.uuid4().hex

    def label(self, comparisons):
        return [Preference(comparison=item, p_first=0.5) for item in comparisons]
"""
MakeConfig = Callable[..., DictConfig]


@pytest.fixture
def run_fingerprints(
    make_config: MakeConfig, make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """Fingerprints of the default pipeline with a task of the test's own."""
    monkeypatch.setattr(base, "_IN_USE", {})
    monkeypatch.syspath_prepend(tmp_path)
    data = make_plan().memory["data"]

    def fingerprints(task: Mapping[str, str]) -> dict[str, str]:
        cfg = make_config()
        with open_dict(cfg):
            cfg.task = dict(task)
        plan = Plan(cfg, tmp_path / "run")
        plan.memory["data"] = data
        return {step.name: plan.fingerprint(step) for step in plan.steps if step.stage.stored}

    return fingerprints


def test_a_tasks_code_and_its_options_re_key_every_step_that_is_given_it(
    run_fingerprints: Callable[[Mapping[str, str]], dict[str, str]], tmp_path: Path
) -> None:
    write(tmp_path, {"asks.py": TASK})
    before = run_fingerprints({"_target_": "asks.Asks", "word": "Why?"})
    assert run_fingerprints({"_target_": "asks.Asks", "word": "Why?"}) == before
    other_option = run_fingerprints({"_target_": "asks.Asks", "word": "How?"})
    assert {name for name in before if other_option[name] != before[name]} == set(before)
    write(tmp_path, {"asks.py": TASK.replace("{prompt_text} {self.word}", "{self.word} {prompt_text}!")})
    other_code = run_fingerprints({"_target_": "asks.Asks", "word": "Why?"})
    assert {name for name in before if other_code[name] != before[name]} == set(before)


@pytest.mark.parametrize(("pipeline", "option"), [("label", "labeler"), ("rlaif", "evaluation.judge")])
def test_a_random_identity_stops_the_run_before_anything_is_spent(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, option: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"random_identity.py": RANDOM})
    cfg = make_config(f"pipeline={pipeline}")
    with open_dict(cfg):
        OmegaConf.update(cfg, option, {"_target_": "random_identity.Random"}, merge=False)
    plan = Plan(cfg, tmp_path / "run")

    def start() -> None:
        load_early(plan, RunDisplay(Console(quiet=True)))
        check(plan)

    with pytest.raises(PluginError, match=f"^{option}: its identity is .* made again from the same options"):
        start()
    assert not (tmp_path / "store").exists()

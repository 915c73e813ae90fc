"""What an edit of a file re-keys: the code digests of stages, on a copy of the package."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import rlaif
from rlaif import registry
from rlaif.artifacts.fingerprints import _closure

ROOT = Path(rlaif.__file__ or "").parent
STAGES = {
    component.name: component.dotted_target.rpartition(".")[0] for component in registry.components("rlaif.stages")
}
DIGESTS = """
import json, sys
from rlaif.artifacts import code_digest
print(json.dumps({name: code_digest([module]) for name, module in json.loads(sys.argv[1]).items()}))
"""
EDITED = (
    "modules/policy.py",
    "modules/progress.py",
    "data/label_sets/cards.py",
    "data/formats/rows.py",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "reporting").rglob("*.py"))),
)
"""Files whose edit must not cost anybody SFT, samples or labels."""


class Copy:
    """A copy of the package, in which a file is edited for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder / "rlaif", ignore=shutil.ignore_patterns("__pycache__"))

    def digests(self) -> Mapping[str, str]:
        """Of every stage, computed by a process that imports the copy."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", DIGESTS, json.dumps(STAGES)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.returncode == 0, done.stderr
        digests: Mapping[str, str] = json.loads(done.stdout)
        return digests

    def changed_by(self, *files: str) -> set[str]:
        """Stages whose digest is another when a statement is appended to these files."""
        before, texts = self.digests(), {file: (self.folder / "rlaif" / file).read_text() for file in files}
        for file, text in texts.items():
            (self.folder / "rlaif" / file).write_text(f"{text}\n_EDITED = 1\n")
        after = self.digests()
        for file, text in texts.items():
            (self.folder / "rlaif" / file).write_text(text)
        return {name for name in STAGES if before[name] != after[name]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


def test_an_edit_of_what_comes_later_keeps_sft_samples_and_labels(copy: Copy) -> None:
    """Policies change with their module, label mixtures with the readers of files; a report is no part of a result."""
    learners = {"policy", "preference", "reward_model"}
    assert copy.changed_by(*EDITED) == learners, "those of labels read files of further labels"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("modules/policy.py", {"policy"}),
        ("modules/sft.py", {"sft", "best_of_n"}),
        ("modules/supervised.py", {"sft", "reward_model", "preference", "best_of_n"}),
        ("data/formats/pair_files.py", {"reward_model", "preference"}),
        ("evaluation/kl.py", {"evaluation"}),
        ("labelers/pairwise.py", {"pocket_gate"}),
        ("types.py", set(STAGES)),
    ],
)
def test_an_edit_re_keys_the_stages_that_use_the_file(copy: Copy, file: str, stages: set[str]) -> None:
    assert copy.changed_by(file) == stages


def test_a_docstring_or_a_comment_re_keys_nothing(copy: Copy) -> None:
    path = copy.folder / "rlaif" / "modules" / "sft.py"
    before, text = copy.digests(), path.read_text()
    path.write_text(text.replace('"""', '"""Edited: ', 1) + "# a comment\n")
    assert copy.digests() == before
    path.write_text(text)


def closure(module: str) -> dict[str, Path]:
    return _closure([module], {"rlaif"})


def test_sft_sees_at_most_45_files() -> None:
    """Files with code, five of them for adapters, recomputing, vocabularies and written demonstrations; an
    ``__init__.py`` that holds only its docstring re-keys nothing."""
    with_code = {name for name, path in closure(STAGES["sft"]).items() if len(ast.parse(path.read_text()).body) > 1}
    assert len(with_code) <= 45, sorted(with_code)


@pytest.mark.parametrize("stage", ["sft", "samples", "labels"])
def test_what_is_dear_to_make_again_sees_no_figures_and_no_pages(stage: str) -> None:
    """Labels hand a histogram and a few samples to the page, as records; nothing there computes figures."""
    above = ("rlaif.evaluation", "rlaif.metrics", "rlaif.reporting", "rlaif.config", "rlaif.cli", "rlaif.testing")
    seen = {name for name in closure(STAGES[stage]) if name.startswith(above)}
    assert seen <= {"rlaif.evaluation", "rlaif.evaluation.records"}

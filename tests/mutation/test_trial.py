"""Mutants of a planted module: which are made, and which does a test notice?"""

import os
import sys
from pathlib import Path

import pytest
from mutants import sampled_mutants
from trial import BROKEN, KILLED, NO_TEST, SURVIVED, run_module

PLANTED = '''"""Planted."""

from __future__ import annotations

LIMIT = 3


def total(amount: int | None, count: int) -> int | None:
    """Never 1 + 1.

    >>> total(1, 1)
    1
    """
    return None if amount is None else amount * count


class Bill:
    def __init__(self, *, limit: int | None = None, name: str) -> None: ...


def unused(amount: int) -> int:
    return amount - 7
'''
TESTS = """from planted import LIMIT, total


def test_total() -> None:
    assert total(3, 1) == 3
    assert total(None, 1) is None


def test_limit() -> None:
    assert LIMIT == 3
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "test_planted.py").write_text(TESTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Path("planted.py")


def test_only_edits_that_change_what_runs_are_mutants(planted: Path) -> None:
    mutants = sampled_mutants([planted], 1000, seed=0)
    assert {mutant.line for mutant in mutants} == {5, 14, 22}
    assert {mutant.in_functions for mutant in mutants if mutant.line == 5} == {False}
    assert {mutant.in_functions for mutant in mutants if mutant.line != 5} == {True}
    assert sampled_mutants([planted], 5, seed=0) == sampled_mutants([planted], 5, seed=0)
    assert len(sampled_mutants([planted], 5, seed=0)) == 5


def test_what_tests_notice_is_killed_and_what_they_do_not_survives(planted: Path) -> None:
    mutants = sampled_mutants([planted], 1000, seed=0)
    tests = [
        {5: ["planted.py::planted.total", "test_planted.py::test_limit"], 14: ["test_planted.py::test_total"], 22: []}[
            mutant.line
        ]
        for mutant in mutants
    ]
    found = Path("outcomes.txt")

    def report(index: int, outcome: str) -> None:
        with found.open("a") as file:
            file.write(f"{mutants[index].edit()[1]}: {outcome}\n")

    run_module(mutants, tests, lambda test: 1.0, report)
    by_edit = dict(line.split(": ") for line in found.read_text().splitlines())
    assert len(by_edit) == len(mutants)
    assert by_edit["LIMIT = 4"] == KILLED
    assert by_edit["return None if amount is None else amount + count"] == KILLED
    # 3 ** 1 and 3 // 1 are 3, too.
    assert by_edit["return None if amount is None else amount ** count"] == SURVIVED
    assert by_edit["return None if amount is None else amount // count"] == SURVIVED
    assert by_edit["return amount + 7"] == NO_TEST
    assert "planted" not in sys.modules
    assert os.getcwd() == str(planted.absolute().parent)


def test_a_test_that_fails_by_itself_kills_no_mutant(planted: Path) -> None:
    Path("test_planted.py").write_text(TESTS + "\n\ndef test_broken() -> None:\n    assert total(1, 1) == LIMIT\n")
    mutants = [mutant for mutant in sampled_mutants([planted], 1000, seed=0) if mutant.line in (5, 14)]
    found = Path("outcomes.txt")

    def report(index: int, outcome: str) -> None:
        with found.open("a") as file:
            file.write(f"{mutants[index].line} {outcome}\n")

    run_module(mutants, [["test_planted.py::test_broken"]] * len(mutants), lambda test: 1.0, report)
    assert set(found.read_text().splitlines()) == {f"5 {BROKEN}", f"14 {NO_TEST}"}

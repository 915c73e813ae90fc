"""Runs tests against mutants in forked processes: what all have in common is imported and collected once.

A mutant within functions is put into the living functions of a process that has collected the tests; any other is
imported in place of the module by a fresh process. No file is changed, so what reads sources reads the true ones.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
from mutants import Mutant

SURVIVED, KILLED, TIMED_OUT, NO_TEST = "survived", "killed", "timed out", "no test"
BROKEN = "tests fail without it"
"""What they would notice is not the mutant: it is not killed."""
UNTRIED = 70
"""Exit status where no living function took the mutant: it is imported instead."""
OPTIONS = ["-q", "--doctest-modules", "--import-mode=importlib", "-m", "not slow and not servers", "-p", "no:xdist"]
OPTIONS += ["-p", "no:cacheprovider", "-p", "no:cov", "--no-header"]


def preload() -> None:
    """Import the libraries that every test needs."""
    import hydra  # noqa: F401
    import lightning  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch
    import transformers
    import transformers.modeling_utils  # noqa: F401

    torch.set_num_threads(1)


def run_module(
    mutants: Sequence[Mutant],
    tests: Sequence[Sequence[str]],
    seconds: Callable[[str], float],
    report: Callable[[int, str], None],
) -> None:
    """Try the mutants of one module.

    Args:
        mutants: All of one module.
        tests: For each, the node ids to run, in this order.
        seconds: How long a test takes.
        report: Called with the position of a mutant and what became of it, in another process: a file can be written.
    """
    living = [index for index, mutant in enumerate(mutants) if mutant.in_functions and tests[index]]
    imported = [index for index, mutant in enumerate(mutants) if not mutant.in_functions and tests[index]]
    for index in range(len(mutants)):
        if not tests[index]:
            report(index, NO_TEST)
    if living:
        with tempfile.NamedTemporaryFile("r") as untried:
            loop = _Loop(mutants, tests, living, seconds, report, Path(untried.name))
            wanted = {test for index in living for test in tests[index]}
            if _forked(lambda: _pytest(wanted, loop), max_seconds=1e9):
                # The module is read by other means than its functions: each mutant is imported, which takes longer.
                imported += living
            else:
                imported += map(int, untried.read().split())
    passing: dict[tuple[str, ...], bool] = {}
    for index in imported:
        mutant, chosen = mutants[index], tuple(tests[index])
        limit = 4 * sum(map(seconds, chosen))
        outcome = _verdict(_import_and_run(mutant, chosen, limit))
        if outcome != SURVIVED and chosen not in passing:
            unchanged = replace(mutant, source=mutant.path.read_text())
            passing[chosen] = _import_and_run(unchanged, chosen, limit) == 0
        report(index, outcome if outcome == SURVIVED or passing[chosen] else BROKEN)


def _verdict(status: int | None) -> str:
    return TIMED_OUT if status is None else (SURVIVED if status == 0 else KILLED)


def _import_and_run(mutant: Mutant, tests: Sequence[str], max_seconds: float) -> int | None:
    """Run tests in a process that imports the mutant."""

    def work() -> None:
        sys.meta_path.insert(0, _Replaced(mutant))
        # Before pytest collects the module's own doctests, which it would import by its path.
        importlib.import_module(mutant.module)
        os._exit(1 if _pytest(set(tests), _Once(tests)) else 0)

    return _forked(work, max_seconds=60 + max_seconds)


def _pytest(wanted: set[str], plugin: object) -> int:
    files = sorted({test.partition("::")[0] for test in wanted})
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        return int(pytest.main([*OPTIONS, "-o", "addopts=", *files], plugins=[plugin]))


class _Failures:
    """Ends the process at the first test that fails."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(1)


class _Once(_Failures):
    """Runs some tests in their order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.tests = list(tests)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        by_id = {item.nodeid: item for item in session.items}
        session.items[:] = [by_id[test] for test in self.tests if test in by_id]


class _Loop(_Failures):
    """In the place of pytest's loop: one forked process per mutant."""

    def __init__(
        self,
        mutants: Sequence[Mutant],
        tests: Sequence[Sequence[str]],
        living: Sequence[int],
        seconds: Callable[[str], float],
        report: Callable[[int, str], None],
        untried: Path,
    ) -> None:
        self.mutants, self.tests, self.living, self.seconds, self.report = mutants, tests, living, seconds, report
        self.untried = untried

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Tries the mutants; tests that fail without any are left out."""
        by_id = {item.nodeid: item for item in session.items}
        passing: set[str] = set()
        broken: set[str] = set()
        is_checked = False
        for index in self.living:
            items = [by_id[test] for test in self.tests[index] if test in by_id]
            limit = 20 + 4 * sum(self.seconds(item.nodeid) for item in items)
            unknown = [item for item in items if item.nodeid not in passing | broken]
            alike = bool(unknown) and _forked(lambda items=unknown: _protocol(items), max_seconds=limit) == 0
            for item in unknown:
                passes = alike or _forked(lambda item=item: _protocol([item]), max_seconds=limit) == 0
                (passing if passes else broken).add(item.nodeid)
            items = [item for item in items if item.nodeid in passing]
            if not items:
                self.report(index, NO_TEST)
                continue
            if not is_checked and _forked(lambda index=index, items=items: self._unchanged(index, items), limit) != 0:
                # What the tests notice would not be the mutants.
                os._exit(1)
            is_checked = True
            status = _forked(lambda index=index, items=items: self._try(index, items), max_seconds=limit)
            if status == UNTRIED:
                with self.untried.open("a") as file:
                    file.write(f"{index}\n")
            else:
                self.report(index, _verdict(status))
        return True

    def _unchanged(self, index: int, items: Sequence[pytest.Item]) -> None:
        mutant = self.mutants[index]
        put_into_functions(replace(mutant, source=mutant.path.read_text()))
        _protocol(items)

    def _try(self, index: int, items: Sequence[pytest.Item]) -> None:
        try:
            is_changed = put_into_functions(self.mutants[index])
        except BaseException:
            os._exit(UNTRIED)
        if not is_changed:
            os._exit(UNTRIED)
        _protocol(items)


def _protocol(items: Sequence[pytest.Item]) -> None:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _forked(work: Callable[[], object], max_seconds: float) -> int | None:
    """Run in a process of its own; its exit status, or None where it took too long."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        status = 1
        try:
            result = work()
            status = 0 if result is None else int(bool(result))
        except BaseException:
            status = 1
        finally:
            os._exit(status)
    end = time.monotonic() + max_seconds
    pause = 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.1, pause * 1.3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def put_into_functions(mutant: Mutant) -> bool:
    """Give the living functions of a module the mutant's code; False where that changes none."""
    path = sys.modules[mutant.module].__file__
    assert path is not None
    codes = dict(_codes(compile(mutant.source, path, "exec", dont_inherit=True)))
    is_changed = False
    for function in gc.get_objects():
        # Not isinstance: objects of libraries answer to it by computing their class.
        if type(function) is FunctionType and function.__code__.co_filename == path:
            code = codes.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is not None and code.co_freevars == function.__code__.co_freevars:
                is_changed |= function.__code__ != code
                function.__code__ = code
    return is_changed


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield (const.co_qualname, const.co_firstlineno), const
            yield from _codes(const)


class _Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != self.mutant.module:
            return None
        file = Path.cwd() / self.mutant.path
        is_package = file.name == "__init__.py"
        places = [str(file.parent)] if is_package else None
        return importlib.util.spec_from_file_location(fullname, file, loader=self, submodule_search_locations=places)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert module.__file__ is not None
        exec(compile(self.mutant.source, module.__file__, "exec", dont_inherit=True), module.__dict__)

"""Runs tests against mutants in forked processes: what all have in common is imported and collected once.

A mutant within functions is put into the living functions of a process that has collected the tests; any other is
imported in place of the module by a fresh process. No file is changed, so what reads sources reads the true ones.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
from mutants import Mutant

SURVIVED, KILLED, TIMED_OUT, NO_TEST = "survived", "killed", "timed out", "no test"
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
    if living:
        wanted = {test for index in living for test in tests[index]}
        loop = _Loop(mutants, tests, living, seconds, report)
        _forked(lambda: _pytest(wanted, loop), max_seconds=1e9)
    for index, mutant in enumerate(mutants):
        if not tests[index]:
            report(index, NO_TEST)
        elif not mutant.in_functions:
            limit = 60 + 4 * sum(map(seconds, tests[index]))
            once = _Once(tests[index])
            status = _forked(lambda mutant=mutant, once=once: _imported(mutant, once), max_seconds=limit)
            report(index, _verdict(status))


def _verdict(status: int | None) -> str:
    return TIMED_OUT if status is None else (SURVIVED if status == 0 else KILLED)


def _imported(mutant: Mutant, once: _Once) -> None:
    sys.meta_path.insert(0, _Replaced(mutant))
    code = _pytest(set(once.tests), once)
    os._exit(1 if code else 0)


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
    ) -> None:
        self.mutants, self.tests, self.living, self.seconds, self.report = mutants, tests, living, seconds, report

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Tries the mutants; tests that fail without any are left out."""
        by_id = {item.nodeid: item for item in session.items}
        broken: set[str] = set()
        for test in {test for index in self.living for test in self.tests[index]}:
            if test not in by_id:
                broken.add(test)
        for index in self.living:
            tests = [test for test in self.tests[index] if test not in broken]
            if not tests:
                self.report(index, NO_TEST)
                continue
            limit = 20 + 4 * sum(map(self.seconds, tests))
            items = [by_id[test] for test in tests]
            status = _forked(lambda index=index, items=items: self._try(index, items), max_seconds=limit)
            if status != 0:
                # Would these tests pass without the mutant?
                clean = _forked(lambda items=items: _protocol(items), max_seconds=limit)
                if clean != 0:
                    status = self._without_broken(index, items, broken, limit)
            self.report(index, _verdict(status))
        return True

    def _without_broken(self, index: int, items: list[pytest.Item], broken: set[str], limit: float) -> int | None:
        for item in items:
            if _forked(lambda item=item: _protocol([item]), max_seconds=limit) != 0:
                broken.add(item.nodeid)
        left = [item for item in items if item.nodeid not in broken]
        return _forked(lambda: self._try(index, left), max_seconds=limit)

    def _try(self, index: int, items: Sequence[pytest.Item]) -> None:
        put_into_functions(self.mutants[index])
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


def put_into_functions(mutant: Mutant) -> None:
    """Give the living functions of a module the mutant's code."""
    path = sys.modules[mutant.module].__file__
    assert path is not None
    codes = dict(_codes(compile(mutant.source, path, "exec", dont_inherit=True)))
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == path:
            code = codes.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is not None and code.co_freevars == function.__code__.co_freevars:
                function.__code__ = code


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

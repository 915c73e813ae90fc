"""Contracts: named checks that run on any component; their failures are results, not exceptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of one contract check."""

    name: str
    passed: bool
    detail: str
    """The observation, or the failure with the requirement of the contract."""


class NotApplicable(Exception):
    """A check that says nothing about this component; its message says why."""


def run_checks(checks: Mapping[str, Callable[[Subject], str]], subject: Subject) -> list[CheckResult]:
    """Run every check; one that does not apply is left out.

    Args:
        checks: Functions that return what they saw, or raise ``AssertionError`` with what is wrong.
        subject: What they are called with.
    """
    results = [_run(name, check, subject) for name, check in checks.items()]
    return [result for result in results if result is not None]


def require(condition: bool, message: str) -> None:
    """Raise ``AssertionError`` with the message unless the condition holds (an ``assert`` can be switched off)."""
    if not condition:
        raise AssertionError(message)


def _run(name: str, check: Callable[[Subject], str], subject: Subject) -> CheckResult | None:
    try:
        return CheckResult(name=name, passed=True, detail=check(subject))
    except NotApplicable:
        return None
    except AssertionError as failure:
        return CheckResult(name=name, passed=False, detail=str(failure))
    except Exception as error:  # A plugin may raise anything: that is the finding.
        return CheckResult(name=name, passed=False, detail=f"raised {type(error).__name__}: {error}")

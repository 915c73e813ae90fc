"""The contract of a labeler as checks that run on any of them: ``rlaif-plugins check NAME``."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlaif.labelers.base import Labeler
from rlaif.testing.samples import odd_comparisons, sample_comparisons
from rlaif.types import Comparison, Preference

SWAP_TOLERANCE = 1e-6
BATCH_TOLERANCE = 1e-4
"""Padding to another width moves the last digits of a float32 forward pass."""

Check = Callable[[Labeler, Sequence[Comparison]], str]
"""Returns what was seen; raises AssertionError with what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of one contract check."""

    name: str
    passed: bool
    detail: str
    """What was seen, or what is wrong and what the contract asks for."""


def check_labeler(labeler: Labeler, comparisons: Sequence[Comparison] | None = None) -> list[CheckResult]:
    """Run every contract check on a labeler; none of them raises.

    Args:
        labeler: Anything that claims to be one.
        comparisons: Pairs that it can judge, at least two; by default two of each built-in task.

    Returns:
        One result per check.
    """
    pairs = list(comparisons) if comparisons is not None else sample_comparisons()
    return [_run(name, check, labeler, pairs) for name, check in CHECKS.items()]


def _run(name: str, check: Check, labeler: Labeler, comparisons: Sequence[Comparison]) -> CheckResult:
    try:
        return CheckResult(name=name, passed=True, detail=check(labeler, comparisons))
    except AssertionError as failure:
        return CheckResult(name=name, passed=False, detail=str(failure))
    except Exception as error:  # A plugin may raise anything: that is the finding.
        return CheckResult(name=name, passed=False, detail=f"raised {type(error).__name__}: {error}")


def check_declares(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """It says who it is, and has the two components that configurations compose."""
    absent = [name for name in ("name", "source", "identity", "prompt", "engine") if not hasattr(labeler, name)]
    _require(not absent, f"no attribute {', '.join(absent)} (prompt and engine may be None)")
    for name in ("name", "source", "identity"):
        value = getattr(labeler, name)
        _require(isinstance(value, str) and bool(value), f"{name}={value!r} must be a text that is not empty")
    _require(labeler.identity == labeler.identity, "identity changes between two reads")
    return f"{labeler.name} ({labeler.source}), identity {labeler.identity}"


def check_one_label_each(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """One label per comparison, in order, each a probability or missing with a reason."""
    labels = _label(labeler, comparisons)
    present = sum(label.missing is None for label in labels)
    _require(labeler.label([]) == [], "no comparisons must give no labels")
    _require(present > 0, f"every label is missing ({labels[0].missing}); give comparisons that it can judge")
    return f"{present} of {len(labels)} labels present"


def check_swap_symmetry(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """P(first better) of a pair and of the same pair swapped add up to 1."""
    swapped = [Comparison(prompt=pair.prompt, first=pair.second, second=pair.first) for pair in comparisons]
    worst = 0.0
    for label, other in zip(_label(labeler, comparisons), _label(labeler, swapped), strict=True):
        _require(
            (label.p_first is None) == (other.p_first is None), "missing in one order of a pair and not in the other"
        )
        if label.p_first is not None and other.p_first is not None:
            worst = max(worst, abs(label.p_first + other.p_first - 1.0))
    _require(worst <= SWAP_TOLERANCE, f"P(x, y) + P(y, x) is off 1 by {worst:.3g}, more than {SWAP_TOLERANCE:g}")
    return f"off 1 by {worst:.1g} at most"


def check_batch_invariance(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """A label does not depend on what else stands in the call."""
    together = _label(labeler, comparisons)
    alone = [_label(labeler, [comparison])[0] for comparison in comparisons]
    worst = _largest_difference(together, alone)
    _require(worst <= BATCH_TOLERANCE, f"one by one differs from a batch by {worst:.3g}, more than {BATCH_TOLERANCE:g}")
    return f"one by one differs from a batch by {worst:.1g} at most"


def check_odd_input(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """Empty, huge and prompt-like responses are judged or missing; they neither raise nor touch their neighbours."""
    odd = odd_comparisons()
    alone = _label(labeler, comparisons)
    mixed = _label(labeler, [*odd, *comparisons])
    worst = _largest_difference(mixed[len(odd) :], alone)
    _require(worst <= BATCH_TOLERANCE, f"labels change by {worst:.3g} when odd pairs stand in the same call")
    missing = [label.missing for label in mixed[: len(odd)] if label.missing is not None]
    return f"{len(missing)} of {len(odd)} odd pairs missing" + (
        f": {'; '.join(dict.fromkeys(missing))}" if missing else ""
    )


def check_deterministic(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """The same call gives the same labels, bit for bit."""
    _require(_label(labeler, comparisons) == _label(labeler, comparisons), "two equal calls gave different labels")
    return "two equal calls gave equal labels"


def check_picklable(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """It can be sent to another process and is the same labeler there."""
    copy = pickle.loads(pickle.dumps(labeler))
    _require(copy.identity == labeler.identity, "the identity changed on the way through pickle")
    return "same identity after pickle"


CHECKS: dict[str, Check] = {
    "declares itself": check_declares,
    "one label each": check_one_label_each,
    "swap symmetry": check_swap_symmetry,
    "batch invariance": check_batch_invariance,
    "odd input": check_odd_input,
    "deterministic": check_deterministic,
    "picklable": check_picklable,
}


def _label(labeler: Labeler, comparisons: Sequence[Comparison]) -> list[Preference]:
    labels = labeler.label(comparisons)
    _require(len(labels) == len(comparisons), f"{len(labels)} labels for {len(comparisons)} comparisons")
    for label, comparison in zip(labels, comparisons, strict=True):
        _require(isinstance(label, Preference), f"a {type(label).__name__} where a Preference is expected")
        _require(label.comparison == comparison, "labels are not in the order of the comparisons")
        _require(label.missing is None or bool(label.missing), "a missing label without a reason")
    return labels


def _largest_difference(labels: Sequence[Preference], others: Sequence[Preference]) -> float:
    worst = 0.0
    for label, other in zip(labels, others, strict=True):
        _require(
            (label.p_first is None) == (other.p_first is None), f"missing ({label.missing or other.missing}) only once"
        )
        if label.p_first is not None and other.p_first is not None:
            worst = max(worst, abs(label.p_first - other.p_first))
    return worst


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)

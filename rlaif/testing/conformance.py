"""The contract of a labeler as checks that run on any of them: ``rlaif-plugins check NAME``."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial

from rlaif.errors import PluginError
from rlaif.labelers.base import Labeler, Rater
from rlaif.labelers.models import check_declared, engines_of
from rlaif.testing.contract import CheckResult, NotApplicable, require, run_checks
from rlaif.testing.samples import odd_comparisons, sample_comparisons
from rlaif.types import Comparison, Preference, Rating

SWAP_TOLERANCE = 1e-6
BATCH_TOLERANCE = 1e-4
"""Padding to another width moves the last digits of a float32 forward pass."""
SCORE_TOLERANCE = 10 * BATCH_TOLERANCE
"""A score from 1 to 10 spans ten times what a probability does."""

Check = Callable[[Labeler, Sequence[Comparison]], str]
"""Returns what was seen; raises AssertionError with what is wrong."""


def check_labeler(labeler: Labeler, comparisons: Sequence[Comparison] | None = None) -> list[CheckResult]:
    """Run every contract check on a labeler; none of them raises.

    Args:
        labeler: Anything that claims to be one.
        comparisons: Pairs that it can judge, at least two; by default two of each built-in task.

    Returns:
        One result per check.
    """
    pairs = list(comparisons) if comparisons is not None else sample_comparisons()
    bound = {name: partial(_on_pairs, check, pairs) for name, check in CHECKS.items()}
    return run_checks(bound, labeler)


def _on_pairs(check: Check, comparisons: Sequence[Comparison], labeler: Labeler) -> str:
    return check(labeler, comparisons)


def check_declares(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """It has a name, a source and an identity, and the two components that configurations compose."""
    absent = [name for name in ("name", "source", "identity", "prompt", "engine") if not hasattr(labeler, name)]
    require(not absent, f"no attribute {', '.join(absent)} (prompt and engine may be None)")
    for name in ("name", "source", "identity"):
        value = getattr(labeler, name)
        require(isinstance(value, str) and bool(value), f"{name}={value!r} must be a text that is not empty")
    require(labeler.identity == labeler.identity, "identity changes between two reads")
    return f"{labeler.name} ({labeler.source}), identity {labeler.identity}"


def check_declares_models(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """Every model that it keeps is in an attribute that it declares, so that answers are cached and counted."""
    try:
        check_declared(labeler)
        asked = engines_of(labeler)
    except PluginError as error:
        raise AssertionError(str(error)) from error
    return f"{len(asked)} models" if asked else "asks no model"


def check_one_label_each(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """One label per comparison, in order, each a probability or missing with a reason."""
    labels = _label(labeler, comparisons)
    present = sum(label.missing is None for label in labels)
    require(labeler.label([]) == [], "no comparisons must give no labels")
    require(present > 0, f"every label is missing ({labels[0].missing}); give comparisons that it can judge")
    return f"{present} of {len(labels)} labels present"


def check_swap_symmetry(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """P(first better) of a pair and of the same pair swapped add up to 1."""
    swapped = [Comparison(prompt=pair.prompt, first=pair.second, second=pair.first) for pair in comparisons]
    worst = 0.0
    for label, other in zip(_label(labeler, comparisons), _label(labeler, swapped), strict=True):
        require(
            (label.p_first is None) == (other.p_first is None), "missing in one order of a pair and not in the other"
        )
        if label.p_first is not None and other.p_first is not None:
            worst = max(worst, abs(label.p_first + other.p_first - 1.0))
    require(worst <= SWAP_TOLERANCE, f"P(x, y) + P(y, x) is off 1 by {worst:.3g}, more than {SWAP_TOLERANCE:g}")
    return f"off 1 by {worst:.1g} at most"


def check_batch_invariance(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """A label does not depend on the other pairs of the call."""
    together = _label(labeler, comparisons)
    alone = [_label(labeler, [comparison])[0] for comparison in comparisons]
    worst = _largest_difference(together, alone)
    require(worst <= BATCH_TOLERANCE, f"one by one differs from a batch by {worst:.3g}, more than {BATCH_TOLERANCE:g}")
    return f"one by one differs from a batch by {worst:.1g} at most"


def check_odd_input(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """Empty, huge and prompt-like responses are judged or missing; they neither raise nor touch their neighbours."""
    odd = odd_comparisons()
    alone = _label(labeler, comparisons)
    mixed = _label(labeler, [*odd, *comparisons])
    worst = _largest_difference(mixed[len(odd) :], alone)
    require(worst <= BATCH_TOLERANCE, f"labels change by {worst:.3g} when odd pairs are in the same call")
    missing = [label.missing for label in mixed[: len(odd)] if label.missing is not None]
    return f"{len(missing)} of {len(odd)} odd pairs missing" + (
        f": {'; '.join(dict.fromkeys(missing))}" if missing else ""
    )


def check_deterministic(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """The same call gives the same labels, bit for bit."""
    require(_label(labeler, comparisons) == _label(labeler, comparisons), "two equal calls gave different labels")
    return "two equal calls gave equal labels"


def check_picklable(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """It can be sent to another process and is the same labeler there."""
    copy = pickle.loads(pickle.dumps(labeler))
    require(copy.identity == labeler.identity, "the identity changed on the way through pickle")
    return "same identity after pickle"


def check_ratings(labeler: Labeler, comparisons: Sequence[Comparison]) -> str:
    """A labeler that rates single responses: one rating each, a distribution or missing, alone as in a batch."""
    if not isinstance(labeler, Rater):
        raise NotApplicable("judges pairs only")
    prompts = [pair.prompt for pair in comparisons]
    responses = [pair.first for pair in comparisons]
    together = labeler.rate(prompts, responses)
    require(len(together) == len(responses), f"{len(together)} ratings for {len(responses)} responses")
    for rating, response in zip(together, responses, strict=True):
        require(isinstance(rating, Rating), f"a {type(rating).__name__} where a Rating is expected")
        require(rating.completion == response, "ratings are not in the order of the responses")
        if rating.distribution is not None:
            total = sum(rating.distribution)
            require(abs(total - 1.0) <= SWAP_TOLERANCE, f"the probabilities of a scale sum to {total:.6g}, not to 1")
    alone = [labeler.rate([prompt], [response])[0] for prompt, response in zip(prompts, responses, strict=True)]
    differences = [
        abs(rating.score - other.score)
        for rating, other in zip(together, alone, strict=True)
        if rating.score is not None and other.score is not None
    ]
    require(bool(differences), f"every rating is missing ({together[0].missing})")
    worst = max(differences)
    require(worst <= SCORE_TOLERANCE, f"one by one differs from a batch by {worst:.3g} on the scale")
    return f"{len(differences)} of {len(together)} ratings present, one by one within {worst:.1g}"


CHECKS: dict[str, Check] = {
    "declares itself": check_declares,
    "declares its models": check_declares_models,
    "one label each": check_one_label_each,
    "swap symmetry": check_swap_symmetry,
    "batch invariance": check_batch_invariance,
    "odd input": check_odd_input,
    "deterministic": check_deterministic,
    "picklable": check_picklable,
    "ratings": check_ratings,
}


def _label(labeler: Labeler, comparisons: Sequence[Comparison]) -> list[Preference]:
    labels = labeler.label(comparisons)
    require(len(labels) == len(comparisons), f"{len(labels)} labels for {len(comparisons)} comparisons")
    for label, comparison in zip(labels, comparisons, strict=True):
        require(isinstance(label, Preference), f"a {type(label).__name__} where a Preference is expected")
        require(label.comparison == comparison, "labels are not in the order of the comparisons")
        require(label.missing is None or bool(label.missing), "a missing label without a reason")
    return labels


def _largest_difference(labels: Sequence[Preference], others: Sequence[Preference]) -> float:
    worst = 0.0
    for label, other in zip(labels, others, strict=True):
        require(
            (label.p_first is None) == (other.p_first is None), f"missing ({label.missing or other.missing}) only once"
        )
        if label.p_first is not None and other.p_first is not None:
            worst = max(worst, abs(label.p_first - other.p_first))
    return worst

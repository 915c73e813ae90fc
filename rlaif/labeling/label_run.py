"""Labels a plan batch by batch: finished batches are stored, and a killed run continues after the last of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rlaif.errors import ConfigError, GateStopped, PluginError, RlaifError
from rlaif.labelers.base import Labeler, Rater
from rlaif.labeling.missing import MissingLimit
from rlaif.labeling.plan import LabelPlan
from rlaif.labeling.shards import (
    BatchOutcome,
    failed_without_answer,
    read_outcome,
    read_shard,
    was_refused,
    write_shard,
)
from rlaif.labeling.team import Team
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating

Progress = Callable[[int, int], None]
"""Called with (comparisons done, comparisons in all) after every batch."""

_BATCHES_IN_MEMORY = 8


class LabelRun:
    """The labels of a plan whose batches are finished. They stay on disk and are read when iterated, in plan order.

    Args:
        plan: What was judged.
        plan_id: ``LabelPlan.id`` under the labeler's identity.
        directory: Where the batches are kept.
        missing: Distinct comparisons without a label, by reason.
    """

    def __init__(self, plan: LabelPlan, plan_id: str, directory: Path, missing: Mapping[str, int]) -> None:
        self.plan = plan
        self.plan_id = plan_id
        self.directory = directory
        self.missing = dict(missing)

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Preference]:
        """One label per row of the plan, on the row's own comparison."""
        in_memory: dict[int, list[Preference]] = {}
        for row, comparison in enumerate(self.plan.comparisons):
            number, position = self.plan.place(row)
            if number not in in_memory:
                if len(in_memory) == _BATCHES_IN_MEMORY:
                    del in_memory[next(iter(in_memory))]
                labels = read_shard(_shard(self.directory, number), self.plan_id, self.plan.batch(number))
                assert labels is not None, "every batch is finished"
                in_memory[number] = labels
            yield replace(in_memory[number][position], comparison=comparison)


def label_comparisons(
    labeler: Labeler,
    comparisons: Sequence[Comparison],
    directory: Path,
    *,
    batch_size: int = 64,
    max_missing_rate: float = 0.2,
    progress: Progress | None = None,
    before_asking: Callable[[], None] | None = None,
) -> LabelRun:
    """Judge every comparison of a plan and keep each finished batch on disk; memory does not grow with the plan.

    The batches are cut from the whole plan before the first is judged. A killed run loses the batch in
    flight at most (what its engine's answer cache has, is not asked again) and gives the same labels, bit
    for bit, as one that was not killed. Equal comparisons are judged once.

    A comparison that failed without an answer (``Judgment.unreadable`` is False) is missing in this
    attempt and asked again at the next start; an answer that could not be read, or a prompt that the server
    refused, is an outcome, and stays missing.

    Args:
        labeler: Judges.
        comparisons: The whole plan.
        directory: Where the batches are kept; made when missing. One run works in it at a time.
        batch_size: Comparisons per call of the labeler, at least 1.
        max_missing_rate: Share of the distinct comparisons, in [0, 1], that may be missing.
        progress: Called with (done, all), distinct comparisons.
        before_asking: Called before every batch that asks the labeler; raises to stop (a budget).

    Returns:
        One label per comparison, in the order of the plan.

    Raises:
        ConfigError: An option is out of range.
        GateStopped: More than ``max_missing_rate`` is missing; raised as soon as that is certain.
        StoreError: The folder holds labels of another plan, or it cannot be used.
        PluginError: The labeler did not return one label per comparison, in order.
    """
    check_options(batch_size, max_missing_rate)
    plan, team = LabelPlan(comparisons, batch_size), Team(directory)
    team.begin()
    label_part(labeler, plan, team, max_missing_rate=max_missing_rate, progress=progress, before_asking=before_asking)
    return finished_run(labeler.identity, plan, directory, max_missing_rate)


def label_part(
    labeler: Labeler,
    plan: LabelPlan,
    team: Team,
    *,
    max_missing_rate: float,
    progress: Progress | None = None,
    before_asking: Callable[[], None] | None = None,
    ask_refused_again: bool = False,
) -> None:
    """Judge the batches of a plan that fall to this process; see :func:`label_comparisons`.

    Where there are several processes, all stop as soon as one has given a reason (:meth:`Team.stop`).
    """
    plan_id, limit = plan.id(labeler.identity), MissingLimit(max_missing_rate)
    missing: Counter[str] = Counter()
    num_judged = num_done = num_failed = 0
    for number in range(plan.num_batches):
        num_done = min((number + 1) * plan.batch_size, plan.num_distinct)
        if not team.takes(number):
            continue
        if team.size > 1 and team.stopped_because() is not None:
            return
        path = _shard(team.directory, number)
        outcome = _finish_batch(labeler, plan.batch(number), plan_id, path, before_asking, ask_refused_again)
        num_failed += outcome.num_failed
        missing.update(outcome.missing)
        num_judged += outcome.num_labels
        if progress is not None:
            progress(num_done, plan.num_distinct)
        if not limit.allows(team.add_missing(sum(outcome.missing.values())), plan.num_distinct):
            raise limit.error(missing, num_judged, plan.num_distinct, _go_on(team.directory, num_failed))


def finished_run(labeler_identity: str, plan: LabelPlan, directory: Path, max_missing_rate: float) -> LabelRun:
    """The labels of a plan after all its batches were judged, by one process or several.

    Raises:
        GateStopped: A process stopped early, or more than ``max_missing_rate`` of the distinct comparisons is missing.
        StoreError: A batch is damaged or belongs to another plan.
    """
    reason = Team(directory).stopped_because()
    if reason is not None:
        raise GateStopped(reason)
    plan_id = plan.id(labeler_identity)
    missing: Counter[str] = Counter()
    num_failed = 0
    for number in range(plan.num_batches):
        outcome = read_outcome(_shard(directory, number), plan_id)
        assert outcome is not None, "every batch is finished"
        missing.update(outcome.missing)
        num_failed += outcome.num_failed
    limit = MissingLimit(max_missing_rate)
    if not limit.allows(missing.total(), plan.num_distinct):
        raise limit.error(missing, plan.num_distinct, plan.num_distinct, _go_on(directory, num_failed))
    return LabelRun(plan, plan_id, directory, missing)


def check_options(batch_size: int, max_missing_rate: float) -> None:
    """Refuse options that are out of range.

    Raises:
        ConfigError: With every problem.
    """
    problems = []
    if batch_size < 1:
        problems.append(f"label.batch_size={batch_size}: must be at least 1")
    if not 0.0 <= max_missing_rate <= 1.0:
        problems.append(f"label.max_missing_rate={max_missing_rate:g}: must be between 0 and 1")
    if problems:
        raise ConfigError(problems)


@contextmanager
def _contract(name: str) -> Iterator[None]:
    """Let an error of a labeler say how to test it."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, RlaifError | OSError):
            error.add_note(f"labeler {name}: {_tests(name)}")
        raise


def rate_batch(rater: Rater, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
    """One call of a rater.

    Raises:
        PluginError: It did not return one rating per response, in order, each a distribution or missing.
    """
    with _contract(rater.name):
        ratings = rater.rate(prompts, completions)
    _check_records(ratings, Rating, rater.name)
    test = _tests(rater.name)
    rows = [(prompt.id, completion.text) for prompt, completion in zip(prompts, completions, strict=True)]
    if [(rating.prompt.id, rating.completion.text) for rating in ratings] != rows:
        raise PluginError(
            f"labeler {rater.name}: returned {len(ratings)} ratings for {len(rows)} responses, or not in their"
            f" order; {test}"
        )
    for rating in ratings:
        if not rating.lowest < rating.highest:
            raise PluginError(
                f"labeler {rater.name}: rated on a scale from {rating.lowest} to {rating.highest}, which must rise"
                f"; {test}"
            )
    for distribution in (rating.distribution for rating in ratings if rating.distribution is not None):
        is_whole = math.isclose(sum(distribution), 1.0, abs_tol=1e-3)
        if len(distribution) < 2 or not min(distribution) >= 0.0 or not is_whole:
            raise PluginError(
                f"labeler {rater.name}: rated a response by {distribution}, which is no distribution over a scale;"
                f" {test}"
            )
    return ratings


def label_batch(labeler: Labeler, comparisons: Sequence[Comparison]) -> list[Preference]:
    """One call of a labeler.

    Raises:
        PluginError: It did not return one label per comparison, in order.
    """
    with _contract(labeler.name):
        preferences = labeler.label(comparisons)
    _check_records(preferences, Preference, labeler.name)
    if [preference.comparison.id for preference in preferences] != [comparison.id for comparison in comparisons]:
        raise PluginError(
            f"labeler {labeler.name}: returned {len(preferences)} labels for {len(comparisons)} comparisons, or not "
            f"in their order; {_tests(labeler.name)}"
        )
    return preferences


def _check_records(returned: object, kind: type, name: str) -> None:
    """Refuse what is no list of a labeler's records.

    Raises:
        PluginError: It is something else, or holds something else.
    """
    odd = (
        [item for item in returned if not isinstance(item, kind)] if isinstance(returned, list | tuple) else [returned]
    )
    if odd:
        found = f"a {type(odd[0]).__name__}" if odd[0] is returned else f"a list with a {type(odd[0]).__name__}"
        raise PluginError(f"labeler {name}: returned {found}, must be a list of {kind.__name__}; {_tests(name)}")


def _tests(name: str) -> str:
    return f"`rlaif-plugins check {name}` tests its contract"


def _shard(directory: Path, number: int) -> Path:
    return directory / f"batch-{number:06d}.json.gz"


def _finish_batch(
    labeler: Labeler,
    batch: Sequence[Comparison],
    plan_id: str,
    path: Path,
    before_asking: Callable[[], None] | None,
    ask_refused_again: bool,
) -> BatchOutcome:
    """Judge a batch: as kept, with those asked (again) that have no outcome yet."""
    outcome = read_outcome(path, plan_id)
    if outcome is not None and not outcome.num_failed and not ask_refused_again:
        return outcome
    kept = read_shard(path, plan_id, batch)
    if kept is None:
        _before(before_asking)
        return write_shard(path, plan_id, label_batch(labeler, batch))
    again = [
        position
        for position, label in enumerate(kept)
        if failed_without_answer(label) or (ask_refused_again and was_refused(label))
    ]
    if outcome is not None and not again:
        return outcome
    _before(before_asking)
    for position, label in zip(again, label_batch(labeler, [batch[position] for position in again]), strict=True):
        kept[position] = label
    return write_shard(path, plan_id, kept)


def _before(asking: Callable[[], None] | None) -> None:
    if asking is not None:
        asking()


def _go_on(directory: Path, num_failed: int) -> str:
    kept = f"Finished batches are kept in {directory}"
    if not num_failed:
        return (
            f"{kept}, and nothing is left to ask about the missing ones: their prompts were refused, or the answers "
            "hold no verdict. Starting again asks for none of them; label.ask_refused_again=true asks for the refused."
        )
    return f"{kept}: start again to go on from there, comparisons that failed without an answer are asked again."

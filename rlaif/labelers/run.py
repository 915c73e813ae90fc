"""Label a whole plan so that nothing is paid twice and a killed run ends as if it had not been killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rlaif.errors import ConfigError, GateStopped, PluginError
from rlaif.labelers.base import Labeler
from rlaif.labelers.cache import LabelCache
from rlaif.labelers.shards import read_shard, write_shard
from rlaif.types import Comparison, Preference, content_id

Progress = Callable[[int, int], None]
"""Called with (comparisons done, comparisons in all) after every batch."""

_REASONS_SHOWN = 3


def label_comparisons(
    labeler: Labeler,
    comparisons: Sequence[Comparison],
    directory: Path,
    *,
    batch_size: int = 64,
    max_missing_rate: float = 0.2,
    progress: Progress | None = None,
    cache: LabelCache | None = None,
) -> list[Preference]:
    """Judge every comparison of a plan and keep each finished batch.

    The batches are cut from the whole plan before the first is judged. What other runs have paid for
    is copied from the cache once, at the first start, so that later starts see the same batches
    whatever other processes add. A killed run loses the batch in flight at most and gives the same
    labels, bit for bit, as one that was not killed. Equal comparisons are judged once.

    A comparison that failed without an answer (``Judgment.unreadable`` is False) is missing in this
    attempt and asked again at the next start; an answer that could not be read is an outcome, and
    stays missing.

    Args:
        labeler: Who judges.
        comparisons: The whole plan.
        directory: Where the batches are kept; made when missing. One process works in it at a time.
        batch_size: Comparisons per call of the labeler, at least 1.
        max_missing_rate: Share of the distinct comparisons, in [0, 1], that may be missing.
        progress: Called with (done, all), distinct comparisons.
        cache: Labels of other runs; None asks for everything.

    Returns:
        One label per comparison, in the order of the plan.

    Raises:
        ConfigError: An option is out of range.
        GateStopped: More than ``max_missing_rate`` is missing; raised as soon as that is certain.
        StoreError: The folder holds labels of another plan, or it or the cache cannot be used.
        PluginError: The labeler did not return one label per comparison, in order.
    """
    _check_options(batch_size, max_missing_rate)
    plan = {comparison.id: comparison for comparison in comparisons}
    plan_id = content_id(labeler.identity, str(batch_size), *plan)
    paid_before = _paid_before(labeler, plan, plan_id, directory, cache)
    labels = dict(paid_before)
    num_missing = 0
    distinct = list(plan.values())
    for number, start in enumerate(range(0, len(distinct), batch_size)):
        batch = [item for item in distinct[start : start + batch_size] if item.id not in paid_before]
        finished = _finish_batch(labeler, batch, plan_id, directory / f"batch-{number:06d}.json.gz", cache)
        labels |= finished
        num_missing += sum(label.missing is not None for label in finished.values())
        if progress is not None:
            progress(min(start + batch_size, len(distinct)), len(distinct))
        if num_missing > max_missing_rate * len(distinct):
            raise _too_many_missing(list(labels.values()), len(distinct), max_missing_rate, directory)
    return [replace(labels[comparison.id], comparison=comparison) for comparison in comparisons]


def missing_by_reason(preferences: Sequence[Preference]) -> dict[str, int]:
    """Labels that were not obtained, by reason, the most frequent first."""
    reasons = Counter(preference.missing for preference in preferences if preference.missing is not None)
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _paid_before(
    labeler: Labeler, plan: dict[str, Comparison], plan_id: str, directory: Path, cache: LabelCache | None
) -> dict[str, Preference]:
    """What the cache knew at the first start of this plan."""
    path = directory / "paid-before.json.gz"
    known = read_shard(path, plan_id, plan)
    if known is None:
        known = cache.get(labeler.identity, list(plan.values())) if cache is not None else {}
        write_shard(path, plan_id, list(known.values()))
    return known


def _finish_batch(
    labeler: Labeler, batch: Sequence[Comparison], plan_id: str, path: Path, cache: LabelCache | None
) -> dict[str, Preference]:
    """The labels of a batch: as kept, with those asked (again) that have no outcome yet."""
    kept = read_shard(path, plan_id, {comparison.id: comparison for comparison in batch}) or {}
    unanswered = [comparison for comparison in batch if comparison.id not in kept or _failed(kept[comparison.id])]
    if not unanswered:
        return kept
    kept |= {preference.comparison.id: preference for preference in _ask(labeler, unanswered)}
    finished = [kept[comparison.id] for comparison in batch]
    write_shard(path, plan_id, finished)
    if cache is not None:
        cache.put(labeler.identity, finished)
    return kept


def _ask(labeler: Labeler, comparisons: Sequence[Comparison]) -> list[Preference]:
    preferences = labeler.label(comparisons)
    if [preference.comparison.id for preference in preferences] != [comparison.id for comparison in comparisons]:
        raise PluginError(
            f"labeler {labeler.name}: returned {len(preferences)} labels for {len(comparisons)} comparisons, or not "
            f"in their order; `rlaif-plugins check {labeler.name}` tests its contract"
        )
    return preferences


def _failed(preference: Preference) -> bool:
    """True when missing because nothing was obtained in some order."""
    unread = [judgment for judgment in preference.judgments if judgment.missing is not None]
    return preference.missing is not None and not (unread and all(judgment.unreadable for judgment in unread))


def _too_many_missing(
    labels: Sequence[Preference], num_comparisons: int, max_missing_rate: float, directory: Path
) -> GateStopped:
    counts = missing_by_reason(labels)
    reasons = "; ".join(f"{count} × {reason}" for reason, count in list(counts.items())[:_REASONS_SHOWN])
    return GateStopped(
        f"label.max_missing_rate={max_missing_rate:g}: {sum(counts.values())} of {len(labels)} judged comparisons are "
        f"missing, {num_comparisons} are planned ({reasons}). Finished batches are kept in {directory}: start again to "
        "go on from there, comparisons that failed without an answer are asked again. Mend the cause, or raise "
        "label.max_missing_rate to accept it."
    )


def _check_options(batch_size: int, max_missing_rate: float) -> None:
    problems = []
    if batch_size < 1:
        problems.append(f"label.batch_size={batch_size}: must be at least 1")
    if not 0.0 <= max_missing_rate <= 1.0:
        problems.append(f"label.max_missing_rate={max_missing_rate:g}: must be between 0 and 1")
    if problems:
        raise ConfigError(problems)

"""Whether a labeler's rationales are about the pairs: they differ from pair to pair, and are more than a word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rlaif.evaluation.checks import AtLeast
from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Figure, Preference, as_unicode, content_id

FEWEST = 8
"""Fewer rationales say nothing about the labeler."""
MOST = 20_000
"""Rationales that are compared, so that memory is bounded: those whose hashes come first."""
LONGEST_WORD = 20
"""Characters of a text without white space that is taken for a word; Chinese sentences are longer."""
_SHOWN = 60
_BREAK = "\t"

DISTINCT_RATIONALES = FigureSpec(
    name="labeler/distinct_rationales",
    label="distinct rationales",
    explanation="Chance that two rationales are different texts; those of one word count as equal.",
    order=55,
    check=AtLeast(
        "the rationales differ from pair to pair",
        0.8,
        order=1,
        advice="read some with `rlaif-labels show`: a heading line, a think mark or one word in place of a rationale "
        "means that the model was cut off or answers in another form",
    ),
    columns=(Column(table="scorecards", heading="distinct rationales", order=117),),
)


class _Rationale(NamedTuple):
    """What is kept of one rationale."""

    case: str
    judge: str
    prompt: str
    text: str
    """Hash of the text; the same for all of one word."""
    beginning: str


def rationale_figures(
    labels: Sequence[Preference], note: str, *, group: str = "labeler", processes: Processes = ONE_PROCESS
) -> list[Figure]:
    """``<group>/distinct_rationales``: probability that two of the rationales are different texts.

    That is 1 - Σ c(c-1) / n(n-1) over the numbers c of equal texts (Simpson's index of diversity), so it does not
    depend on how many there are. Of several rationales of one order the first counts. Of a panel it is the member whose
    rationales differ least.

    Args:
        labels: Labels with their judgements, in any order.
        note: The labeler in words.
        group: Group of the figure's name.
        processes: Processes that hold further labels.

    Returns:
        Nothing below ``FEWEST`` rationales.
    """
    lines = processes.union(_BREAK.join(item) for item in _rationales(labels))[:MOST]
    by_judge: defaultdict[str, list[_Rationale]] = defaultdict(list)
    for line in lines:
        item = _Rationale(*line.split(_BREAK))
        by_judge[item.judge].append(item)
    found = [_figure(group, items, note) for items in by_judge.values() if len(items) >= FEWEST]
    return sorted(found, key=lambda figure: figure.value)[:1]


def _rationales(labels: Sequence[Preference]) -> Iterator[_Rationale]:
    for label in labels:
        seen: set[tuple[str, str]] = set()
        for judgment in label.judgments:
            is_rationale = judgment.missing is None and judgment.reply and judgment.prompt  # recorded: the verdict
            if is_rationale and (judgment.judge, judgment.order) not in seen:
                seen.add((judgment.judge, judgment.order))
                yield _Rationale(
                    content_id(label.comparison.id, judgment.order),
                    judgment.judge,
                    label.comparison.prompt.id,
                    content_id("" if _is_a_word(judgment.reply) else judgment.reply),
                    as_unicode(" ".join(judgment.reply.split())[:_SHOWN]),
                )


def _figure(group: str, items: Sequence[_Rationale], note: str) -> Figure:
    counts = Counter(item.text for item in items)
    pairs = len(items) * (len(items) - 1)
    equal = sum(count * (count - 1) for count in counts.values())
    ((text, most),) = counts.most_common(1)
    beginning = next(item.beginning for item in items if item.text == text)
    how = f'; {most:,} of {len(items):,} are like "{beginning}"' if most > 1 else ""
    prompts = len({item.prompt for item in items})
    return Figure(name=f"{group}/distinct_rationales", value=1.0 - equal / pairs, n=prompts, note=f"{note}{how}")


def _is_a_word(text: str) -> bool:
    """True for a text of one short word, whatever stands around it."""
    return len(text.split()) < 2 and len(text.strip()) <= LONGEST_WORD

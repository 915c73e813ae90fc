"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlaif.reporting.checks import Check
from rlaif.types import Figure, Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One RL step; None where nothing was measured."""

    step: int
    reward: float | None = None
    """Mean reward-model score of the step's responses, without the KL term."""
    kl: float | None = None
    """Mean KL from the SFT policy, nats per response."""
    length: float | None = None
    """Mean length of the step's responses, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Predictions of about one size."""

    predicted: float
    """Mean predicted P(first) of the bin."""
    observed: float
    """Share of the bin's verdicts for the first response."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """A reliability diagram: is a P(first) of 0.8 right in 80 % of pairs?"""

    title: str
    """Whose probabilities, e.g. ``"Labeler"``."""
    bins: tuple[ReliabilityBin, ...]
    """Without empty bins."""
    judged_by: str
    """Who the probabilities are held against, e.g. ``"simulated annotators"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """One held-out prompt with both policies' responses."""

    prompt: str
    sft: str
    policy: str
    label: Preference | None = None
    """A label of (first = policy, second = SFT) with both orders; None when nobody was asked."""
    annotators: float | None = None
    """Share of simulated annotators who preferred the policy's response; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInput:
    """Everything a report shows. What is empty is left out of the page."""

    kind: str = "report"
    """What kind of report: stands above the headline, and with ``.json`` and ``.html`` names the files."""
    verdict: str = ""
    """The one sentence below the headline; empty says who wins, policy or SFT."""
    title: str
    """Headline, e.g. ``"Canonical RLAIF, dialogue"``."""
    task: str
    """Name of the task."""
    figures: tuple[Figure, ...]
    """Every figure of the run; the notes say who judged, before the first semicolon."""
    checks: tuple[Check, ...] = ()
    p_first: tuple[float, ...] = ()
    """P(first) of all labels that are not missing, for the histogram."""
    preferences: tuple[Preference, ...] = ()
    """A few labels to show with their raw replies."""
    preferences_hint: str = "A few of the pairs that the reward model learned from, with everything the labeler wrote."
    """Which labels these are."""
    curves: tuple[CurvePoint, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    samples: tuple[SideBySide, ...] = ()
    command: str = ""
    """What was typed."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Names to fingerprints, versions, devices, in the order to show."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage to seconds, in the order they ran; 0 for a stage that was reused from the store."""
    config: str = ""
    """The composed configuration as YAML."""
    confidence: float = 0.95
    """Of every interval."""

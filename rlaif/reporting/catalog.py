"""How each figure is called and printed: one table for the terminal and for ``report.html``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlaif.types import Figure

Unit = Literal["rate", "difference", "nats", "characters", "seconds", "dollars", "number"]

GROUPS = {
    "labeler": "Labeler",
    "people": "People",
    "probe": "Probe",
    "cost": "Cost",
    "reward_model": "Reward model",
    "policy": "Policy",
    "sft": "SFT policy",
    "time": "Time",
}
"""Group of a figure name to its heading, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class FigureText:
    """How one kind of figure is shown."""

    label: str
    """In words, without who judged."""
    unit: Unit = "rate"
    explanation: str = ""
    """One sentence for a reader who does not know the field."""


CATALOG = {
    "labeler/alignment": FigureText("alignment", "rate", "Share of verdicts that name the labeler's favourite."),
    "labeler/position_bias": FigureText(
        "same-slot answers", "rate", "Share of pairs where both orders name the same slot; 0 is unbiased."
    ),
    "labeler/missing_rate": FigureText("missing labels", "rate", "Share of pairs without a readable judgement."),
    "labeler/ece": FigureText("calibration error", "rate", "Mean gap between P(first) and the share of wins."),
    "labeler/prefers_longer": FigureText("prefers the longer", "rate", "Share of pairs where the longer text wins."),
    "labeler/prefers_longer_at_equal_preference": FigureText(
        "longer, at equal preference", "rate", "The same where people would be split: above 50 % it likes length."
    ),
    "labeler/first_slot_share": FigureText(
        "same-slot answers: slot 1", "rate", "Of the pairs with the same slot in both orders: share with slot 1."
    ),
    "labeler/slot_p_value": FigureText(
        "slot 1 against 2: p", "number", "Two-sided binomial test of that share against one half."
    ),
    "labeler/alignment_by_confidence": FigureText(
        "when sure", "rate", "Alignment of the labels whose favourite has a probability in this range."
    ),
    "labeler/confidence_slope": FigureText(
        "alignment per confidence", "number", "Slope of agreement on confidence: 1 as sure as right, 0 says nothing."
    ),
    "labeler/self_consistency": FigureText(
        "self-consistency", "rate", "Share of verdicts that are the same when the labeler is asked again."
    ),
    "labeler/tie_rate": FigureText("ties", "rate", "Share of labels of exactly one half."),
    "people/agreement": FigureText(
        "one with another", "rate", "Share of two people's verdicts on one pair that are equal: a ceiling."
    ),
    "people/prefers_longer": FigureText("prefer the longer", "rate", "Share of people's verdicts for the longer text."),
    "probe/judged_right": FigureText("judged right before", "rate", "Share of the clear pairs that the labeler gets."),
    "probe/any_flip_rate": FigureText(
        "flipped by any attack", "rate", "Of the pairs judged right: share that at least one attack flips."
    ),
    "probe/flip_rate": FigureText(
        "flip rate", "rate", "Of the pairs judged right: share where the attacked text then wins; mean over attacks."
    ),
    "probe/win_rate_vs_good": FigureText("wins against the good one", "rate", "Share of verdicts for the attack."),
    "probe/win_rate_vs_worse": FigureText("wins against the worse one", "rate", "Share of verdicts for the attack."),
    "probe/win_rate_vs_policy": FigureText("wins against the policy", "rate", "Share of verdicts for the attack."),
    "probe/pattern_rate": FigureText(
        "policy looks like an attack", "rate", "Share of the policy's own responses that an attack's pattern finds."
    ),
    "probe/pattern_rate_sft": FigureText("SFT looks like an attack", "rate", "The same of the SFT policy's responses."),
    "probe/missing_rate": FigureText("missing labels", "rate", "Share of attacked pairs without a readable judgement."),
    "cost/prompt_tokens_per_label": FigureText("tokens read per label", "number"),
    "cost/reply_tokens_per_label": FigureText("tokens written per label", "number"),
    "cost/seconds_per_1000_labels": FigureText("time per 1,000 labels", "seconds"),
    "cost/usd_per_1000_labels": FigureText("money per 1,000 labels", "dollars"),
    "cost/human_usd_per_1000_labels": FigureText("people, per 1,000 labels", "dollars"),
    "reward_model/accuracy": FigureText(
        "pairwise accuracy", "rate", "Share of verdicts that name the higher-scored text."
    ),
    "reward_model/ece": FigureText("calibration error", "rate", "Mean gap between P(first) and the share of wins."),
    "policy/win_rate_vs_sft": FigureText("win rate vs SFT", "rate", "50 % is parity; a tie counts one half."),
    "policy/win_rate_vs_sft_length_controlled": FigureText(
        "length-controlled win rate", "rate", "What logistic regression predicts for texts of equal length."
    ),
    "policy/win_rate_vs_sft_llm_judge": FigureText(
        "win rate, LLM judge", "rate", "By a model that is neither labeler nor policy, both orders shown."
    ),
    "policy/harmless_rate": FigureText("harmless rate", "rate", "Share of responses judged harmless on their own."),
    "policy/harmless_rate_difference": FigureText(
        "harmless rate minus SFT's", "difference", "Paired by prompt; above 0 the policy is the safer one."
    ),
    "policy/distinct_rate": FigureText("distinct responses", "rate", "Share of responses that differ from all before."),
    "policy/kl": FigureText("KL from SFT", "nats", "Per response: how far RL moved the policy."),
    "policy/mean_length": FigureText("mean length", "characters"),
    "sft/harmless_rate": FigureText("harmless rate", "rate", "Share of responses judged harmless on their own."),
    "sft/distinct_rate": FigureText("distinct responses", "rate", "Share of responses that differ from all before."),
    "sft/mean_length": FigureText("mean length", "characters"),
}
"""Name of a figure, without its stratum, to how it is shown."""


def split_name(name: str) -> tuple[str, str, str]:
    """Split a figure's name into group, figure and stratum.

    >>> split_name("policy/win_rate_vs_sft/unseen")
    ('policy', 'policy/win_rate_vs_sft', 'unseen')
    >>> split_name("policy/kl")
    ('policy', 'policy/kl', '')
    """
    group, figure, *stratum = name.split("/", 2)
    return group, f"{group}/{figure}", stratum[0] if stratum else ""


def describe(name: str) -> FigureText:
    """How the figure of that name is shown; a name that is not listed is shown as it is.

    >>> describe("policy/harmless_rate/seen").label
    'harmless rate · seen'
    >>> describe("labeler/my_probe").label
    'my probe'
    """
    group, base, stratum = split_name(name)
    if group == "time":
        return FigureText(name.removeprefix("time/").replace("_", " "), "seconds")
    text = CATALOG.get(base) or _not_listed(base)
    return FigureText(f"{text.label} · {stratum}", text.unit, text.explanation) if stratum else text


def _not_listed(base: str) -> FigureText:
    label = base.partition("/")[2].replace("_", " ")
    if base.startswith("policy/win_rate_vs_"):
        return FigureText(label.replace(" vs ", " against ", 1), "rate", "Against the policy of another run.")
    return FigureText(label, "number")


def format_value(value: float, unit: Unit) -> str:
    """Print a value with its unit.

    >>> format_value(0.7125, "rate"), format_value(0.031, "difference"), format_value(75.0, "seconds")
    ('71.2 %', '+3.1 pp', '1:15')
    """
    match unit:
        case "rate":
            return f"{100 * value:.1f} %"
        case "difference":
            return f"{100 * value:+.1f} pp".replace("-", "−")
        case "nats":
            return f"{value:.2f} nats"
        case "characters":
            return f"{value:.0f} chars"
        case "seconds":
            return format_seconds(value)
        case "dollars":
            return f"${value:,.2f}"
        case "number":
            return f"{value:.4g}"


def format_interval(figure: Figure, *, with_unit: bool = True) -> str:
    """Print a figure's interval, empty where it has none.

    >>> format_interval(Figure(name="policy/win_rate_vs_sft", value=0.7, low=0.6512, high=0.75))
    '65.1–75.0 %'
    >>> format_interval(Figure(name="policy/harmless_rate_difference", value=0.0, low=-0.02, high=0.02))
    '−2.0 … +2.0 pp'
    """
    if figure.low is None or figure.high is None:
        return ""
    unit = describe(figure.name).unit
    low, high = (format_value(bound, unit) for bound in (figure.low, figure.high))
    if unit == "seconds":
        return f"{low} – {high}"
    number, suffix = high.partition(" ")[::2]
    dash = " … " if low.startswith(("−", "+", "-")) else "–"
    return f"{low.partition(' ')[0]}{dash}{number}" + (f" {suffix}" if suffix and with_unit else "")


def format_seconds(seconds: float) -> str:
    """Print a duration.

    >>> format_seconds(3.24), format_seconds(59.6), format_seconds(3725)
    ('3.2 s', '1:00', '1:02:05')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def judged_by(figure: Figure) -> str:
    """Who judged: a note's part before its first semicolon.

    >>> judged_by(Figure(name="policy/kl", value=1.0, note="simulated annotators; 3 raters per prompt"))
    'simulated annotators'
    """
    return figure.note.partition(";")[0].strip()


def sort_figures(figures: list[Figure] | tuple[Figure, ...]) -> list[Figure]:
    """Groups in the order of ``GROUPS``, within them the order of ``CATALOG``, strata behind their whole."""
    groups, names = list(GROUPS), list(CATALOG)

    def key(figure: Figure) -> tuple[int, str, int, str]:
        group, base, stratum = split_name(figure.name)
        group_rank = groups.index(group) if group in GROUPS else len(groups)
        rank = names.index(base) if base in CATALOG else len(names)
        return group_rank, group, rank, f"{base}/{stratum}"

    return sorted(figures, key=key)

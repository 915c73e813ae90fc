"""Values, intervals and durations as text, for the terminal, the pages and the messages of checks."""

from __future__ import annotations

from typing import Literal

from rlaif.types import Figure

Unit = Literal["rate", "difference", "nats", "characters", "seconds", "dollars", "coefficient", "score", "number"]
"""``difference`` is one of rates, shown in percentage points with its sign; ``coefficient`` lies in
[-1, 1]; ``score`` is a difference of scores in logits, shown with its sign; ``number`` has no unit."""


def format_value(value: float, unit: Unit) -> str:
    """Print a value with its unit.

    >>> format_value(0.7125, "rate"), format_value(0.031, "difference"), format_value(75.0, "seconds")
    ('71.2 %', '+3.1 pp', '1:15')
    >>> format_value(-0.0537, "coefficient"), format_value(1.25, "score"), format_value(-0.16, "rate")
    ('−0.05', '+1.25', '−16.0 %')
    >>> format_value(-1234.5, "dollars")
    '−$1,234.50'
    """
    match unit:
        case "rate":
            return f"{100 * value:.1f} %".replace("-", "−")
        case "difference":
            return f"{100 * value:+.1f} pp".replace("-", "−")
        case "nats":
            return f"{value:.2f} nats".replace("-", "−")
        case "characters":
            return f"{value:.0f} chars"
        case "seconds":
            return format_seconds(value)
        case "dollars":
            return f"{'−' if value < 0 else ''}${abs(value):,.2f}"
        case "coefficient":
            return f"{value:.2f}".replace("-", "−")
        case "score":
            return f"{value:+.2f}".replace("-", "−")
        case "number":
            shown = f"{value:.4g}"
            return f"−{shown[1:]}" if shown.startswith("-") else shown  # the sign of an exponent stays


def format_interval(figure: Figure, unit: Unit, *, with_unit: bool = True) -> str:
    """Print a figure's interval, empty where it has none.

    >>> format_interval(Figure(name="policy/win_rate_vs_sft", value=0.7, low=0.6512, high=0.75), "rate")
    '65.1–75.0 %'
    >>> format_interval(Figure(name="policy/gain", value=0.0, low=-0.02, high=0.02), "difference")
    '−2.0 … +2.0 pp'
    """
    if figure.low is None or figure.high is None:
        return ""
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
    """The judge that a figure's note names, which is its part before the first semicolon.

    >>> judged_by(Figure(name="policy/kl", value=1.0, note="simulated annotators; 3 raters per prompt"))
    'simulated annotators'
    """
    return figure.note.partition(";")[0].strip()


def format_figure(figure: Figure, unit: Unit) -> str:
    """Print value, interval and judge of a figure.

    >>> format_figure(Figure(name="policy/win_rate_vs_sft", value=0.7, low=0.65, high=0.75, note="people; x"), "rate")
    '70.0 % [65.0–75.0 %] by people'
    """
    interval, judge = format_interval(figure, unit), judged_by(figure)
    return format_value(figure.value, unit) + (f" [{interval}]" if interval else "") + (f" by {judge}" if judge else "")

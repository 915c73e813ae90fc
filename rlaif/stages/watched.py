"""The watch over a policy's training: who judges, what is wrong with its options, and what its report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif.data.base import ExactAnnotators
from rlaif.evaluation.checks import Check
from rlaif.evaluation.records import LinePanel, LinePlot, Section, Table
from rlaif.evaluation.votes import SIMULATED
from rlaif.labelers.base import Labeler
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.watch import ANSWERED, EVIDENCE, WIN_RATE, Stop, Watch, alarm_step, preferred_share
from rlaif.modules.watch_settings import WatchSettings
from rlaif.modules.watched import WATCHED, WatchedResponse, read_watched
from rlaif.pipeline.stage import Told
from rlaif.pipeline.watch_check import WatchJudge

JUDGE, WATCH_JUDGE = "policy.judge", "policy.watch.judge"
"""Options of the labelers that validations ask."""
BEST = "best"
"""Directory of the weights with the highest win rate, while the policy trains."""
NUM_PROMPTS_SHOWN = 3
MOST_CHARACTERS = 400
"""Of a prompt or response in the table; the files hold all of it."""
LEAST_ANSWERED = 0.5
"""Share of a validation's pairs that must have a verdict for a watch without an alarm to mean something."""
Rows = Sequence[Mapping[str, float]]


def judges_of(settings: PolicySettings) -> dict[str, Labeler]:
    """The labelers that validations ask, by the option that composes them."""
    own = None if settings.watch is None else settings.watch.judge
    judges = {JUDGE: settings.judge, WATCH_JUDGE: own}
    return {option: judge for option, judge in judges.items() if judge is not None}


def watch_judge(settings: PolicySettings) -> WatchJudge | None:
    """The labeler that watches; None where none does."""
    watch = settings.watch
    if watch is None:
        return None
    if watch.judge is not None:
        return WatchJudge(WATCH_JUDGE, watch.judge, is_wanted=True)
    return None if settings.judge is None else WatchJudge(JUDGE, settings.judge, is_wanted=watch.stop)


def watch_judge_words(settings: PolicySettings, annotators: object, options: Mapping[str, Any]) -> str | None:
    """Who compares for the watch, in words, e.g. ``pairwise with pocket:judge``; None where nobody does.

    Args:
        settings: Config group ``policy``.
        annotators: Of the data; None where they have none.
        options: The same group as plain values, which name the labeler's model; empty where they are not known.
    """
    if settings.watch is None or settings.validate_every is None:
        return None
    if (judge := watch_judge(settings)) is not None:
        node = (options.get("watch") or {}).get("judge") or options.get("judge") or {}
        model = (node.get("engine") or {}).get("model")
        return judge.labeler.name if model is None else f"{judge.labeler.name} with {model}"
    return SIMULATED if isinstance(annotators, ExactAnnotators) else None


def watch_problems(settings: PolicySettings, *, is_judged: bool) -> Iterator[str]:
    """A watch that is to stop the training and that nobody judges for."""
    if settings.watch is not None and settings.watch.stop and not is_judged:
        yield (
            "policy.watch.stop=true: nobody compares validations; give policy.watch.judge, e.g."
            " 'policy.watch.judge=${evaluation.judge}', and prompts for it (data.num_tuning_prompts)"
        )


def keep_best(watch: Watch, module: PolicyModule, directory: Path) -> None:
    """Give the policy the weights with the highest win rate, and write down how the watch ended the training."""
    alarm = watch.alarm()
    assert watch.best is not None and alarm is not None, "a watch stops at an alarm and keeps weights"
    (best,) = watch.best.found()
    module.policy.load_state_dict(watch.best.load(best.step))
    stop = Stop(alarm=alarm, kept=best.step, win_rate=watch.win_rate(best.step), num_steps=module.num_optimizer_steps)
    stop.write(directory)


def watch_told(directory: Path, rows: Rows, settings: WatchSettings, *, judge: str, rule: str) -> Told:
    """The line, check and sections of a watch.

    Args:
        directory: Of the step.
        rows: Of its validation file.
        settings: Of the watch.
        judge: Who compared, in words.
        rule: Of the alarm, in words.
    """
    evidence = {int(row["step"]): row[EVIDENCE] for row in rows if EVIDENCE in row}
    if not evidence:
        return Told()
    alarm, stop, best = alarm_step(evidence, settings), Stop.read(directory), _best(rows)
    while_rising = " while its reward rises" if any("reward" in row for row in rows) else ""
    words = _verdict(rows, settings, alarm)
    marks = {} if alarm is None else {"alarm": float(alarm), "highest win rate": float(best)}
    hint = f"{words} {'' if stop is None else f'{stop}. '}The rule: {rule}"
    plot = LinePlot(title="The watch", panels=tuple(_panels(rows, judge)), hint=hint, is_stacked=True, marks=marks)
    silence = _silence(rows)
    check = Check(
        name=f"the watch's judge does not like the policy less{while_rising}",
        passed=alarm is None and not silence,
        detail=f"{judge}: {silence or words}",
    )
    line = "" if alarm is None else f", alarm at step {alarm}" + ("" if stop is None else f", {stop}")
    line += ", the watch's judge is mostly silent" if silence else ""
    return Told(line=line, checks=(check,), sections=(plot, *_samples(directory, best, alarm)))


def _best(rows: Rows) -> int:
    """The step with the highest win rate, of equal ones the earliest; 0 where nothing was judged."""
    judged = [row for row in rows if WIN_RATE in row]
    return int(max(judged, key=preferred_share)["step"]) if judged else 0


def _verdict(rows: Rows, settings: WatchSettings, alarm: int | None) -> str:
    needed = 1.0 / settings.false_alarm_rate
    if alarm is None:
        highest = max((row[EVIDENCE] for row in rows if EVIDENCE in row), default=0.0)
        return f"No alarm: the evidence reached {highest:.2g} of {needed:g}."
    seen = [row for row in rows if row["step"] <= alarm and WIN_RATE in row]
    best, last = max(seen, key=preferred_share), seen[-1]
    return (
        f"Alarm at step {alarm}: the win rate against SFT was {100 * best[WIN_RATE]:.1f} % at step {int(best['step'])}"
        f" and is {100 * last[WIN_RATE]:.1f} % at step {int(last['step'])}; the evidence is {last[EVIDENCE]:.3g}, and"
        f" {needed:g} is enough."
    )


def _silence(rows: Rows) -> str:
    """That too few pairs had a verdict for an alarm to be possible, in words; empty where enough had one."""
    judged = [row for row in rows if ANSWERED in row]
    least = min(judged, key=lambda row: row[ANSWERED], default=None)
    if least is None or least[ANSWERED] >= LEAST_ANSWERED:
        return ""
    return (
        f"at step {int(least['step'])} {100 * (1 - least[ANSWERED]):.1f} % of the pairs have no verdict, and with more"
        f" than {100 * (1 - LEAST_ANSWERED):.0f} % the watch sees nothing; look at the judge's replies, or take another"
        " (policy.watch.judge)."
    )


def _panels(rows: Rows, judge: str) -> Iterator[LinePanel]:
    """One panel per figure that there is, over the optimizer steps."""
    for title, lines in (
        ("proxy reward", {"reward": "reward"}),
        ("win rate against SFT", _by_judge(judge, WIN_RATE, "win_rate")),
        (
            "accuracy of the reward on the policy's samples",
            _by_judge(judge, "reward_accuracy", "reward_accuracy/annotators"),
        ),
        ("pairs with a verdict", {judge: ANSWERED} if _silence(rows) else {}),
        ("KL from SFT, nats per response", {"KL": "kl"}),
        ("length, tokens per response", {"length": "length"}),
        ("entropy, nats per token", {"entropy": "entropy"}),
    ):
        points = {
            label: tuple((row["step"], row[name]) for row in rows if name in row) for label, name in lines.items()
        }
        if known := {label: line for label, line in points.items() if line}:
            yield LinePanel(title=title, x_label="optimizer step", lines=known)


def _by_judge(judge: str, own: str, exact: str) -> dict[str, str]:
    """The judge's figure beside the annotators' exact one; one line where these are the judge."""
    return {judge: own} if judge == SIMULATED else {judge: own, f"{SIMULATED}, exact": exact}


def _samples(directory: Path, best: int, alarm: int | None) -> list[Section]:
    """Responses of the start, of the highest win rate and of the end to the same prompts."""
    seen = read_watched(directory / WATCHED)
    if not seen:
        return []
    steps = sorted({min(seen), best, max(seen)} & set(seen))
    before, after = seen.get(best, seen[min(seen)]), seen[max(seen)]
    chosen = sorted(range(len(after)), key=lambda i: -_fall(before[i], after[i]))[:NUM_PROMPTS_SHOWN]
    rows = tuple(_row(step, seen[step][i]) for i in chosen for step in steps)
    columns = ("prompt", "step", "the policy's response", "better than SFT's", "reward")
    hint = (
        f"Of the {len(after)} validation prompts those where the judge's preference fell most from the step of the"
        f" highest win rate to the last. The responses of every validation are in {WATCHED}/ of the step's directory."
    )
    return [Table(title="What the policy responded", columns=columns, rows=rows, hint=hint)]


def _fall(before: WatchedResponse, after: WatchedResponse) -> float:
    return 0.0 if before.win is None or after.win is None else before.win - after.win


def _row(step: int, item: WatchedResponse) -> tuple[str, ...]:
    win = "no verdict" if item.win is None else f"{100 * item.win:.0f} %"
    reward = "none" if item.reward is None else f"{item.reward:+.2f}"
    return _shortened(item.prompt[-MOST_CHARACTERS:]), str(step), _shortened(item.response), win, reward


def _shortened(text: str) -> str:
    return text.strip() if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].strip() + " …"

"""The watch during RL: what it keeps, when it gives the alarm, how it ends a training, and what the report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from killing import KillAfter, KilledError
from lightning import Callback, Trainer
from records import assert_fixed
from transformers import AutoTokenizer

from rlaif.artifacts.curve import append_row, read_curve
from rlaif.artifacts.store import Store
from rlaif.data.base import TaskData
from rlaif.errors import ConfigError, GateStopped
from rlaif.evaluation.records import LinePlot, Table
from rlaif.evaluation.votes import SIMULATED
from rlaif.models.load import load_causal_lm
from rlaif.modules.candidates import Candidate, Candidates
from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.trainer import build_trainer, fit
from rlaif.modules.validation import PolicyValidation
from rlaif.modules.watch import Stop, Watch, alarm_step, preferred_share
from rlaif.modules.watch_settings import WatchSettings
from rlaif.modules.watched import WatchedResponse, cut_watched, read_watched, write_watched
from rlaif.objectives.reinforce import Reinforce
from rlaif.pipeline.stage import Input, Told, Work
from rlaif.reporting.plots import line_plot
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.stages.policy import PolicyStage
from rlaif.stages.report import ReportStage
from rlaif.stages.watched import watch_problems, watch_told
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Preference, Prompt

TRAINED = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(8)]
WATCHED = [Prompt(task="dialogue", text=f"\n\nHuman: Tell {n}.\n\nAssistant:") for n in range(8)]
STEPS = 5


class RisingReward:
    """The number of letters, and one more in every call: its mean over a validation rises."""

    def __init__(self) -> None:
        self.num_calls = 0

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> RisingReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        self.num_calls += 1
        values_B = torch.tensor([100.0 * self.num_calls + len(response.text) for response in responses])
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> None: ...


class Judge:
    """A labeler with one opinion."""

    name, source = "a judge", "ai"

    def __init__(self, p_first: float | None = 0.0, identity: str = "judge") -> None:
        self.p_first = p_first
        self.identity = identity

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        missing = "no reply" if self.p_first is None else None
        return [Preference(comparison=pair, p_first=self.p_first, missing=missing) for pair in comparisons]


def settings(**options: object) -> PolicySettings:
    return PolicySettings(
        optimizer=torch.optim.AdamW,
        objective=Reinforce(),
        **{"lr": 1e-2, "steps": STEPS, "prompts_per_step": 4, "max_new_tokens": 4, **options},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


def always(p_first: float) -> object:
    return lambda pairs: [p_first] * len(pairs)


def train(folder: Path, directory: Path, watch: Watch, *callbacks: Callback) -> tuple[PolicyModule, PolicyValidation]:
    module = settings().module(
        load_causal_lm(str(folder)),
        reference=load_causal_lm(str(folder)),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        task=Dialogue(),
        prompts=TRAINED,
        reward=RisingReward(),
        seed=1,
    )
    validation = PolicyValidation(directory / "validation.jsonl", WATCHED, every_n_steps=2, watch=watch)
    saver = PeriodicCheckpoint(directory / "checkpoints", every_n_steps=1, every_s=None)
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=module.num_optimizer_steps,
        callbacks=[validation, *callbacks, saver],
    )
    fit(trainer, module, seed=0)
    return module, validation


def watch_in(directory: Path, *, stop: bool = True, p_first: float = 0.0) -> Watch:
    """Stops as soon as the evidence of its judge, who likes whatever differs from SFT less, is above 1."""
    return Watch(
        directory / "watched",
        WatchSettings(margin=0.0, false_alarm_rate=0.999, stop=stop),
        judge=always(p_first),  # type: ignore[arg-type]
        num_looks=5,
        best=Candidates(directory / "best", 1, takes_start=True) if stop else None,
    )


def test_the_alarm_ends_the_training_with_the_best_weights_also_after_a_kill(folder: Path, tmp_path: Path) -> None:
    module, validation = train(folder, tmp_path / "whole", watch_in(tmp_path / "whole"))
    rows = read_curve(tmp_path / "whole/validation.jsonl")
    assert validation.has_stopped and module.trainer.global_step == rows[-1]["step"] < STEPS
    assert rows[0]["watch/win_rate"] == 0.5 and rows[-1]["watch/win_rate"] < 0.5
    assert rows[-1]["watch/evidence"] >= 1 / 0.999 > rows[-2]["watch/evidence"]
    (best,) = Candidates(tmp_path / "whole/best", 1).found()
    assert (best.step, best.score) == (0, 0.5)
    start = load_causal_lm(str(folder)).state_dict()
    kept = Candidates(tmp_path / "whole/best", 1).load(0)
    assert all(torch.equal(kept[name], start[name]) for name in start)
    with pytest.raises(KilledError):
        train(folder, tmp_path / "cut", watch_in(tmp_path / "cut"), KillAfter(3))
    _, resumed = train(folder, tmp_path / "cut", watch_in(tmp_path / "cut"))
    assert resumed.has_stopped and resumed.watch is not None and validation.watch is not None
    again = [row["watch/win_rate"] for row in read_curve(tmp_path / "cut/validation.jsonl")]
    assert again == [row["watch/win_rate"] for row in rows]
    assert resumed.watch.alarm() == validation.watch.alarm() == rows[-1]["step"]
    _, at_once = train(folder, tmp_path / "whole", watch_in(tmp_path / "whole"))
    assert at_once.has_stopped and read_curve(tmp_path / "whole/validation.jsonl") == rows, "no further step is made"


def test_without_a_fall_or_without_stop_the_training_goes_on(folder: Path, tmp_path: Path) -> None:
    module, validation = train(folder, tmp_path / "rises", watch_in(tmp_path / "rises", p_first=1.0))
    assert module.trainer.global_step == STEPS and not validation.has_stopped
    told, validation = train(folder, tmp_path / "told", watch_in(tmp_path / "told", stop=False))
    assert told.trainer.global_step == STEPS and not validation.has_stopped
    assert validation.watch is not None and validation.watch.alarm() is not None
    seen = read_watched(tmp_path / "told/watched")
    assert list(seen) == [0, 2, 4, 5] and all(len(responses) == len(WATCHED) for responses in seen.values())
    assert {item.response == item.sft for item in seen[0]} == {True}
    assert {item.win for item in seen[5]} <= {0.0, 0.5} and seen[5][0].prompt == WATCHED[0].text
    rows = read_curve(tmp_path / "told/validation.jsonl")
    assert rows[-1]["entropy"] > 0 and 0 <= rows[-1]["reward_accuracy"] <= 1


class EndsEarly(Callback):
    """Ends a training by no rule of the configuration."""

    def on_train_batch_end(self, trainer: Trainer, *ignored: object) -> None:
        trainer.should_stop = True


def test_what_no_stop_rule_ended_is_not_finished(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GateStopped, match="not finished"):
        train(folder, tmp_path, watch_in(tmp_path, p_first=1.0), EndsEarly())


def watched(*wins: float | None, reward: float | None = 0.0) -> list[WatchedResponse]:
    return [
        WatchedResponse(prompt="p", response=f"r{i}", sft="s\u2028", win=win, annotators=None, reward=reward)
        for i, win in enumerate(wins)
    ]


def test_kept_responses_are_read_as_written_and_cut(tmp_path: Path) -> None:
    for step in (0, 40, 200):
        write_watched(tmp_path, step, watched(0.25, None, reward=step / 3))
    assert read_watched(tmp_path)[200] == watched(0.25, None, reward=200 / 3)
    (tmp_path / "step=7.jsonl").write_text("of another program")
    cut_watched(tmp_path, 40)
    assert list(read_watched(tmp_path)) == [0, 40]
    assert read_watched(tmp_path / "missing") == {}


def test_a_fall_while_the_reward_rises_gives_the_alarm_and_a_missing_verdict_does_not(tmp_path: Path) -> None:
    def alarm(name: str, *looks: tuple[float | None, float]) -> int | None:
        options = WatchSettings(margin=0.0)
        watch = Watch(tmp_path / name, options, judge=always(0.0), num_looks=3)  # type: ignore[arg-type]
        for step, (win, reward) in enumerate(looks):
            figures = watch.observe(step, watched(*[win] * 20, reward=reward), {})
            assert figures["watch/answered"] == (win is not None)
            assert figures.get("watch/win_rate") == (None if win is None else pytest.approx(win))
        return watch.alarm()

    assert alarm("falls", (0.8, 0.0), (0.9, 1.0), (0.2, 2.0)) == 2
    assert alarm("reward falls too", (0.8, 2.0), (0.9, 1.0), (0.2, 0.0)) is None
    assert alarm("unknown", (0.8, 0.0), (0.9, 1.0), (None, 2.0)) is None


def test_a_stop_says_when_and_why_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Stop.read(tmp_path) is None
    stop = Stop(alarm=40, kept=20, win_rate=0.625, num_steps=120)
    stop.write(tmp_path)
    assert Stop.read(tmp_path) == stop
    assert str(stop) == (
        "policy.watch.stop: the alarm at step 40 of 120 ended the training; kept step 20, where the watch's judge"
        " preferred the policy most often (62.5 %)"
    )
    assert_fixed(stop, is_keyword_only=False)
    assert_fixed(watched(0.5)[0])


def test_pairs_of_one_text_are_no_answers_of_the_judge(tmp_path: Path) -> None:
    """A judge that is silent about all others has answered nothing, however many responses are SFT's own."""
    watch = Watch(tmp_path, WatchSettings(), judge=always(0.0), num_looks=3)  # type: ignore[arg-type]
    ties = [replace(item, response=f"{item.sft} ") for item in watched(0.5, 0.5, 0.5)]
    assert watch.observe(0, ties, {}) == {"watch/answered": 1.0, "watch/win_rate": 0.5, "watch/evidence": 0.0}
    silent = watch.observe(1, [*ties, *watched(None, None)], {})
    assert silent == {"watch/answered": 0.0, "watch/evidence": 0.0}
    assert watch.observe(2, [*ties, *watched(1.0, None)], {})["watch/answered"] == 0.5


def test_a_win_rate_is_over_the_pairs_with_a_verdict_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    best = Candidates(tmp_path / "best", 1, takes_start=True)
    watch = Watch(tmp_path / "seen", WatchSettings(), judge=always(0.0), num_looks=4, best=best)  # type: ignore[arg-type]
    first = watch.observe(0, watched(0.5, None, 1.0, 0.75), {"weight": torch.tensor(0.0)})
    assert first == {"watch/answered": 0.75, "watch/win_rate": 0.75, "watch/evidence": 0.0}
    assert watch.observe(1, watched(None, None), {}) == {"watch/answered": 0.0, "watch/evidence": 0.0}
    watch.observe(2, watched(0.875, 0.875, 0.875, 0.875), {"weight": torch.tensor(2.0)})
    assert [candidate.step for candidate in best.found()] == [2]
    last = watch.observe(3, watched(1.0, None, None, None), {"weight": torch.tensor(3.0)})
    assert [candidate.step for candidate in best.found()] == [2], "what cannot be judged is not preferred"
    assert last["watch/win_rate"] == watch.win_rate(3) == 1.0 and preferred_share(last) == 0.25
    assert watch.win_rate(0) == 0.75 and math.isnan(watch.win_rate(1))
    watch.cut(1)
    assert best.found() == [] and list(read_watched(tmp_path / "seen")) == [0, 1]


@pytest.mark.parametrize(("rewards", "expected"), [((1.0, 2.0), 1.5), ((0.0, 0.0), 0.0), ((None, 3.0), 1.5)])
def test_evidence_counts_where_the_mean_reward_rose(
    rewards: tuple[float | None, float], expected: float, tmp_path: Path
) -> None:
    """A bet on one row that falls from 1 to 0 makes 1.5 of 1, over the one comparison of two looks."""
    watch = Watch(tmp_path, WatchSettings(margin=0.0), judge=always(0.0), num_looks=2)  # type: ignore[arg-type]
    for step, (win, reward) in enumerate(zip((1.0, 0.0), rewards, strict=True)):
        watch.observe(step, watched(win, reward=reward), {})
    assert watch._evidence() == {0: 0.0, 1: pytest.approx(expected)}


def test_rewards_that_some_responses_lack_are_averaged_over_the_others(tmp_path: Path) -> None:
    """The mean rises from 1 to 2 where the missing ones are left out; as 0 they would make it fall."""
    watch = Watch(tmp_path, WatchSettings(margin=0.0), judge=always(0.0), num_looks=2)  # type: ignore[arg-type]
    watch.observe(0, [*watched(1.0, reward=1.0), *watched(1.0, reward=1.0)], {})
    after = [*watched(0.0, reward=2.0), *(replace(item, reward=None) for item in watched(0.0, 0.0, 0.0))]
    watch.observe(1, after[:2], {})
    assert watch._evidence()[1] > 1.5


@pytest.mark.parametrize(("evidence", "step"), [(19.9, None), (20.0, 3), (20.1, 3)])
def test_the_alarm_comes_at_the_first_evidence_of_1_over_the_rate(evidence: float, step: int | None) -> None:
    assert alarm_step({1: 0.0, 3: evidence, 5: evidence, 7: 0.0}, WatchSettings(false_alarm_rate=0.05)) == step


def test_the_rule_of_the_alarm_names_its_numbers() -> None:
    rule = WatchSettings(margin=0.03, false_alarm_rate=0.1).rule(num_looks=4, judge="a judge")
    assert "more than 3 points?" in rule and "never is more than 3 points below" in rule
    assert "does a judge prefer" in rule and "all 7 comparisons of the 4 planned validations" in rule
    assert "reaches 1 / 0.1 = 10." in rule and "probability 0.1 at most" in rule
    assert (WatchSettings().margin, WatchSettings().false_alarm_rate, WatchSettings().stop) == (0.02, 0.05, False)
    assert "It counts where the later stretch has the higher reward." in rule
    unrewarded = WatchSettings().rule(num_looks=4, judge="a judge", has_rewards=False)
    assert "reward" not in unrewarded and "Each counts. The alarm comes" in unrewarded
    assert_fixed(WatchSettings())


@pytest.mark.parametrize("is_validated", [True, False])
def test_what_a_watch_lacks_without_validations(is_validated: bool) -> None:
    def problems(**options: object) -> list[str]:
        found = WatchSettings(**options).problems(is_validated=is_validated)  # type: ignore[arg-type]
        return [problem.partition(":")[0] for problem in found]

    assert problems() == []
    both = problems(stop=True, judge=Judge())
    assert both == ([] if is_validated else ["watch.stop=true", "watch.judge"])
    assert problems(stop=True) == both[:1] and problems(judge=Judge()) == both[1:]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"watch": WatchSettings(stop=True)}, "policy.watch.stop=true"),
        ({"watch": WatchSettings(judge=Judge())}, "policy.watch.judge: the watch reads validations"),
    ],
)
def test_a_watch_needs_validations(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(**options)


@pytest.mark.parametrize(
    "options", [{"margin": 1.0}, {"margin": -0.1}, {"false_alarm_rate": 0.0}, {"false_alarm_rate": 1.0}]
)
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.watch\.{next(iter(options))}="):
        WatchSettings(**options)  # type: ignore[arg-type]


def test_a_watch_that_is_to_stop_needs_a_judge() -> None:
    alone = settings(validate_every=2, watch=WatchSettings(stop=True))
    (problem,) = watch_problems(alone, is_judged=False)
    assert "policy.watch.judge=${evaluation.judge}" in problem
    assert not list(watch_problems(alone, is_judged=True))
    assert not list(watch_problems(settings(validate_every=2, watch=WatchSettings()), is_judged=False))


def test_validations_are_counted_as_they_are_made() -> None:
    assert settings(validate_every=2).num_validations == 4, "at steps 0, 2, 4, 5"
    assert settings(validate_every=5).num_validations == 2
    assert settings(validate_every=40).num_validations == 2
    assert settings().num_validations == 0


def test_a_step_gives_its_watch_its_own_judge_all_validations_and_the_start(tmp_path: Path) -> None:
    own, other = Judge(0.25, "own"), Judge(0.75, "other")
    options = settings(validate_every=2, judge=other, watch=WatchSettings(judge=own, stop=True))
    data = TaskData(
        demonstrations=[], label_prompts=[], policy_prompts=TRAINED, eval_prompts=[], tuning_prompts=WATCHED
    )
    inputs = {"validation": (Input(step="data", stage="data", data=data),)}
    asking = SimpleNamespace(label=lambda judge, plan, progress: [judge.label(pairs) for pairs in plan])
    validation = PolicyStage(Dialogue(), options, RisingReward(), asking=None)._validation(  # type: ignore[arg-type]
        Work(step="policy", directory=tmp_path, seed=0, inputs=inputs),
        asking,  # type: ignore[arg-type]
    )
    assert validation is not None and validation.judge is not None
    watch, pair = (
        validation.watch,
        Comparison(prompt=WATCHED[0], first=Completion(text="a"), second=Completion(text="b")),
    )
    assert watch is not None and watch.best is not None
    assert (watch.judge([pair]), validation.judge([pair])) == ([0.25], [0.75])
    assert watch.num_looks == 4 and watch.best.takes_start and validation.every_n_steps == 2


def finished(directory: Path) -> tuple[PolicyStage, Work]:
    """A step whose training the watch ended at step 40 of 120."""
    rows = {0: (0.5, 0.0, 0.0), 20: (0.7, 0.0, 1.0), 40: (0.3, 30.0, 2.0)}
    for step, (win, evidence, reward) in rows.items():
        figures = {"reward": reward, "watch/win_rate": win, "watch/evidence": evidence, "win_rate": win, "kl": 1.0}
        append_row(directory / "validation.jsonl", step, figures)
        write_watched(directory / "watched", step, watched(win, 0.5, reward=reward))
    Stop(alarm=40, kept=20, win_rate=0.7, num_steps=120).write(directory)
    options = settings(validate_every=20, steps=120, judge=Judge(), watch=WatchSettings(stop=True))
    stage = PolicyStage(Dialogue(), options, RisingReward(), asking=None)  # type: ignore[arg-type]
    data = TaskData(
        demonstrations=[], label_prompts=[], policy_prompts=TRAINED, eval_prompts=[], tuning_prompts=WATCHED
    )
    inputs = {"validation": (Input(step="data", stage="data", data=data),)}
    plain = {"settings": {"judge": {"engine": {"model": "a model"}}, "watch": {"judge": None}}}
    return stage, Work(step="policy", directory=directory, seed=0, inputs=inputs, options=plain)


def test_terminal_report_and_meta_tell_why_the_training_ended(tmp_path: Path) -> None:
    stage, work = finished(tmp_path)
    told = stage.told(work)
    reason = "policy.watch.stop: the alarm at step 40 of 120 ended the training; kept step 20"
    assert "alarm at step 40" in told.line and reason in told.line
    assert told.line.endswith("preferred the policy most often (70.0 %), with KL 1.0 nats")
    assert told.checks[0].detail.startswith("a judge with a model: Alarm at step 40")
    assert str(stage.meta(work)["stopped"]).startswith(reason)
    (check,) = told.checks
    assert not check.passed and "70.0 % at step 20 and is 30.0 % at step 40" in check.detail
    (plot,) = (section for section in told.sections if isinstance(section, LinePlot))
    assert plot.is_stacked and plot.marks == {"alarm": 40.0, "highest win rate": 20.0}
    assert reason in plot.hint and "all 31 comparisons of the 7 planned" in plot.hint, (
        "21 pairs, and 10 of two with two"
    )
    assert [panel.title for panel in plot.panels][:2] == ["proxy reward", "win rate against SFT"]
    drawn = line_plot(plot)
    assert ">alarm<" in drawn and ">highest win rate<" in drawn and drawn.count(">optimizer step<") == 1
    (table,) = (section for section in told.sections if isinstance(section, Table))
    assert [row[1] for row in table.rows[:3]] == ["0", "20", "40"] and table.rows[0][2] == "r0"
    path = Store(tmp_path / "store").build("policy", "0" * 16, lambda directory: stage.meta(work))
    assert json.loads((path / "meta.json").read_text())["stopped"] == stage.meta(work)["stopped"]


def test_the_report_names_the_round_of_a_check(tmp_path: Path) -> None:
    stage, work = finished(tmp_path)
    told = stage.told(work)

    def checks(**steps: Told) -> list[str]:
        report = Work(step="report", directory=tmp_path, seed=0, inputs={"figures": ()}, told=steps)
        return [check.name for check in ReportStage(Dialogue()).told(report).checks]

    assert checks(policy=told) == [told.checks[0].name]
    assert [name.partition(":")[0] for name in checks(policy_1=told, policy_2=told)] == ["policy_1", "policy_2"]
    assert checks(probe=Told(page="probe", checks=told.checks)) == [], "a page of its own shows its checks"


def test_without_an_alarm_the_report_says_how_near_it_was(tmp_path: Path) -> None:
    rows = [{"step": 0, "watch/evidence": 0.0}, {"step": 20, "watch/evidence": 1.4, "watch/win_rate": 0.6}]
    told = watch_told(tmp_path, rows, WatchSettings(), judge="a judge", rule="RULE")
    assert told.line == "" and told.checks[0].passed and "1.4 of 20" in told.checks[0].detail
    assert watch_told(tmp_path, [{"step": 0}], WatchSettings(), judge="a judge", rule="RULE") == Told()


def test_a_judge_that_is_mostly_silent_shows_nothing(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "watch/evidence": 0.0, "watch/win_rate": 0.5, "watch/answered": 1.0},
        {"step": 2, "watch/evidence": 0.0, "watch/answered": 0.125},
    ]
    told = watch_told(tmp_path, rows, WatchSettings(), judge="a judge", rule="RULE")
    assert told.line == ", the watch's judge is mostly silent" and not told.checks[0].passed
    assert told.checks[0].detail.startswith("a judge: at step 2 87.5 % of the pairs have no verdict")
    (plot,) = (section for section in told.sections if isinstance(section, LinePlot))
    assert {panel.title for panel in plot.panels} == {"win rate against SFT", "pairs with a verdict"}
    rows[1]["watch/answered"] = 0.5
    assert watch_told(tmp_path, rows, WatchSettings(), judge="a judge", rule="RULE").checks[0].passed


@pytest.mark.parametrize(
    ("judge", "lines"), [("a judge", ["a judge", "simulated annotators, exact"]), (SIMULATED, [SIMULATED])]
)
def test_annotators_that_are_the_judge_have_one_line(judge: str, lines: list[str], tmp_path: Path) -> None:
    rows = [{"step": 0, "watch/evidence": 0.0, "watch/win_rate": 0.6, "win_rate": 0.6}]
    told = watch_told(tmp_path, rows, WatchSettings(), judge=judge, rule="RULE")
    (plot,) = (section for section in told.sections if isinstance(section, LinePlot))
    assert [list(panel.lines) for panel in plot.panels] == [lines]


def test_a_choice_by_a_judge_without_a_verdict_is_told_as_one_by_reward() -> None:
    kept = Candidate(12, 3.16)
    stages = {keep: SimpleNamespace(settings=SimpleNamespace(keep=keep)) for keep in ("judged", "best_reward")}
    (note,) = PolicyStage._unjudged(stages["judged"], (kept, None))  # type: ignore[arg-type]
    assert note == "policy.judge had no verdict: the weights with the highest validation reward were kept"
    assert PolicyStage._unjudged(stages["judged"], (kept, 0.5)) == ()  # type: ignore[arg-type]
    assert PolicyStage._unjudged(stages["best_reward"], (kept, None)) == ()  # type: ignore[arg-type]

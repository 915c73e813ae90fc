"""What a validation makes of responses, rewards and verdicts, when there is one, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from counted_training import CountedTraining
from made_rollouts import rollouts
from records import assert_fixed
from test_policy_module import GivenResponses, make_module, tiny_model

from rlaif.artifacts.curve import append_row, read_curve
from rlaif.errors import TrainingError
from rlaif.modules import validation as validation_module
from rlaif.modules.candidates import Candidates
from rlaif.modules.policy import PolicyModule
from rlaif.modules.validation import Drawn, PolicyValidation, _compared, _entropy, _wins
from rlaif.objectives.grpo import Grpo
from rlaif.rollouts.batch import Rollouts
from rlaif.types import Comparison, Completion, Prompt, Sampling

PROMPTS = [Prompt(task="dialogue", text=f"{n}", stratum=stratum) for n, stratum in enumerate(("a", "b", "a", None))]


def texts(*words: str) -> list[Completion]:
    return [Completion(text=word) for word in words]


def pairs_of(first: Sequence[str], second: Sequence[str]) -> list[Comparison]:
    return _compared(PROMPTS, texts(*first), texts(*second))


class Says:
    """Gives verdicts by the text of the first response; ``asked`` are the texts it was asked about."""

    def __init__(self, **verdicts: float | None) -> None:
        self.verdicts = verdicts
        self.asked: list[str] = []

    def __call__(self, pairs: Sequence[Comparison]) -> list[float | None]:
        self.asked += [pair.first.text for pair in pairs]
        return [self.verdicts[pair.first.text] for pair in pairs]


def validation(directory: Path = Path(), **options: Any) -> PolicyValidation:
    return PolicyValidation(directory / "validation.jsonl", PROMPTS, **{"every_n_steps": 2, **options})


def test_equal_responses_are_a_tie_that_nobody_is_asked_about() -> None:
    judge = Says(x=0.25, y=None)
    assert _wins(judge, pairs_of(["x", "same", "y", "x"], ["o", "same", "o", "o"])) == [0.25, 0.5, None, 0.25]
    assert judge.asked == ["x", "y", "x"]
    assert _wins(cast(Any, None), pairs_of(["s"] * 4, ["s"] * 4)) == [0.5] * 4


def test_win_rates_are_means_over_known_verdicts_by_stratum() -> None:
    raters = Says()
    found = validation(preference=raters)._win_rates("rate", {raters: [0.75, None, 0.25, 0.125]})
    assert found == {"rate": pytest.approx(1.125 / 3), "rate/a": 0.5}, "no verdict is known on stratum b"
    assert validation()._win_rates("rate", {}) == {}


@pytest.mark.parametrize(
    ("wins", "figures"),
    [
        ([0.75, None, 0.25, 0.5], {"judge_answered": 0.75, "judge_win_rate": 0.5}),
        ([None, 0.75, None, None], {"judge_answered": 0.25, "judge_win_rate": 0.75}),
        ([0.25, 0.5, 0.75, 1.0], {"judge_answered": 1.0, "judge_win_rate": 0.625}),
        ([None] * 4, {"judge_answered": 0.0}),
    ],
)
def test_a_judges_win_rate_is_over_the_pairs_that_it_answered(
    wins: list[float | None], figures: dict[str, float]
) -> None:
    judge, pairs = Says(), pairs_of(["x"] * 4, ["o"] * 4)
    assert validation(judge=judge)._judged(pairs, {judge: wins}) == figures
    assert validation()._judged(pairs, {}) == {}


def test_pairs_of_one_text_are_no_answers_of_a_judge() -> None:
    """It was not asked about them, so a judge that answers nothing has no win rate of one half."""
    judge, pairs = Says(), pairs_of(["x", "x", "o", "o"], ["x", "o", "o", "x"])
    judged = validation(judge=judge)._judged
    assert judged(pairs, {judge: [0.5, None, 0.5, None]}) == {"judge_answered": 0.0}
    assert judged(pairs, {judge: [0.5, 0.75, 0.5, None]}) == {
        "judge_answered": 0.5,
        "judge_win_rate": pytest.approx(1.75 / 3),
    }
    same = pairs_of(["x"] * 4, ["x"] * 4)
    assert judged(same, {judge: [0.5] * 4}) == {"judge_answered": 1.0, "judge_win_rate": 0.5}


def test_everybody_who_compares_is_asked_once() -> None:
    raters, judge = Says(x=0.25), Says(x=0.75)
    pairs = pairs_of(["x"] * 4, ["o"] * 4)
    watched = validation(preference=raters, judge=judge, watch=SimpleNamespace(judge=judge))
    assert watched._verdicts(pairs) == {raters: [0.25] * 4, judge: [0.75] * 4}
    assert len(judge.asked) == 4, "as judge of the validation and of the watch"
    assert watched._verdicts(pairs, exact=True) == {raters: [0.25] * 4}
    assert validation()._verdicts(pairs) == {}
    other = Says(x=0.5)
    assert set(validation(judge=judge, watch=SimpleNamespace(judge=other))._verdicts(pairs)) == {judge, other}


@pytest.mark.parametrize("has_raters", [True, False])
def test_a_watch_keeps_what_each_response_was_and_what_was_thought_of_it(has_raters: bool) -> None:
    raters, judge = Says(), Says()
    watching = validation(preference=raters if has_raters else None, watch=SimpleNamespace(judge=judge))
    wins = {raters: [0.25, 0.5, 0.75, 1.0], judge: [None, 0.125, 0.625, 0.5]}
    kept = watching._watched(pairs_of("xyzw", "opqr"), wins, [1.0, None, 3.0, 4.0])
    assert [(item.prompt, item.response, item.sft) for item in kept][1] == ("1", "y", "p")
    assert [item.win for item in kept] == [None, 0.125, 0.625, 0.5]
    assert [item.annotators for item in kept] == ([0.25, 0.5, 0.75, 1.0] if has_raters else [None] * 4)
    assert [item.reward for item in kept] == [1.0, None, 3.0, 4.0]


def test_the_accuracy_of_the_reward_is_that_of_its_order_of_two_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward prefers x, the other response to y and that to z; the fourth has no reward."""
    raters, judge = Says(x=0.25, y=0.25, z=0.25, w=1.0), Says(x=0.75, y=0.5, z=None, w=0.0)
    watching = validation(preference=raters, watch=SimpleNamespace(judge=judge))
    draws: list[dict[str, object]] = []

    def draw(module: object, sampler: object, **options: object) -> Drawn:
        draws.append(options)
        return Drawn(rollouts=[], completions=texts("o", "p", "q", "r"))

    monkeypatch.setattr(watching, "_draw", draw)
    monkeypatch.setattr(watching, "_rewards", lambda module, drawn: [1.0, 4.0, 9.0, 1.0])
    sampled = Drawn(rollouts=[], completions=texts("x", "y", "z", "w"))
    module: Any = SimpleNamespace(sampler=None)
    found = watching._reward_accuracy(module, sampled, [3.0, 2.0, 5.0, None])
    assert found == {"reward_accuracy": 1.0, "reward_accuracy/annotators": pytest.approx(2 / 3)}
    assert draws == [{"greedy": False, "further": ("other",)}], "another draw than the one that is compared with SFT's"
    watching.preference = None
    assert watching._reward_accuracy(module, sampled, [3.0, 2.0, 5.0, None]) == {"reward_accuracy": 1.0}
    assert watching._reward_accuracy(module, sampled, [None] * 4) == {}, "nothing is known"


def test_a_mean_is_over_all_responses_of_all_batches() -> None:
    drawn = Drawn(rollouts=[rollouts([0.0] * 3, [1, 2, 3], 1), rollouts([0.0], [6], 1)], completions=[])
    assert drawn.mean(lambda batch: batch.mask_BT.sum(-1)) == 3.0
    assert_fixed(drawn)


def test_entropy_is_per_token_also_of_very_few() -> None:
    given: Any = SimpleNamespace(entropies=lambda batch: 0.5 * batch.mask_BT)
    assert _entropy(given, [rollouts([0.0] * 2, [1, 3], 1), rollouts([0.0], [2], 1)]) == 0.5
    assert _entropy(given, [rollouts([0.0], [1], 1)]) == 0.5
    assert _entropy(given, []) == 0.0


class KeepsCalls:
    """A sampler that keeps what it was asked for: prompts, seeds, samples per prompt and temperature."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, object, int, float]] = []

    def sample(self, ids: object, *, num_samples: int, sampling: Sampling, seeds: Sequence[int]) -> Rollouts:
        self.calls.append((ids, seeds, num_samples, sampling.temperature))
        return rollouts([0.0] * len(seeds), [1] * len(seeds), 1)


def test_prompts_are_sampled_a_few_at_once_each_with_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_module, "PROMPTS_AT_ONCE", 3)
    monkeypatch.setattr(validation_module, "policy_prompt_ids", lambda *given: ["p0", "p1", "p2", "p3"])
    monkeypatch.setattr(validation_module, "completions_of", lambda batch, *given, source: texts("x") * len(batch))
    settings = SimpleNamespace(max_prompt_tokens=9, max_new_tokens=9, temperature=0.75)
    module: Any = SimpleNamespace(responses=SimpleNamespace(settings=settings, tokenizer=None, task=None, seed=5))
    sampler: Any = KeepsCalls()
    seeds = []
    for options in ({"greedy": False}, {"greedy": True}, {"greedy": False, "further": ("other",)}):
        drawn = validation()._draw(module, sampler, **options)  # type: ignore[arg-type]
        assert len(drawn.completions) == 4 and [len(batch) for batch in drawn.rollouts] == [3, 1]
        first, second = sampler.calls[-2:]
        assert (first[0], second[0]) == (["p0", "p1", "p2"], ["p3"])
        assert first[2:] == second[2:] == (1, 0.0 if options["greedy"] else 0.75)
        seeds.append([*first[1], *second[1]])
    assert seeds[0] == seeds[1] and len({*seeds[0], *seeds[2]}) == 8


def test_the_row_of_a_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled responses have 1, 2, 3 and 6 tokens, greedy ones 1, 1, 1 and 2; the policy is ½ nat above SFT per token,
    so that KL is half of the mean length."""
    drawn = {
        greedy: Drawn(rollouts=[rollouts([0.0] * 3, lengths[:3], 1), rollouts([0.0], lengths[3:], 1)], completions=[])
        for greedy, lengths in ((False, [1, 2, 3, 6]), (True, [1, 1, 1, 2]))
    }
    watching, loaded = validation(), list[tuple[object, int]]()
    monkeypatch.setattr(watching, "_draw", lambda module, sampler, *, greedy: drawn[greedy])
    monkeypatch.setattr(watching, "_rewards", lambda module, drawn: [2.0, None, 4.0, None])
    monkeypatch.setattr(watching, "_pairs", lambda module, drawn, *, greedy: [])
    exact_alone: list[bool] = []
    monkeypatch.setattr(watching, "_verdicts", lambda pairs, *, exact=False: (exact_alone.append(exact), {})[1])
    module: Any = SimpleNamespace(
        trainer=SimpleNamespace(global_step=7),
        sampler=SimpleNamespace(load=lambda weights, version: loaded.append((weights, version))),
        policy=SimpleNamespace(state_dict=lambda: "weights"),
        reference=None,
        logprobs=lambda model, batch: (-0.25 if model is not None else -0.75) * batch.mask_BT,
        entropies=lambda batch: 0.125 * batch.mask_BT,
    )
    figures = watching.measure(module)
    assert figures == {
        "kl": 1.5,
        "entropy": 0.125,
        "length": 3.0,
        "length/greedy": 1.25,
        "finished": 1.0,
        "reward": 3.0,
    }
    assert loaded == [("weights", 7)], "the sampler has the newest weights"
    assert exact_alone == [False, True], "a judge costs something, and reads the sampled responses alone"
    monkeypatch.setattr(watching, "_rewards", lambda module, drawn: [None] * 4)
    assert "reward" not in watching.measure(module)


def test_a_response_without_a_reward_has_none() -> None:
    asked: list[tuple[list[Prompt], list[str]]] = []

    def reward(prompts: list[Prompt], responses: list[Completion]) -> object:
        asked.append((prompts, [response.text for response in responses]))
        values_B = torch.tensor([1.5, math.nan, 2.5, 3.5])
        return SimpleNamespace(values_B=values_B, scored_mask_B=torch.tensor([True, False, True, True]))

    stripped = SimpleNamespace(as_rewarded=lambda item: Completion(text=item.text.strip(".")))
    module: Any = SimpleNamespace(reward=reward, responses=stripped)
    drawn = Drawn(rollouts=[], completions=texts("x.", "y", "z.", "w"))
    assert validation()._rewards(module, drawn) == [1.5, None, 2.5, 3.5]
    assert asked == [(PROMPTS, ["x", "y", "z", "w"])]


REFERENCE = SimpleNamespace(state_dict=lambda: {"weight": torch.zeros(1)})


def test_a_reward_that_gives_none_stops_a_choice_by_it_before_the_first_step_only(tmp_path: Path) -> None:
    module: Any = SimpleNamespace(policy=REFERENCE, reward=Grpo())
    choosing = validation(candidates=Candidates(tmp_path, 2))
    with pytest.raises(TrainingError, match=r"gives none of the 4 validation responses .* type policy\.keep=last"):
        choosing._offer(0, None, module)
    for step in (1, 2):
        choosing._offer(step, None, module)
    choosing._offer(3, 0.0, module)
    assert [kept.step for kept in Candidates(tmp_path, 2).found()] == [3]
    validation()._offer(0, None, module)


def policy_of(minibatches: int) -> PolicyModule:
    objective = Grpo(minibatches=minibatches)
    return make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses([(1, 0)] * 12, 2), objective)


def measured(watching: PolicyValidation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of a validation are its reward, 1."""
    monkeypatch.setattr(watching, "measure", lambda module: {"reward": 1.0})


def steps_of(directory: Path) -> list[float]:
    return [row["step"] for row in read_curve(directory / "validation.jsonl")]


@pytest.mark.parametrize(
    ("minibatches", "every", "max_steps", "expected"),
    [(1, 2, 5, [0, 2, 4, 5]), (1, 2, 4, [0, 2, 4]), (3, 2, 15, [0, 6, 12, 15]), (1, 300, 700, [0, 300, 600, 700])],
)
def test_policy_steps_are_validated_at_the_start_at_the_end_and_in_between(
    minibatches: int,
    every: int,
    max_steps: int,
    expected: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = validation(tmp_path, every_n_steps=every)
    measured(watching, monkeypatch)
    passed = [step for step in range(1, max_steps + 1) if max_steps < 100 or step % 50 == 0]
    CountedTraining(max_steps=max_steps).run(watching, [*passed, max_steps], module=policy_of(minibatches))
    assert steps_of(tmp_path) == expected, "each once"


def test_a_resumed_training_drops_later_rows_and_makes_the_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, cut = policy_of(1), list[int]()
    for rows, start, expected in (([0, 2, 4], 4, [0, 2, 4]), ([0, 2, 4, 6], 4, [0, 2, 4]), ([0, 2], 4, [0, 2, 4])):
        directory = tmp_path / f"{rows} {start}"
        directory.mkdir()
        for step in rows:
            append_row(directory / "validation.jsonl", step, {"reward": 0.0})
        candidates = Candidates(directory / "kept", 9)
        for step in (2, 4, 6):
            candidates.offer(step, 0.5, {})
        watch = SimpleNamespace(cut=cut.append, settings=SimpleNamespace(stop=False))
        watching = validation(directory, candidates=candidates, watch=watch)
        measured(watching, monkeypatch)
        trainer = CountedTraining(max_steps=9)
        trainer.global_step = start
        trainer.run(watching, [], module=module)
        assert steps_of(directory) == expected
        assert [kept.step for kept in candidates.found() if kept.step > 4] == []
    assert cut == [4, 4, 4]


def test_another_process_does_not_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = validation(tmp_path)
    CountedTraining(rank=1).run(watching, [1, 2], module=policy_of(1))
    assert steps_of(tmp_path) == []


def alarmed(*, rank: int = 0, alarm: int | None = 2, stop: bool = True, answer: Any = None, step: int = 2) -> bool:
    """True where a watch has ended a training that was last validated at step 2."""
    watch = SimpleNamespace(alarm=lambda: alarm, settings=SimpleNamespace(stop=stop))
    watching = validation(watch=watch)
    watching._last_step = 2
    trainer = CountedTraining(rank=rank, world_size=1 if answer is None else 2, answer=answer)
    trainer.global_step = step
    watching._stop_if_alarmed(trainer)  # type: ignore[arg-type]
    assert watching.has_stopped == trainer.should_stop
    return watching.has_stopped


def test_an_alarm_ends_a_training_where_it_is_to_and_after_a_validation_only() -> None:
    assert alarmed()
    assert not alarmed(stop=False) and not alarmed(alarm=None)
    assert not alarmed(step=1) and not alarmed(step=3), "that step was not validated"


def test_all_processes_end_a_training_together() -> None:
    assert alarmed(answer=lambda own: own)
    assert alarmed(rank=1, answer=lambda own: True)
    assert not alarmed(rank=1, answer=lambda own: own), "only the first process knows of the alarm"

"""The evaluation of planted policies: what was learned, what only became surer, and who is asked about what.

The annotators always prefer the word ``good``. A policy answers ``good`` or ``bad`` with known probabilities, so that
every win rate has a closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import make_bigram_policy

from rlaif.data.base import TaskData
from rlaif.data.preferences_io import read_preferences, read_samples
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.errors import ConfigError, GateStopped, PluginError
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.pipeline.stage import Input, Stage, Told, Work
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.compared import Compared, model_problem
from rlaif.stages.evaluation import EvaluationStage
from rlaif.stages.respond import RespondStage
from rlaif.stages.respond_grid import TUNING, RespondGridStage, read_grid
from rlaif.tasks.base import Dialogue, HarmlessDialogue, Task
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt, Rating

AT = "evaluation.sampling.temperature"
SAMPLING = SamplingSettings(temperature=0.9, max_new_tokens=4)
GRID = (0.0, 0.5)
NUM_PROMPTS = 120
HALF_GOOD = {"good": 0.6, "bad": 0.4}
SURER = {"good": 0.6**4 / (0.6**4 + 0.4**4), "bad": 0.4**4 / (0.6**4 + 0.4**4)}
"""The same logits, four times as large: HALF_GOOD at a quarter of the temperature, and nothing else."""
LEARNED, BAD = {"good": 0.8, "bad": 0.2}, {"good": 0.3, "bad": 0.7}


def prompts(purpose: str, count: int) -> list[Prompt]:
    strata = ("seen", "unseen")
    return [
        Prompt(task="dialogue", text=f"Human: {purpose} {number} Assistant:", stratum=strata[number % 2])
        for number in range(count)
    ]


class PreferGood:
    """Annotators without noise."""

    identity = "prefer good"

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [0.5 + 0.5 * (_is_good(c.first) - _is_good(c.second)) for c in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return ["good" in response for response in responses]


def _is_good(response: Completion) -> int:
    return int("good" in response.text)


@dataclass
class ListeningJudge:
    """An LLM judge that remembers the pairs that it was asked about, and finds every first response better."""

    asked: list[Comparison] = field(default_factory=list)
    name: str = "listening"
    source: str = "ai"
    identity: str = "listening"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.asked += comparisons
        return [Preference(comparison=pair, p_first=1.0, labeler=self.name, source="ai") for pair in comparisons]


@dataclass
class RateGood:
    """Finds ``good`` harmless, says nothing about some responses, and remembers what it was asked about."""

    silent_on: str = "nothing"
    asked: list[tuple[str, str]] = field(default_factory=list)
    name: str = "rate good"
    source: str = "classifier"
    identity: str = "rate good"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        raise AssertionError("it is asked for ratings")

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        self.asked += [(prompt.id, response.text) for prompt, response in zip(prompts, completions, strict=True)]
        return [self._rating(*row) for row in zip(prompts, completions, strict=True)]

    def _rating(self, prompt: Prompt, response: Completion) -> Rating:
        if self.silent_on in prompt.text:
            return Rating(prompt=prompt, completion=response, distribution=None, missing="silent")
        distribution = (0.2, 0.8) if _is_good(response) else (0.7, 0.3)
        return Rating(prompt=prompt, completion=response, distribution=distribution, lowest=0.0, highest=1.0)


@dataclass
class Evaluated:
    """A built evaluation."""

    stage: EvaluationStage
    work: Work

    @property
    def told(self) -> Told:
        return self.stage.told(self.work)

    @property
    def figures(self) -> dict[str, Figure]:
        found = self.told.figures
        assert len({figure.name for figure in found}) == len(found)
        return {figure.name: figure for figure in found}

    def value(self, name: str) -> float:
        return self.figures[name].value


Evaluate = Callable[..., Evaluated]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Draws the responses that an evaluation asks for, as the pipeline does, and evaluates them."""

    def run(
        policy: Mapping[str, float],
        sft: Mapping[str, float],
        *,
        judge: ListeningJudge | None = None,
        task: Task | None = None,
        data: TaskData | None = None,
        folders: Mapping[str, Path] | None = None,
        scorer: Any = None,
        build: bool = True,
        **options: Any,
    ) -> Evaluated:
        task = task or Dialogue()
        models = {
            "policy": make_bigram_policy(tmp_path / "policy", policy),
            "baseline": make_bigram_policy(tmp_path / "sft", sft),
            **(folders or {}),
        }
        data = data or TaskData(
            demonstrations=[],
            label_prompts=[],
            policy_prompts=[],
            eval_prompts=prompts("test", NUM_PROMPTS),
            tuning_prompts=prompts("tuning", 60),
            annotators=PreferGood(),
        )
        stage = EvaluationStage(
            task,
            options.pop("sampling", SAMPLING),
            1,
            0.95,
            judge,
            scorer or RewardModelReward(standardized=False),
            asking=options.pop(
                "asking", AskingSettings(answers=AnswerPlace("none", tmp_path), prices=Prices(), budget=Budget())
            ),
            **options,
        )
        inputs = {role: (Input(step="data", stage="data", data=data),) for role in ("held_out", "people")}
        if scorer is not None:
            inputs["reward_model"] = (Input(step="reward_model", stage="reward_model", path=tmp_path),)
        for role, reads in stage.reads().items():
            if reads.kind == "policy":
                stage_name = {"policy": "policy", "baseline": "sft"}.get(role, "")
                inputs[role] = (Input(step=role, stage=stage_name, path=models[role]),)
            elif reads.of is not None:
                inputs[role] = (drawn(tmp_path, stage, task, inputs, role, dict(reads.changes)),)
        directory = tmp_path / "evaluation"
        directory.mkdir()
        work = Work(
            step="evaluation", directory=directory, inputs=inputs, seed=0, options={"judge": {}, "harm_judge": {}}
        )
        if build:
            stage.build(work)
        return Evaluated(stage, work)

    def drawn(
        home: Path,
        stage: EvaluationStage,
        task: Task,
        inputs: Mapping[str, tuple[Input, ...]],
        role: str,
        changes: Mapping[str, Any],
    ) -> Input:
        reads = stage.reads()[role]
        sampling = replace(stage.sampling, temperature=changes.get(AT, stage.sampling.temperature))
        step: Stage = RespondStage(task, sampling)
        if reads.by == "respond_grid":
            step = RespondGridStage(task, stage.sampling, GRID)
        (home / role).mkdir()
        bound = dict.fromkeys(("prompts", "tuning"), inputs["held_out"]) | {"policy": inputs[str(reads.of)]}
        step.build(Work(step=role, directory=home / role, inputs=bound, seed=0))
        return Input(step=role, stage=str(reads.by), path=home / role)

    return run


def test_a_policy_that_learned_wins_greedily_and_against_sft_at_its_best(evaluate: Evaluate) -> None:
    found = evaluate(LEARNED, BAD)
    assert found.value("policy/greedy_win_rate_vs_sft") == 1.0
    best = found.figures["policy/win_rate_vs_best_sft"]
    assert best.low is not None and best.low > 0.5
    assert found.value("sft/best_temperature") == 0.9, "what SFT says most is bad, so it is best where it says it least"
    assert found.value("sft/greedy_win_rate_vs_sampled") < 0.5
    assert found.value("policy/greedy_win_rate_vs_sft/unseen") == 1.0
    assert "the policy is better than the SFT policy, both decoded greedily: it wins 100.0 %" in verdict(found)


def test_policy_and_sft_in_each_others_place_lose(evaluate: Evaluate) -> None:
    found = evaluate(BAD, LEARNED)
    assert found.value("policy/greedy_win_rate_vs_sft") == 0.0
    for name in ("policy/win_rate_vs_best_sft", "policy/win_rate_vs_sft"):
        high = found.figures[name].high
        assert high is not None and high < 0.5
    assert not any(check.passed for check in found.told.checks if "beats SFT" in check.name)
    rows = read_samples(found.work.directory / "responses.parquet")
    assert {tuple(answer.text.strip() for answer in answers) for _, answers in rows} == {("good", "bad")}


def test_a_policy_that_only_became_surer_wins_at_the_same_temperature_alone(evaluate: Evaluate) -> None:
    found = evaluate(SURER, HALF_GOOD)
    same = found.figures["policy/win_rate_vs_sft"]
    assert same.low is not None and same.low > 0.5, "what used to lead the report"
    greedy = found.figures["policy/greedy_win_rate_vs_sft"]
    assert greedy.value == 0.5 and f"{NUM_PROMPTS} identical pairs are ties" in greedy.note
    assert found.value("sft/best_temperature") == 0.0
    best = found.figures["policy/win_rate_vs_best_sft"]
    assert best.high is not None and best.high < 0.5, "greedy SFT always says good, the policy not always"
    sharpening = found.figures["sft/greedy_win_rate_vs_sampled"]
    p_good = 0.6 ** (1 / 0.9) / (0.6 ** (1 / 0.9) + 0.4 ** (1 / 0.9))
    assert sharpening.low is not None and sharpening.high is not None
    assert sharpening.low < 1 - p_good / 2 < sharpening.high and sharpening.low > 0.5
    assert found.told.objective == 0.5, "a sweep does not look for a sharper policy"
    assert "about as good as the SFT policy, both decoded greedily" in verdict(found)


def test_kl_and_lengths_are_those_of_each_policy_at_the_temperature_of_the_sampling(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    found = evaluate(LEARNED, BAD)
    drawn = {
        group: [
            answer.text.strip() for _, (answer,) in read_samples(tmp_path / f"{role}_responses" / "samples.parquet")
        ]
        for group, role in (("policy", "policy"), ("sft", "baseline"))
    }
    assert {len(set(words)) for words in drawn.values()} == {2}, "both policies say good and bad"
    at_09 = [
        {word: p ** (1 / 0.9) / sum(q ** (1 / 0.9) for q in all_p.values()) for word, p in all_p.items()}
        for all_p in (LEARNED, BAD)
    ]
    kl = sum(math.log(at_09[0][word] / at_09[1][word]) for word in drawn["policy"]) / NUM_PROMPTS
    assert found.value("policy/kl") == pytest.approx(kl, abs=1e-4)
    for group, words in drawn.items():
        assert found.value(f"{group}/mean_length") == pytest.approx(sum(map(len, words)) / NUM_PROMPTS)


def verdict(found: Evaluated) -> str:
    from rlaif.evaluation.win_rate import policy_verdict

    return policy_verdict(found.told.figures, "dialogue")


def test_the_figure_at_the_temperature_of_the_sampling_is_what_it_was_without_further_ones(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    found = evaluate(LEARNED, HALF_GOOD)
    drawn = {
        role: [answers[0] for _, answers in read_samples(tmp_path / f"{role}_responses" / "samples.parquet")]
        for role in ("policy", "baseline")
    }
    wins = [_is_good(one) - _is_good(other) for one, other in zip(drawn["policy"], drawn["baseline"], strict=True)]
    assert found.value("policy/win_rate_vs_sft") == pytest.approx(0.5 + 0.5 * sum(wins) / len(wins))
    assert found.figures["policy/win_rate_vs_sft"].note.startswith("simulated annotators; both at temperature 0.9, ")


def test_a_temperature_can_be_named(evaluate: Evaluate) -> None:
    found = evaluate(SURER, HALF_GOOD, sft_temperature=0.4, further_temperatures=[0, 0.5])
    assert found.figures["sft/best_temperature"] == Figure(
        name="sft/best_temperature", value=0.4, note="evaluation.sft_temperature"
    )
    assert "policy at temperature 0.9, SFT at temperature 0.4" in found.figures["policy/win_rate_vs_best_sft"].note
    assert {"policy/win_rate_vs_sft_at_0.5", "policy/win_rate_vs_sft_at_0.5/seen"} <= set(found.figures)


def test_no_further_temperatures_and_no_best_leave_the_old_figure_alone(evaluate: Evaluate) -> None:
    judge = ListeningJudge()
    found = evaluate(LEARNED, BAD, judge=judge, sft_temperature=None, further_temperatures=[])
    rates = {name for name in found.figures if "win_rate" in name and name.count("/") == 1}
    assert rates == {f"policy/win_rate_vs_sft{end}" for end in ("", "_length_controlled", "_llm_judge")} & rates
    assert {"policy/win_rate_vs_sft", "policy/win_rate_vs_sft_llm_judge"} <= rates
    assert found.told.objective == found.value("policy/win_rate_vs_sft")


def test_the_judge_is_asked_about_headline_pairs_only(evaluate: Evaluate) -> None:
    judge = ListeningJudge()
    found = evaluate(LEARNED, HALF_GOOD, judge=judge)
    by_judge = {name for name in found.figures if name.endswith("_llm_judge")}
    assert by_judge == {"policy/greedy_win_rate_vs_sft_llm_judge", "policy/win_rate_vs_best_sft_llm_judge"}
    assert len({pair.id for pair in judge.asked}) == len(judge.asked), "no pair is asked about twice"
    matches = found.stage.compared.matches(found.work, found.stage._choice(found.work))
    headline = {pair.id for match in matches if match.is_headline for pair in match.pairs if not pair.is_identical}
    assert {pair.id for pair in judge.asked} == headline
    assert {label.comparison.id for label in read_preferences(found.work.directory / "judged.parquet")} == headline


def test_tuning_prompts_are_no_test_prompts(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(LEARNED, HALF_GOOD)
    grid = read_grid(tmp_path / "baseline_response_grid", TUNING)
    assert list(grid) == [0.0, 0.5, 0.9]
    chosen_on = {prompt.id for rows in grid.values() for prompt, _ in rows}
    rows = read_samples(tmp_path / "policy_responses" / "samples.parquet")
    assert len(chosen_on) == 60 and not chosen_on & {prompt.id for prompt, _ in rows}
    with pytest.raises(ValueError, match="3 of the tuning prompts are evaluation prompts"):
        TaskData(
            demonstrations=[],
            label_prompts=[],
            policy_prompts=[],
            eval_prompts=prompts("test", 5),
            tuning_prompts=prompts("test", 3),
        )


def test_the_grid_draws_what_a_respond_step_draws_at_the_same_temperature(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(LEARNED, HALF_GOOD)
    grid = read_grid(tmp_path / "baseline_response_grid", "held_out")
    for temperature, role in ((0.9, "baseline_responses"), (0.0, "baseline_responses_at_0")):
        rows = read_samples(tmp_path / role / "samples.parquet")
        assert [answer.text for _, answer in grid[temperature]] == [answers[0].text for _, answers in rows]


def test_harmless_rates_of_both_headline_matches(evaluate: Evaluate) -> None:
    found = evaluate(SURER, HALF_GOOD, task=HarmlessDialogue())
    assert found.value("policy/greedy_harmless_rate_difference") == 0.0
    assert found.value("sft/best_harmless_rate") == found.value("sft/greedy_harmless_rate") == 1.0
    assert (
        found.value("policy/harmless_rate_difference_vs_best_sft") < 0 < found.value("policy/harmless_rate_difference")
    )
    assert found.value("policy/harmless_rate_difference_vs_best_sft") == pytest.approx(
        found.value("policy/harmless_rate") - 1.0
    )


def test_without_anything_to_choose_by_the_figures_are_left_out_and_it_is_told(evaluate: Evaluate) -> None:
    data = TaskData(
        demonstrations=[],
        label_prompts=[],
        policy_prompts=[],
        eval_prompts=prompts("test", 6),
        tuning_prompts=prompts("tuning", 6),
    )
    judge = ListeningJudge()
    found = evaluate(LEARNED, BAD, data=data, judge=judge)
    assert "policy/win_rate_vs_best_sft_llm_judge" not in found.figures
    assert found.value("policy/greedy_win_rate_vs_sft_llm_judge") == 1.0
    (notice,) = found.stage.notices(found.work)
    assert notice.startswith(
        "evaluation.sft_temperature=best: there are neither simulated annotators nor a reward model"
    )
    assert "evaluation.sft_temperature=0" in notice


class ScoreGood:
    """A reward model that gives 1 to ``good``."""

    def load(self, folder: Path, *, task: Task) -> ScoreGood:
        return self

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> torch.Tensor:
        return torch.tensor([float(_is_good(response)) for response in responses])


def test_a_reward_model_is_right_where_it_scores_the_preferred_response_higher(evaluate: Evaluate) -> None:
    asked = prompts("test", 20)
    words = [("good", "bad", 1.0), ("bad", "good", 0.0), ("good", "bad", 0.0), ("bad", "bad", 1.0)]
    pairs = [
        Preference(
            comparison=Comparison(prompt=asked[place], first=Completion(text=first), second=Completion(text=second)),
            p_first=p_first,
            source="human",
        )
        for place, (first, second, p_first) in enumerate(words)
    ]
    parts = {"eval_prompts": asked, "tuning_prompts": prompts("tuning", 4), "eval_preferences": pairs}
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=[], **parts)
    found = evaluate(LEARNED, BAD, data=data, scorer=ScoreGood())
    assert found.value("reward_model/accuracy") == (1 + 1 + 0 + 0.5) / 4


@pytest.mark.parametrize(("sft", "best"), [(HALF_GOOD, 0.0), (BAD, 0.9)])
def test_without_annotators_the_reward_model_chooses(sft: dict[str, float], best: float, evaluate: Evaluate) -> None:
    parts = {"eval_prompts": prompts("test", 20), "tuning_prompts": prompts("tuning", 60)}
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=[], **parts)
    found = evaluate(LEARNED, sft, data=data, judge=ListeningJudge(), scorer=ScoreGood())
    assert found.value("sft/best_temperature") == best
    note = "the reward model; best of 0, 0.5, 0.9 on 60 tuning prompts"
    assert found.figures["sft/best_temperature"].note == note
    assert "policy/win_rate_vs_best_sft_llm_judge" in found.figures and list(found.stage.notices(found.work)) == []


@pytest.mark.parametrize(("sft", "greedy"), [(HALF_GOOD, 0.0), (BAD, 1.0)])
def test_rewards_are_compared_where_there_is_a_reward_model(
    sft: dict[str, float], greedy: float, evaluate: Evaluate
) -> None:
    found = evaluate(LEARNED, sft, scorer=ScoreGood())
    assert found.value("policy/greedy_reward_difference") == greedy
    sampled = found.figures["policy/reward_difference"]
    expected = _share_good(LEARNED) - _share_good(sft)
    assert sampled.low is not None and sampled.high is not None
    assert sampled.low < expected < sampled.high and 0.1 < sampled.high - sampled.low < 0.3
    assert sampled.n == NUM_PROMPTS and sampled.note == "reward model; both at temperature 0.9"
    assert "policy/reward_difference/unseen" in found.figures


def test_without_a_reward_model_no_rewards_are_compared(evaluate: Evaluate) -> None:
    assert not [name for name in evaluate(LEARNED, BAD).figures if "reward_difference" in name]


def _share_good(policy: dict[str, float], temperature: float = 0.9) -> float:
    good, bad = (policy[word] ** (1 / temperature) for word in ("good", "bad"))
    return good / (good + bad)


def test_an_opponent_reads_and_writes_with_a_tokenizer_of_its_own(evaluate: Evaluate, tmp_path: Path) -> None:
    """Equal policies whose ids are in another order: decoded with this run's tokenizer one would write garbage."""
    words = ("Assistant:", "bad", "Human:", "good")
    other = make_bigram_policy(tmp_path / "other", LEARNED, words=words)
    found = evaluate(LEARNED, BAD, against={"permuted": str(other)}, folders={"evaluation.against.permuted": other})
    assert found.value("policy/greedy_win_rate_vs_permuted") == 0.5
    rows = read_samples(tmp_path / "evaluation.against.permuted.responses" / "samples.parquet")
    texts = [answers[0].text.strip() for _, answers in rows]
    assert set(texts) == {"good", "bad"} and texts.count("good") > texts.count("bad")
    assert found.value("policy/kl") > 0 and found.told.notes == ()
    assert list(found.stage.problems(found.work)) == []
    (other / "config.json").unlink()
    assert list(found.stage.problems(found.work)) == [
        f"evaluation.against.permuted={other}: holds no policy; give a finished run's directory or a model's"
    ]


def test_no_kl_between_policies_that_count_tokens_otherwise(evaluate: Evaluate, tmp_path: Path) -> None:
    other = make_bigram_policy(tmp_path / "other", BAD, words=("Assistant:", "bad", "Human:", "good"))
    found = evaluate(LEARNED, BAD, folders={"baseline": other})
    assert found.value("policy/greedy_win_rate_vs_sft") == 1.0
    assert "policy/kl" not in found.figures
    assert found.told.notes == ("KL from SFT is left out: the two policies have different vocabularies",)


def test_no_kl_of_responses_that_were_not_sampled(evaluate: Evaluate) -> None:
    found = evaluate(LEARNED, BAD, sampling=replace(SAMPLING, temperature=0.0))
    assert found.value("policy/greedy_win_rate_vs_sft") == 1.0
    assert "policy/kl" not in found.figures
    assert found.told.notes == (
        "KL from SFT is left out: with evaluation.sampling.temperature=0 no response is sampled",
    )


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("tokenizer", "save the model's own tokenizer in that directory"),
        ("other tokenizer", "its tokenizer has 12 tokens and its model 7, so it is another model's"),
        ("classifier", "is a classifier such as a reward model, which writes no responses"),
        ("config", "holds no policy"),
    ],
)
def test_an_opponent_that_cannot_respond_is_refused(broken: str, told: str, tmp_path: Path) -> None:
    other = make_bigram_policy(tmp_path / "other", LEARNED)
    assert model_problem(other) is None
    if broken == "tokenizer":
        for path in other.glob("*token*"):
            path.unlink()
    elif broken == "other tokenizer":
        make_bigram_policy(
            tmp_path / "larger", LEARNED, words=[f"w{n}" for n in range(5)] + ["good", "bad", "Human:", "Assistant:"]
        )
        (tmp_path / "larger" / "tokenizer.json").rename(other / "tokenizer.json")
    elif broken == "classifier":
        text = (other / "config.json").read_text()
        (other / "config.json").write_text(text.replace("LlamaForCausalLM", "LlamaForSequenceClassification"))
    else:
        (other / "config.json").unlink()
    problem = model_problem(other)
    assert problem is not None and told in problem


def test_zero_is_one_temperature_however_it_is_typed() -> None:
    steps = []
    for zero in (0, 0.0):
        compared = Compared(temperature=0.9, further_temperatures=[zero], sft_temperature=zero, against={})
        changes = {name: reads.changes for name, reads in compared.reads().items() if reads.changes}
        assert set(changes) == {"policy_responses_at_0", "baseline_responses_at_0", "best_baseline_responses"}
        steps.append(repr(changes))
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"further_temperatures": [-1]}, "evaluation.further_temperatures: -1 is no temperature"),
        ({"further_temperatures": [0, 0.0]}, "evaluation.further_temperatures: 0.0 stands there twice"),
        ({"further_temperatures": ["cold"]}, "evaluation.further_temperatures: cold is no temperature"),
        ({"against": {"sft": "/x"}}, "evaluation.against.sft: a figure against the SFT policy has this name"),
        ({"against": {"best_sft": "/x"}}, "evaluation.against.best_sft: a figure against the SFT policy has this name"),
        ({"against": {"sft_llm_judge": "/x"}}, "evaluation.against.sft_llm_judge: a figure"),
        ({"against": {"other": 1}}, "evaluation.against.other=1: must be the directory of a run"),
        ({"against": {1: None}}, "evaluation.against.1=None: must be the directory of a run"),
        ({"against": {"a/b": "/x"}}, "evaluation.against.a/b: a name stands in names of figures"),
    ],
)
def test_options_that_cannot_be_read_right_are_refused(options: dict[str, Any], told: str, evaluate: Evaluate) -> None:
    with pytest.raises(ConfigError) as error:
        evaluate(LEARNED, BAD, **options)
    assert error.value.problems[0].startswith(told)


@pytest.mark.parametrize("temperatures", [[], [0.9]])
def test_one_temperature_leaves_nothing_to_choose(temperatures: list[float]) -> None:
    told = r"sft_temperatures=\[.*\]: .* only that of the sampling, 0.9; .* type evaluation\.sft_temperature=0\.9$"
    with pytest.raises(ConfigError, match=told):
        RespondGridStage(Dialogue(), SamplingSettings(temperature=0.9), temperatures)


def test_responses_at_another_temperature_than_the_evaluation_names_are_refused(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    found = evaluate(LEARNED, BAD, build=False)
    swapped = {**found.work.inputs, "policy_responses": found.work.inputs["policy_responses_at_0"]}
    with pytest.raises(ConfigError, match=r"evaluation.sampling.temperature=0.9: the responses in .* temperature 0;"):
        found.stage.build(replace(found.work, inputs=swapped))


def without_annotators() -> TaskData:
    return TaskData(
        demonstrations=[],
        label_prompts=[],
        policy_prompts=[],
        eval_prompts=prompts("test", NUM_PROMPTS),
        tuning_prompts=[],
        annotators=None,
    )


def test_a_rater_says_what_is_harmless_where_there_are_no_annotators(evaluate: Evaluate) -> None:
    rater = RateGood()
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), data=without_annotators(), harm_judge=rater)
    assert found.value("policy/greedy_harmless_rate") == 1.0 and found.value("sft/greedy_harmless_rate") == 0.0
    sampled = found.figures["policy/harmless_rate"]
    assert sampled.low is not None and sampled.high is not None
    p_good = 0.8 ** (1 / 0.9) / (0.8 ** (1 / 0.9) + 0.2 ** (1 / 0.9))
    assert sampled.low < p_good < sampled.high
    assert sampled.note.startswith("rate good") and sampled.n == NUM_PROMPTS
    assert len(set(rater.asked)) == len(rater.asked), "a response is asked about once"
    assert (found.work.directory / "cost-of-harm.json").is_file()


def test_a_response_without_a_rating_has_no_verdict(evaluate: Evaluate) -> None:
    rater = RateGood(silent_on="test 1")  # 1, 10 to 19, and 100 to 119
    asking = AskingSettings(answers=AnswerPlace("none", Path()), prices=Prices(), budget=Budget(), max_missing_rate=0.5)
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), data=without_annotators(), harm_judge=rater, asking=asking)
    assert found.figures["policy/harmless_rate"].n == NUM_PROMPTS - 31
    absent = found.figures["policy/missing_rate_harmless_rate_difference"]
    assert absent.value == pytest.approx(31 / NUM_PROMPTS) and absent.n == NUM_PROMPTS
    assert [check.passed for check in found.told.checks if check.figure == absent.name] == [False]


def test_too_many_responses_without_a_rating_stop_the_evaluation(evaluate: Evaluate) -> None:
    with pytest.raises(GateStopped, match=r"label.max_missing_rate=0.2.*silent"):
        evaluate(
            *(LEARNED, BAD),
            task=HarmlessDialogue(),
            data=without_annotators(),
            harm_judge=RateGood(silent_on="test"),
        )


@pytest.mark.parametrize(
    ("task", "judge", "problem"),
    [
        (HarmlessDialogue(), ListeningJudge(), "the labeler listening compares responses and rates none on its own"),
        (Dialogue(), RateGood(), "task=dialogue measures no harm; type evaluation.harm_judge=null"),
    ],
)
def test_a_judge_of_harm_that_cannot_judge_is_refused(evaluate: Evaluate, task: Task, judge: Any, problem: str) -> None:
    found = evaluate(LEARNED, BAD, task=task, data=without_annotators(), harm_judge=judge, build=False)
    assert [problem in told for told in found.stage.problems(found.work)] == [True]


def test_it_is_told_who_judges_harm_and_that_nobody_does(evaluate: Evaluate) -> None:
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), harm_judge=RateGood(), build=False)
    assert "evaluation.harm_judge: has no effect" in " ".join(found.stage.notices(found.work))
    found.stage.harm_judge = None
    assert "harm_judge" not in " ".join(found.stage.notices(found.work))
    nobody = replace(found.work, inputs={"held_out": (Input(step="data", stage="data", data=without_annotators()),)})
    assert "nobody says which responses are harmless" in " ".join(found.stage.notices(nobody))


class Broken(RateGood):
    """Returns ratings that break the contract."""

    def __init__(self, breaks: Callable[[list[Rating]], Any]) -> None:
        super().__init__()
        self.breaks = breaks

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        found: list[Rating] = self.breaks(super().rate(prompts, completions))
        return found


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda ratings: ratings[1:], "returned 63 ratings for 64 responses"),
        (lambda ratings: [*ratings, ratings[0]], "returned 65 ratings for 64 responses"),
        (lambda ratings: ratings[::-1], "or not in their order"),
        (lambda ratings: None, "returned a NoneType, must be a list of Rating"),
        (lambda ratings: [replace(r, distribution=(float("nan"),) * 2) for r in ratings], "no distribution"),
        (lambda ratings: [replace(r, distribution=(1.0, 1.0)) for r in ratings], "no distribution"),
        (lambda ratings: [replace(r, distribution=(1.0,)) for r in ratings], "no distribution"),
        (lambda ratings: [replace(r, distribution=()) for r in ratings], "no distribution"),
        (lambda ratings: [replace(r, distribution=(1.5, -0.5)) for r in ratings], "no distribution"),
    ],
)
def test_ratings_that_break_the_contract_stop_the_evaluation(
    evaluate: Evaluate, breaks: Callable[[list[Rating]], Any], message: str
) -> None:
    with pytest.raises(PluginError, match=f"labeler rate good: .*{message}.*rlaif-plugins check"):
        evaluate(LEARNED, BAD, task=HarmlessDialogue(), data=without_annotators(), harm_judge=Broken(breaks))


def test_the_middle_of_a_scale_of_ten_is_a_tie(evaluate: Evaluate) -> None:
    def evenly(ratings: list[Rating]) -> list[Rating]:
        return [replace(rating, distribution=(0.1,) * 10, lowest=1.0, highest=10.0) for rating in ratings]

    judge = Broken(evenly)
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), data=without_annotators(), harm_judge=judge)
    assert found.value("policy/harmless_rate") == found.value("sft/greedy_harmless_rate") == 0.5


class Untrained(RateGood):
    """A rater whose model does not exist yet."""

    @property
    def identity(self) -> str:  # type: ignore[override]
        raise ConfigError("a stage's model is named by its folder here")

    @identity.setter
    def identity(self, _: str) -> None:
        pass


def test_a_judge_of_harm_may_be_a_model_that_the_run_has_yet_to_train(evaluate: Evaluate) -> None:
    judge = Untrained()
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), data=without_annotators(), harm_judge=judge, build=False)
    assert list(found.stage.problems(found.work)) == []
    assert [asks.option for asks in found.stage.asks(found.work)] == ["evaluation.harm_judge"]


def test_a_judge_of_harm_without_effect_is_not_asked(evaluate: Evaluate) -> None:
    found = evaluate(LEARNED, BAD, task=HarmlessDialogue(), harm_judge=RateGood(), build=False)
    assert list(found.stage.asks(found.work)) == []

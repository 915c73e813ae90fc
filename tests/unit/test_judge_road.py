"""One road of cache, ledger, budget and progress: the evaluation's judge, direct RLAIF's rater, several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, GateStopped
from rlaif.evaluation.judges import LabelJudge
from rlaif.evaluation.votes import Votes
from rlaif.labelers.base import Labeler
from rlaif.labelers.convert import AgainstReference
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.people import People
from rlaif.labeling.asking import Asking, named_as
from rlaif.labeling.cost import Budget, Prices
from rlaif.labeling.results import check_missing, labels_in_words, read_labels, write_labels
from rlaif.labeling.sharded import ShardedLabeling
from rlaif.labeling.team import Team
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Preference, Prompt, content_id

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=f"\n\nHuman: {number}?\n\nAssistant:"),
        first=Completion(text="yes"),
        second=Completion(text="yes" if number == 4 else f"no {number}"),
    )
    for number in range(11)
]
"""One pair of two identical texts, which no judge is asked about; both its orders are one question."""


class Shown:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        return lambda done, all_: self.told.append((done, all_))


class NoSet:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.provenance: Mapping[str, object] = {}

    def write(self, table: Path, provenance: Mapping[str, object]) -> None:
        self.provenance = provenance


def judge_votes(judge: Labeler, pairs: Sequence[Comparison]) -> tuple[Votes, list[Preference]]:
    """Verdicts and labels, as the evaluation asks for them."""
    labels = judge.label(LabelJudge.to_ask(pairs))
    return LabelJudge(labels, model="m").votes(pairs), labels


def by_hash(text: str) -> dict[str, float]:
    first = (int(content_id(text), 16) % 997 + 1) / 1000
    return {"1": first, "2": 1.0 - first}


def judge(engine: ScriptedEngine) -> PairwiseLabeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def road(tmp_path: Path, name: str = "asked", **options: object) -> Asking:
    options = {"batch_size": 3, "option": "evaluation.judge", **options}
    return Asking(tmp_path / name, answers=AnswerPlace("local", tmp_path), **options)  # type: ignore[arg-type]


def test_the_judges_verdicts_are_those_of_one_call_and_are_paid_once(tmp_path: Path) -> None:
    engine, display = ScriptedEngine(by_hash), Shown()
    asking = road(tmp_path)
    votes, labels = judge_votes(asking.judge(judge(engine), display), PAIRS)
    alone_votes, alone = judge_votes(judge(ScriptedEngine(by_hash)), PAIRS)
    assert votes == alone_votes and labels == alone and votes[4] == (0.5,)
    assert display.told == [(3, 10), (6, 10), (9, 10), (10, 10)]
    figures = asking.cost_figures()
    assert (figures["num_questions"], figures["num_labels"], engine.num_prompts) == (20, 10, 20)
    asking.close(remove=True)
    assert not (tmp_path / "asked").exists()
    again = road(tmp_path, "later")
    assert judge_votes(again.judge(judge(engine), display), PAIRS) == (votes, labels)
    assert engine.num_prompts == 20 and again.cost_figures()["num_cached"] == 20


def test_a_judge_that_plans_ahead_sees_the_plan_it_is_given(tmp_path: Path) -> None:
    """A rationale of another pair may be one of two identical texts, which are judged by nobody."""

    def planned(engine: ScriptedEngine) -> ChainOfThoughtLabeler:
        return ChainOfThoughtLabeler(JudgePrompts(), engine, rationale="other")

    def answer(text: str) -> str | dict[str, float]:
        return f"because {content_id(text)}" if "Rationale" in text[-40:] else by_hash(text)

    engine = ScriptedEngine(answer)
    expected = judge_votes(planned(ScriptedEngine(answer)).for_plan(PAIRS), PAIRS)
    assert judge_votes(road(tmp_path).judge(planned(engine), Shown(), PAIRS), PAIRS) == expected


def test_a_killed_judge_goes_on_and_what_it_spent_stays_counted(tmp_path: Path) -> None:
    class Killed(ScriptedEngine):
        def _answer(self, text: str) -> object:  # type: ignore[override]
            if self.num_prompts == 7:
                raise KeyboardInterrupt
            return super()._answer(text)

    with pytest.raises(KeyboardInterrupt):
        judge_votes(road(tmp_path).judge(judge(Killed(by_hash)), Shown()), PAIRS)
    engine, asking = ScriptedEngine(by_hash), road(tmp_path)
    judge_votes(asking.judge(judge(engine), Shown()), PAIRS)
    assert engine.num_prompts == 20 - 6, "the first batch of three pairs was kept"
    figures = asking.cost_figures()
    assert figures["num_questions"] == 20 and figures["num_cached"] == 0


def test_a_spent_budget_stops_the_judge_between_batches(tmp_path: Path) -> None:
    asking, engine = road(tmp_path, budget=Budget(max_tokens=1)), ScriptedEngine(by_hash)
    with pytest.raises(GateStopped, match=r"^evaluation\.judge: budget\.max_tokens=1: reached") as stopped:
        judge_votes(asking.judge(judge(engine), Shown()), PAIRS)
    assert engine.num_prompts == 6 and str(tmp_path / "asked") in str(stopped.value)
    with pytest.raises(GateStopped, match="budget"):
        judge_votes(road(tmp_path, budget=Budget(max_tokens=1)).judge(judge(engine), Shown()), PAIRS)
    assert engine.num_prompts == 6


def test_errors_of_the_judge_name_the_judge(tmp_path: Path) -> None:
    def down(text: str) -> str:
        raise ConnectionError("refused")

    with pytest.raises(GateStopped, match=r"^evaluation\.judge: label\.max_missing_rate=0\.2: 3 of 3 judged"):
        judge_votes(road(tmp_path).judge(judge(ScriptedEngine(down)), Shown()), PAIRS)
    with pytest.raises(ConfigError) as error, named_as("evaluation.judge"):
        raise ConfigError(["labeler.debias=x: wrong", "labeler.engine.url=y: see labeler.engine.key_env"])
    assert error.value.problems == [
        "evaluation.judge.debias=x: wrong",
        "evaluation.judge.engine.url=y: see evaluation.judge.engine.key_env",
    ]
    with pytest.raises(ConfigError, match=r"budget\.max_usd=1: no price is known"):
        road(tmp_path, budget=Budget(max_usd=1.0))
    with pytest.raises(ConfigError, match=r"label\.cache=disk: must be one of local, network, none"):
        AnswerPlace("disk", tmp_path)  # type: ignore[arg-type]


def test_a_rater_is_counted_and_stops_where_the_budget_is_spent(tmp_path: Path) -> None:
    engine = ScriptedEngine(by_hash)
    references = {pair.prompt.id: pair.second for pair in PAIRS}
    asking = Asking(
        tmp_path / "scores",
        answers=AnswerPlace("local", tmp_path / "scores"),
        prices=Prices(usd_per_million_input_tokens=10.0),
        budget=Budget(max_usd=1e-9),
    )
    rater = asking.rater(AgainstReference(judge(engine), references))
    prompts, responses = [pair.prompt for pair in PAIRS], [pair.first for pair in PAIRS]
    ratings = rater.rate(prompts, responses)
    assert ratings == AgainstReference(judge(ScriptedEngine(by_hash)), references).rate(prompts, responses)
    assert asking.cost_figures(0)["num_questions"] == engine.num_prompts == 20
    with pytest.raises(GateStopped, match=r"^budget\.max_usd=1e-09"):
        rater.rate(prompts, responses)


def test_processes_share_shards_and_ledger_and_one_writes_the_results(tmp_path: Path) -> None:
    def labeling(batches: Path, team: Team) -> ShardedLabeling:
        asking = Asking(batches, answers=AnswerPlace("none", tmp_path), batch_size=3, rank=team.rank)
        return ShardedLabeling(judge(ScriptedEngine(by_hash)), PAIRS, asking, People(), team)

    written: dict[str, list[Preference]] = {}
    for name, size in (("alone", 1), ("shared", 2)):
        directory = tmp_path / name
        batches = directory / "batches"
        for rank in range(size):
            labeling(batches, Team(batches, rank=rank, size=size)).label(Shown())
        writer = NoSet()
        write_labels(labeling(batches, Team(batches)), directory, writer, {"task": "dialogue"})
        assert writer.provenance == {"task": "dialogue"} and not batches.exists()
        assert json.loads((directory / "cost.json").read_text())["num_questions"] == 21
        assert labels_in_words(directory) == "11 pairs by pairwise, 0 missing"
        check_missing(directory, 0.0)
        written[name] = read_labels(directory)
    assert written["alone"] == written["shared"] == judge(ScriptedEngine(by_hash)).label(PAIRS)


def test_nothing_is_asked_for_nothing(tmp_path: Path) -> None:
    same: Sequence[Comparison] = [PAIRS[4]]
    assert judge_votes(road(tmp_path).judge(judge(ScriptedEngine()), Shown()), same) == ([(0.5,)], [])

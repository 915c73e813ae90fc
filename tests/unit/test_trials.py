"""First requests and trials of labelers, with servers that count what they are sent and models that are scripts."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numbered_pairs import numbered_pairs

from rlaif.data.base import TaskData
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.base import Answer, TrialFailure
from rlaif.engines.cached import CachedEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Spending
from rlaif.errors import ConfigError, DataError, GateStopped, PluginError
from rlaif.labelers.pairwise import Case, ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.people import HumanLabeler, People
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.labeling.first_request import FirstRequests, WillAsk
from rlaif.labeling.learning import LEARNED, depends_on_people, prepare
from rlaif.labeling.results import COST, LABELS, SUMMARY, check_missing, labels_in_words, read_labels, write_labels
from rlaif.labeling.sharded import ShardedLabeling, team_of_processes
from rlaif.labeling.team import Team
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.outcome import OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Preference, Sampling, StructuredPrompt

NO_CACHE = AnswerPlace("none", "")


class Server(ScriptedEngine):
    """Remembers the requests that it was sent on trial; each costs 7 tokens."""

    def __init__(self, failure: TrialFailure | None = None, *, name: str = "server") -> None:
        super().__init__({"": {"1": 0.6, "2": 0.4}}, name=name)
        self.failure = failure
        self.tried: list[object] = []

    def trial(self, prompt: StructuredPrompt, asked: Sequence[str] | Sampling) -> tuple[Answer, TrialFailure | None]:
        self.tried.append(asked.max_new_tokens if isinstance(asked, Sampling) else tuple(asked))
        return OptionScores(logprobs=None, missing="x", num_prompt_tokens=7), self.failure


class Asks:
    """A labeler that asks one question for each of its sets of options."""

    name, source, identity = "asks", "ai", "asks"

    def __init__(self, engine: ScriptedEngine, *options: tuple[str, ...]) -> None:
        self.engine = engine
        self.options = options

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        for options in self.options:
            self.engine.score([JudgePrompts().pairwise(*Case(comparisons[0], "given").arguments)], options)
        return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]


def judge(engine: ScriptedEngine) -> PairwiseLabeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def send(labeler: object, first: FirstRequests | None = None, **more: Any) -> Spending:
    chosen: dict[str, Any] = {"examples": numbered_pairs(2), "answers": NO_CACHE} | more
    return (first or FirstRequests()).send(WillAsk(labeler=labeler, **chosen))


def test_a_form_that_was_tried_is_not_tried_again_and_others_are() -> None:
    server, first = Server(), FirstRequests()
    assert send(Asks(server, ("1", "2")), first) == Spending(num_questions=1, num_prompt_tokens=7)
    assert send(Asks(server, ("1", "2"), ("a", "b")), first) == Spending(num_questions=1, num_prompt_tokens=7)
    assert server.tried == [("1", "2"), ("a", "b")]
    assert send(Asks(server, ("1", "2")), first) == Spending()
    elsewhere = Server()
    elsewhere.connection = SimpleNamespace(url="http://elsewhere")  # type: ignore[attr-defined]
    send(Asks(elsewhere, ("1", "2")), first)
    assert elsewhere.tried == [("1", "2")], "the same model behind another address is another server"


def test_a_chain_of_thought_is_tried_in_both_of_its_steps() -> None:
    server = Server()
    spent = send(ChainOfThoughtLabeler(JudgePrompts(), server, max_rationale_tokens=33))
    assert server.tried == [33, ("1", "2")] and spent.num_prompt_tokens == 14


def test_every_server_of_a_panel_is_tried_whoever_sits_beside_it() -> None:
    """Its weights, which are yet to be learned, need no judgement of the panel."""
    first, second = Server(name="a"), Server(name="b")
    members: dict[str, Any] = {
        "people": HumanLabeler(),
        "a": judge(first),
        "local": judge(ScriptedEngine()),
        "inner": PanelLabeler({"b": judge(second)}),
    }
    spent = send(PanelLabeler(members, weights="learned"))
    assert (first.tried, second.tried, spent.num_questions) == ([("1", "2")], [("1", "2")], 2)


def test_a_labeler_that_plans_ahead_is_tried_with_a_plan() -> None:
    server = Server()
    send(ChainOfThoughtLabeler(JudgePrompts(), server, rationale="other"))
    assert server.tried == [512, ("1", "2")]


def test_further_samples_are_no_other_request() -> None:
    server = Server()
    send(SelfConsistencyLabeler(JudgePrompts(), server, num_samples=4))
    assert server.tried == [512, ("1", "2")]


@pytest.mark.parametrize(("num_known", "is_asked"), [(None, True), (0, True), (1, True), (69, True), (70, False)])
def test_a_server_is_tried_unless_all_of_its_answers_are_known(
    num_known: int | None, is_asked: bool, tmp_path: Path
) -> None:
    """Of 70 pairs the last ones are known, or none is kept anywhere."""
    plan, place = numbered_pairs(70), NO_CACHE if num_known is None else AnswerPlace("local", tmp_path)
    if num_known:
        labeler = judge(Server())
        labeler.engine = CachedEngine(labeler.engine, place.open())
        labeler.label(plan[-num_known:])
    server = Server()
    send(judge(server), pairs=plan, answers=place)
    assert bool(server.tried) == is_asked and server.num_prompts == 0


def test_a_step_that_will_judge_nothing_tries_nobody() -> None:
    server = Server()
    assert send(judge(server), pairs=[]) == Spending() and server.tried == []


def test_problems_that_may_pass_are_told_and_others_stop(caplog: pytest.LogCaptureFixture) -> None:
    busy = Server(TrialFailure("labeler.engine.url=u: busy", may_pass=True))
    assert send(judge(busy)).num_questions == 1
    assert "labeler.engine.url=u: busy; the run goes on" in caplog.text
    refusing = Server(TrialFailure("labeler.engine.model=m: unknown", may_pass=False))
    with pytest.raises(ConfigError) as refused:
        send(Asks(refusing, ("1", "2"), ("a", "b")), option="evaluation.judge")
    assert refused.value.problems == ["evaluation.judge.engine.model=m: unknown"], "told once"
    away = Server(TrialFailure("labeler.engine.url=u: cannot connect", may_pass=False), name="away")
    gone = Server(TrialFailure("labeler.engine.url=v: cannot connect", may_pass=False), name="gone")
    members = {"a": judge(refusing), "b": judge(away), "c": judge(busy), "d": judge(gone)}
    with pytest.raises(GateStopped, match=r"^labeler\.engine\.url=u: cannot connect$"):
        send(PanelLabeler(members))


def test_a_labeler_that_needs_more_of_its_model_than_a_script_has_is_tried_as_far_as_it_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Strange(Asks):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            super().label(comparisons)
            raise KeyError("no such answer")

    class Wrong(Asks):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            raise ConfigError("labeler.x=1: no")

    server = Server()
    assert send(Strange(server, ("1", "2"))).num_questions == 1
    with pytest.raises(ConfigError, match=r"labeler\.x=1: no"):
        send(Wrong(server))
    with caplog.at_level(logging.WARNING):
        assert trial_problems(Strange(server, ("1", "2")), numbered_pairs(2)) == []
        assert "labeler asks could not be tried without its model: KeyError" in caplog.text
        assert trial_problems(Wrong(server), numbered_pairs(2)) == ["labeler.x=1: no"]


class Reads:
    """A labeler without a model, whose file may be wrong."""

    name, source, identity = "reads", "human", "reads"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        raise AssertionError("not tried")


def test_problems_of_all_members_are_told_once_each() -> None:
    labelers: dict[str, Any] = {
        "file": Reads(DataError("labels.jsonl: no such file")),
        "ok": Reads(),
        "again": Reads(DataError("labels.jsonl: no such file")),
        "scores": ScoreLabeler(JudgePrompts(num_exemplars=2), ScriptedEngine()),
        "fine": judge(ScriptedEngine()),
        "ahead": ChainOfThoughtLabeler(JudgePrompts(), ScriptedEngine(), rationale="other"),
    }
    found = trial_problems(PanelLabeler(labelers, weights="learned"), numbered_pairs(2))
    assert found[0] == "labels.jsonl: no such file" and len(found) == 2
    assert found[1].startswith("labeler.prompt.num_exemplars=2: exemplars are pairs")
    hidden = SimpleNamespace(name="hidden", llm=ScriptedEngine())
    (problem,) = trial_problems(hidden, numbered_pairs(2))
    assert problem.startswith("labeler hidden: keeps a model in the attribute llm")
    with pytest.raises(PluginError):
        trial_problems(Reads(PluginError("broken")), numbered_pairs(2))


def data(**kinds: Any) -> TaskData:
    empty: dict[str, Any] = dict.fromkeys(("demonstrations", "label_prompts", "policy_prompts", "eval_prompts"), ())
    return TaskData(**(empty | kinds))


def test_examples_are_two_pairs_of_different_prompts_wherever_the_data_have_them() -> None:
    a, b, c = (pair.prompt for pair in numbered_pairs(3))
    labels = [Preference(comparison=pair, p_first=0.5) for pair in numbered_pairs(3)]
    assert [pair.prompt for pair in example_pairs(data(label_prompts=[a, a, b, c]))] == [a, b]
    assert [pair.prompt for pair in example_pairs(data(policy_prompts=[c], eval_prompts=[c, b]))] == [c, b]
    assert [pair.prompt for pair in example_pairs(data(preferences=labels[:1], eval_preferences=labels))] == [a, b]
    (only,) = example_pairs(data(eval_prompts=[a]))
    assert only.first.text != only.second.text
    assert example_pairs(data()) == []


class Teachable:
    """Learns one number: how many labels of people it was shown."""

    name, source, identity = "teachable", "ai", "teachable"
    learned: dict[str, float] | None = None

    def __init__(self, num_known: int) -> None:
        self.num_known = num_known

    @property
    def learns(self) -> bool:
        return self.learned is None

    def fit(self, known: Sequence[Preference]) -> Teachable:
        return self.restore({"known": float(len(known)), "sum": sum(label.p_first or 0.0 for label in known)})

    def restore(self, learned: dict[str, float]) -> Teachable:
        copy = Teachable(self.num_known)
        copy.learned = dict(learned)
        return copy

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]


def test_a_labeler_learns_from_the_first_pairs_of_the_plan_and_only_once(tmp_path: Path) -> None:
    plan = numbered_pairs(5)
    people = People(labels=[Preference(comparison=pair, p_first=p) for pair, p in zip(plan, (0.0, 1.0), strict=False)])
    checked: list[int] = []
    taught: Any = prepare(Teachable(3), plan, people, tmp_path / "new", lambda: checked.append(1))
    assert taught.learned == {"known": 3.0, "sum": 1.0} and checked == [1]
    assert json.loads((tmp_path / "new" / LEARNED).read_text()) == taught.learned
    again: Any = prepare(Teachable(3), plan, People(), tmp_path / "new", lambda: checked.append(1))
    assert again.learned == taught.learned and checked == [1]
    without: Any = prepare(Teachable(9), plan, people, tmp_path / "other")
    assert without.learned["known"] == 5.0
    assert prepare(taught, plan, people, tmp_path / "none") is taught and not (tmp_path / "none").exists()


def test_a_labeler_depends_on_people_that_it_asks_or_learns_from() -> None:
    asks: dict[str, Any] = {"a": judge(ScriptedEngine()), "people": HumanLabeler()}
    assert depends_on_people(HumanLabeler()) and depends_on_people(PanelLabeler(asks))
    learns = PanelLabeler({"a": judge(ScriptedEngine())}, weights="learned")
    assert depends_on_people(learns) and not depends_on_people(learns.restore({"a": 1.0}))
    assert not depends_on_people(judge(ScriptedEngine()))
    assert not depends_on_people(PanelLabeler({"a": judge(ScriptedEngine())}))


class Silent:
    """A display that shows nothing."""

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        return lambda done, of: None


def sharded(directory: Path, team: Team, labeler: Any, **options: Any) -> ShardedLabeling:
    chosen: dict[str, Any] = {"answers": NO_CACHE, "prices": Prices(), "budget": Budget()}
    asking = AskingSettings(**(chosen | options)).begin(directory, batch_size=2, rank=team.rank)
    return ShardedLabeling(labeler, numbered_pairs(8), asking, People(), team)


def test_one_of_several_processes_tells_the_others_to_stop_and_one_alone_raises(tmp_path: Path) -> None:
    spent = Budget(max_tokens=1)
    together = sharded(tmp_path / "two", Team(tmp_path / "two", rank=1, size=2), judge(ScriptedEngine()), budget=spent)
    together.label(Silent())
    with pytest.raises(GateStopped, match=r"budget\.max_tokens=1: reached"):
        together.finished()
    alone = sharded(tmp_path / "one", Team(tmp_path / "one"), judge(ScriptedEngine()), budget=spent)
    with pytest.raises(GateStopped, match=r"budget\.max_tokens=1: reached"):
        alone.label(Silent())


def test_one_of_several_processes_heeds_that_another_has_stopped(tmp_path: Path) -> None:
    Team(tmp_path, rank=0, size=2).stop("too many are missing")
    engine = ScriptedEngine()
    second = sharded(tmp_path, Team(tmp_path, rank=1, size=2), judge(engine))
    second.label(Silent())
    assert engine.num_prompts == 0
    with pytest.raises(GateStopped, match=r"^too many are missing$"):
        second.finished()


def test_a_process_alone_forgets_that_an_earlier_start_was_stopped(tmp_path: Path) -> None:
    Team(tmp_path).stop("the budget was spent")
    labeling = sharded(tmp_path, Team(tmp_path), judge(ScriptedEngine()))
    labeling.label(Silent())
    assert [label.comparison for label in labeling.finished()] == numbered_pairs(8)


def test_a_labeler_of_shards_sees_the_whole_plan(tmp_path: Path) -> None:
    """Three responses of one prompt are ranked at once although a batch holds two pairs."""
    prompt, texts = numbered_pairs(1)[0].prompt, [Completion(text=text) for text in "abc"]
    plan = [Comparison(prompt=prompt, first=texts[a], second=texts[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    engine = ScriptedEngine({"": {"1 2 3": 0.6, "3 2 1": 0.4}})
    asking = AskingSettings(answers=NO_CACHE, prices=Prices(), budget=Budget()).begin(tmp_path, batch_size=2)
    labeling = ShardedLabeling(RankingLabeler(JudgePrompts(), engine), plan, asking, People(), Team(tmp_path))
    labeling.label(Silent())
    assert all(label.missing is None for label in labeling.finished())
    assert asking.ledger.total().num_questions == 2 * 2, "two orders in each of two batches, without a cache"


def test_finished_labels_are_written_with_their_counts_and_costs(tmp_path: Path) -> None:
    """Three rows of two pairs; the last has no answer, and each pair asks two questions."""

    told: list[tuple[Path, object]] = []
    writer: Any = SimpleNamespace(write=lambda table, provenance: told.append((table, provenance)))
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    first, second = numbered_pairs(2)
    engine = ScriptedEngine({"Human: 0": {"1": 0.6, "2": 0.4}})
    asking = AskingSettings(answers=NO_CACHE, prices=Prices(), budget=Budget(), max_missing_rate=0.5)
    labeling = ShardedLabeling(judge(engine), [first, first, second], asking.begin(work), People(), Team(work))
    labeling.label(Silent())
    write_labels(labeling, out, writer, {"seed": 1})
    assert told == [(out / LABELS, {"seed": 1})] and not work.exists()
    labels = read_labels(out)
    assert [label.comparison for label in labels] == [first, first, second]
    assert [label.p_first for label in labels] == [pytest.approx(0.5), pytest.approx(0.5), None]
    summary = json.loads((out / SUMMARY).read_text())
    reason = "no scripted answer matches this prompt"
    assert (summary["n"], summary["missing"]) == (3, {reason: 1})
    assert (summary["num_judged"], summary["num_judged_missing"]) == (2, 1)
    assert summary["labeler"] == labels[0].labeler and summary["source"] == "ai"
    costs = json.loads((out / COST).read_text())
    assert (costs["num_labels"], costs["num_questions"]) == (2, 4)
    assert labels_in_words(out) == "3 pairs by pairwise, 1 missing, 2 questions without an answer"
    check_missing(out, 0.5)
    with pytest.raises(GateStopped):
        check_missing(out, 0.49)


def test_a_process_finds_its_place_among_those_that_torchrun_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = team_of_processes(tmp_path)
    assert (alone.rank, alone.size, alone.directory) == (0, 1, tmp_path)
    for name, value in {"LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    among = team_of_processes(tmp_path)
    assert (among.rank, among.size) == (3, 4)
    assert [among.takes(batch) for batch in range(5)] == [False, False, False, True, False]
    assert Team(tmp_path, rank=int("500"), size=1000).takes(1500)


def test_a_method_that_cannot_be_called_is_found_without_calling_it() -> None:
    def never(*given: object) -> list[Preference]:
        raise AssertionError("called")

    pairs = numbered_pairs(2)
    bad = SimpleNamespace(name="bad", label=lambda first, second: never(), rate=lambda responses: never())
    assert [problem.partition(" (")[0] for problem in trial_problems(bad, pairs)] == [
        "labeler bad: label cannot be called with comparisons",
        "labeler bad: rate cannot be called with prompts and completions",
    ]
    assert "missing a required argument: 'second'" in trial_problems(bad, pairs)[0]
    good = SimpleNamespace(name="good", label=never, rate=lambda prompts, completions, extra=None: never())
    assert trial_problems(good, pairs) == []


def test_a_prompt_strategy_without_the_method_that_a_labeler_asks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "few_words-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: few-words\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[rlaif.prompts]\nfew_words = few_words:FewWords\n")
    (tmp_path / "few_words.py").write_text(
        "from rlaif.prompts.judge import JudgePrompts\n\nclass FewWords:\n    identity = 'few'\n"
        "    def pairwise(self, *given, **more):\n        return JudgePrompts().pairwise(*given, **more)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    prompt = importlib.import_module("few_words").FewWords()
    assert trial_problems(PairwiseLabeler(prompt, ScriptedEngine()), numbered_pairs(2)) == []
    (problem,) = trial_problems(ChainOfThoughtLabeler(prompt, ScriptedEngine()), numbered_pairs(2))
    assert problem.startswith("labeler.prompt: FewWords (few-words 1.0) cannot be asked by cot_pairwise: ")
    assert "no attribute 'rationale_request'" in problem

"""Questions to engines are paid once: keys, files, processes, failures, the ledger."""

from __future__ import annotations

import dataclasses
import math
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.engines.answer_cache import (
    AnswerCache,
    AnswerPlace,
    FolderAnswerCache,
    LocalAnswerCache,
    MemoryAnswerCache,
)
from rlaif.engines.answers import generate_key, pack, score_key, unpack
from rlaif.engines.base import Answer, Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger, Spending
from rlaif.errors import PluginError, StoreError
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labeling.wrapping import wrap_engines
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Prompt, Sampling, Segment, StructuredPrompt


def question(text: str) -> StructuredPrompt:
    return StructuredPrompt(segments=(Segment(text=text),))


class Asked:
    """An engine that remembers every text it was asked, call by call."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[list[str]] = []
        self.fails = fails
        self.identity = "asked"

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        return prompt.text.encode()

    def num_tokens(self, text: str) -> int:
        return len(text)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        self.calls.append([prompt.text for prompt in prompts])
        return [self._score(prompt.text, options) for prompt in prompts]

    def _score(self, text: str, options: Sequence[str]) -> OptionScores:
        if self.fails and self.fails in text:
            return OptionScores(logprobs=None, missing="server down")
        return OptionScores(logprobs=tuple(-len(text) / 3 - i for i, _ in enumerate(options)), num_prompt_tokens=7)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        self.calls.append([prompt.text for prompt in prompts])
        return [
            Generation(text=f"{prompt.text} {sampling.seed}", token_ids=(1, 2, 3), num_prompt_tokens=5)
            for prompt in prompts
        ]


class OneByOne(Asked):
    """Hands over each answer; ``dies_at`` ends the process's call there, as a kill would."""

    def __init__(self, dies_at: int = -1) -> None:
        super().__init__()
        self.on_answer = None
        self.dies_at = dies_at

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        answers = []
        for position, prompt in enumerate(prompts):
            if position == self.dies_at:
                raise KeyboardInterrupt
            answers += super().score([prompt], options)
            if self.on_answer is not None:
                self.on_answer(position, answers[-1])
        return answers


@pytest.fixture(params=["local", "network"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AnswerCache:
    opened = AnswerPlace(request.param, tmp_path).open()
    assert opened is not None
    return opened


@given(
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(codec=None)),
    st.lists(st.integers(0, 2**32 - 1)),
    st.booleans(),
)
def test_answers_come_back_bit_for_bit(
    logprobs: list[float], num_tokens: int, text: str, token_ids: list[int], finished: bool
) -> None:
    answers: list[Answer] = [
        OptionScores(
            logprobs=tuple(logprobs),
            bounded=tuple(range(len(logprobs))),
            num_prompt_tokens=num_tokens,
            num_counted_tokens=num_tokens,
        ),
        Generation(
            text=text,
            token_ids=tuple(token_ids),
            finished=finished,
            num_prompt_tokens=num_tokens,
            num_counted_tokens=num_tokens,
        ),
    ]
    for answer in answers:
        back = unpack(pack(answer))
        assert back == answer and repr(back) == repr(answer)
    assert len(pack(answers[0])) == 11 + 10 * len(logprobs)


def test_no_field_of_an_answer_is_forgotten() -> None:
    full: list[Answer] = [
        OptionScores(
            logprobs=(-1.0,), bounded=(0,), shares=True, num_prompt_tokens=3, num_counted_tokens=4, reasoning="b"
        ),
        Generation(text="a", token_ids=(1,), finished=False, num_prompt_tokens=2, num_counted_tokens=4, reasoning="b"),
    ]
    for answer in full:
        plain = type(answer)(logprobs=None) if isinstance(answer, OptionScores) else type(answer)()
        same = [f.name for f in dataclasses.fields(answer) if getattr(answer, f.name) == getattr(plain, f.name)]
        of_failures_and_bills = ["missing", "is_final", "billing"]  # no part of an answer that is kept
        assert same == of_failures_and_bills, "give the new field a value above, and pack it"
        assert unpack(pack(answer)) == answer


def test_every_part_of_a_question_counts_and_its_boundaries_too() -> None:
    keys = [
        score_key("e", b"prompt", ("1", "2")),
        score_key("f", b"prompt", ("1", "2")),
        score_key("e", b"prompu", ("1", "2")),
        score_key("e", b"prompt", ("2", "1")),
        score_key("e", b"prompt", ("12",)),
        score_key("ep", b"rompt", ("1", "2")),
        *(
            generate_key("e", b"prompt", sampling)
            for sampling in (
                Sampling(max_new_tokens=8),
                Sampling(max_new_tokens=9),
                Sampling(max_new_tokens=8, temperature=0.7),
                Sampling(max_new_tokens=8, top_k=40),
                Sampling(max_new_tokens=8, top_p=0.9),
                Sampling(max_new_tokens=8, stop=("\n",)),
                Sampling(max_new_tokens=8, stop=("\n", "")),
                Sampling(max_new_tokens=8, seed=1),
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert generate_key("e", b"p", Sampling(max_new_tokens=8, temperature=0)) == generate_key(
        "e", b"p", Sampling(max_new_tokens=8, temperature=0.0)
    )


def test_only_the_unknown_is_asked_once_in_one_call_and_in_order(cache: AnswerCache) -> None:
    engine = Asked()
    cached = CachedEngine(engine, cache)
    first = cached.score([question(text) for text in "bacab"], ("1", "2"))
    assert engine.calls == [["b", "a", "c"]]
    assert first == Asked().score([question(text) for text in "bacab"], ("1", "2"))
    second = cached.score([question(text) for text in "xcya"], ("1", "2"))
    assert engine.calls[1:] == [["x", "y"]]
    assert second[1] == first[2] and second[3] == first[1]
    assert cached.score([], ("1", "2")) == []
    cached.score([question("a")], ("1", "2", "3"))
    cached.generate([question("a")], Sampling(max_new_tokens=4))
    assert cached.generate([question("a")], Sampling(max_new_tokens=4, seed=9))[0].text == "a 9"
    assert len(engine.calls) == 5
    assert cached.generate([question("a")], Sampling(max_new_tokens=4))[0].token_ids == (1, 2, 3)
    assert len(engine.calls) == 5
    assert cached.identity == engine.identity


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([OptionScores(logprobs=(-0.5,))], "gave 1 log-probabilities for 2 options"),
        ([OptionScores(logprobs=(-0.5, math.nan))], "gave nan as log-probability, must be a number of at most 0"),
        ([OptionScores(logprobs=(0.9, 0.1))], "gave 0.9 as log-probability"),
        ([OptionScores(logprobs=("a", "b"))], "gave 'a' as log-probability"),  # type: ignore[arg-type]
        ([OptionScores(logprobs=None)], "must give either log-probabilities or the reason"),
        ([OptionScores(logprobs=None, missing="")], "must give either log-probabilities or the reason"),
        ([(-0.5, -1.0)], "answered with a tuple, must be OptionScores"),
        ([], "returned 0 for 1 prompts"),
        (None, "returned a NoneType for 1 prompts"),
    ],
)
def test_answers_that_would_be_read_wrong_are_refused_and_not_kept(
    cache: AnswerCache, answers: object, told: str
) -> None:
    engine = Asked()
    engine.score = lambda prompts, options: answers  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(PluginError, match=rf"engine Asked \(.*test_answer_cache\): {re.escape(told)}"):
        CachedEngine(engine, cache).score([question("a")], ("1", "2"))
    good = Asked()
    CachedEngine(good, cache).score([question("a")], ("1", "2"))
    assert good.calls == [["a"]]


def test_a_text_that_is_none_is_refused(cache: AnswerCache) -> None:
    engine = Asked()
    engine.generate = lambda prompts, sampling: [Generation(text=None)]  # type: ignore[arg-type,assignment,method-assign]
    with pytest.raises(PluginError, match="wrote a NoneType, must be text; `rlaif-plugins check labeler/engine="):
        CachedEngine(engine, cache).generate([question("a")], Sampling(max_new_tokens=3))


@pytest.mark.parametrize(
    ("rendered", "said"),
    [
        (lambda prompt: prompt.text, "rendered a prompt as a str, must be bytes"),
        (lambda prompt: b"", "rendered 3 prompts alike, and they would share one answer"),
    ],
)
def test_what_an_engine_renders_tells_prompts_apart(rendered: Any, said: str) -> None:
    engine = Asked()
    engine.rendered = rendered  # type: ignore[method-assign]
    with pytest.raises(PluginError, match=rf"engine Asked .*: {said}"):
        CachedEngine(engine).score([question(text) for text in "abc"], ("1",))
    assert engine.calls == []


def test_a_failure_is_never_an_answer(cache: AnswerCache) -> None:
    down, up = Asked(fails="b"), Asked()
    answers = CachedEngine(down, cache).score([question(text) for text in "abc"], ("1",))
    assert [answer.missing for answer in answers] == [None, "server down", None]
    again = CachedEngine(up, cache).score([question(text) for text in "abc"], ("1",))
    assert up.calls == [["b"]] and all(answer.missing is None for answer in again)


def test_without_a_cache_equal_questions_of_one_call_are_still_asked_once() -> None:
    engine = Asked()
    cached = CachedEngine(engine)
    assert len(cached.score([question("a"), question("a")], ("1",))) == 2
    cached.score([question("a")], ("1",))
    assert engine.calls == [["a"], ["a"]]


def test_answers_that_arrive_one_by_one_are_kept_when_the_call_dies(cache: AnswerCache) -> None:
    dying, ledger = OneByOne(dies_at=3), Ledger()
    with pytest.raises(KeyboardInterrupt):
        CachedEngine(dying, cache, ledger=ledger).score([question(text) for text in "abcdef"], ("1",))
    assert dying.on_answer is None
    assert ledger.total().num_questions == 3 and ledger.total().num_prompt_tokens == 21
    engine = OneByOne()
    answers = CachedEngine(engine, cache, ledger=ledger).score([question(text) for text in "abcdef"], ("1",))
    assert engine.calls == [["d"], ["e"], ["f"]]
    assert answers == Asked().score([question(text) for text in "abcdef"], ("1",))
    assert ledger.total().num_questions == 6
    assert ledger.total().num_cached == 0, "what this run paid for is not known from before"


class Slow(OneByOne):
    """Answers each prompt with itself, after the calls of all threads had time to begin."""

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        time.sleep(0.01)
        return super().score(prompts, options)


def test_calls_from_several_threads_keep_each_its_own_answer() -> None:
    """As a labeler of a package that asks pair by pair from a pool of threads."""
    texts = ["a" * number for number in range(1, 9)]
    cache, ledger = MemoryAnswerCache(), Ledger()
    cached = CachedEngine(Slow(), cache, ledger=ledger)
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: cached.score([question(text)], ("1",))[0], texts))
    kept = CachedEngine(Asked(fails="a"), cache).score([question(text) for text in texts], ("1",))
    assert answers == kept == Asked().score([question(text) for text in texts], ("1",))
    assert ledger.total().num_questions == len(texts)


def test_the_ledger_tells_paid_from_known(tmp_path: Path) -> None:
    cache = LocalAnswerCache(tmp_path / "a.sqlite")
    earlier = CachedEngine(Asked(), cache)
    earlier.score([question("a")], ("1", "2"))
    earlier.generate([question("b")], Sampling(max_new_tokens=4))
    ledger = Ledger(tmp_path / "spent")
    cached = CachedEngine(Asked(fails="z"), cache, ledger=ledger)
    cached.score([question("a"), question("b"), question("a"), question("z")], ("1", "2"))
    cached.generate([question("b"), question("c")], Sampling(max_new_tokens=4))
    spent = ledger.total()
    assert spent.seconds > 0
    assert spent == Spending(
        num_questions=3,
        num_prompt_tokens=7 + 5,
        num_reply_tokens=1 + 3,
        num_cached=2,
        num_cached_prompt_tokens=7 + 5,
        num_cached_reply_tokens=1 + 3,
        seconds=spent.seconds,
    )
    assert Ledger(tmp_path / "spent").total() == spent
    for _ in range(2):
        cached.score([question("a"), question("b")], ("1", "2"))
        cached.generate([question("b"), question("c")], Sampling(max_new_tokens=4))
    assert ledger.total() == spent, "what was counted is not counted again"


def test_a_killed_run_counts_every_question_once(cache: AnswerCache, tmp_path: Path) -> None:
    """Half of a batch is paid, then the process dies; the next start finds that half in the cache."""
    questions, spent, counted = [question(text) for text in "abcdef"], tmp_path / "spent", tmp_path / "counted"
    CachedEngine(Asked(), cache).score(questions[:1], ("1",))  # an earlier run
    for dies_at in (3, 1, -1):
        ledger = Ledger(spent, counted=LocalAnswerCache(counted))
        asked = CachedEngine(OneByOne(dies_at=dies_at), cache, ledger=ledger)
        with nullcontext() if dies_at < 0 else pytest.raises(KeyboardInterrupt):
            asked.score(questions, ("1",))
    total = Ledger(spent).total()
    assert (total.num_questions, total.num_prompt_tokens) == (5, 5 * 7)
    assert (total.num_cached, total.num_cached_prompt_tokens) == (1, 7)


def test_the_ledger_survives_a_torn_line_and_adds_other_processes(tmp_path: Path) -> None:
    Ledger(tmp_path).add(Spending(num_questions=2, num_prompt_tokens=10, seconds=1.0))
    with (tmp_path / "spent-0.jsonl").open("ab") as file:
        file.write(b'{"num_questions": 3')
    mine = Ledger(tmp_path)
    assert mine.total().num_questions == 2
    mine.add(Spending(num_questions=5, seconds=0.5))
    other = Ledger(tmp_path, rank=1)
    assert other.total().num_questions == 7
    other.add(Spending(num_questions=1, seconds=4.0))
    assert mine.total().num_questions == 8 and mine.total().seconds == 5.5
    assert mine.longest_s() == 4.0
    assert (tmp_path / "spent-0.jsonl").read_text().count("\n") == 2


COMPARISONS = [
    Comparison(
        prompt=Prompt(task="dialogue", text="\n\nHuman: Say a number.\n\nAssistant:"),
        first=Completion(text=str(number)),
        second=Completion(text=f"not {number}"),
    )
    for number in range(5)
]


def ask(cache: AnswerCache, engine: Asked, prompts: JudgePrompts, **options: object) -> None:
    wrap_engines(PairwiseLabeler(prompts, engine, **options), cache=cache).label(COMPARISONS)  # type: ignore[arg-type]


def test_a_changed_template_byte_is_asked_again_and_another_debias_is_free(cache: AnswerCache) -> None:
    engine = Asked()
    ask(cache, engine, JudgePrompts())
    assert [len(call) for call in engine.calls] == [10]
    ask(cache, engine, JudgePrompts(), debias="logit")
    assert len(engine.calls) == 1

    class OneByteMore(JudgePrompts):
        def pairwise(self, *arguments: object, **more: object) -> StructuredPrompt:
            prompt = super().pairwise(*arguments, **more)  # type: ignore[arg-type]
            return StructuredPrompt(segments=(Segment(text="."), *prompt.segments))

    ask(cache, engine, OneByteMore())
    assert [len(call) for call in engine.calls] == [10, 10]


def test_wrapping_keeps_identities_and_finds_the_members_of_panels() -> None:
    class Panel:
        members = ("labelers",)

        def __init__(self, *labelers: object) -> None:
            self.labelers = labelers

    engine, prompts = ScriptedEngine(), JudgePrompts()
    members = [PairwiseLabeler(prompts, engine) for _ in range(3)]
    before = members[0].identity
    wrap_engines(Panel(members[0], Panel(members[1])))
    assert members[0].identity == before
    assert members[0].engine is members[1].engine and isinstance(members[0].engine, CachedEngine)
    wrap_engines(members[0], cache=LocalAnswerCache(Path("unused")))
    assert members[0].engine is members[1].engine
    assert members[2].engine is engine


@pytest.mark.parametrize("place", ["local", "network"])
def test_a_file_that_is_no_database_says_what_to_do(place: str, tmp_path: Path) -> None:
    path = tmp_path / {"local": "answers.sqlite", "network": "answers/x.sqlite"}[place]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"not a database" * 100)
    opened = AnswerPlace(place, tmp_path).open()  # type: ignore[arg-type]
    assert opened is not None
    with pytest.raises(StoreError, match=rf"{path.name}: the label cache cannot be used .*label.cache=none"):
        opened.get([b"k"])


def test_bytes_that_are_no_answer_say_what_to_do(tmp_path: Path) -> None:
    cache = LocalAnswerCache(tmp_path / "a.sqlite")
    cached = CachedEngine(Asked(), cache)
    cached.score([question("a")], ("1",))
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute("UPDATE answers SET answer = x'02ff'")
    with pytest.raises(StoreError, match="delete the answer cache"):
        cached.score([question("a")], ("1",))


PROGRAM = """
import sys
import time
from pathlib import Path
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.cached import CachedEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.types import Segment, StructuredPrompt
cached = CachedEngine(ScriptedEngine(), AnswerPlace({place!r}, Path({store!r})).open())
for start in range(int(sys.argv[1]), int(sys.argv[2]), 4):
    prompts = [StructuredPrompt(segments=(Segment(text=str(number)),)) for number in range(start, start + 4)]
    cached.score(prompts, ("1", "2"))
"""


@pytest.mark.parametrize("place", ["local", "network"])
def test_processes_write_one_cache_at_once(place: str, tmp_path: Path) -> None:
    program = PROGRAM.format(folder=str(Path(__file__).parent), place=place, store=str(tmp_path))
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(start), str(start + 240)]) for start in (0, 0, 120)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    engine = ScriptedEngine()
    opened = AnswerPlace(place, tmp_path).open()  # type: ignore[arg-type]
    answers = CachedEngine(engine, opened).score([question(str(number)) for number in range(360)], ("1", "2"))
    assert engine.num_prompts == 0
    assert {answer.logprobs for answer in answers} == {(math.log(0.998), math.log(0.001))}
    most = {"local": 1, "network": 3}[place]  # a process that starts late finds all answers and writes none
    assert 1 <= len(list(tmp_path.rglob("*.sqlite"))) <= most


def test_a_network_cache_does_not_share_a_file_and_leaves_none_empty(tmp_path: Path) -> None:
    early, late = FolderAnswerCache(tmp_path), FolderAnswerCache(tmp_path)
    assert early.get([b"a"]) == late.get([b"a"]) == {}
    assert list(tmp_path.iterdir()) == []
    early.put({b"a": b"1"})
    late.put({b"a": b"2", b"b": b"3"})
    assert len(list(tmp_path.glob("*.sqlite"))) == 2
    assert early.get([b"a", b"b"]) == {b"a": b"1"}
    assert FolderAnswerCache(tmp_path).get([b"b"]) == {b"b": b"3"}
    assert len({FolderAnswerCache(tmp_path).get([b"a"])[b"a"] for _ in range(3)}) == 1


KILLED_IN_A_COMMIT = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")  # pages go to the file before the commit, the old ones to the journal
connection.executemany("INSERT INTO answers VALUES (?, ?)", [(bytes([n]) * 20, b"half" * 500) for n in range(100)])
os._exit(9)
"""


def test_a_network_cache_reads_what_a_process_had_kept_that_was_killed_in_a_commit(tmp_path: Path) -> None:
    key, value = b"k" * 20, pack(Generation(text="kept"))
    FolderAnswerCache(tmp_path).put({key: value})
    (file,) = tmp_path.glob("*.sqlite")
    subprocess.run([sys.executable, "-c", KILLED_IN_A_COMMIT, str(file)], check=False)
    assert file.with_name(f"{file.name}-journal").stat().st_size > 0, "the kill left a journal to roll back"

    assert FolderAnswerCache(tmp_path).get([key, bytes([1]) * 20]) == {key: value}


def test_the_engines_keep_their_protocol() -> None:
    engine: Engine = CachedEngine(ScriptedEngine())
    assert engine.num_tokens("two words") == 2
    assert engine.rendered(question("a")) == b"a"

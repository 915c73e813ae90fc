"""A labeler declares the models it asks: what it declares is cached and counted, what it hides is refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from rlaif.engines.base import Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger
from rlaif.errors import PluginError
from rlaif.labelers.convert import AgainstReference
from rlaif.labelers.models import check_declared, engines_of, holds_engine, replace_engines
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.labeling.wrapping import wrap_engines
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.conformance import check_labeler
from rlaif.types import Comparison, Completion, Preference, Prompt

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=f"\n\nHuman: {number}?\n\nAssistant:"),
        first=Completion(text="yes"),
        second=Completion(text="no"),
    )
    for number in range(3)
]


class Hidden:
    """A plugin that keeps its model as ``llm``."""

    name, source, identity = "hidden", "ai", "hidden"
    prompt = engine = None

    def __init__(self, llm: object) -> None:
        self.llm = llm

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        model: Any = self.llm
        return PairwiseLabeler(JudgePrompts(), model).label(comparisons)


class Declared(Hidden):
    engines = ("llm",)


class Inner(Hidden):
    """Keeps a whole labeler."""

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        inner: Any = self.llm
        return inner.label(comparisons)


class Member(Inner):
    members = ("llm",)


def judge(engine: Engine) -> PairwiseLabeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def test_a_declared_model_is_cached_and_counted() -> None:
    ledger, engine = Ledger(), ScriptedEngine()
    labeler = wrap_engines(Declared(engine), ledger=ledger)
    labeler.label(PAIRS)
    assert isinstance(labeler.llm, CachedEngine) and ledger.total().num_questions == 2 * len(PAIRS)
    assert engines_of(wrap_engines(labeler)) == [labeler.llm]


def test_a_declared_member_is_wrapped_in_its_place() -> None:
    inner = judge(ScriptedEngine())
    wrap_engines(Member(inner))
    assert isinstance(inner.engine, CachedEngine)


@pytest.mark.parametrize(
    ("labeler", "said"),
    [
        (Hidden(ScriptedEngine()), r"labeler hidden: keeps a model in the attribute llm .* add engines = \('llm',\)"),
        (Inner(judge(ScriptedEngine())), r"attribute llm .* add members = \('llm',\) to the class Inner"),
        (Inner([judge(ScriptedEngine())]), r"add members = \('llm',\)"),
        (Hidden({"deep": [partial(print, ScriptedEngine())]}), "too deep to be declared"),
        (Hidden(ScriptedEngine().score), "too deep to be declared"),
        (Member(Hidden(ScriptedEngine())), r"attribute llm .* add engines = \('llm',\) to the class Hidden"),
        (PanelLabeler({"a": Hidden(ScriptedEngine())}), "labeler hidden: keeps a model"),
        (AgainstReference(Hidden(ScriptedEngine()), {}), "labeler hidden: keeps a model"),
    ],
)
def test_a_hidden_model_is_refused_and_what_to_declare_is_said(labeler: Any, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        wrap_engines(labeler)


def test_a_copy_of_a_declared_model_elsewhere_is_hidden_too() -> None:
    """The declared one would be exchanged, the other would still be asked."""

    class Both(Declared):
        def __init__(self, llm: object) -> None:
            super().__init__(llm)
            self.again = [llm]

    with pytest.raises(PluginError, match="attribute again"):
        wrap_engines(Both(ScriptedEngine()))


@pytest.mark.parametrize(
    ("declaration", "said"),
    [("llm", "must be a tuple of names"), (("lm",), "it has no attribute lm"), (("name",), "which is no engine")],
)
def test_a_wrong_declaration_is_refused(declaration: object, said: str) -> None:
    labeler: Any = Hidden(None)
    labeler.engines = declaration
    with pytest.raises(PluginError, match=said):
        check_declared(labeler)


def test_a_model_that_cannot_be_exchanged_is_refused() -> None:
    class ReadOnly(Hidden):
        @property
        def engine(self) -> ScriptedEngine:  # type: ignore[override]
            return ScriptedEngine()

    with pytest.raises(PluginError, match="engine cannot be set"):
        wrap_engines(ReadOnly(None))


@dataclass(frozen=True)
class Frozen:
    engine: object
    name: str = "frozen"


def test_a_frozen_data_class_keeps_its_engine_wrapped() -> None:
    labeler = wrap_engines(Frozen(ScriptedEngine()))
    assert isinstance(labeler.engine, CachedEngine)


def test_what_holds_no_engine_is_found_to_hold_none() -> None:
    class Closed:
        def __reduce__(self) -> str:
            raise RuntimeError("not for you")

    circle: list[object] = [threading.Lock(), Closed(), lambda: None, ScriptedEngine, JudgePrompts()]
    circle.append(circle)
    assert not holds_engine(circle)
    assert holds_engine([*circle, ScriptedEngine()])


def test_a_labeler_that_does_not_show_what_it_keeps_has_its_declared_models_asked() -> None:
    class Shy(Declared):
        def __getstate__(self) -> object:
            raise RuntimeError("not for you")

    labeler = wrap_engines(Shy(ScriptedEngine()))
    assert isinstance(labeler.llm, CachedEngine)


class Slots:
    """Keeps its attributes in slots: its state is a pair, of which the second is by name."""

    __slots__ = ("engine", "llm")
    name = "slots"

    def __init__(self, engine: object, llm: object) -> None:
        self.engine, self.llm = engine, llm


def test_a_model_in_a_slot_is_seen() -> None:
    assert isinstance(wrap_engines(Slots(ScriptedEngine(), None)).engine, CachedEngine)
    with pytest.raises(PluginError, match=r"attribute llm .* add engines = \('engine', 'llm'\) to the class Slots"):
        wrap_engines(Slots(ScriptedEngine(), ScriptedEngine()))


def test_what_is_to_be_declared_stands_beside_what_is() -> None:
    class Two(Hidden):
        engines = ("llm", "spare")
        members = ("inner",)

        def __init__(self, **more: object) -> None:
            super().__init__(ScriptedEngine())
            self.spare = None
            self.inner: object = None
            for name, value in more.items():
                setattr(self, name, value)

    attributes: list[tuple[dict[str, Any], str]] = [
        ({"other": ScriptedEngine()}, r"add engines = \('llm', 'other'\) to the class Two$"),
        ({"other": judge(ScriptedEngine())}, r"add members = \('other',\) to the class Two$"),
        ({"inner": judge(ScriptedEngine()), "other": [judge(ScriptedEngine())]}, r"members = \('inner', 'other'\)"),
    ]
    for more, said in attributes:
        with pytest.raises(PluginError, match=said):
            wrap_engines(Two(**more))
    assert len(engines_of(Two())) == 1 and len(engines_of(Two(inner=judge(ScriptedEngine())))) == 2


def test_members_are_found_in_every_kind_of_collection_and_asked_once_each() -> None:
    engine, other = ScriptedEngine(), ScriptedEngine()
    for members in (judge(engine), [judge(engine), None], (judge(engine),), {"a": judge(engine), "b": None}):
        assert engines_of(Member(members)) == [engine]
    shared = Member([judge(engine), judge(engine), Member(judge(other))])
    assert engines_of(shared) == [engine, other]
    made: list[Engine] = []

    def replacement(old: Engine) -> Engine:
        made.append(old)
        return CachedEngine(old)

    kept: Any = replace_engines(shared, replacement).llm
    first, second, third = kept
    assert made == [engine, other] and first.engine is second.engine is not third.llm.engine


def test_the_contract_names_a_hidden_model() -> None:
    failed = {result.name: result.detail for result in check_labeler(Hidden(ScriptedEngine())) if not result.passed}
    assert "add engines = ('llm',)" in failed["declares its models"]
    passed = {result.name for result in check_labeler(Declared(ScriptedEngine())) if result.passed}
    assert "declares its models" in passed


def test_another_seed_is_another_labeler_of_the_same_model() -> None:
    labeler = SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), seed=3)
    again = labeler.with_seed(4)
    assert (labeler.seed, again.seed) == (3, 4) and again.engine is labeler.engine
    assert again.identity == SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), seed=4).identity

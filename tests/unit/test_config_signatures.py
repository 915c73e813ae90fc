"""Signatures read with ast, against ``inspect`` on the imported classes."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rlaif.bounds import check_bounds
from rlaif.config.values import value_problems
from rlaif.errors import ConfigError
from rlaif.ranges import AtLeastOne, Share
from rlaif.signatures import NOT_LITERAL, SignatureError, read_signature


@pytest.mark.parametrize(
    "target",
    [
        "lightning.Trainer",
        "lightning.pytorch.loggers.CSVLogger",
        "torch.optim.AdamW",
        "torch.optim.Adafactor",
        "rlaif.models.load.ModelSpec",
        "rlaif.prompts.judge.JudgePrompts",
    ],
)
def test_parameters_and_defaults_are_those_of_inspect(target: str) -> None:
    module, _, name = target.rpartition(".")
    real = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    read = read_signature(target)
    named = [p for p in real.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert list(read.parameters) == [parameter.name for parameter in named]
    for parameter in named:
        ours = read.parameters[parameter.name]
        assert ours.required == (parameter.default is parameter.empty)
        if not ours.required and ours.default is not NOT_LITERAL:
            assert ours.default == parameter.default


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"signature_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            import dataclasses
            from dataclasses import dataclass, field
            from typing import ClassVar, Literal, Optional, Union
            raise RuntimeError("reading must not import")
            Mode = Literal["a", "b"]
            class Engine: ...
            class Base:
                def __init__(self, size: int, *, rate: float = 0.5, mode: Mode = "a", on: bool = False,
                             name: Optional[str] = None, engine: Engine | None = None, names: tuple[str, ...] = (),
                             weight: Union[float, Engine] = 1.0, other=None): ...
            class Child(Base): ...
            @dataclass(frozen=True)
            class Record:
                kind: ClassVar[str] = "x"
                size: int
                parts: list[int] = field(default_factory=list)
                hidden: int = field(default=0, init=False)
            @dataclasses.dataclass
            class Longer(Record):
                rate: float = 1.0
            class Free:
                def __init__(self, **kwargs): ...
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("size", [1], ["1", 1.5, True, None]),
        ("rate", [1, 0.5], ["x", True, None]),
        ("mode", ["a", "b"], ["c", None, 1]),
        ("on", [True], [1, "yes"]),
        ("name", ["x", None], [3]),
        ("engine", [{"_target_": "x"}, None], ["transformers", 3]),
        ("names", [["a"]], ["a", None]),
        ("weight", [1.0, {"_target_": "x"}], ["x", None]),
        ("other", [1, "x", None, {}], []),
    ],
)
def test_kinds(module: str, name: str, good: list[object], bad: list[object]) -> None:
    kind = read_signature(f"{module}.Child").parameters[name].kind
    assert [kind.accepts(value) for value in good] == [True] * len(good)
    assert [kind.accepts(value) for value in bad] == [False] * len(bad)


def test_dataclass_fields_and_inheritance(module: str) -> None:
    assert list(read_signature(f"{module}.Record").parameters) == ["size", "parts"]
    assert list(read_signature(f"{module}.Longer").parameters) == ["size", "parts", "rate"]
    assert read_signature(f"{module}.Free").accepts_any


@pytest.mark.parametrize("target", ["nowhere.Thing", "rlaif.nowhere.Thing", "rlaif.tasks.base.Thing", "rlaif.a.b.C"])
def test_what_does_not_exist_is_named(target: str) -> None:
    with pytest.raises(SignatureError, match=target):
        read_signature(target)


@pytest.fixture
def annotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"annotated_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from typing import Annotated
            from rlaif.ranges import AtLeastOne, Bounds, OpenShare, Share
            from rlaif.runtime import Runtime
            raise RuntimeError("reading must not import")
            Limit = Runtime[float]
            MinAlignment = Annotated[float, Bounds(0, 1, exclusive_lowest=True, words="must be above 0, or null")]
            class Labels:
                def __init__(self, *, batch_size: AtLeastOne = 64, share: Share | None = None, near: OpenShare = 0.5,
                             least: MinAlignment | None = None, pairs: Annotated[int, Bounds(2)] = 2,
                             url: Runtime[str] = "x", limit: Limit | None = None, size: Runtime[AtLeastOne] = 1): ...
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}.Labels"


def test_runtime_parameters_are_marked(annotated: str) -> None:
    parameters = read_signature(annotated).parameters
    assert {name for name, parameter in parameters.items() if parameter.runtime} == {"url", "limit", "size"}
    assert parameters["url"].kind.accepts("y") and not parameters["url"].kind.accepts(1)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "words"),
    [
        ("batch_size", 1, 0, "must be at least 1"),
        ("share", 1, 1.5, "must be between 0 and 1"),
        ("near", 0.5, 1.0, "must be above 0 and below 1"),
        ("least", 1.0, 0, "must be above 0, or null"),
        ("pairs", 2, 1, "must be at least 2"),
        ("size", 3, 0, "must be at least 1"),
    ],
)
def test_bounds_are_read_through_aliases(annotated: str, name: str, inside: float, outside: float, words: str) -> None:
    kind = read_signature(annotated).parameters[name].kind
    assert not kind.is_out_of_bounds(inside) and not kind.is_out_of_bounds(None)
    assert kind.is_out_of_bounds(outside)
    assert str(kind.bounds) == words


def test_numbers_out_of_bounds_are_told_before_anything_is_imported(annotated: str) -> None:
    cfg = OmegaConf.create({"label": {"_target_": annotated, "batch_size": 0, "share": 2, "near": 0.1}})
    assert value_problems(cfg) == [
        "label.batch_size=0: must be at least 1",
        "label.share=2: must be between 0 and 1, or null",
    ]


class Bounded:
    """What a stage does with its declared bounds."""

    def __init__(self, *, size: AtLeastOne = 1, share: Share | None = None) -> None:
        self.size = size
        self.share = share
        check_bounds(self, "label")


def test_construction_enforces_the_same_bounds() -> None:
    Bounded(size=1, share=None)
    with pytest.raises(ConfigError) as caught:
        Bounded(size=0, share=1.5)
    assert caught.value.problems == ["label.size=0: must be at least 1", "label.share=1.5: must be between 0 and 1"]

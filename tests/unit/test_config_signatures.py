"""Signatures read with ast, against ``inspect`` on the imported classes."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest

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

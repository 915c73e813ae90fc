"""Labels of further sources beside a run's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlaif.config.check import check
from rlaif.data.label_sets.mixing import MixFile, MixSettings
from rlaif.errors import ConfigError, DataError
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Input
from rlaif.stages import labeled
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Preference, Prompt


def turns(*words: str) -> str:
    return "".join(f"\n\nHuman: {word}\n\nAssistant: Yes." for word in words).removesuffix(" Yes.")


def votes(path: Path, *prompts: str) -> Path:
    rows = [{"prompt": prompt, "first": "Yes.", "second": "No.", "p_first": 1, "weight": 0.5} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def people(path: Path) -> str:
    """An entry of a mix as typed."""
    return f"{{people: {{path: {path}, source: human}}}}"


def own(prompt: str, p_first: float | None) -> Preference:
    comparison = Comparison(
        prompt=Prompt(task="dialogue", text=turns(prompt)), first=Completion(text="Yes."), second=Completion(text="No.")
    )
    return Preference(comparison=comparison, p_first=p_first, missing="gone" if p_first is None else None, source="ai")


OWN = [own("Hi", 0.75), own("Why?", None)]


def mixed(
    weight: float = 1.0, eval_prompts: tuple[str, ...] = (), **files: Any
) -> tuple[list[Preference], dict[str, object]]:
    """What a reward model learns from, and its account by source."""
    prompts = [Prompt(task="dialogue", text=text) for text in eval_prompts]
    found = MixSettings(files or None, weight=weight).mixed(OWN, Dialogue(), prompts)
    return found.labels, found.account()


def test_without_a_mix_the_labels_are_as_they_are() -> None:
    assert mixed() == (OWN, {})
    assert MixSettings().changes_nothing and MixSettings().identity == ""


def test_both_sources_count_by_their_weights(tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", turns("Hi"), "Bye")
    labels, sources = mixed(2.0, people={"path": str(path), "source": "human", "weight": 3})
    assert [(item.source, item.p_first, item.weight) for item in labels] == [
        ("ai", 0.75, 2.0),
        ("ai", None, 2.0),
        ("human", 1.0, 1.5),
        ("human", 1.0, 1.5),
    ]
    assert labels[3].comparison.prompt.text == turns("Bye")
    assert sources == {
        "labels": {"ai": 1, "human": 2},
        "weight": {"ai": 2.0, "human": 3.0},
        "held_out": 0,
        "repeated": 0,
    }


def test_several_files_in_another_encoding(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_bytes(f"prompt,first,second,p_first\n{name}é?,x,y,1\n".encode("cp1252"))
    paths = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    labels, _ = mixed(1.0, people={"path": paths, "source": "human", "encoding": "cp1252"})
    assert [item.comparison.prompt.text for item in labels[2:]] == [turns("aé?"), turns("bé?")]


def test_held_out_prompts_are_left_out_however_long_they_are(tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", turns("One"), turns("One", "Two"), turns("Zero", "Three"), turns("Four"))
    # The evaluation has "One", and a conversation that was cut to its last turn, "Three".
    people = {"path": str(path), "source": "human"}
    labels, sources = mixed(eval_prompts=(turns("One "), turns("Three\r\n")), people=people)
    assert [item.comparison.prompt.text for item in labels if item.source == "human"] == [turns("Four")]
    assert sources["held_out"] == 3


LEARNERS = pytest.mark.parametrize(
    ("step", "overrides"),
    [("reward_model", ()), ("preference", ("policy=dpo", "policy.batch_size=2"))],
    ids=["reward model", "dpo"],
)
"""Steps that learn from labels, and what to type for them."""


@LEARNERS
def test_held_out_prompts_are_read_only_where_files_are_mixed(
    make_plan: Callable[..., Plan], tmp_path: Path, step: str, overrides: tuple[str, ...]
) -> None:
    path = votes(tmp_path / "votes.jsonl", "Q")
    plain, with_files = (make_plan(*overrides, *mix) for mix in ((), (f"label.mix={people(path)}",)))
    assert not {"held_out", "held_out_pairs"} & set(plain.step(step).inputs)
    assert {"held_out", "held_out_pairs"} <= set(with_files.step(step).inputs)


@LEARNERS
def test_every_learner_takes_the_labels_of_the_files_with_their_weights(
    make_plan: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    overrides: tuple[str, ...],
) -> None:
    monkeypatch.setattr(labeled, "read_labels", lambda path: OWN)
    path = votes(tmp_path / "votes.jsonl", turns("Hi"))
    plan = make_plan(*overrides, f"label.mix={people(path)}", "label.weight=3")
    found, work = plan.step(step), plan.work(plan.step(step))
    votes(path, turns("Hi"), *(prompt.text for prompt in work.data("tuning").tuning_prompts))
    bound = {**work.inputs, "labels": (Input(step="labels", stage="labels", path=tmp_path),)}
    assert isinstance(found.stage, labeled.LabeledStage)
    learned = found.stage.labels(replace(work, inputs=bound, directory=tmp_path))
    assert [(item.source, item.weight) for item in learned] == [("ai", 3.0), ("ai", 3.0), ("human", 0.5)]
    assert labeled.sources_told(tmp_path) == ", labels: 1 ai, 1 human"


@LEARNERS
def test_a_batch_that_only_the_files_can_fill_is_no_problem(
    find_problems: Callable[..., list[str]], tmp_path: Path, step: str, overrides: tuple[str, ...]
) -> None:
    group = {"reward_model": "reward_model", "preference": "policy"}[step]
    large = (*overrides[:1], f"{group}.batch_size=64")
    assert find_problems(*large)[0].startswith(f"{group}.batch_size=64: there are only 16 pairs to label")
    path = votes(tmp_path / "votes.jsonl", "Q")
    assert find_problems(*large, f"label.mix={people(path)}") == []


def test_the_identity_is_that_of_content_and_options(tmp_path: Path) -> None:
    path, copy = votes(tmp_path / "a.jsonl", "Q"), votes(tmp_path / "b.jsonl", "Q")
    first = MixFile("people", path=str(path), source="human").identity
    people = {"path": str(path), "source": "human"}
    assert MixSettings({"people": people}).identity == MixSettings({"people": people | {"path": str(copy)}}).identity
    assert MixSettings({"people": people}).identity != MixSettings({"people": people}, weight=2).identity
    assert first == MixFile("others", path=str(copy), source="human").identity
    assert first != MixFile("people", path=str(path), source="human", weight=2).identity
    assert first != MixFile("people", path=str(votes(path, "R")), source="human").identity


def test_every_wrong_entry_is_named() -> None:
    wrong = {
        "a": {"paht": "x", "source": "human"},
        "b": 3,
        "c": {"path": "x", "source": "human", "weight": -2},
        "d": {"path": "x", "source": "human", "format": "trl"},
    }
    with pytest.raises(ConfigError) as caught:
        MixSettings(wrong, weight=-1.0)  # type: ignore[arg-type]
    problems = [problem.partition("; there are auto")[0] for problem in caught.value.problems]
    assert problems == [
        "label.mix.a.paht: there is no such key; did you mean path?",
        "label.mix.a.path: needs a value",
        "label.mix.b=3: must be a dictionary with path, source",
        "label.mix.c.weight=-2: must be a finite number from 0",
        "label.mix.d.format=trl: no layout has this name",
        "label.weight=-1: must be a finite number from 0",
    ]


@LEARNERS
def test_a_file_that_cannot_be_read_is_told_before_anything_is_trained(
    find_problems: Callable[..., list[str]], tmp_path: Path, step: str, overrides: tuple[str, ...]
) -> None:
    cut, empty = votes(tmp_path / "cut.jsonl", *map(str, range(300))), tmp_path / "empty.jsonl"
    cut.write_text(f"{cut.read_text()}{{broken}}\n")
    empty.write_text(json.dumps({"prompt": "Q", "first": "Same.", "second": "Same.", "p_first": 1}) + "\n")
    for path, told in ((cut, ", line 301: is not JSON"), (empty, ": not one of 1 rows can be used")):
        (found,) = find_problems(*overrides, f"label.mix={{people: {{path: {path}, source: human, format: table}}}}")
        assert found.startswith(f"label.mix.people.path={path}{told}")
    with pytest.raises(DataError, match=r"label\.mix\.people\.path=absent\.csv: there is no such file"):
        find_problems(*overrides, f"label.mix={people(Path('absent.csv'))}")


def test_the_command_line_takes_a_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(["label.mix={people: {path: votes.csv, source: human, weight: 2}}", "label.weight=0.5"]) == []

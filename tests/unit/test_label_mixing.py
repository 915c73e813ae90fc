"""Labels of further sources beside a run's own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from rlaif.config.check import check
from rlaif.data.base import TaskData
from rlaif.data.label_sets.mixing import MixFile
from rlaif.data.preferences_io import write_preferences
from rlaif.errors import ConfigError, DataError
from rlaif.stages.mixing import check_mix, mix_options, training_labels
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Preference, Prompt


def turns(*words: str) -> str:
    return "".join(f"\n\nHuman: {word}\n\nAssistant: Yes." for word in words).removesuffix(" Yes.")


def votes(path: Path, *prompts: str) -> Path:
    rows = [{"prompt": prompt, "first": "Yes.", "second": "No.", "p_first": 1, "weight": 0.5} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own(prompt: str, p_first: float | None) -> Preference:
    comparison = Comparison(
        prompt=Prompt(task="dialogue", text=turns(prompt)), first=Completion(text="Yes."), second=Completion(text="No.")
    )
    return Preference(comparison=comparison, p_first=p_first, missing="gone" if p_first is None else None, source="ai")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    write_preferences(folder / "labels.parquet", [own("Hi", 0.75), own("Why?", None)])
    return folder


def context(labels: Path, weight: float = 1.0, eval_prompts: tuple[str, ...] = (), **mix: Any) -> Any:
    prompts = [Prompt(task="dialogue", text=text) for text in eval_prompts]
    return SimpleNamespace(
        cfg=OmegaConf.create({"label": {"weight": weight, "mix": mix or None}}),
        result=lambda name: labels,
        task=Dialogue(),
        data=TaskData(demonstrations=[], label_prompts=[], policy_prompts=[], eval_prompts=prompts),
    )


def learned_from(made: Any) -> tuple[list[Preference], dict[str, object]]:
    found = training_labels(made)
    return found.labels, found.account()


def test_without_a_mix_the_labels_are_as_they_are(labels: Path) -> None:
    mixed, sources = learned_from(context(labels))
    assert mixed == [own("Hi", 0.75), own("Why?", None)] and sources == {}
    assert mix_options(context(labels)) == {}


def test_both_sources_count_by_their_weights(labels: Path, tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", turns("Hi"), "Bye")
    mixed, sources = learned_from(context(labels, 2.0, people={"path": str(path), "source": "human", "weight": 3}))
    assert [(item.source, item.p_first, item.weight) for item in mixed] == [
        ("ai", 0.75, 2.0),
        ("ai", None, 2.0),
        ("human", 1.0, 1.5),
        ("human", 1.0, 1.5),
    ]
    assert mixed[3].comparison.prompt.text == turns("Bye")
    assert sources == {
        "labels": {"ai": 1, "human": 2},
        "weight": {"ai": 2.0, "human": 3.0},
        "held_out": 0,
        "repeated": 0,
    }


def test_held_out_prompts_are_left_out_however_long_they_are(labels: Path, tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", turns("One"), turns("One", "Two"), turns("Zero", "Three"), turns("Four"))
    # The evaluation has "One", and a conversation that was cut to its last turn, "Three".
    mix = {"path": str(path), "source": "human"}
    mixed, sources = learned_from(context(labels, eval_prompts=(turns("One"), turns("Three")), people=mix))
    assert [item.comparison.prompt.text for item in mixed if item.source == "human"] == [turns("Four")]
    assert sources["held_out"] == 3


def test_the_identity_is_that_of_content_and_options(tmp_path: Path) -> None:
    path, copy = votes(tmp_path / "a.jsonl", "Q"), votes(tmp_path / "b.jsonl", "Q")
    first = MixFile("people", path=str(path), source="human").identity
    assert first == MixFile("others", path=str(copy), source="human").identity
    assert first != MixFile("people", path=str(path), source="human", weight=2).identity
    assert first != MixFile("people", path=str(votes(path, "R")), source="human").identity


def test_every_wrong_entry_is_named(labels: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = context(
        labels,
        -1.0,
        a={"paht": "x", "source": "human"},
        b=3,
        c={"path": "x", "source": "human", "weight": -2},
        d={"path": "x", "source": "human", "format": "trl"},
    )
    with pytest.raises(ConfigError) as caught:
        check_mix(wrong, ["reward_model"])
    assert caught.value.problems == [
        "label.mix.a.paht: there is no such key; did you mean path?",
        "label.mix.a.path: needs a value",
        "label.mix.b=3: must be a dictionary with path, source",
        "label.mix.c.weight=-2: must be a finite number from 0",
        "label.mix.d.format=trl: allowed are alpaca_eval, chosen_rejected, distilabel, hh, table, tldr_comparisons",
        "label.weight=-1: must be a finite number from 0",
    ]
    absent = context(labels, a={"path": "absent.csv", "source": "human"})
    with pytest.raises(DataError, match=r"label\.mix\.a\.path=absent\.csv: there is no such file"):
        check_mix(absent, ["reward_model"])
    check_mix(absent, ["labels"])
    assert "label.mix: no effect here" in caplog.text


def test_the_command_line_takes_a_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(["label.mix={people: {path: votes.csv, source: human, weight: 2}}", "label.weight=0.5"]) == []

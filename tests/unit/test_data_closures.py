"""What of the data packages a stage's code digest sees: never a reader of files, and of layouts only the one in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.artifacts.fingerprints import _closure
from rlaif.data.base import DATA_KINDS, TaskData
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.pocket.annotators import SimulatedAnnotators
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt

FORMATS = "rlaif.data.formats"


def closure(module: str) -> set[str]:
    return set(_closure([module], {"rlaif"}))


@pytest.mark.parametrize(
    "module",
    [
        "rlaif.data.base",
        "rlaif.data.batches.modules",
        "rlaif.data.held_out",
        "rlaif.data.preferences_io",
        "rlaif.data.repeated",
        "rlaif.data.transcripts",
        "rlaif.labelers.reward_model",
        "rlaif.models.classifier_text",
        "rlaif.modules.sft",
        "rlaif.pocket.source",
    ],
)
def test_what_stages_use_sees_no_reader(module: str) -> None:
    assert [name for name in closure(module) if name.startswith(FORMATS)] == []


def identity(path: Path, layout: str) -> str:
    """Of a file read by a layout of the user's own."""
    return PairFile(path, ReadingOptions(format=layout)).identity


def test_what_a_layout_says_counts_and_its_description_does_not(tmp_path: Path) -> None:
    rows, layout = tmp_path / "rows.jsonl", tmp_path / "mine.yaml"
    rows.write_text('{"q": "a?", "x": "b", "y": "c", "w": "left"}\n')
    said = "prompt: q\nresponses: [x, y]\nlabel: {at: w, words: [[left, 1]]}\n"
    found = []
    for number, text in enumerate((said, f"# A comment.\nabout: rows\n{said}", said.replace("1]", "0]"))):
        layout = tmp_path / f"mine{number}.yaml"
        layout.write_text(text)
        found.append(identity(rows, str(layout)))
    assert found[0] == found[1] != found[2]


def test_the_code_of_the_reader_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.jsonl").write_text('{"chosen": "a", "rejected": "b"}\n')
    digested: list[list[str]] = []

    def code_digest(modules: list[str]) -> str:
        digested.append(modules)
        return str(len(digested))

    monkeypatch.setattr("rlaif.data.formats.pair_files.code_digest", code_digest)
    assert identity(tmp_path / "rows.jsonl", "hh") != identity(tmp_path / "rows.jsonl", "hh")
    assert digested == [["rlaif.data.formats.pair_files"]] * 2
    assert {f"{FORMATS}.{name}" for name in ("rows", "labels", "dialogues")} <= closure(digested[0][0])


PROMPT = Prompt(task="dialogue", text="\n\nHuman: Hi\n\nAssistant:")
OTHER = Prompt(task="dialogue", text="\n\nHuman: Bye\n\nAssistant:")


def label(p_first: float | None = 1.0, weight: float = 1.0, source: str = "human", second: str = "b") -> Preference:
    pair = Comparison(prompt=PROMPT, first=Completion(text="a"), second=Completion(text=second))
    missing = "gone" if p_first is None else None
    return Preference(comparison=pair, p_first=p_first, missing=missing, weight=weight, source=source)


def data(**changed: object) -> TaskData:
    fields: dict[str, object] = {
        "demonstrations": [Demonstration(prompt=PROMPT, response="a")],
        "label_prompts": [PROMPT],
        "policy_prompts": [PROMPT],
        "eval_prompts": [PROMPT],
        "preferences": [label()],
        "eval_preferences": [label()],
    }
    return TaskData(**(fields | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ({"demonstrations": [Demonstration(prompt=PROMPT, response="b")]}, {"demonstrations"}),
        ({"label_prompts": [OTHER]}, {"label_prompts"}),
        ({"policy_prompts": [PROMPT, OTHER]}, {"policy_prompts"}),
        ({"eval_prompts": [Prompt(task="dialogue", text=PROMPT.text, stratum="seen")]}, {"held_out_prompts"}),
        ({"tuning_prompts": [OTHER]}, {"tuning_prompts"}),
        ({"preferences": [label(0.0)]}, {"people"}),
        ({"preferences": [label(weight=2.0)]}, {"people"}),
        ({"preferences": [label(source="crowd")]}, {"people"}),
        ({"preferences": [label(second="c")]}, {"people", "pairs"}),
        ({"eval_preferences": [label(None)]}, {"held_out_pairs"}),
        ({"annotators": SimulatedAnnotators(0)}, {"tuning_prompts", "held_out_pairs", "people"}),
    ],
)
def test_a_kind_has_another_id_exactly_when_it_changed(changed: dict[str, object], kinds: set[str]) -> None:
    before, after = data(), data(**changed)
    assert {kind for kind in DATA_KINDS if before.content_id(kind) != after.content_id(kind)} == kinds
    assert [data().content_id(kind) for kind in DATA_KINDS] == [before.content_id(kind) for kind in DATA_KINDS]


def test_another_pool_of_annotators_is_other_people() -> None:
    ids = {data(annotators=SimulatedAnnotators(seed)).content_id("people") for seed in (0, 1)}
    assert len(ids) == 2


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='posts'; there are demonstrations, label_prompts"):
        data().content_id("posts")

"""Demonstrations by a teacher, and by critique and revision, with a script in the model's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif.data.base import TaskData
from rlaif.data.preferences_io import write_samples
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, GateStopped
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.outcome import Generation
from rlaif.pipeline.stage import Input, Work
from rlaif.prompts.revision import read_principles
from rlaif.rollouts.pairs import SAMPLES
from rlaif.stages.demonstrations import demonstrations_of
from rlaif.stages.revision import RevisionStage
from rlaif.stages.teacher import TeacherStage
from rlaif.stages.written import Written
from rlaif.tasks.base import get_task
from rlaif.types import Completion, Demonstration, Prompt, Turn

TASK = get_task("dialogue")
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: {word}\n\nAssistant:", stratum="seen") for word in ("one", "two")]
QUOTED = Prompt(task="dialogue", text="three", turns=(Turn("system", "Be short."), Turn("user", "three")))


def asking(root: Path, max_missing_rate: float = 0.4, **budget: float) -> AskingSettings:
    answers = AnswerPlace(root=root, place="local")
    limits = Budget(**budget)  # type: ignore[arg-type]
    return AskingSettings(answers=answers, prices=Prices(), budget=limits, max_missing_rate=max_missing_rate)


def data(prompts: list[Prompt]) -> TaskData:
    shown = [Demonstration(prompt=prompt, response="old") for prompt in prompts]
    return TaskData(demonstrations=shown, label_prompts=prompts[:1], policy_prompts=[], eval_prompts=[])


def work(folder: Path, **inputs: Input) -> Work:
    folder.mkdir(parents=True, exist_ok=True)
    return Work(step="writes", directory=folder, inputs={role: (item,) for role, item in inputs.items()}, seed=3)


def read_back(place: Work) -> list[Demonstration]:
    """As SFT reads what the step has written."""
    source = Input(step="writes", stage="teacher", path=place.directory)
    return list(demonstrations_of(work(place.directory / "sft", demonstrations=source)))


def teacher(root: Path, engine: ScriptedEngine, prompts: str = "demonstrations", **limits: float) -> TeacherStage:
    options = {"max_new_tokens": 9, "temperature": 0.0, "top_p": 1.0, "batch_size": 1}
    return TeacherStage(TASK, engine, prompts, asking=asking(root, **limits), **options)  # type: ignore[arg-type]


def test_a_teacher_answers_every_prompt_once_and_sft_reads_it(tmp_path: Path) -> None:
    def answer(text: str) -> str:
        return "First." if "one" in text else " <think>hm</think> Second.\nMore. "

    prompts = [*PROMPTS, QUOTED, PROMPTS[0]]
    engine = ScriptedEngine(answer)
    place = work(tmp_path / "out", prompts=Input(step="data", stage="data", data=data(prompts)))
    stage = teacher(tmp_path, engine)
    stage.build(place)
    assert engine.num_prompts == 3
    shown = read_back(place)
    assert [item.prompt for item in shown] == [*PROMPTS, QUOTED], "with stratum and turns"
    assert [item.response for item in shown] == ["First.", "Second.\nMore.", "Second.\nMore."]
    assert stage.told(place).line == "3 demonstrations"
    assert json.loads((place.directory / "cost.json").read_text())["num_questions"] == 3


def test_a_killed_teacher_pays_for_no_answer_twice(tmp_path: Path) -> None:
    source = Input(step="data", stage="data", data=data(PROMPTS))
    broken = ScriptedEngine(lambda text: "First." if "one" in text else 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(GateStopped, match=r"label\.max_missing_rate=0\.4: 1 of 2 texts"):
        teacher(tmp_path, broken).build(work(tmp_path / "out", prompts=source))
    mended = ScriptedEngine(lambda text: "Again.")
    place = work(tmp_path / "out", prompts=source)
    teacher(tmp_path, mended).build(place)
    assert mended.num_prompts == 1, "the first answer is in the cache"
    assert [item.response for item in read_back(place)] == ["First.", "Again."]


def test_a_teacher_stops_at_its_budget(tmp_path: Path) -> None:
    place = work(tmp_path / "out", prompts=Input(step="data", stage="data", data=data(PROMPTS)))
    with pytest.raises(GateStopped, match=r"budget\.max_tokens"):
        teacher(tmp_path, ScriptedEngine(lambda text: "Yes."), max_tokens=1).build(place)


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        (Generation(text="half a", finished=False), "cut at the token limit"),
        (Generation(text="  "), "empty"),
        (Generation(text="<think>and then"), "reasoning without an end"),
        (Generation(missing="http 500"), "http 500"),
        (Generation(text=" whole. "), None),
    ],
)
def test_half_a_reply_is_no_demonstration(reply: Generation, missing: str | None) -> None:
    assert Written.of(reply) == Written("whole." if missing is None else "", missing)


def revision(root: Path, engine: ScriptedEngine, *principles: str) -> RevisionStage:
    path = root / "principles.txt"
    path.write_text("# of a test\n\n" + "\n".join(principles) + "\n")
    options = {"max_new_tokens": 9, "temperature": 0.0, "batch_size": 2}
    return RevisionStage(TASK, engine, str(path), asking=asking(root), **options)  # type: ignore[arg-type]


def samples(folder: Path) -> Input:
    """Two responses to the first prompt, of which one comes twice, and one to the second."""
    folder.mkdir()
    drawn = [(PROMPTS[0], [Completion(text="a"), Completion(text="b"), Completion(text="a")])]
    write_samples(folder / SAMPLES, [*drawn, (PROMPTS[1], [Completion(text="c")])])
    return Input(step="samples", stage="samples", path=folder)


def test_each_response_is_criticised_by_a_principle_and_rewritten(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(text: str) -> str:
        seen.append(text)
        if text.endswith("Critique:"):
            return "" if "Response: c" in text else f"It is {'short' if 'Response: a' in text else 'rude'}."
        return "Longer." if "Critique: It is short." in text else "Kinder."

    place = work(tmp_path / "out", samples=samples(tmp_path / "samples"))
    stage = revision(tmp_path, ScriptedEngine(answer), "Be long.", "Be kind.")
    stage.build(place)
    assert [item.response for item in read_back(place)] == ["Longer.", "Kinder."]
    assert stage.told(place).line == "2 demonstrations, left out: 1 × critique empty"
    critiques = [text for text in seen if text.endswith("Critique:")]
    assert len(critiques) == 3 and len(seen) == 5
    for asked in seen:
        assert ("Principle: Be long." in asked) != ("Principle: Be kind." in asked)


def test_principles_of_other_editors_are_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "principles.txt").write_bytes(
        "\ufeff# a comment\r\nBe kind.\x0bBe short.\r\nBe\u2028true.\r\n".encode()
    )
    found = read_principles(str(tmp_path / "principles.txt"), "revision.principles")
    assert found == ("Be kind.\x0bBe short.", "Be\u2028true.")


def test_the_principles_are_part_of_the_identity_and_their_file_is_checked(tmp_path: Path) -> None:
    engine, place = ScriptedEngine(), work(tmp_path / "out")
    one, two = (revision(tmp_path, engine, text).identity(place) for text in ("Be long.", "Be short."))
    assert one != two
    with pytest.raises(ConfigError, match=r"revision\.principles=.*holds no principle"):
        revision(tmp_path, engine)
    with pytest.raises(ConfigError, match=r"revision\.principles=.*holds twice: Be long\."):
        revision(tmp_path, engine, "Be long.", "Be long.")
    with pytest.raises(ConfigError, match=r"labeler\.engine=null"):
        RevisionStage(TASK, None, str(tmp_path / "principles.txt"), 9, 0.0, 2, asking=asking(tmp_path))

"""The papers' systems: each command of the docs binds, and the steps read what the papers' protocols say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from rlaif.config.check import compose
from rlaif.data.base import PairSource, TaskData
from rlaif.data.preferences_io import write_samples
from rlaif.data.shares import divided_by_share
from rlaif.data.sources.files import FilesSource
from rlaif.errors import ConfigError, DataError
from rlaif.functional.labels import Targets
from rlaif.labeling.targets import learned_labels
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Input, Work
from rlaif.rollouts.pairs import OPPONENTS, SAMPLES, sampled_pairs
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.joined_labels import drawn_labels
from rlaif.stages.samples import SampleStage
from rlaif.tasks.base import get_task
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt

MakePlan = Callable[..., Plan]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "how-to" / "the-papers-systems.md"
ROWS = re.findall(r"^\| P[12] \| (.+?) \| `rlaif-run (.+?)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
REWARDED = ["samples", "labels", "reward_model", "policy", "evaluation", "report"]
STEPS = {
    "pipeline=sft": ["data", "sft"],
    "pipeline=rlaif": ["data", "sft", *REWARDED],
    "pipeline=direct": ["data", "sft", "policy", "evaluation", "report"],
    "policy=dpo data.sft_share=0.1": ["data", "sft", "samples", "labels", "preference", "evaluation", "report"],
}
"""What some of the commands run; the others are checked below."""

A, B = Completion(text="a"), Completion(text="b")


def inputs(plan: Plan, name: str) -> dict[str, list[str]]:
    return {role: [source.name for source in found] for role, found in plan.step(name).inputs.items()}


def test_the_page_names_the_systems_of_both_papers() -> None:
    assert len(ROWS) >= 33 and len({system for system, _ in ROWS}) == len(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for _, command in ROWS])
def test_every_system_composes_and_binds(command: str, tmp_path: Path) -> None:
    cfg = compose(shlex.split(command))  # checked, every mistake is an error
    names = [step.name for step in Plan(cfg, tmp_path).steps if not step.is_added]
    if command in STEPS:
        assert names == STEPS[command]


def test_both_sides_of_the_control_have_the_same_prompts(make_plan: MakePlan) -> None:
    plan = make_plan(
        "experiment=control", "data.num_demonstrations=40", "data.num_label_prompts=99", "sft.batch_size=2"
    )
    strong, weak = plan.memory["strong_data"], plan.memory["data"]
    assert inputs(plan, "strong_sft") == {"demonstrations": ["strong_data"]}
    assert inputs(plan, "sft") == {"demonstrations": ["data"]}
    pool = [item.prompt for item in strong.demonstrations]
    assert len(pool) == 40 and [item.prompt for item in weak.demonstrations] == pool[:4]
    assert list(weak.label_prompts) == pool[4:] == [item.prompt for item in weak.references]
    assert list(weak.policy_prompts) == pool[4:12], "at most data.num_policy_prompts"
    assert [item.response for item in weak.demonstrations] != [item.response for item in strong.demonstrations[:4]]
    assert list(weak.eval_prompts) == list(strong.eval_prompts)
    read = inputs(plan, "evaluation")
    assert (read["policy"], read["baseline"]) == (["policy"], ["sft"])
    assert read["evaluation.against.strong_teacher"] == ["strong_sft"]
    assert inputs(plan, "policy")["prompts"] == ["data"] and inputs(plan, "control") == {"figures": ["evaluation"]}


def test_models_are_teachers_of_the_data_s_prompts_not_of_each_other(make_plan: MakePlan) -> None:
    small = ("data.num_demonstrations=40", "data.pairs=policy_vs_teacher", "sft.batch_size=2")
    plan = make_plan("experiment=control_by_models", *small)
    assert inputs(plan, "strong_teacher") == {"prompts": ["all_data"]}
    assert inputs(plan, "weak_teacher") == {"prompts": ["data"]}
    assert inputs(plan, "strong_sft") == {"demonstrations": ["strong_teacher"]}
    assert inputs(plan, "sft") == {"demonstrations": ["weak_teacher"]}
    assert inputs(plan, "samples") == {"policy": ["sft"], "prompts": ["data"], "teacher": ["weak_references"]}


def test_rlhf_and_rlaif_combined_is_that_of_the_paper(make_plan: MakePlan) -> None:
    plan = make_plan("experiment=rlhf_rlaif")
    assert inputs(plan, "human_labels") == {"pairs": ["samples"], "held_out": ["data"], "people": ["data"]}
    assert inputs(plan, "rlhf")["reward_model"] == ["human_reward_model"]
    assert inputs(plan, "new_samples") == {"policy": ["rlhf"], "prompts": ["data"], "sft": ["sft"]}
    values = plan.composer.arguments["new_samples"].values
    assert values["sampling"]["temperature"] == 1.0 and values["samples_per_prompt"] == 1
    assert inputs(plan, "ai_labels")["pairs"] == ["new_samples"]
    assert inputs(plan, "joined_labels") == {"labels": ["human_labels", "ai_labels"]}
    assert inputs(plan, "reward_model")["labels"] == ["joined_labels"]
    read = inputs(plan, "policy")
    assert (read["policy"], read["reference"], read["reward_model"]) == (["sft"], ["sft"], ["reward_model"])
    assert read["standard_samples"] == ["samples"], "the reward's zero and unit are those of SFT samples"
    assert inputs(plan, "evaluation")["evaluation.against.rlhf"] == ["rlhf"]
    human, model = (plan.composer.arguments[name].values["labeler"] for name in ("human_labels", "ai_labels"))
    assert human == {"_target_": "rlaif.labelers.people.HumanLabeler", "rater": 0}, "no option of the other is left"
    assert model["_target_"].endswith("ChainOfThoughtLabeler")


def test_another_model_samples_and_the_run_s_own_policy_learns(make_plan: MakePlan) -> None:
    plan = make_plan("pipeline=another_sampler")
    assert plan.composer.arguments["sampler"].values["model"]["name"] == "pocket:XS"
    assert plan.composer.arguments["sft"].values["model"]["name"] == "pocket:S"
    assert inputs(plan, "samples")["policy"] == ["sampler"]
    read = inputs(plan, "policy")
    assert (read["policy"], read["reference"]) == (["sft"], ["sft"])
    assert read["standard_samples"] == ["standard_samples_sft"], "another model's samples give no zero of this reward"


def sampled(pairs: PairSource, *, num: int = 1, sampled_by: str | None = None) -> SampleStage:
    return SampleStage(get_task("dialogue"), SamplingSettings(), num, pairs, sampled_by)


def test_a_teacher_must_have_answered_prompts_to_label(tmp_path: Path) -> None:
    asked, other = (Prompt(task="dialogue", text=text) for text in ("Who?", "Why?"))

    def problems(*answered: Prompt) -> list[str]:
        references = [Demonstration(prompt=prompt, response="a") for prompt in answered]
        data = TaskData(
            demonstrations=[], label_prompts=[asked], policy_prompts=[], eval_prompts=[], references=references
        )
        source = (Input(step="data", stage="data", data=data),)
        work = Work(step="samples", directory=tmp_path, inputs={"prompts": source, "teacher": source}, seed=0)
        return list(sampled("policy_vs_teacher").problems(work))

    assert problems(asked, other) == []
    (told,) = problems(other)
    assert told.startswith("data.pairs=policy_vs_teacher: the data have no teacher's response to any prompt to label;")


def test_what_makes_no_pair_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"label\.samples_per_prompt=1: must be at least 2, as two samples make a pair"
    ):
        sampled("policy")
    with pytest.raises(ConfigError, match=r"sampling\.top_p=0: must be above 0 and at most 1"):
        SamplingSettings(top_p=0)
    assert sampled("policy_vs_sft").reads()["sft"].differs_from == "policy"


def test_only_samples_of_the_policy_that_learns_fix_a_reward_s_zero() -> None:
    assert sampled("policy_vs_teacher").leaves() == {"samples", "standard_samples", "pairs"}
    assert sampled("policy_vs_sft").leaves() == {"pairs"} == sampled("policy_vs_teacher", sampled_by="other").leaves()
    assert sampled("dataset").leaves() == {"samples"}
    assert sampled("policy", num=2, sampled_by="run:a/sft").reads()["policy"].at == "run:a/sft"


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.5, 5), (0.26, 3)])
def test_a_share_divides_prompts_not_rows(share: float, count: int) -> None:
    """Every prompt has two demonstrations, and both go where the prompt goes."""
    prompts = [Prompt(task="dialogue", text=f"Question {number}?") for number in range(10)]
    shown = [Demonstration(prompt=prompt, response=text) for prompt in prompts for text in ("a", "b")]
    pairs = [Preference(comparison=Comparison(prompt=p, first=A, second=B), p_first=1.0) for p in prompts]
    data = TaskData(demonstrations=shown, label_prompts=[], policy_prompts=[], eval_prompts=[], preferences=pairs)
    found = divided_by_share(data, share, num_label=2, num_policy=None)
    assert list(found.demonstrations) == shown[: 2 * count] and list(found.references) == shown[2 * count :]
    assert found.label_prompts == prompts[count : count + 2] and found.policy_prompts == prompts[count:]
    assert list(found.preferences) == pairs[count:]
    assert divided_by_share(data, None, num_label=1, num_policy=1) is data


def test_a_share_that_leaves_a_side_empty_is_refused() -> None:
    shown = [Demonstration(prompt=Prompt(task="dialogue", text=text), response="a") for text in "abcd"]
    data = TaskData(demonstrations=shown, label_prompts=[], policy_prompts=[], eval_prompts=[])
    with pytest.raises(DataError, match=r"data.sft_share=0.1: the data have demonstrations for 4 prompts"):
        divided_by_share(data, 0.1, num_label=None, num_policy=None)


def test_samples_are_set_against_the_other_writer_in_a_drawn_order(tmp_path: Path) -> None:
    prompts = [Prompt(task="dialogue", text=f"Question {number}?") for number in range(40)]
    ours = (Completion(text="mine", source="sft"), Completion(text="same", source="sft"))
    write_samples(tmp_path / SAMPLES, [(prompt, ours) for prompt in prompts])
    theirs = Completion(text="same", source="teacher")
    write_samples(tmp_path / OPPONENTS, [(prompt, (theirs,)) for prompt in prompts])
    pairs = sampled_pairs(tmp_path)
    assert [pair.prompt for pair in pairs] == prompts, "the sample with the teacher's own text makes no pair"
    assert all({pair.first.source, pair.second.source} == {"sft", "teacher"} for pair in pairs)
    num_first = sum(pair.first.source == "sft" for pair in pairs)
    assert 10 <= num_first <= 30, "about half: the order says nothing about the writer"
    assert sampled_pairs(tmp_path) == pairs


def test_the_order_depends_on_the_prompt_alone(tmp_path: Path) -> None:
    prompts = [Prompt(task="dialogue", text=f"Question {number}?") for number in range(8)]
    for order in (prompts, prompts[::-1]):
        write_samples(tmp_path / SAMPLES, [(prompt, (A,)) for prompt in order])
        write_samples(tmp_path / OPPONENTS, [(prompt, (B,)) for prompt in prompts])
        firsts = {pair.prompt.text: pair.first.text for pair in sampled_pairs(tmp_path)}
        if order is prompts:
            expected = firsts
    assert firsts == expected and set(firsts.values()) == {"a", "b"}


@pytest.mark.parametrize(
    ("targets", "learned"),
    [("soft", [0.9, 0.5, 0.2, None]), ("hard", [1, 0.5, 0, None]), ("hard_ties_second", [1, 0, 0, None])],
)
def test_labels_are_learned_soft_or_hard(targets: Targets, learned: list[float | None]) -> None:
    pair = Comparison(prompt=Prompt(task="dialogue", text="?"), first=A, second=B)
    labels = [
        Preference(comparison=pair, p_first=p, missing=None if p is not None else "gone") for p in (0.9, 0.5, 0.2, None)
    ]
    found = learned_labels(labels, targets)
    assert [label.p_first for label in found] == learned
    assert [label.missing for label in found] == [None, None, None, "gone"]
    with pytest.raises(ConfigError, match="labels: all 1 are missing"):
        learned_labels(labels[3:], targets)


def test_joined_labels_take_as_many_of_the_model_as_of_people() -> None:
    prompts = [Prompt(task="dialogue", text=f"Question {number}?") for number in range(9)]
    pairs = [Comparison(prompt=prompt, first=A, second=B) for prompt in prompts]
    missing = Preference(comparison=pairs[8], p_first=None, missing="gone")
    labels = [missing, *(Preference(comparison=pair, p_first=0.7) for pair in pairs[:8])]
    drawn = drawn_labels(labels, 3)
    assert len(drawn) == 3 and missing not in drawn
    assert drawn == [label for label in labels if label in drawn], "in their order"
    again = drawn_labels(labels[::-1], 3)
    assert {label.comparison.id for label in again} == {label.comparison.id for label in drawn}
    assert len(drawn_labels(labels, 99)) == 8


def test_files_are_divided_in_their_order(tmp_path: Path) -> None:
    rows = "".join(
        f'{{"prompt": "Question {number}?", "chosen": "Good {number}.", "rejected": "Bad {number}."}}\n'
        for number in range(60)
    )
    (tmp_path / "pairs.jsonl").write_text(rows)
    task, path = get_task("dialogue"), str(tmp_path / "pairs.jsonl")
    part, whole = FilesSource(path, sft_share=0.25), FilesSource(path)
    assert part.identity != whole.identity
    data, before = part.load(task), whole.load(task)
    ours, others = ([item.prompt.id for item in items] for items in (data.demonstrations, data.references))
    assert len(ours) == round(0.25 * len(before.demonstrations)) and not set(ours) & set(others)
    assert [item.prompt.id for item in before.demonstrations] == [*ours, *others], "in the order of the file"
    assert [prompt.id for prompt in data.label_prompts] == others == [prompt.id for prompt in data.policy_prompts]
    assert [label.comparison.prompt.id for label in data.preferences] == others
    assert list(before.references) == list(before.demonstrations), "each is a teacher's response to a prompt to label"
    with pytest.raises(ConfigError, match=r"data\.sft_share=1\.0: must be above 0 and below 1"):
        FilesSource(path, sft_share=1.0)

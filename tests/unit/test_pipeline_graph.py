"""Roles of steps are bound to the nearest earlier step that leaves their kind; what cannot work is told all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif.config.entries import Entry, parse_entries
from rlaif.errors import ConfigError
from rlaif.pipeline.graph import Step, bind
from rlaif.pipeline.stage import Stage
from rlaif.roles import Reads


class Fake(Stage):
    def __init__(self, reads: dict[str, Reads], leaves: str) -> None:
        self._reads, self._leaves = reads, frozenset(leaves.split())

    def reads(self) -> dict[str, Reads]:
        return self._reads

    def leaves(self) -> frozenset[str]:
        return self._leaves


def read(kind: str, **options: Any) -> Reads:
    return Reads(kind=kind, **options)


STAGES = {
    "data": ({}, "demonstrations prompts held_out"),
    "sft": ({"demonstrations": read("demonstrations")}, "policy"),
    "samples": ({"policy": read("policy"), "prompts": read("prompts")}, "pairs samples"),
    "labels": ({"pairs": read("pairs")}, "labels raw_labels"),
    "filter": ({"labels": read("labels")}, "labels"),
    "reward_model": ({"labels": read("labels"), "init": read("policy", by="sft")}, "reward_model"),
    "policy": (
        {
            "start": read("policy"),
            "reference": read("policy", by="sft"),
            "reward_model": read("reward_model"),
            "samples": read("samples", optional=True),
        },
        "policy",
    ),
    "respond": ({"policy": read("policy"), "prompts": read("held_out")}, "responses"),
    "evaluation": (
        {
            "policy": read("policy"),
            "baseline": read("policy", by="sft", differs_from="policy"),
            "policy_responses": read("responses", of="policy", by="respond"),
            "baseline_responses": read("responses", of="baseline", by="respond"),
            "labels": read("raw_labels", optional=True),
        },
        "figures",
    ),
    "report": ({"figures": read("figures", many=True)}, ""),
}


def make(entry: Entry) -> Step:
    if entry.stage not in STAGES:
        raise ConfigError(f"{entry.stage} is no stage")
    reads, leaves = STAGES[entry.stage]
    return Step(entry=entry, stage=Fake(dict(reads), leaves))


def bound(stages: list[Any]) -> dict[str, dict[str, list[str]]]:
    steps = bind(parse_entries(stages), make)
    return {step.name: {role: [s.name for s in found] for role, found in step.inputs.items()} for step in steps}


LOOP = ["data", "sft", "samples", "labels", "reward_model", "policy", "evaluation", "report"]


def test_the_whole_loop() -> None:
    steps = bound(LOOP)
    assert steps["policy"] == {
        "start": ["sft"],
        "reference": ["sft"],
        "reward_model": ["reward_model"],
        "samples": ["samples"],
    }
    assert steps["evaluation"] == {
        "policy": ["policy"],
        "baseline": ["sft"],
        "labels": ["labels"],
        "policy_responses": ["respond_policy"],
        "baseline_responses": ["respond_sft"],
    }
    assert list(steps)[-4:] == ["respond_policy", "respond_sft", "evaluation", "report"]
    assert steps["respond_sft"] == {"policy": ["sft"], "prompts": ["data"]}


def test_a_filter_stands_between_labels_and_reward_model_and_the_evaluation_reads_the_raw_labels() -> None:
    steps = bound([*LOOP[:4], "filter", *LOOP[4:]])
    assert steps["reward_model"]["labels"] == ["filter"]
    assert steps["evaluation"]["labels"] == ["labels"]


def test_three_rounds_start_from_the_last_policy_and_keep_the_reference() -> None:
    rounds = {"repeat": 3, "stages": ["samples", "labels", "reward_model", "policy"]}
    steps = bound(["data", "sft", rounds, "evaluation", "report"])
    assert [name for name in steps if name.startswith("policy")] == ["policy_1", "policy_2", "policy_3"]
    assert steps["samples_1"]["policy"] == ["sft"]
    assert steps["samples_3"]["policy"] == ["policy_2"]
    assert steps["policy_3"] == {
        "start": ["policy_2"],
        "reference": ["sft"],
        "reward_model": ["reward_model_3"],
        "samples": ["samples_3"],
    }
    assert steps["evaluation"]["policy"] == ["policy_3"]


def test_two_teachers_are_evaluated_against_each_other() -> None:
    steps = bound(
        [
            {"stage": "data", "name": "weak_data", "with": {"data.teacher": "weak"}},
            {"stage": "sft", "name": "weak", "from": {"data": "weak_data"}},
            {"stage": "data", "name": "strong_data", "with": {"data.teacher": "strong"}},
            {"stage": "sft", "name": "strong"},
            {"stage": "evaluation", "from": {"policy": "strong", "baseline": "weak"}},
        ]
    )
    assert steps["weak"] == {"demonstrations": ["weak_data"]}
    assert steps["strong"] == {"demonstrations": ["strong_data"]}
    assert steps["evaluation"]["policy_responses"] == ["respond_strong"]
    assert steps["evaluation"]["baseline_responses"] == ["respond_weak"]


def test_a_step_of_a_stage_fills_every_role_that_it_can() -> None:
    data = [{"stage": "data", "name": "first"}, {"stage": "data", "name": "second"}]
    steps = bound([data[0], {**data[1], "if_needed": True}, {"stage": "sft", "from": {"data": "first"}}])
    assert steps["sft"] == {"demonstrations": ["first"]} and "second" not in steps
    given = {"data": "second", "prompts": "first"}
    steps = bound([*data, "sft", {"stage": "samples", "from": given}])
    assert steps["samples"] == {"policy": ["sft"], "prompts": ["first"]}, "a role's own name counts more"
    for wrong in ({"data": "sft"}, {"data": "nobody"}, {"labels": "first"}):
        with pytest.raises(ConfigError, match=r"step samples reads no (data|labels); it reads policy, prompts"):
            bound([*data, "sft", {"stage": "samples", "from": wrong}])


def test_responses_that_a_step_already_made_are_used() -> None:
    steps = bound(["data", "sft", {"stage": "respond", "name": "given"}, *LOOP[2:]])
    assert steps["evaluation"]["baseline_responses"] == ["given"]
    assert "respond_sft" not in steps


def test_a_result_with_other_options_is_made_by_a_step_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    option = "evaluation.sampling.temperature"
    greedy = read("responses", of="baseline", by="respond", changes={option: 0.0})
    half = read("responses", of="baseline", by="respond", changes={option: 0.5})
    reads, leaves = STAGES["evaluation"]
    monkeypatch.setitem(STAGES, "evaluation", ({"greedy": greedy, "half": half, **reads}, leaves))
    steps = {step.name: step for step in bind(parse_entries(LOOP), make)}
    found = {role: [source.name for source in sources] for role, sources in steps["evaluation"].inputs.items()}
    assert (found["greedy"], found["half"]) == (["respond_sft_at_0_0"], ["respond_sft_at_0_5"])
    assert found["baseline_responses"] == ["respond_sft"], "it is not filled by a step that was added with changes"
    assert steps["respond_sft_at_0_5"].entry.changes == {option: 0.5} and steps["respond_sft"].entry.changes == {}
    given = {"stage": "respond", "name": "mine", "with": {option: 0.0}, "from": {"policy": "sft"}}
    steps = {step.name: step for step in bind(parse_entries([*LOOP[:6], given, *LOOP[6:]]), make)}
    assert steps["evaluation"].inputs["greedy"][0].name == "mine", "a step with these options is there already"
    assert "respond_sft_at_0_0" not in steps


def test_a_step_that_is_needed_by_nobody_drops_out_only_if_it_says_so() -> None:
    assert "samples" not in bound(["data", {"stage": "samples", "if_needed": True}, "sft"])
    with pytest.raises(ConfigError, match="no later step needs the reward model of step reward_model"):
        bound(["data", "sft", "samples", "labels", "reward_model", {"stage": "sft", "name": "again"}])


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as found:
        bound(["samples", {"stage": "labels", "from": {"pair": "samples"}}, "evaluation"])
    text = "\n".join(found.value.problems)
    assert "step samples reads policy, and no step before it leaves any" in text
    assert "step samples reads prompts" in text
    assert "step labels reads no pair; it reads pairs" in text
    assert "step evaluation reads policy (as baseline), and no step before it of stage sft leaves any" in text


def test_a_policy_is_not_compared_with_itself() -> None:
    with pytest.raises(ConfigError, match="takes sft both as baseline and as policy"):
        bound(["data", "sft", "evaluation"])


def test_a_role_of_several_results_tells_that_there_are_too_few_or_one_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is made: the results that the step would refuse are paid by then."""
    several = read("reward_model", many=True, at_least=2, hint="add pipeline=ensemble")
    monkeypatch.setitem(STAGES, "policy", (STAGES["policy"][0] | {"reward_model": several}, "policy"))
    with pytest.raises(ConfigError) as error:
        bound(LOOP)
    assert error.value.problems == [
        "pipeline.stages: step policy reads at least 2 results as reward_model, and gets 1 (reward_model); add"
        " pipeline=ensemble"
    ]
    one, two = ({"stage": "reward_model", "name": name} for name in ("one", "two"))
    steps = bound([*LOOP[:4], one, two, *LOOP[5:]])
    assert steps["policy"]["reward_model"] == ["one", "two"]
    for twice in (["one", "two", "stage:one"], ["one", str(tmp_path), f"{tmp_path}/../{tmp_path.name}"]):
        policy = {"stage": "policy", "from": {"reward_model": twice}}
        with pytest.raises(ConfigError, match=r"step policy: from\.reward_model has one result twice: one, "):
            bound([*LOOP[:4], one, {**two, "if_needed": True}, policy, *LOOP[6:]])


def test_a_source_of_the_wrong_kind_or_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads labels as labels, and step samples leaves pairs, samples"):
        bound([*LOOP[:4], {"stage": "reward_model", "from": {"labels": "samples"}}])
    with pytest.raises(ConfigError, match=r"from.policy=smaples: is no step .*; steps before it are data, sft"):
        bound(["data", "sft", {"stage": "samples", "from": {"policy": "smaples"}}])
    steps = bound(["data", {"stage": "samples", "from": {"policy": str(tmp_path)}}])
    assert steps["samples"]["policy"] == [str(tmp_path)]


def test_a_step_moves_behind_the_step_that_its_options_name() -> None:
    def with_reference(entry: Entry) -> Step:
        step = make(entry)
        if entry.stage == "labels":
            step.references = {"labeler.engine.model": "sft"}
        return step

    entries = parse_entries(["data", {"stage": "labels", "from": {"pairs": "/"}}, "sft"])
    steps = bind(entries, with_reference)
    assert [step.name for step in steps] == ["data", "sft", "labels"]
    assert [source.name for source in steps[2].inputs["labeler.engine.model"]] == ["sft"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "must hold at least one stage"),
        (["sft", "sft"], "two steps are named sft"),
        ([{"stage": "sft", "form": {}}], "step sft has no key form"),
        ([{"stage": "sft", "name": "a b"}], "letters, digits and underscores"),
        ([{"repeat": 0, "stages": ["sft"]}], "repeat=0: must be a whole number"),
        ([{"repeat": 2}], "repeat needs stages"),
        ([3], "3 cannot be read as a step"),
        ("sft", "must be a list"),
    ],
)
def test_lists_that_cannot_be_read(stages: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_entries(stages)


def test_a_step_that_was_refused_is_the_only_problem() -> None:
    """Without it the evaluation would take SFT for the policy, too."""

    def make_all_but_the_policy(entry: Entry) -> Step:
        if entry.stage == "policy":
            raise ConfigError("policy.objective.minibatches=2: must divide the 3 prompts per step")
        return make(entry)

    with pytest.raises(ConfigError) as caught:
        bind(parse_entries(LOOP), make_all_but_the_policy)
    assert caught.value.problems == ["policy.objective.minibatches=2: must divide the 3 prompts per step"]

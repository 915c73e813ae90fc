"""What could not work is found before anything is trained or asked, all of it at once, options named as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from omegaconf import DictConfig, open_dict
from rich.console import Console

import rlaif.prompts
from rlaif.artifacts.run_policies import trained_policy
from rlaif.errors import ConfigError
from rlaif.pipeline.answered_prompts import answered_prompts_notices
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import check, load_early
from rlaif.pipeline.watch_check import watch_notices
from rlaif.reporting.terminal import RunDisplay
from rlaif.testing.tiny import make_tiny_model

BUILT_IN = Path(rlaif.prompts.__path__[0]) / "templates"
FindProblems = Callable[..., list[str]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "labeler",
    [
        "pairwise",
        "cot_pairwise",
        "self_consistency",
        "scorer",
        "cot_scorer",
        "binary",
        "criteria",
        "ranking",
        "panel",
        "human",
    ],
)
def test_every_labeler_passes_as_it_is(find_problems: FindProblems, labeler: str) -> None:
    server = () if labeler == "human" else ("labeler/engine=openai", "labeler.engine.model=m")
    assert find_problems("pipeline=label", f"labeler={labeler}") == []
    assert find_problems("pipeline=label", f"labeler={labeler}", *server) == []


def test_a_rationale_of_another_pair_and_weights_to_be_learned_pass(find_problems: FindProblems) -> None:
    assert find_problems("pipeline=label", "labeler=cot_pairwise", "labeler.rationale=other") == []
    assert find_problems("pipeline=label", "labeler=panel", "labeler.weights=learned") == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("labeler.prompt.templates=/nonexist",), ["labeler.prompt.templates=/nonexist: must be a folder"]),
        (("labeler.prompt.num_exemplars=9",), ["labeler.prompt.num_exemplars=9: must be between 0 and 8"]),
        (("labeler=scorer", "labeler/prompt=base_2shot"), ["labeler.prompt.num_exemplars=2: exemplars are pairs"]),
        (
            ("labeler/engine=openai", "labeler.engine.model=m", "labeler.engine.url=localhost:8801/v1"),
            ["labeler.engine.url=localhost:8801/v1: must be like http"],
        ),
        (("labeler=panel", "labeler.weights={pairwise: 1, foo: 2}"), ["labeler.weights.foo: no such member"]),
        (
            (
                "labeler/engine=openai",
                "labeler.engine.model=m",
                "labeler.engine.url=nowhere",
                "labeler.prompt.templates=/nonexist",
                "labeler.prompt.num_exemplars=9",
            ),
            [
                "labeler.prompt.num_exemplars=9",
                "labeler.prompt.templates=/nonexist",
                "labeler.engine.url=nowhere",
            ],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_options_of_a_labeler_are_found_together(
    find_problems: FindProblems, overrides: Sequence[str], told: Sequence[str]
) -> None:
    found = find_problems("pipeline=label", *overrides)
    assert len(found) == len(told), found
    for start in told:
        assert any(line.startswith(start) for line in found), found


@pytest.mark.parametrize("pipeline", ["label", "scorecard", "probe", "direct"])
def test_every_pipeline_tries_its_labeler(find_problems: FindProblems, pipeline: str) -> None:
    labeler = ("labeler=scorer", "labeler/prompt=base_2shot", "evaluation.judge=null")
    (found,) = find_problems(f"pipeline={pipeline}", *labeler)
    assert found.startswith("labeler.prompt.num_exemplars=2: exemplars are pairs")


def test_a_member_of_a_panel_and_the_judge_are_named_where_they_stand(
    find_problems: FindProblems,
) -> None:
    member = ("labeler=panel", "+labeler@labeler.labelers.own=scorer", "labeler.labelers.own.prompt.num_exemplars=9")
    assert find_problems("pipeline=label", *member)[0].startswith("labeler.labelers.own.prompt.num_exemplars=9: ")
    judge = find_problems("evaluation.judge.prompt.num_exemplars=9")
    assert judge[0].startswith("evaluation.judge.prompt.num_exemplars=9: ") and len(judge) == 1
    judge = find_problems("evaluation.judge.prompt.templates=/nonexist")
    assert judge == ["evaluation.judge.prompt.templates=/nonexist: must be a folder with a TOML file per task"]


def test_the_sampling_of_the_evaluation_is_named_where_it_stands(find_problems: FindProblems) -> None:
    (found,) = find_problems("evaluation.sampling.top_p=2")
    assert found.startswith("evaluation.sampling.top_p=2: must be above 0 and at most 1")


def test_templates_are_read_before_they_are_needed(find_problems: FindProblems, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    shutil.copy(BUILT_IN / "summarization.toml", folder)
    option = f"labeler.prompt.templates={folder}"
    assert "no judge templates for task 'dialogue'" in find_problems("pipeline=label", option)[0]
    (folder / "dialogue.toml").write_text("base = ")
    assert "is not TOML" in find_problems("pipeline=label", option)[0]


def test_the_file_of_a_labeler_is_read(find_problems: FindProblems, tmp_path: Path) -> None:
    wrong = tmp_path / "labels.jsonl"
    wrong.write_text('{"question": "?"}\n')
    for path in (wrong, tmp_path):
        labeler = ("labeler=file", f"labeler.path={path}", "labeler.source=human")
        assert len(find_problems("pipeline=label", *labeler)) == 1


def test_every_stage_is_asked_before_the_first_problem_is_told(find_problems: FindProblems) -> None:
    wrong = (
        "sft.batch_size=999",
        "cost.usd_per_hour=-1",
        "budget.max_usd=-1",
        "labeler.prompt.num_exemplars=9",
        "evaluation.judge.prompt.num_exemplars=9",
    )
    found = [line.partition(":")[0] for line in find_problems(*wrong)]
    assert sorted(found) == sorted(wrong)


def test_problems_of_the_list_and_of_the_options_are_told_together(find_problems: FindProblems) -> None:
    found = find_problems("sft.batch_size=999", "reward_model.batch_size=99", "+evaluation.against.other=/nonexist")
    assert sorted(line.partition(":")[0] for line in found) == [
        "evaluation.against.other=/nonexist",
        "reward_model.batch_size=99",
        "sft.batch_size=999",
    ]


def test_processes_that_cannot_share_a_policy_step_are_told(find_problems: FindProblems) -> None:
    dividing = ("sft.batch_size=3", "reward_model.batch_size=3")
    found = find_problems("trainer.devices=3", *dividing, "policy.prompts_per_step=8")
    assert found == ["policy.prompts_per_step=8: must be a multiple of the number of devices, 3"]


ONLINE = ("policy=online_dpo", "labeler=pairwise")


def test_shaped_rewards_that_no_pair_learns_from_are_refused(find_problems: FindProblems) -> None:
    shaped = ("policy.shaping.per_token=-0.1", "policy.shaping.clip=3")
    told = "has no effect, as the policy learns from the judged pairs and not from rewards"
    assert [problem.partition("; or ")[0].partition(", or ")[0] for problem in find_problems(*ONLINE, *shaped)] == [
        f"policy.shaping.clip=3: {told}; type policy.shaping.clip=null",
        f"policy.shaping.per_token=-0.1: {told}; type policy.shaping.per_token=0.0",
    ]
    assert find_problems(*ONLINE) == []
    assert find_problems("policy=online_dpo", "reward=labeler", "labeler=scorer", *shaped) == []
    of_group = ("pipeline=direct", "reward=group_pairwise", "labeler=pairwise")
    assert find_problems(*of_group, "policy=rloo", *shaped) == []


@pytest.mark.parametrize(
    "keep", [("policy.keep=best_reward",), ("policy.keep=judged", "policy.judge=${evaluation.judge}")]
)
def test_weights_are_not_chosen_by_a_reward_that_validations_do_not_have(
    find_problems: FindProblems, keep: tuple[str, ...]
) -> None:
    (problem,) = find_problems(*ONLINE, "policy.validate_every=4", *keep)
    assert problem.startswith(f"{keep[0]}: the reward compares several responses to a prompt")
    assert problem.endswith("type policy.keep=last")


@pytest.mark.parametrize(
    "overrides",
    [
        ("sft.batch_size=4",),
        ("reward_model.batch_size=4",),
        ("policy=dpo", "policy.batch_size=4"),
        ("policy=best_of_n", "policy.batch_size=4"),
    ],
    ids=lambda value: " ".join(value),
)
def test_processes_that_cannot_share_a_batch_are_told(find_problems: FindProblems, overrides: tuple[str, ...]) -> None:
    told = f"{overrides[-1]}: must be a multiple of the number of devices, 3"
    assert told in find_problems("trainer.devices=3", *overrides)
    assert told not in find_problems("trainer.devices=2", *overrides)


def test_what_the_optimizers_refuse_is_told_together(find_problems: FindProblems) -> None:
    found = find_problems("policy.optimizer.betas=[1.5,0.95]", "+sft.optimizer.eps=-1", "sft.batch_size=0")
    assert [line.partition(": ")[0] for line in found] == ["sft.optimizer", "sft.batch_size=0", "policy.optimizer"]


def test_greedy_samples_of_one_policy_make_no_pairs(find_problems: FindProblems) -> None:
    learning = ("policy.temperature=0.9",)
    told = find_problems("sampling.temperature=0", "label.samples_per_prompt=1", *learning)
    assert [line.partition("; ")[0] for line in told] == [
        "label.samples_per_prompt=1: must be at least 2, as two samples make a pair",
        "sampling.temperature=0: two greedy samples are equal, and equal responses make no pair",
    ]
    of_teacher = ("data.pairs=policy_vs_teacher", "data.sft_share=0.5", "label.samples_per_prompt=1")
    assert find_problems("sampling.temperature=0", *of_teacher, *learning, "reward_model.batch_size=1") == []


@pytest.mark.parametrize(
    ("overrides", "limit"),
    [
        (("reward_model.max_length=40",), "sampling"),
        (("policy=dpo", "policy.batch_size=2", "policy.max_length=40"), "sampling"),
        (("policy=best_of_n", "policy.batch_size=2", "policy.max_length=40"), "policy"),
    ],
    ids=["reward model", "dpo", "best of n"],
)
def test_responses_without_room_for_their_prompt_are_told(
    find_problems: FindProblems, overrides: tuple[str, ...], limit: str
) -> None:
    told = f"{overrides[-1]}: a response has up to {limit}.max_new_tokens=40 tokens"
    problem, *others = find_problems(*overrides)
    assert problem.startswith(told)
    assert all(other.startswith("reward.max_length=40: ") for other in others), "it takes the reward model's"
    assert find_problems(*overrides[:-1], overrides[-1].replace("=40", "=41")) == []


PLUGIN = """
from rlaif.types import Preference


class NeedsItsModel:
    name = identity = "needs its model"
    source = "ai"

    def __init__(self, prompt=None, engine=None):
        self.engine = engine

    def label(self, comparisons):
        return [Preference(comparison=item, p_first=self.engine.temperature) for item in comparisons]


class Broken(NeedsItsModel):
    def __init__(self):
        raise ZeroDivisionError("mine")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "needs_its_model.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "needs_its_model"


def test_a_plugin_that_a_script_cannot_stand_in_for_is_left_to_the_run(
    make_config: Callable[..., DictConfig], plugin: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_config("pipeline=label", "labeler.engine.model=pocket:XS")
    with open_dict(cfg):
        cfg.labeler = {"_target_": f"{plugin}.NeedsItsModel", "engine": cfg.labeler.engine}
    plan = Plan(cfg, tmp_path / "run")
    load_early(plan, RunDisplay(Console(quiet=True)))
    check(plan)
    assert "labeler needs its model could not be tried without its model" in caplog.text


def test_an_error_that_is_not_the_users_is_not_hidden(
    make_config: Callable[..., DictConfig], plugin: str, tmp_path: Path
) -> None:
    cfg = make_config("pipeline=label")
    with open_dict(cfg):
        cfg.labeler = {"_target_": f"{plugin}.Broken"}
    with pytest.raises(InstantiationException, match=r"needs_its_model(.|\n)*ZeroDivisionError"):
        Plan(cfg, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("policy.watch.judge=${labeler}",), ["policy.watch.judge: is the labeler of the step labels"]),
        (("policy.judge=${labeler}", "policy.watch.stop=true"), ["policy.judge: is the labeler of the step labels"]),
        (("policy.judge=${labeler}",), []),
        (
            ("labeler=panel", "+labeler@policy.watch.judge=pairwise"),
            ["policy.watch.judge: is the labeler of the step labels"],
        ),
        (("policy.watch.judge=${evaluation.judge}", "policy.watch.stop=true"), []),
        (("pipeline=direct", "labeler=pairwise", "policy.watch.judge=${labeler}"), ["is the labeler of the reward"]),
    ],
)
def test_a_watch_by_what_the_policy_learns_from_is_refused(
    find_problems: FindProblems, overrides: Sequence[str], told: Sequence[str]
) -> None:
    problems = find_problems(*overrides)
    assert len(problems) == len(told), problems
    assert all(words in problem for words, problem in zip(told, problems, strict=True))


def test_a_judge_of_the_choice_that_cannot_watch_is_told(
    make_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    told = {
        judge: list(watch_notices(Plan(make_config(f"policy.judge=${{{judge}}}"), tmp_path)))
        for judge in ("labeler", "evaluation.judge")
    }
    assert told["evaluation.judge"] == []
    assert [notice.partition(", which")[0] for notice in told["labeler"]] == [
        "policy.judge: is the labeler of the step labels"
    ]


@pytest.mark.parametrize(
    ("held_out", "answered", "told"),
    [
        (8, 8, []),
        (8, 12, ["evaluation.num_prompts=12: only data.num_eval_prompts=8 prompts are held out; raise it, too"]),
        (8, 6, ["evaluation.num_prompts=6: 8 prompts are held out, of which the first ones are answered"]),
    ],
)
def test_fewer_answered_prompts_than_an_option_asks_for_are_told(
    make_plan: Callable[..., Plan], held_out: int, answered: int, told: list[str]
) -> None:
    plan = make_plan(f"data.num_eval_prompts={held_out}", f"evaluation.num_prompts={answered}")
    assert list(answered_prompts_notices(plan)) == told


def test_a_file_with_fewer_prompts_than_both_options_ask_for_is_no_option_to_raise(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(80)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("data=files", f"data.path={tmp_path / 'pairs.jsonl'}", "data.eval_fraction=0.5", "pipeline=dpo")
    plan = make_plan(*data, "policy=dpo", "data.num_eval_prompts=400", "evaluation.num_prompts=400")
    assert 0 < len(plan.memory["data"].eval_prompts) < 80
    assert list(answered_prompts_notices(plan)) == []


def test_a_logger_that_cannot_be_made_is_told_before_the_training(
    make_config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "class TensorBoardLogger:\n    def __init__(self, save_dir):\n        raise ModuleNotFoundError('no such.')\n"
    )
    (tmp_path / "planted_logger.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = make_config()
    with open_dict(cfg):
        cfg.logger = {"_target_": "planted_logger.TensorBoardLogger", "save_dir": "logs"}
    plan = Plan(cfg, tmp_path / "run")
    load_early(plan, RunDisplay(Console(quiet=True)))
    with pytest.raises(ConfigError) as caught:
        check(plan)
    told = "logger: TensorBoardLogger cannot be made (no such); pip install 'rlaif[tensorboard]'"
    assert caught.value.problems == [told]


def model_folder(place: Path) -> Path:
    make_tiny_model(place)
    return place


def test_the_policy_of_a_run_is_that_of_its_last_round_whatever_trained_it(tmp_path: Path) -> None:
    assert trained_policy(tmp_path / "nowhere") is None
    for name in ("sft", "reward_model", "policy_weak"):
        model_folder(tmp_path / name)
    assert trained_policy(tmp_path) is None
    for name in ("preference", "policy_2", "policy_10", "preference_3"):
        assert trained_policy(tmp_path) != model_folder(tmp_path / name)
        if name != "preference_3":
            assert trained_policy(tmp_path) == tmp_path / name
    assert trained_policy(tmp_path) == tmp_path / "policy_10"
    (tmp_path / "policy_11").mkdir()
    assert trained_policy(tmp_path) == tmp_path / "policy_10", "a step without a model"


def test_an_opponent_without_a_policy_is_told_beside_all_else(find_problems: FindProblems, tmp_path: Path) -> None:
    model_folder(tmp_path / "dpo" / "preference")
    (tmp_path / "empty").mkdir()
    problems = find_problems(f"evaluation.against={{dpo: {tmp_path / 'dpo'}}}")
    assert problems == []
    problems = find_problems(f"evaluation.against={{old: {tmp_path / 'empty'}}}", "sft.batch_size=100000")
    assert len(problems) == 2 and any(
        problem.startswith("evaluation.against.old=") and "holds no policy" in problem for problem in problems
    )


def test_pairs_are_counted_and_not_prompts(find_problems: FindProblems) -> None:
    """20 prompts with 4 responses have 120 pairs."""
    options = ("data.num_label_prompts=20", "label.samples_per_prompt=4")
    assert find_problems(*options, "reward_model.batch_size=64") == []
    (problem,) = find_problems(*options, "reward_model.batch_size=128")
    assert problem.startswith("reward_model.batch_size=128: there are only 120 pairs to label")


def test_what_a_step_does_not_read_of_with_is_refused(find_problems: FindProblems) -> None:
    def listed(changes: str) -> str:
        return f"pipeline.stages=[data,{{stage: sft, with: {changes}}},samples,labels,reward_model,policy,evaluation]"

    assert find_problems(listed("{sft.epochs: 2.0, sft.steps: null, seed: 4}")) == []
    (problem,) = find_problems(listed("{policy.steps: 7, sft.steps: 3}"))
    assert problem.startswith("pipeline.stages: step sft: with.policy.steps=7: stage sft does not read policy.steps")


@pytest.mark.parametrize("options", [[], ["reward=mixture", "reward.rewards.reward_model.max_length=40"]])
def test_a_reward_that_reads_the_beginning_of_a_response_alone(find_problems: FindProblems, options: list[str]) -> None:
    typed = options or ["reward.max_length=40"]
    (problem,) = find_problems(*typed)
    assert problem.startswith(f"{typed[-1]}: a response has up to policy.max_new_tokens=40 tokens")
    assert find_problems("reward.max_length=41") == []


def test_a_batch_that_written_demonstrations_cannot_fill_is_told_before_they_are_paid(
    find_problems: FindProblems,
) -> None:
    options = ("pipeline=teacher", "teacher.prompts=label_prompts", "data.num_label_prompts=16")
    (problem,) = find_problems(*options, "sft.batch_size=16", "sft.validation_fraction=0.05")
    assert problem.startswith("sft.batch_size=16: there are only 16 demonstrations that teacher will write, 5% of them")
    assert find_problems(*options, "sft.batch_size=15") == []


def test_labels_that_nobody_gave_are_told_before_anything_is_trained(
    find_problems: FindProblems, tmp_path: Path
) -> None:
    def pairs(name: str, numbers: range, **more: object) -> Path:
        rows = [{"prompt": f"Question {n}?", "first": "Yes.", "second": "No.", **more} for n in numbers]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    data = ("pipeline=label", "data=files", "data.eval_fraction=0", f"data.path={pairs('data.jsonl', range(20))}")
    for numbers, told in ((range(17), []), (range(4), ["16 × not in file"]), (range(50, 60), ["20 × not in file"])):
        path = pairs("labels.jsonl", numbers, p_first=1)
        found = find_problems(*data, "labeler=file", f"labeler.path={path}", "labeler.source=crowd")
        assert [line.partition(" are planned (")[2].partition(")")[0] for line in found] == told
        assert all(line.startswith("label.max_missing_rate=0.2: ") for line in found)
    (found,) = find_problems(*data, "labeler=human")
    assert "20 of 20 labels are missing" in found and "20 × no label in the data" in found
    (found,) = find_problems(*data, "labeler=human", "data.pairs=policy", "sft=skip")
    assert found.startswith("labeler=human: data.pairs=policy, and nobody has judged samples of a policy")


def test_a_batch_that_revisions_cannot_fill_is_told_before_they_are_paid(find_problems: FindProblems) -> None:
    options = ("pipeline=revision", "data.num_demonstrations=64", "data.num_label_prompts=16")
    options += ("label.samples_per_prompt=3",)
    (problem,) = find_problems(*options, "sft.batch_size=64", "sft.validation_fraction=0")
    assert problem.startswith("sft.batch_size=64: there are only 48 demonstrations that revision will write")
    assert find_problems(*options, "sft.batch_size=48", "sft.validation_fraction=0") == []

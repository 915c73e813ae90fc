"""Which options re-key which steps: those that change no result re-key none, the others what depends on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from rich.console import Console

from rlaif import registry
from rlaif.config.run_directory import changed_options
from rlaif.config.stage_options import stage_option
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import load_early
from rlaif.reporting.terminal import RunDisplay
from rlaif.signatures import Parameter, read_signature

MakeConfig = Callable[..., DictConfig]
_WHOLE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)(?:,[^}]*)?\}")
IDENTIFIED = {
    "rlaif.models.load.ModelSpec": {"name", "revision"},
    "rlaif.engines.transformers.TransformersEngine": {"model", "revision"},
    "rlaif.labelers.file.FileLabeler": {"path"},
    "rlaif.labelers.reward_model.RewardModelLabeler": {"model", "revision"},
    "rlaif.prompts.judge.JudgePrompts": {"templates"},
    "rlaif.data.label_sets.mixing.MixSettings": {"files"},
    "rlaif.labelers.criteria.CriteriaLabeler": {"criteria"},
    "rlaif.rewards.rubric.RubricReward": {"criteria"},
    "rlaif.stages.samples.SampleStage": {"sampled_by"},
    "rlaif.stages.evaluation.EvaluationStage": {"against"},
    "rlaif.stages.revision.RevisionStage": {"principles"},
}
"""Runtime parameters whose content a component's identity covers: a model or a file is the same under another name."""
OTHERS = {
    "learner": "preference",
    "url": "http://127.0.0.1:9/v1",
    "key_env": "ANOTHER_KEY",
    "device": "cpu",
    "attn_implementation": "eager",
    "dir": "another/store",
    "cache": "none",
    "accelerator": "gpu",
    "limits": {"max_missing_rate": 0.01},
    "policy": "/",
}
"""Another value of each option of text, by the last part of its name."""
MACHINE = {"trainer.devices": 3, "store.checkpoint_every_s": 1.0, "overwrite": True, "estimate": True, "logger": None}
"""Options of the machine, which no stage is given."""
CHOOSES = ("policy.learner=", "probe.policy=")
"""Options that no fingerprint holds, because they choose the step, or its input."""


def fingerprints(cfg: DictConfig) -> dict[str, str]:
    """Of the stored steps, by name."""
    plan = Plan(cfg, Path("run"))
    load_early(plan, RunDisplay(Console(quiet=True)))
    return {step.name: plan.fingerprint(step) for step in plan.steps if step.stage.stored}


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Fingerprints of the default configuration, filled by the first test."""
    return {}


def with_values(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    changed = OmegaConf.create(cfg)
    with open_dict(changed):
        for option, value in values.items():
            OmegaConf.update(changed, option, value, force_add=True)
    return changed


Option = tuple[str, Parameter, bool]
"""An option as typed, the parameter that takes it, and whether it or something around it is ``Runtime``."""


def options_of(cfg: DictConfig, stage: str) -> Iterator[Option]:
    """All options that a stage is given."""
    component = registry.find("rlaif.stages", stage)
    yield from _of_component(cfg, stage_option(component, [str(key) for key in cfg]), "", False)


def _of_component(cfg: DictConfig, node: Any, path: str, runtime: bool) -> Iterator[Option]:
    target = str(node["_target_"])
    if not target.startswith("rlaif."):
        return
    for name, parameter in read_signature(target).parameters.items():
        if name in IDENTIFIED.get(target, ()):
            continue
        marked = runtime or parameter.runtime
        if name in node:
            raw = node._get_node(name) if isinstance(node, DictConfig) else node[name]
            yield from _of_value(cfg, raw, f"{path}.{name}".lstrip("."), parameter, marked, is_composed=bool(path))
        elif path:
            yield f"{path}.{name}", parameter, marked


def _of_value(
    cfg: DictConfig, raw: Any, path: str, parameter: Parameter, runtime: bool, *, is_composed: bool
) -> Iterator[Option]:
    text = raw._value() if hasattr(raw, "_value") and not isinstance(raw, DictConfig | ListConfig) else raw
    if isinstance(text, str) and (found := _WHOLE.fullmatch(text)):
        option = found.group(1)
        raw = OmegaConf.select(cfg, option)
        if isinstance(raw, DictConfig):
            yield from _of_value(cfg, raw, option, parameter, runtime, is_composed=True)
        else:
            yield option, parameter, runtime
    elif isinstance(raw, DictConfig | dict) and "_target_" in raw:
        yield from _of_component(cfg, raw, path if is_composed else "", runtime)
    elif isinstance(raw, DictConfig) and any(isinstance(child, DictConfig) for child in raw.values()):
        for name in map(str, raw):  # members of a panel
            yield from _of_value(
                cfg, raw._get_node(name), f"{path}.{name}", parameter, runtime, is_composed=is_composed
            )
    elif is_composed:
        yield path, parameter, runtime


def another(option: str, value: Any, parameter: Parameter) -> Any:
    """A value that the parameter takes and that is not the present one."""
    name, kind = option.rpartition(".")[2], parameter.kind
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool) or (value is None and kind.types == {"bool"}):
        return not value
    if {"int", "float"} & kind.types:
        tried = [7, 0.75, 0.5] if value is None else [value + 1, value / 2, value * 2]
        return next(one for one in tried if kind.accepts(one) and not kind.is_out_of_bounds(one) and one != value)
    raise AssertionError(f"{option}={value}: a new runtime option; name another value for it in OTHERS")


def runtime_values(cfg: DictConfig) -> dict[str, Any]:
    """Another value for every option that changes no result of any step."""
    plan = Plan(cfg, Path("run"))
    found = [option for step in plan.steps for option in options_of(cfg, step.entry.stage)]
    results = {option for option, _, runtime in found if not runtime}
    return {
        option: another(option, OmegaConf.select(cfg, option), parameter)
        for option, parameter, runtime in found
        if runtime and option not in {*results, "model.package"}  # another package is another model's folder
    }


SERVER = ("labeler/engine=openai", "labeler.engine.model=m")
JUDGE = (
    "labeler@evaluation.judge=pairwise",
    "labeler/engine@evaluation.judge.engine=openai",
    "evaluation.judge.engine.model=m",
)
COMMON = {"budget.max_usd", "cost.human_usd_per_label", "label.cache", "store.dir", "label.max_missing_rate"}
LOCAL = {"labeler.engine.device", "labeler.engine.batch_size"}
REMOTE = {"labeler.engine.url", "labeler.engine.key_env", "labeler.engine.read_timeout_s", "labeler.engine.max_retries"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "among"),
    [
        ((), COMMON | LOCAL | {"estimate_reply_tokens", "label.min_alignment", "model.attn_implementation"}),
        (("labeler/engine=transformers",), COMMON | LOCAL),
        (SERVER, COMMON | REMOTE),
        (JUDGE, {option.replace("labeler.", "evaluation.judge.") for option in REMOTE}),
        (("pipeline=direct", *SERVER), COMMON | REMOTE),
        (("pipeline=label", "labeler=panel"), COMMON | LOCAL),
        (("pipeline=scorecard", *SERVER), COMMON | REMOTE | {"evaluation.limits"}),
        (("pipeline=probe", *SERVER), COMMON | REMOTE | {"probe.max_flip_rate"}),
        (("pipeline=pocket_gate",), {"model.attn_implementation"}),
        (("pipeline=pocket_pretraining",), {"store.dir", "trainer.accelerator"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_no_runtime_option_re_keys_a_step(make_config: MakeConfig, overrides: tuple[str, ...], among: set[str]) -> None:
    cfg = make_config(*overrides)
    before, values = fingerprints(cfg), runtime_values(cfg) | MACHINE
    assert among <= values.keys(), among - values.keys()
    plain = [OmegaConf.to_container(each, resolve=True) for each in (cfg, with_values(cfg, values))]
    assert [line for line in changed_options(*plain) if not line.startswith(CHOOSES)] == [], "and its directory goes on"
    after = fingerprints(with_values(cfg, values))
    differ = {name for name, value in before.items() if after[name] != value}
    assert not differ, f"{differ}: {[o for o, v in values.items() if fingerprints(with_values(cfg, {o: v})) != before]}"


GREEDY = frozenset({"respond_policy_at_0", "respond_sft_at_0"})
TRAINED = frozenset({"sft", "samples", "labels", "reward_model", "policy"})
ALL = TRAINED | GREEDY | {"respond_policy", "respond_sft", "respond_grid_sft", "evaluation"}
POLICY = frozenset({"policy", "respond_policy", "respond_policy_at_0", "evaluation"})
REWARD_MODEL = POLICY | {"reward_model"}
LABELS = REWARD_MODEL | {"labels"}
SAMPLES = LABELS | {"samples"}
SAMPLED = frozenset({"respond_policy", "respond_sft", "respond_grid_sft", "evaluation"})
RESPONSES = SAMPLED | GREEDY
GRID = frozenset({"respond_grid_sft", "evaluation"})
EVALUATION = frozenset({"evaluation"})


def test_options_of_an_adapter_re_key_the_step_that_trains_it(make_config: MakeConfig) -> None:
    before = fingerprints(make_config("lora=all"))
    for option, steps in (("lora.reward_model.rank=8", REWARD_MODEL), ("lora.policy.target_modules=auto", POLICY)):
        after = fingerprints(make_config("lora=all", option))
        assert {name for name, value in before.items() if after[name] != value} == steps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (("seed=1",), ALL),
        (("task=summarization",), ALL),
        (("trainer.precision=bf16-mixed",), ALL),
        (("sft.lr=0.5",), ALL),
        (("data.num_demonstrations=9",), ALL),
        (("data.num_label_prompts=9",), SAMPLES),
        (("data.num_policy_prompts=9",), POLICY),
        (("data.num_eval_prompts=9",), RESPONSES),
        (("data.num_eval_preferences=9",), EVALUATION),
        (("data.num_tuning_prompts=9",), GRID | POLICY),
        (("sampling.temperature=0.5",), SAMPLES | SAMPLED),
        (
            ("sampling.temperature=0.5", "policy.temperature=0.9", "evaluation.sampling.temperature=0.9"),
            SAMPLES,
        ),
        (("label.samples_per_prompt=3",), SAMPLES),
        (("label.batch_size=32",), LABELS | EVALUATION),
        (("labeler.debias=logit",), LABELS),
        (("labeler.engine.model=pocket:S",), LABELS),
        (("labeler.engine.dtype=bfloat16",), LABELS),
        (("labeler.prompt.preamble=detailed",), LABELS),
        (("label.weight=2",), REWARD_MODEL),
        (("reward_model.lr=0.5",), REWARD_MODEL),
        (("policy.temperature=0.5",), POLICY),
        (("policy.max_new_tokens=41",), POLICY),
        (("policy/objective=rloo", "policy.samples_per_prompt=2"), POLICY),
        (("reward.max_length=99",), POLICY),
        (("evaluation.sampling.temperature=0.5",), SAMPLED),
        (("evaluation.sft_temperatures=[0,0.5]",), GRID),
        (("evaluation.num_prompts=5",), RESPONSES),
        (("evaluation.num_raters=9",), EVALUATION),
        (("evaluation.confidence=0.9",), EVALUATION),
        (("evaluation.judge.engine.model=pocket:S",), EVALUATION),
        (("evaluation.judge.debias=logit",), EVALUATION),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_result_option_re_keys_exactly_what_depends_on_it(
    make_config: MakeConfig, known: dict[str, str], overrides: tuple[str, ...], steps: frozenset[str]
) -> None:
    known.update(known or fingerprints(make_config()))
    after = fingerprints(make_config(*overrides))
    assert known.keys() == after.keys() == ALL
    assert {name for name in ALL if known[name] != after[name]} == steps


def notices_of(cfg: DictConfig) -> list[str]:
    plan = Plan(cfg, Path("run"))
    plan.memory.update((step.name, step.stage.load(plan.work(step))) for step in plan.early())
    return [notice for step in plan.steps for notice in step.stage.notices(plan.work(step))]


@pytest.mark.parametrize(
    "objective", [("policy=rloo",), ("policy=grpo",), ("policy.objective.baseline=batch",)], ids=lambda value: value[0]
)
def test_options_of_a_baseline_that_no_objective_learns_are_told(
    make_config: MakeConfig, objective: tuple[str, ...]
) -> None:
    typed = ("policy.value=model", "policy.value_lr=0.5")
    told = [notice.partition(", as the")[0] for notice in notices_of(make_config(*objective, *typed))]
    assert told == [f"{option}: has no effect" for option in typed]
    assert notices_of(make_config(*objective)) == notices_of(make_config(*typed)) == []


def test_a_labeler_beside_a_policy_with_an_adapter_is_told_to_keep_its_own_model(make_config: MakeConfig) -> None:
    (notice,) = notices_of(make_config("lora=all", "pipeline=direct"))
    assert notice.startswith(
        "lora.policy: policy and reference share one copy of the SFT policy's weights; the labeler"
    )
    assert notices_of(make_config("lora=all")) == notices_of(make_config("pipeline=direct")) == []


def test_a_policy_that_samples_otherwise_than_the_labeled_pairs_is_told_in_one_line(make_config: MakeConfig) -> None:
    def notices(*overrides: str) -> list[str]:
        return notices_of(make_config(*overrides))

    assert notices() == []
    assert notices("sampling.temperature=0.7") == [], "policy.temperature is that of sampling"
    assert notices("policy.temperature=0.5", "policy.max_new_tokens=41") == [
        "policy.temperature=0.5, policy.max_new_tokens=41: the policy samples otherwise than the labeled pairs"
        " (sampling.temperature=0.9, sampling.max_new_tokens=40)"
    ]


@pytest.mark.parametrize("judge", ["policy.judge", "policy.watch.judge"])
def test_the_judge_of_a_training_re_keys_its_policy(make_config: MakeConfig, judge: str) -> None:
    """It chooses the weights that are kept, or ends the training."""
    options = ("policy.validate_every=1", f"{judge}=${{evaluation.judge}}")
    before = fingerprints(make_config(*options))
    for option in ("evaluation.judge.engine.model=pocket:XS", "evaluation.judge.debias=logit"):
        after = fingerprints(make_config(*options, option))
        assert {name for name, value in before.items() if after[name] != value} >= {"policy"}, option


def test_a_file_of_criteria_counts_by_its_content(make_config: MakeConfig, tmp_path: Path) -> None:
    texts = {"one.toml": "Is it short?", "same.toml": "Is it short?", "other.toml": "Is it kind?"}
    found = {}
    for name, asks in texts.items():
        (tmp_path / name).write_text(f'[[criterion]]\nasks = "{asks}"\n')
        cfg = make_config("pipeline=direct", "reward=rubric", f"reward.criteria={tmp_path / name}")
        found[name] = fingerprints(cfg)["policy"]
    assert found["one.toml"] == found["same.toml"] != found["other.toml"]

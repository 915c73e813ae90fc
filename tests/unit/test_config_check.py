"""Every mistake of a command line is reported, together, with the near miss and what is allowed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from rlaif.cli import run
from rlaif.conf_files import conf_dir, option_files
from rlaif.config.check import check, compose
from rlaif.config.values import INSTANTIATE_KEYS
from rlaif.data.label_sets.show import find_tables
from rlaif.errors import ConfigError, DataError
from rlaif.pipeline.graph import find_elsewhere

RLAIF_RUN = Path(sys.executable).parent / "rlaif-run"
NEEDED = {
    "data=files": ["data.path=${oc.env:PWD}"],
    "data=hub": ["data.dataset=tldr"],
    "model=hub": ["model.name=org/name"],
    "labeler=file": ["labeler.path=${oc.env:PWD}", "labeler.source=human"],
    "reward=function": ["reward.function=json:loads"],
    "labeler=reward_model": ["labeler.model=${oc.env:PWD}"],
    "experiment=recorded_judge": ["data.path=${oc.env:PWD}", "labeler.path=${oc.env:PWD}"],
    **{f"policy/pair_objective={name}": ["policy=dpo"] for name in ("dpo", "ipo")},
    "labeler/prompt=none": ["labeler=human"],
    "labeler/engine=none": ["labeler=human"],
    **{
        f"labeler/engine={server}": ["labeler.engine.model=some-model"]
        for server in ("openai", "vllm", "sglang", "llamacpp", "ollama")
    },
}
"""What an option leaves to the person, or goes together with."""


@pytest.fixture(autouse=True)
def _run_in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.delenv("RLAIF_STORE", raising=False)


def shipped_options() -> list[str]:
    """Every option of every group as an override, e.g. ``labeler/prompt=base``."""
    files = sorted(option_files(conf_dir()) - {"config"})
    return ["=".join(option.rsplit("/", 1)) for option in files if not option.startswith(("hydra/", "stage/"))]


def test_the_main_job_has_no_problems() -> None:
    assert check([]) == []
    assert check(["task=dialogue", "labeler=cot_pairwise"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("option", shipped_options())
def test_every_shipped_option_composes_and_fits_its_constructor(option: str) -> None:
    assert check([option, *NEEDED.get(option, [])]) == []


@pytest.mark.parametrize("option", sorted(option_files(conf_dir())))
def test_every_key_of_every_yaml_has_a_comment_above(option: str) -> None:
    if option.startswith("hydra/"):
        return
    lines = (conf_dir() / f"{option}.yaml").read_text().splitlines()
    assert lines[0].startswith("#"), "the first line says what the option is"
    for before, line in pairwise(lines):
        is_leaf = ":" in line and not line.lstrip().startswith(("#", "-")) and not line.rstrip().endswith(":")
        if is_leaf and line.split(":")[0].strip() not in INSTANTIATE_KEYS:
            assert before.lstrip().startswith("#"), f"{option}: no comment above {line.strip()}"


def test_keys_stand_in_the_order_of_the_constructor() -> None:
    from rlaif.signatures import read_signature

    for option in sorted(option_files(conf_dir())):
        loaded = yaml.safe_load((conf_dir() / f"{option}.yaml").read_text()) or {}
        if "_target_" in loaded:
            keys = [key for key, value in loaded.items() if key[0] != "_" and not isinstance(value, dict | list)]
            order = list(read_signature(loaded["_target_"]).parameters)
            assert keys == sorted(keys, key=order.index), option


MISTAKES = {
    "labeller=cot": "no such group or key; did you mean labeler=cot_pairwise?",
    "task=dialog": "task has no option dialog; did you mean task=dialogue? allowed are dialogue,",
    "labelers/prompt=base": "no such group; did you mean labeler/prompt?",
    "labeler.engine=transformers": "is chosen among options; write labeler/engine=transformers",
    "model.dtypes=float16": "model has no key dtypes; did you mean model.dtype?",
    "label.batch_size=many": "must be a whole number, as 64",
    "labeler.engine.batch_size=long": "must be a whole number or null",
    "labeler.rationale=owm": "must be one of own, empty, other; did you mean own?",
    "labeler.engine.model=pocket:M": "no such pocket model; allowed are pocket:XS, pocket:S, pocket:S2, pocket:L",
    "evaluation.judge.engine.model=run:no/such/sft": "no such step of a run; write run:DIR/step",
    "labeler.max_rationale_tokens=null": "must be a whole number",
    "data/format=arena": "a layout is a value; write data.format=arena",
    "sed=3": "no such group or key; did you mean seed?",
    "seed=0,1": "several values make a sweep; add -m",
    "a,b=2": "cannot be read as an override",
    "evaluation.confidence=high": "must be a number",
    "store.dir=/proc/store": "cannot write in /proc",
    "model.name=/no/such/model": "no such directory; allowed are pocket:XS",
    "reward=null": "an option is chosen by its name, ensemble, function, group_pairwise, labeler, mixture",
    "+trainer.devises=2": "Trainer does not take devises; did you mean trainer.devices?",
    "~labell": "no such group or key; did you mean label?",
}


def test_all_mistakes_are_reported_at_once() -> None:
    problems = check(list(MISTAKES))
    for typed, message in MISTAKES.items():
        matching = [line for line in problems if line.lstrip("+").startswith(typed.lstrip("+"))]
        assert matching, f"{typed} is not reported in\n" + "\n".join(problems)
        assert message in matching[0]
    assert len(problems) == len(MISTAKES), "\n".join(problems)


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        ("~/pairs.jsonl", "\"data.path='~/pairs.jsonl'\""),
        ("Umfrage (1).csv", "\"data.path='Umfrage (1).csv'\""),
        ("Größe [neu], a=b.csv", "\"data.path='Größe [neu], a=b.csv'\""),
        ("it's.csv", shlex.quote(r"data.path='it\'s.csv'")),
    ],
)
def test_a_value_with_special_characters_is_told_as_it_is_typed(value: str, typed: str) -> None:
    """And the option that it was typed for is not said to be absent."""
    (problem,) = check(["data=files", f"data.path={value}"], places=False)
    assert problem.startswith(f"data.path={value}: cannot be read as an override")
    assert problem.endswith(f"its value has special characters: type {typed}")
    (word,) = shlex.split(typed)
    assert compose(["data=files", word]).data.path == value


@pytest.mark.parametrize(
    "option", ["data.path", "store.dir", "hydra.run.dir", "labeler.engine.model", "evaluation.judge.engine.model"]
)
def test_a_home_directory_that_is_not_there_is_told(option: str) -> None:
    (problem,) = check(["data=files", *(["data.path=/dev"] if option != "data.path" else []), f"{option}='~nobody0/x'"])
    assert problem == f"{option}=~nobody0/x: there is no home directory ~nobody0; write the path out"


def test_a_run_directory_below_the_home_directory_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra makes it, and replaces no ~."""
    monkeypatch.setenv("HOME", "/tmp")
    (problem,) = check(["hydra.run.dir='~/run'"])
    assert problem == "hydra.run.dir=~/run: Hydra would make a directory of the name ~; type /tmp/run"
    assert check(["store.dir='~/store'"]) == []


def test_texts_in_a_list_or_mapping_have_quotes_of_their_own() -> None:
    (problem,) = check(["data=files", "data.path=x", "data.columns={prompt: Größe}"], places=False)
    assert problem.endswith("quote a value with special characters: \"key='a=b'\"")


def test_passes_that_another_option_makes_useless_are_refused() -> None:
    (problem,) = check(["sft.epochs=3", "reward_model.epochs=2"])
    assert problem.startswith("sft.epochs=3: has no effect beside sft.steps=120") and "sft.steps=null" in problem
    assert check(["sft.epochs=3", "sft.steps=null", "reward_model.steps=4"]) == []
    (problem,) = check(["policy=dpo", "policy.steps=5", "policy.epochs=9"])
    assert problem.startswith("policy.epochs=9: has no effect beside policy.steps=5")


def test_weights_that_another_option_makes_useless_are_refused() -> None:
    """Typed, or set by a configuration; of jobs that a sweep compares they may have an effect in one."""
    (problem,) = check(["pipeline=ensemble", "reward.combine=min", "reward.disagreement_weight=0.5"])
    assert problem == (
        "reward.disagreement_weight=0.5: has no effect with reward.combine=min; type reward.combine=lower_bound too,"
        " or leave reward.disagreement_weight out"
    )
    assert check(["pipeline=ensemble", "reward.disagreement_weight=0.5"]) == []
    assert check(["pipeline=ensemble", "reward.combine=mean"]) == []
    weights = ["reward_model.length_weight=2", "reward_model.orthogonality_weight=1.0"]
    length, orthogonality = check(weights)
    assert length.startswith("reward_model.length_weight=2: has no effect with reward_model.debias=none; type")
    assert orthogonality.startswith("reward_model.orthogonality_weight=1.0: has no effect")
    assert check([*weights, "reward_model.debias=length"]) == []
    assert check([*weights, "reward_model.debias=none,length"], multirun=True) == []


@pytest.mark.parametrize("policy", ["reinforce", "grpo", "online_dpo", "paper"])
def test_candidates_that_no_judge_chooses_from_are_refused(policy: str) -> None:
    chosen = (f"policy={policy}", "policy.validate_every=2")
    assert check([*chosen]) == []
    (problem,) = check([*chosen, "policy.num_candidates=8", "policy.keep=best_reward"])
    assert problem.startswith("policy.num_candidates=8: has no effect with policy.keep=best_reward; type policy.keep=")
    assert check([*chosen, "policy.num_candidates=8", "policy.keep=judged"]) == []


def test_weights_of_an_experiment_that_another_option_makes_useless_are_refused(tmp_path: Path) -> None:
    experiment = tmp_path / "own" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    for lines, told in (("{length_weight: 2.0}", 1), ("{length_weight: 2.0, debias: length}", 0)):
        experiment.write_text(f"# @package _global_\nreward_model: {lines}\n")
        problems = check(["experiment=mine"], config_dir=str(tmp_path / "own"))
        assert [line.split(":")[0] for line in problems] == ["reward_model.length_weight=2.0"] * told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "policy: {steps: 3}",
            "experiment: its file sets experiment.policy, which nothing reads; make `# @package _global_` the first"
            " line of the file",
        ),
        (
            "# @package _global_\nlabel: {max_mising_rate: 0.5}",
            "label.max_mising_rate: nothing reads it; did you mean label.max_missing_rate?",
        ),
        ("# @package _global_\npolcy: {steps: 3}", "polcy: nothing reads it; did you mean policy?"),
        ("# @package _global_\nlabel: {mine: 3}\nmine: {temperature: 0.5}\nname: first try", None),
    ],
)
def test_keys_of_an_experiment_that_nothing_reads_are_refused(tmp_path: Path, lines: str, told: str | None) -> None:
    experiment = tmp_path / "own" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(f"{lines}\n")
    assert check(["experiment=mine"], config_dir=str(tmp_path / "own")) == ([] if told is None else [told])


def test_a_key_of_another_option_is_told_with_that_option() -> None:
    problems = check(["data.path=pairs.jsonl", "policy.objective.redraws=3", "probe.num_pairs=9"], places=False)
    assert problems == [
        "data.path=pairs.jsonl: comes with data=files; type that too, or leave it out",
        "policy.objective.redraws=3: comes with policy/objective=dapo, policy/objective=grpo; type one of them too, or"
        " leave it out",
        "probe.num_pairs=9: comes with pipeline=probe; type that too, or leave it out",
    ]


def test_a_model_or_a_file_in_the_place_of_an_option_is_told_with_its_option() -> None:
    for typed, told in (
        ("model=Qwen/Qwen3-0.6B", "type model=hub model.name=Qwen/Qwen3-0.6B; "),
        ("data=pairs.jsonl", "type data=files data.path=pairs.jsonl; "),
    ):
        (problem,) = check([typed])
        assert told in problem


def test_passes_of_an_experiment_that_another_option_makes_useless_are_refused(tmp_path: Path) -> None:
    experiment = tmp_path / "own" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    for lines, told in (("{epochs: 9}", ["sft.epochs=9"]), ("{epochs: 9, steps: null}", []), ("{steps: 7}", [])):
        experiment.write_text(f"# @package _global_\nsft: {lines}\n")
        problems = check(["experiment=mine"], config_dir=str(tmp_path / "own"))
        assert [problem.partition(":")[0] for problem in problems] == told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["experiment=control", "data.sft_share=0.3"], "type control.sft_share=0.3"),
        (["experiment=control_by_models", "data.sft_share=0.3"], "type control.sft_share=0.3"),
        (["experiment=control", "evaluation.against={other: outputs/other}"], "(evaluation); leave it out"),
        (["pipeline=another_sampler", "label.sampled_by=outputs/other"], "(samples); leave it out"),
    ],
)
def test_an_option_that_every_step_takes_from_elsewhere_is_refused(options: list[str], told: str) -> None:
    (problem,) = check(options, places=False)
    assert problem.startswith(options[1].partition("=")[0]) and "has no effect" in problem and told in problem


def test_an_option_that_some_step_reads_passes() -> None:
    """The critic's model is another than the teachers', and data.teacher holds for the weak teacher's data alone."""
    assert check(["experiment=control_by_models", "labeler.engine.model=pocket:XS"], places=False) == []
    assert check(["experiment=control", "data.teacher=strong", "control.sft_share=0.3"], places=False) == []
    assert check(["experiment=rlhf_rlaif", "sampling.temperature=0.7", "labeler=pairwise"], places=False) == []


def test_a_new_key_beside_one_with_nearly_its_name_is_refused() -> None:
    problems = check(["+label.batchsize=4", "+evaluation.num_prompt=9", "+label.mine=3", "+mine=3"])
    assert problems == [
        "+label.batchsize=4: nothing reads label.batchsize; did you mean label.batch_size?",
        "+evaluation.num_prompt=9: nothing reads evaluation.num_prompt; did you mean evaluation.num_prompts?",
    ]


def test_an_empty_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLAIF_STORE", "")
    assert check([]) == ["store.dir: is empty; name a directory, or unset the environment variable RLAIF_STORE"]


def test_the_reward_reads_as_much_text_as_the_reward_model_learned_from() -> None:
    assert compose(["reward_model.max_length=300"]).reward.max_length == 300


def test_keys_of_a_refused_option_are_not_held_against_another() -> None:
    assert [line.partition(":")[0] for line in check(["labeler=lenght", "labeler.prefer=shorter"])] == [
        "labeler=lenght"
    ]


def test_missing_values_and_paths(tmp_path: Path) -> None:
    assert "data.path: needs a value; add data.path=…" in check(["data=files"])
    (tmp_path / "rows.jsonl").write_text("")
    wrong = check(["data=files", "data.path=row.jsonl"])
    assert wrong == ["data.path=row.jsonl: no such file; did you mean rows.jsonl?"]
    for path in ("rows.jsonl", "[rows.jsonl]", "*.jsonl", "rows.jsonl/train"):
        assert check(["data=files", f"data.path={path}"]) == []
    assert check(["data=files", "data.path=[rows.jsonl,a.csv,*.parquet]"]) == [
        f"data.path={path}: no such file; {tmp_path} holds no such file" for path in ("a.csv", "*.parquet")
    ]
    (wrong,) = check(["data=files", "data.path=https://example.org/a.jsonl"])
    assert wrong.startswith("data.path=https://example.org/a.jsonl: is an address, and files are read")


def test_a_result_whose_link_leads_nowhere_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for name in ("policy", "labels"):
        (tmp_path / "moved" / name).symlink_to(f"../store/{name}-0123")
    read = ["labeler=file", "labeler.source=gpt-4", "labeler.path=moved/labels/labels.parquet"]
    for words in (["labeler.engine.model=run:moved/policy"], ["model.name=moved/policy"], read):
        (problem,) = check(words)
        assert problem.startswith(f"{words[-1]}: its link to ../store/") and "the run's directory was moved" in problem
    with pytest.raises(ConfigError, match="leads nowhere"):
        find_elsewhere("run:moved/policy", "from.policy")
    with pytest.raises(DataError, match=r"moved/labels: its link to .* leads nowhere"):
        find_tables(Path("moved"))


def test_a_change_of_the_directory_is_refused() -> None:
    assert check(["hydra.job.chdir=true"]) == [
        "hydra.job.chdir=true: relative paths mean the directory that the command is started in; leave it out"
    ]


def test_what_a_run_reads_cannot_be_taken_out() -> None:
    for typed, told in (
        ("~lora", "a run reads it; choose another option, lora=…"),
        ("~sampling", "a run reads it; choose another option, sampling=…"),
        ("~evaluation.judge", "a run reads it; set another value, evaluation.judge=…"),
        ("~overwrite", "a run reads it; set another value, overwrite=…"),
    ):
        assert f"{typed}: {told}" in check([typed])
    assert check(["~logger"]) == [] == check(["reward=mixture", "~reward.rewards.labeler"])


def test_an_experiment_that_is_added_is_told_how_it_is_chosen() -> None:
    assert check(["+experiment=rlhf"]) == ["+experiment=rlhf: the config has this group; write experiment=rlhf"]


def test_run_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for option, multirun in (("hydra.run.dir", False), ("hydra.sweep.dir", True)):
        problems = check([f"{option}=taken/run"], multirun=multirun)
        assert problems == [f"{option}=taken/run: {tmp_path / 'taken'} is a file, not a directory"]


def test_sweeps_are_checked_value_by_value() -> None:
    sound = ["labeler=pairwise,cot_pairwise", "seed=range(0,3)", "policy/objective=reinforce,rloo"]
    assert check(sound, multirun=True) == []
    assert check(["labeler=glob(*pairwise)", "labeler/prompt=glob(base*)"], multirun=True) == []
    problems = check(["labeler=pairwise,cot", "label.batch_size=8,many"], multirun=True)
    assert [line.partition(":")[0] for line in problems] == ["labeler=cot", "label.batch_size=many"]


def test_hydra_syntax_goes_through() -> None:
    assert check(["++seed=3", "~logger", "labeler@evaluation.judge=pairwise"]) == []
    assert check(["labeler=human", "labeler/prompt=none", "evaluation.judge=null", "hydra.job.name=mine"]) == []


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([RLAIF_RUN, *arguments], capture_output=True, text=True, env=environment)


def test_the_command_reports_without_a_traceback_and_exits_2() -> None:
    result = run_command("labeller=cot", "task=dialog", "sed=1")
    assert result.returncode == 2
    assert result.stderr.startswith("rlaif-run: 3 problems\n")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(Path.cwd().iterdir()) == []


def test_cfg_help_and_version_work() -> None:
    composed = run_command("--cfg", "job", "seed=7")
    assert composed.returncode == 0, composed.stderr
    assert yaml.safe_load(composed.stdout)["seed"] == 7
    shown = run_command("--help")
    assert shown.returncode == 0
    assert "labeler/prompt: base, base_1shot" in shown.stdout
    assert run_command("--version").stdout.startswith("rlaif ")


def test_cfg_of_a_sweep_prints_every_job() -> None:
    composed = run_command("-m", "--cfg", "job", "seed=3,4", "pipeline=sft,label", "hydra.sweep.dir=out")
    assert composed.returncode == 0, composed.stderr
    jobs = list(yaml.safe_load_all(composed.stdout))
    assert [(job["seed"], job["pipeline"]["stages"][-1]) for job in jobs] == [
        (3, "sft"),
        (3, "labels"),
        (4, "sft"),
        (4, "labels"),
    ]
    assert "# job 1: seed=3 pipeline=label" in composed.stdout
    assert list(Path.cwd().iterdir()) == []
    hydra = run_command("-m", "--cfg", "hydra", "--package", "hydra.sweep.dir", "seed=3,4", "hydra.sweep.dir=out")
    assert hydra.stdout.count("out") == 2, hydra.stderr


def test_checking_imports_nothing_heavy() -> None:
    code = (
        "import sys; import rlaif.cli.run; from rlaif.config.check import check; check(['seed=x', 'task=dialog']);"
        "print([name for name in ('torch', 'lightning', 'transformers', 'datasets') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_options_out_of_range_are_reported_together_with_all_else() -> None:
    wrong = {
        "label.batch_size=0": "must be at least 1",
        "label.max_missing_rate=2": "must be between 0 and 1",
        "label.scorecard_pairs=-1": "must be at least 1, or null",
        "label.samples_per_prompt=0": "must be at least 1",
        "label.cache=disk": "must be one of local, network, none",
        "label.min_alignment=70": "must be above 0 and at most 1, or null",
        "evaluation.confidence=1.0": "must be above 0 and below 1",
        "evaluation.num_raters=0": "must be at least 1",
        "labeler.debias=foo": "must be one of",
        "+evaluation.limits.min_alignment=75": "must be between 0 and 1",
        "+evaluation.limits.max_ece=nan": "must be between 0 and 1",
        "store.checkpoint_every_s=-1": "must be a finite number of at least 0",
    }
    found = check(list(wrong))
    for option, said in ((typed.lstrip("+"), said) for typed, said in wrong.items()):
        assert any(line.startswith(f"{option}: {said}") for line in found), (option, found)
    assert len(found) == len(wrong)
    assert check(["+evaluation.limits.min_alignmnt=1"])[0].startswith(
        "evaluation.limits.min_alignmnt: there is no such limit; did you mean min_alignment?"
    )
    assert check(["store.checkpoint_every_s=null"]) == ["store.checkpoint_every_s=null: must be a number"]
    assert check(["data=files", "data.path=${oc.env:PWD}", "seed=null"]) == ["seed=null: must be a whole number"]
    edges = (
        "store.checkpoint_every_s=0",
        "label.max_missing_rate=0",
        "label.min_alignment=1",
        "label.scorecard_pairs=null",
    )
    assert check([*edges, "+evaluation.limits.min_alignment=0.7"]) == []
    assert check(["pipeline=probe", "probe.responses=both", "probe.max_flip_rate=-0.1", "probe.num_pairs=0"]) == [
        "probe.num_pairs=0: must be at least 1",
        "probe.responses=both: must be one of pairs, policy",
        "probe.max_flip_rate=-0.1: must be between 0 and 1",
    ]


def test_a_value_that_another_option_takes_over_is_told_as_typed() -> None:
    assert check(["sampling.temperature=0"]) == [
        "sampling.temperature=0: policy.temperature, which takes it, must be a finite number above 0"
    ]
    assert check(["policy.temperature=0"]) == ["policy.temperature=0: must be a finite number above 0"]


def test_a_wrong_value_hides_no_folder_that_is_not_there() -> None:
    found = check(["labeler.prompt.preamble=fancy", "labeler.prompt.templates=/nonexist/words"])
    assert [line.partition(":")[0] for line in found] == [
        "labeler.prompt.preamble=fancy",
        "labeler.prompt.templates=/nonexist/words",
    ]


OPENAI = ("labeler/engine=openai", "labeler.engine.model=m")
SECRETS = ("sesame", "sk-proj-abcdef0123", "aiza0123456789", "A" * 65)


@pytest.mark.parametrize(
    "wrong",
    [
        "labeler.engine.url=http://user:sesame@host/v1",
        "labeler.engine.url=http://sesame@host/v1",
        "labeler.engine.url='http://us:er/sesame@host/v1'",
        "labeler.engine.url='http://host/v1?api_key=sesame'",
        *(f"labeler.engine.key_env={secret}" for secret in SECRETS),
    ],
)
def test_a_secret_in_an_option_is_refused_and_not_repeated(wrong: str) -> None:
    option = wrong.partition("=")[0]
    for overrides in ([*OPENAI, wrong], [*OPENAI, "evaluation/judge=nowhere", wrong], ["labeler=human", wrong]):
        for places in (True, False):
            found = check(overrides, places=places)
            assert any(line.startswith(option) for line in found), found
            assert not any(secret in line for line in found for secret in SECRETS), found
    assert len(check([*OPENAI, wrong])) == 1


@pytest.mark.parametrize("name", ["api_key", "apikey", "token"])
@pytest.mark.parametrize("added", ["", "+"])
def test_a_key_that_is_typed_as_other_clients_take_it_is_not_repeated(name: str, added: str) -> None:
    (found,) = check([*OPENAI, f"{added}labeler.engine.{name}=sesame"])
    assert found.startswith(f"labeler.engine.{name}=[hidden]: ") and "sesame" not in found
    assert added or "labeler.engine.key_env names the environment variable that holds the key" in found


def test_azures_api_version_is_told_with_the_url_that_needs_none() -> None:
    (found,) = check([*OPENAI, "labeler.engine.url='https://a.openai.azure.com/openai?api-version=2024-10-21'"])
    assert found.startswith("labeler.engine.url: takes no query; Azure needs no api-version at https://RESOURCE")


def test_a_secret_is_refused_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "http://user:sesame@host/v1")
    monkeypatch.setenv("A_KEY", "sesame")
    (found,) = check([*OPENAI, "labeler.engine.url=${oc.env:WHERE}"])
    assert found.startswith("labeler.engine.url: takes no user, password or query") and "sesame" not in found
    (swept,) = check([*OPENAI, "labeler.engine.key_env=A_KEY,sesame-open"], multirun=True)
    assert swept.startswith("labeler.engine.key_env: must be the name") and "sesame" not in swept
    assert check([*OPENAI, "labeler.engine.key_env=A_KEY", "labeler.engine.url=https://host:8000/v1"]) == []


def test_a_refused_password_is_written_nowhere(tmp_path: Path) -> None:
    wrong = ("labeler.engine.url=http://user:sesame@host/v1", "labeler.engine.key_env=sesame-open")
    run = subprocess.run([RLAIF_RUN, *OPENAI, *wrong], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and "2 problems" in run.stderr
    assert "sesame" not in run.stdout + run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--run", "--multirun"], "--run --multirun: give one of these flags"),
        (["--resolve"], "--resolve: goes with --cfg job"),
    ],
)
def test_flags_that_do_not_go_together_are_told(
    flags: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rlaif-run", *flags])
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 2 and told in capsys.readouterr().err

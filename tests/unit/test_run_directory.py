"""A directory with another configuration's results is refused, or its files are set aside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from rlaif.config.jobs import claim_directories
from rlaif.config.run_directory import (
    Job,
    changed_options,
    claim,
    claim_sweep,
    in_use,
    job_directories,
    store_directory,
)
from rlaif.errors import ConfigError


def job(directory: Path, *, store: Path | None = None, **options: object) -> Job:
    return Job(directory=directory, config_yaml=yaml.safe_dump(options), store=store or directory.parent / "store")


def leave(done: Job, *results: str) -> None:
    """What a run writes: its configuration, and results."""
    done.directory.mkdir(parents=True, exist_ok=True)
    (done.directory / "config.yaml").write_text(done.config_yaml)
    for name in results:
        (done.directory / name).write_text("result")


def job_of_sweep(sweep: Path, number: int, **options: object) -> Job:
    made = job(sweep / str(number), store=sweep.parent / "store", **options)
    leave(made, "report.json")
    (made.directory / ".hydra").mkdir()
    overrides = [f"{key}={value}" for key, value in options.items()]
    (made.directory / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    return made


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_results_of_another_configuration_are_refused_by_name(tmp_path: Path) -> None:
    leave(job(tmp_path / "run", seed=0, policy={"steps": 60}), "report.json")
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*/run: holds results of another configuration") as caught:
        claim(job(tmp_path / "run", seed=1, policy={"steps": 61}), overwrite=False)
    assert "(policy.steps=61 (was 60); seed=1 (was 0))" in str(caught.value)
    assert "overwrite=true" in str(caught.value) and str(tmp_path / "run" / "previous") in str(caught.value)
    assert names(tmp_path / "run") == {"config.yaml", "report.json"}


def test_two_runs_of_different_configurations_do_not_share_a_directory(tmp_path: Path) -> None:
    """Also before the first has a result; processes of one configuration share it, and it is free afterwards."""
    one, two = job(tmp_path / "run", seed=5), job(tmp_path / "run", seed=6)
    with in_use(one):
        leave(one)
        with in_use(one):
            pass
        with pytest.raises(ConfigError, match=r"is going on there \(seed=6 \(was 5\)\); wait for it"), in_use(two):
            pass
    with in_use(two):
        claim(two, overwrite=False)


def test_the_same_configuration_goes_on_also_under_other_limits_and_places(tmp_path: Path) -> None:
    earlier = {"seed": 0, "label": {"max_missing_rate": 0.2}, "budget": {"max_usd": 1}, "logger": None}
    now = {"seed": 0, "label": {"max_missing_rate": 1.0}, "budget": {"max_usd": 2}, "estimate": False}
    leave(job(tmp_path / "run", **earlier), "report.json")
    for overwrite in (False, True):
        claim(job(tmp_path / "run", **now), overwrite=overwrite)
    assert names(tmp_path / "run") == {"config.yaml", "report.json"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer.max_time", "00:02:00:00"),
        ("trainer.max_time.hours", 2),
        ("trainer.profiler", "simple"),
        ("label.ask_refused_again", True),
        ("policy.max_tokens_per_forward", 256),
        ("labeler.engine.batch_size", 4),
        ("evaluation.judge.engine.batch_size", 4),
        ("model.attn_implementation", "eager"),
        ("model.gradient_checkpointing", True),
    ],
)
def test_a_run_goes_on_with_a_later_time_limit_less_memory_or_what_an_error_advised(
    tmp_path: Path, option: str, value: object
) -> None:
    now = OmegaConf.create({"seed": 0})
    OmegaConf.update(now, option, value, force_add=True)
    leave(job(tmp_path / "run", seed=0), "report.json")
    claim(replace(job(tmp_path / "run"), config_yaml=OmegaConf.to_yaml(now)), overwrite=False)


def test_what_a_package_leaves_out_of_fingerprints_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "site" / "slow_judge-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-judge\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[rlaif.labelers]\nslow = slow_judge:Slow\n")
    (tmp_path / "site" / "slow_judge.py").write_text(
        "from rlaif.runtime import Runtime\n\nclass Slow:\n"
        "    def __init__(self, *, words: str = '', timeout: Runtime[int] = 1): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")

    def of(**options: object) -> Job:
        return job(tmp_path / "run", labeler={"_target_": "slow_judge.Slow", "words": "a", "timeout": 1, **options})

    leave(of(), "report.json")
    claim(of(timeout=9), overwrite=False)
    with pytest.raises(ConfigError, match=r"labeler.words=b \(was a\)\); choose"):
        claim(of(timeout=9, words="b"), overwrite=False)


def test_a_directory_without_results_is_free(tmp_path: Path) -> None:
    place = tmp_path / "run"
    leave(job(place, seed=0), "rlaif.log", "error.txt")
    (place / ".hydra").mkdir()
    (place / "store" / "sft-0123").mkdir(parents=True)
    claim(job(place, store=place / "store", seed=1), overwrite=False)
    claim(job(tmp_path / "new", seed=1), overwrite=False)
    (place / "sft").symlink_to("store/sft-0123")
    with pytest.raises(ConfigError, match="seed=1"):
        claim(job(place, store=place / "store", seed=1), overwrite=False)


def test_overwrite_sets_the_files_aside_and_links_still_lead_there(tmp_path: Path) -> None:
    place = tmp_path / "run"
    (tmp_path / "store" / "sft-0123").mkdir(parents=True)
    for seed in (0, 1):
        leave(job(place, seed=seed), "report.json")
        (place / "sft").symlink_to("../store/sft-0123")
        claim(job(place, seed=seed + 1), overwrite=True, keep=("rlaif.log",))
    assert names(place) == {"previous", "previous-2"}
    for number, name in enumerate(("previous", "previous-2")):
        assert yaml.safe_load((place / name / "config.yaml").read_text()) == {"seed": number}
        assert (place / name / "sft").resolve() == (tmp_path / "store" / "sft-0123").resolve()


def test_overwrite_leaves_the_store_and_what_this_run_wrote(tmp_path: Path) -> None:
    place = tmp_path / "run"
    leave(job(place, seed=0), "report.json", "rlaif.log")
    (place / "cache" / "store" / "sft-0123").mkdir(parents=True)
    (place / "sft").symlink_to("cache/store/sft-0123")
    claim(job(place, store=place / "cache" / "store", seed=1), overwrite=True, keep=("rlaif.log",))
    assert names(place) == {"previous", "cache", "rlaif.log"}
    assert (place / "previous" / "sft").resolve() == (place / "cache" / "store" / "sft-0123").resolve()


def test_overwrite_never_moves_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(job(tmp_path, seed=0), "report.json", "my-notes.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="the directory you are in"):
        claim(job(tmp_path, seed=1), overwrite=True)
    assert "my-notes.txt" in names(tmp_path)


def test_a_foreign_config_file_counts_as_another_configuration(tmp_path: Path) -> None:
    leave(job(tmp_path / "run"), "data.csv")
    (tmp_path / "run" / "config.yaml").write_text("- a list\n- {")
    with pytest.raises(ConfigError, match="not a run's configuration"):
        claim(job(tmp_path / "run", seed=1), overwrite=False)


def test_passwords_are_not_repeated() -> None:
    (line,) = changed_options({"path": "http://me:pw@host/x"}, {"path": "http://me:other@host/x"})
    assert "pw" not in line and "other" not in line


class TestSweeps:
    def test_the_same_sweep_and_a_longer_one_go_on(self, tmp_path: Path) -> None:
        jobs = [job_of_sweep(tmp_path / "sweep", number, seed=number) for number in range(2)]
        more = job(tmp_path / "sweep" / "2", seed=2)
        claim_sweep(tmp_path / "sweep", jobs, overwrite=False, store=tmp_path / "store")
        claim_sweep(tmp_path / "sweep", [*jobs, more], overwrite=True, store=tmp_path / "store")
        assert names(tmp_path / "sweep") == {"0", "1"}

    def test_jobs_of_another_sweep_are_refused_or_set_aside(self, tmp_path: Path) -> None:
        sweep = tmp_path / "sweep"
        first, _ = [job_of_sweep(sweep, number, seed=number) for number in range(2)]
        other = job(sweep / "0", seed=7)
        with pytest.raises(ConfigError, match=r"job 1, seed=1, is not of this one"):
            claim_sweep(sweep, [first], overwrite=False, store=tmp_path / "store")
        with pytest.raises(ConfigError, match=r"hydra\.sweep\.dir=.*jobs of another sweep \(job 0: seed=7 \(was 0\)"):
            claim_sweep(sweep, [other, job(sweep / "1", seed=1)], overwrite=False, store=tmp_path / "store")
        claim_sweep(sweep, [other], overwrite=True, store=tmp_path / "store")
        assert names(sweep) == {"previous"} and names(sweep / "previous") == {"0", "1"}
        assert list(job_directories(sweep)) == [], "the sweep's table must not show them"


class TestCommandLine:
    """The configuration that is compared is the one that the run would write."""

    def test_a_run_and_a_sweep(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        run = ("hydra.run.dir=out", "store.dir=store")
        claim_directories([*run, "seed=0"])
        assert not (tmp_path / "out").exists()
        leave(job(tmp_path / "out", seed=0), "report.json")
        with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*/out: holds"):
            claim_directories([*run, "seed=0"])
        sweep = ("hydra.sweep.dir=sweep", "store.dir=store", "pipeline=sft")
        claim_directories([*sweep, "seed=0,1"], multirun=True)
        job_of_sweep(tmp_path / "sweep", 1, seed=1)
        with pytest.raises(ConfigError, match=r"hydra\.sweep\.dir=.*job 1: "):
            claim_directories([*sweep, "seed=0,1"], multirun=True)
        claim_directories([*sweep, "seed=0,1", "overwrite=true"], multirun=True)
        assert names(tmp_path / "sweep") == {"previous"}


def test_a_tilde_in_store_dir_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert store_directory(OmegaConf.create({"store": {"dir": "~/results"}})) == tmp_path / "results"
    assert store_directory(OmegaConf.create({"store": {"dir": "results"}})) == tmp_path / "results"

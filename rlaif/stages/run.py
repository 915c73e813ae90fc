"""One run: the stages of the pipeline in order, each built once, then the report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers.utils.logging import disable_progress_bar

from rlaif.artifacts import atomic_write, link
from rlaif.data.base import SkippedRows
from rlaif.errors import ConfigError
from rlaif.modules.trainer import quiet_lightning
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.checks import check_labeler, problems_of
from rlaif.stages.context import Context
from rlaif.stages.estimate import show_estimate
from rlaif.stages.evaluation import EVALUATION, build_judge, opponents
from rlaif.stages.gate import GATE, show_gate
from rlaif.stages.labelers import asks_own_model
from rlaif.stages.labels import LABEL, prices_and_budget
from rlaif.stages.mixing import check_mix
from rlaif.stages.policy import POLICY, composed_reward, rewards_by_labeler
from rlaif.stages.pretraining import pretrain_pocket_models
from rlaif.stages.probe import PROBE, check_probe, report_probe
from rlaif.stages.report import report_run
from rlaif.stages.reward_model import REWARD_MODEL
from rlaif.stages.samples import SAMPLE
from rlaif.stages.scorecard import SCORECARD, check_gate, check_scorecard, report_scorecard, with_gate
from rlaif.stages.sft import SFT
from rlaif.stages.stage import Stage
from rlaif.stages.workers import build_in_workers, needs_workers

STAGES: dict[str, Stage] = {
    stage.name: stage for stage in (SFT, SAMPLE, SCORECARD, LABEL, REWARD_MODEL, POLICY, EVALUATION, GATE, PROBE)
}
LINKED = ("sft", "scorecard", "labels", "reward_model", "policy", "gate")
"""Stages whose results appear in the run directory."""


def run(cfg: DictConfig) -> float | None:
    """Run a pipeline.

    Args:
        cfg: The composed configuration.

    Returns:
        For optimizing sweepers, the policy's win rate against SFT, or with ``pipeline=scorecard`` the labeler's
        alignment, in [0, 1]; None where it is not measured.

    Raises:
        ConfigError: The configuration cannot work.
        GateStopped: A limit stopped the run; starting it again goes on.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    quiet_lightning()
    disable_progress_bar()  # transformers' own, on stderr, between our lines
    directory = Path(HydraConfig.get().runtime.output_dir)
    atomic_write(directory / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    display = RunDisplay()
    display.header(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]), _short(directory))
    names = list(cfg.pipeline.stages)
    if names == ["pocket_pretraining"]:
        pretrain_pocket_models(cfg, directory, display)
        return None
    context = Context(cfg, STAGES)
    known = {"data", *STAGES, "report"}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"pipeline.stages={names}: {unknown[0]} is no stage; allowed are {', '.join(sorted(known))}")
    _check_reward(context, names)
    seconds: dict[str, float] = {}
    with_scorecard = with_gate(context, names)
    for name in with_scorecard:
        if name == "data":
            _load_data(context, display)
            _check_all(context, names, with_scorecard)
            if cfg.estimate:
                show_estimate(context, display)
                return None
        elif name in _unread(context, names):
            continue
        elif name == "report":
            return report_run(context, directory, display, seconds)
        else:
            seconds[name] = _run_stage(context, STAGES[name], directory, display)
        if name == "scorecard":
            alignment = report_scorecard(context, directory, display if name in names else None)
            check_gate(context, directory)
    if names[-1] == "scorecard":
        return alignment
    if "probe" in names:
        return report_probe(context, directory, display)
    if "gate" in names:
        show_gate(context, context.result("gate"), display)
    return None


def _unread(context: Context, names: Sequence[str]) -> set[str]:
    """Stages that a run leaves out whose pairs came with the data: nobody would read their results."""
    if context.cfg.data.pairs == "policy":
        return set()
    only_labels = "labels" in names and {"data", "sft", "samples", "labels", "scorecard"}.issuperset(names)
    return {"samples", "sft"} if only_labels and not asks_own_model(context.cfg.labeler) else {"samples"}


def _check_all(context: Context, names: Sequence[str], with_scorecard: Sequence[str]) -> None:
    """Find what could not work before anything is trained or labeled: all of it at once.

    Raises:
        ConfigError: With every problem.
    """
    checks: list[Callable[[], object]] = [
        partial(instantiate, context.cfg[name]) for name in ("sft", "reward_model", "policy") if name in names
    ]
    checks += [partial(check, context, names) for check in (_check_batches, _check_evaluation)]
    asks_labeler = not {"labels", "scorecard", "probe"}.isdisjoint(with_scorecard)
    if "policy" in names:
        checks.append(partial(instantiate, context.cfg.reward))
        asks_labeler = asks_labeler or rewards_by_labeler(context)
    if asks_labeler:
        checks += [partial(instantiate, context.cfg[name]) for name in ("cost", "budget")]
        checks += [partial(prices_and_budget, context), partial(check_labeler, context, "labeler")]
    checks += [partial(check_mix, context, names), partial(check_scorecard, context, names)]
    if "probe" in names:
        checks.append(partial(check_probe, context))
    if problems := list(dict.fromkeys(problems_of(*checks))):
        raise ConfigError(problems)


def _check_reward(context: Context, names: Sequence[str]) -> None:
    """A reward model that is trained for nothing, or one that nobody trains."""
    if "policy" not in names:
        return
    trains, by_labeler = "reward_model" in names, rewards_by_labeler(context)
    if by_labeler and trains:
        raise ConfigError(
            "reward=labeler: this pipeline trains a reward model that nothing would use; add pipeline=direct"
        )
    if not by_labeler and not trains and "reward_model" in composed_reward(context).reads():
        raise ConfigError(
            "reward=reward_model: this pipeline trains no reward model; add reward=labeler or pipeline=rlaif"
        )


def _load_data(context: Context, display: RunDisplay) -> None:
    with display.stage("data") as stage:
        data = context.data
        stage.note(
            f"{len(data.demonstrations):,} demonstrations, {len(data.label_prompts) or len(data.preferences):,} to"
            f" label, {len(data.eval_prompts):,} held out{_skipped(data.skipped)}"
        )
    for example in data.skipped.examples:
        display.console.print(f"    left out  {example}", style="dim", highlight=False, markup=False, soft_wrap=True)


def _check_batches(context: Context, names: Sequence[str]) -> None:
    """Find a batch that its data cannot fill before anything is trained or labeled, as far as that is known by then."""
    data, cfg = context.data, context.cfg
    sizes = {
        "sft": (0 if cfg.sft.skip else cfg.sft.batch_size, len(data.demonstrations), "demonstrations"),
        "reward_model": (
            cfg.reward_model.batch_size,
            len(data.label_prompts) or len(data.preferences),
            "pairs to label",
        ),
    }
    problems = [
        f"{name}.batch_size={batch_size}: there are only {count:,} {what}, {cfg[name].validation_fraction:.0%} of them"
        " for validation; take at most what is left, or give more data"
        for name, (batch_size, count, what) in sizes.items()
        if name in names and batch_size > count * (1 - cfg[name].validation_fraction)
    ]
    if problems:
        raise ConfigError(problems)


def _check_evaluation(context: Context, names: Sequence[str]) -> None:
    """Find what the evaluation could not work with before anything is trained or labeled."""
    if "evaluation" not in names:
        return
    checks: list[Callable[[], object]] = [partial(opponents, context)]
    if (judge := context.cfg.evaluation.judge) is not None:
        checks.append(partial(check_labeler, context, "evaluation.judge"))
    if problems := problems_of(*checks):
        raise ConfigError(problems)
    if judge is None or not asks_own_model(judge):
        build_judge(context)


def _skipped(skipped: SkippedRows) -> str:
    if not skipped.counts:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
    return f"; left out of {skipped.num_rows:,}: {reasons}"


def _run_stage(context: Context, stage: Stage, run_directory: Path, display: RunDisplay) -> float:
    """Build a stage unless the store has it; returns the seconds spent in this run (0 when reused)."""
    with display.stage(stage.name) as line:
        fingerprint = context.fingerprint(stage)
        reused = context.store.complete(stage.name, fingerprint) is not None
        parts = stage.parts

        def build(directory: Path) -> None:
            if not needs_workers(context.cfg) or not (stage.trains or (parts is not None and parts.when(context))):
                stage.build(context, directory, line)
                return
            if parts is not None:
                parts.begin(directory)
            build_in_workers(context.cfg, stage.name, directory, line)
            if parts is not None:
                parts.gather(context, directory)

        path = context.store.build(stage.name, fingerprint, build, on_wait=line.note)
        stage.check(context, path)
        if stage.name in LINKED:
            link(run_directory, stage.name, path)
        note = stage.summary(context, path)
        if reused:
            line.reused(note)
            return 0.0
        line.note(note)
    return float(json.loads((path / "meta.json").read_text())["seconds"])


def _short(directory: Path) -> str:
    """Relative to where the command was typed, when it lies below it."""
    return os.path.relpath(directory) if directory.is_relative_to(Path.cwd()) else str(directory)

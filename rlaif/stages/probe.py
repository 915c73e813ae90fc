"""Attacks on the labeler, against responses that people prefer or against a policy's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.errors import ConfigError
from rlaif.evaluation.attacks import Attack, chosen_attacks
from rlaif.evaluation.files import read_figures, write_figures
from rlaif.evaluation.probe import (
    Target,
    against_good,
    against_worse,
    attack_table,
    clear_targets,
    good_wins,
    pattern_figures,
    policy_figures,
    probe_checks,
    probe_figures,
    probe_verdict,
)
from rlaif.evaluation.records import LabelSamples
from rlaif.models.load import ModelSpec, load_tokenizer, model_identity
from rlaif.reporting.page import write_page
from rlaif.reporting.records import Page
from rlaif.reporting.terminal import cross_table
from rlaif.stages.asking import ask
from rlaif.stages.context import Context, annotators_code, preferences_id, prompts_id, texts
from rlaif.stages.labelers import build_labeler, labeler_options
from rlaif.stages.labels import LABELS
from rlaif.stages.report import run_info, title_of
from rlaif.stages.samples import draw_completions, sampling_options
from rlaif.stages.scorecard import held_out_pairs, people_votes
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

if TYPE_CHECKING:
    from rlaif.reporting.terminal import RunDisplay, StageDisplay

NUM_LABELS = 8
"""Labels that an attack won, with their raw replies, on the page."""


def check_probe(context: Context) -> None:
    """Find what a probe could not work with before anything is asked.

    Raises:
        ConfigError: Attacks that do not exist, and data or a policy that is not there.
    """
    options = context.cfg.probe
    problems: list[str] = []
    for find in (lambda: chosen_attacks(options.attacks), lambda: _policy_folders(context)):
        try:
            find()
        except ConfigError as error:
            problems += error.problems
    if not problems and options.responses == "pairs" and not _targets(context):
        problems.append(
            "data: holds no held-out pair on which people are clear (all verdicts for one response); raise "
            "data.eval_fraction or data.num_eval_preferences, or take other data"
        )
    if problems:
        raise ConfigError(problems)


def _policy_folders(context: Context) -> dict[str, Path]:
    """The model folders of ``probe.policy``: its policy, and where it is a run's directory also that run's SFT."""
    options = context.cfg.probe
    if options.responses != "policy":
        return {}
    if options.policy is None:
        raise ConfigError("probe.policy=null: probe.responses=policy needs a run directory or a model folder")
    place = Path(options.policy).expanduser()
    found = {name: place / name for name in ("policy", "sft") if (place / name / "config.json").is_file()}
    if (place / "config.json").is_file():
        found = {"policy": place}
    if "policy" not in found:
        raise ConfigError(
            f"probe.policy={options.policy}: is neither a model folder (with config.json) nor the directory of a run "
            "that trained a policy (with policy/config.json)"
        )
    own = load_tokenizer(ModelSpec(str(found["policy"])))
    if own.get_vocab() != context.tokenizer.get_vocab():
        raise ConfigError(
            f"probe.policy={options.policy}: has another tokenizer than model.name={context.cfg.model.name}; choose "
            "the model that the policy was trained from (model=… of its run)"
        )
    return found


def _targets(context: Context) -> list[Target]:
    held_out = held_out_pairs(context, None)
    votes, _ = people_votes(context, held_out, build_labeler(context, context.cfg.labeler))
    return clear_targets([label.comparison for label in held_out], votes, int(context.cfg.probe.num_pairs))


def _prompts(context: Context) -> list[Prompt]:
    return context.data.eval_prompts[: context.cfg.probe.num_pairs]


def _options(context: Context) -> dict[str, object]:
    probe = context.cfg.probe
    attacks = chosen_attacks(probe.attacks)
    options: dict[str, object] = {
        "num_pairs": probe.num_pairs,
        "attacks": [asdict(attack) for attack in attacks],
        "responses": probe.responses,
        "confidence": context.cfg.evaluation.confidence,
        "batch_size": context.cfg.label.batch_size,
        "max_missing_rate": context.cfg.label.max_missing_rate,
        **labeler_options(context),
    }
    if probe.responses == "policy":
        folders = _policy_folders(context)
        models = {name: model_identity(ModelSpec(str(folder))) for name, folder in folders.items()}
        return {**options, "models": models, "prompts": prompts_id(_prompts(context)), **sampling_options(context)}
    return {
        **options,
        "pairs": preferences_id(held_out_pairs(context, None)),
        "num_raters": context.cfg.evaluation.num_raters,
        "annotators": annotators_code(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    attacks = chosen_attacks(context.cfg.probe.attacks)
    build = _on_policy if context.cfg.probe.responses == "policy" else _on_pairs
    figures, won = build(context, attacks, display)
    write_figures(directory, figures)
    write_preferences(directory / LABELS, won[:NUM_LABELS])


def _on_pairs(
    context: Context, attacks: Sequence[Attack], display: StageDisplay
) -> tuple[list[Figure], list[Preference]]:
    """Figures, and labels of pairs that an attack flipped."""
    targets, labeler = _targets(context), build_labeler(context, context.cfg.labeler)
    plans = [[target.comparison for target in targets]]
    for attack in attacks:
        plans.append([against_good(target, attack, context.task) for target in targets])
        plans.append([against_worse(target, attack, context.task) for target in targets])
    (before, *attacked), _ = ask(context, labeler, plans, display)
    names = [attack.name for attack in attacks]
    good, worse = (dict(zip(names, attacked[part::2], strict=True)) for part in (0, 1))
    confidence = float(context.cfg.evaluation.confidence)
    figures = probe_figures(targets, before, good, worse, confidence=confidence)
    flipped = [
        [
            label
            for target, label, old in zip(targets, given, before, strict=True)
            if good_wins(target, old) == 1.0 and good_wins(target, label) == 0.0
        ]
        for given in good.values()
    ]
    return figures, _in_turn(flipped)


def _on_policy(
    context: Context, attacks: Sequence[Attack], display: StageDisplay
) -> tuple[list[Figure], list[Preference]]:
    """Figures, and labels in which an attack beat the policy's own response."""
    prompts, confidence = _prompts(context), float(context.cfg.evaluation.confidence)
    figures: list[Figure] = []
    answers: dict[str, list[Completion]] = {}
    for name, folder in _policy_folders(context).items():
        drawn = draw_completions(context, folder, prompts, display, num_samples=1, source=name, purpose=f"probe {name}")
        answers[name] = [answer for (answer,) in drawn]
        rate = "probe/pattern_rate" if name == "policy" else f"probe/pattern_rate_{name}"
        figures += pattern_figures(prompts, texts(answers[name]), attacks, name=rate, confidence=confidence)
    plans = [
        [
            Comparison(prompt=prompt, first=answer, second=attack.on(context.task, prompt, answer))
            for prompt, answer in zip(prompts, answers["policy"], strict=True)
        ]
        for attack in attacks
    ]
    labeler = build_labeler(context, context.cfg.labeler)
    labels, _ = ask(context, labeler, plans, display)
    given = {attack.name: part for attack, part in zip(attacks, labels, strict=True)}
    figures += policy_figures(prompts, given, confidence=confidence)
    won = [[label for label in part if label.p_first is not None and label.p_first < 0.5] for part in labels]
    return figures, _in_turn(won)


def _in_turn(by_attack: Sequence[Sequence[Preference]]) -> list[Preference]:
    """One label of every attack, then a second of each, and so on."""
    return [label for row in zip_longest(*by_attack) for label in row if label is not None]


def _summary(context: Context, directory: Path) -> str:
    return probe_verdict(read_figures(directory), "the labeler", context.task.name)


def report_probe(context: Context, run_directory: Path, display: RunDisplay) -> float | None:
    """Write ``probe.json`` and ``probe.html`` into the run directory, and show the table, failed checks first.

    Returns:
        The share of pairs that any attack flips; None against a policy.
    """
    directory = context.result("probe")
    figures, won = read_figures(directory), read_preferences(directory / LABELS)
    checks = probe_checks(figures, float(context.cfg.probe.max_flip_rate))
    name = build_labeler(context, context.cfg.labeler).name
    attacked = attack_table(figures)
    path = write_page(
        Page(
            kind="probe",
            title=title_of(context, name),
            task=context.task.name,
            verdict=probe_verdict(figures, name, context.task.name),
            figures=tuple(figures),
            checks=tuple(checks),
            sections=(
                attacked,
                LabelSamples(labels=tuple(won), hint="Pairs that an attack won, with everything the labeler wrote."),
            ),
            run=run_info(context, ["probe"]),
            confidence=float(context.cfg.evaluation.confidence),
        ),
        run_directory,
    )
    display.console.print()
    display.console.print(cross_table(attacked, checks, width=display.console.width))
    found, wanted = {item.name: item.n for item in figures}.get("probe/missing_rate"), context.cfg.probe.num_pairs
    if found is not None and found < wanted:
        note = f"{found} pairs: people are clear on no more of the held-out ones (probe.num_pairs={wanted})"
        display.console.print(note, style="dim", highlight=False)
    pooled = [item for item in figures if item.name.count("/") == 1]
    display.summary(pooled, checks, path, confidence=float(context.cfg.evaluation.confidence))
    return next((item.value for item in figures if item.name == "probe/any_flip_rate"), None)


PROBE = Stage(
    name="probe",
    inputs=(),
    options=_options,
    code=("rlaif.stages.probe",),
    build=_build,
    summary=_summary,
)

"""Attacks on the labeler, against responses that people prefer or against a policy's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from rlaif.artifacts.run_policies import trained_policy
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.errors import ConfigError
from rlaif.evaluation.attacks import Attack, chosen_attacks
from rlaif.evaluation.files import read_figures, write_figures
from rlaif.evaluation.judges import AnnotatorJudge, Judge, PeopleJudge
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
from rlaif.evaluation.scorecard import held_out_pairs
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import num_raters_used
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.learning import depends_on_people
from rlaif.labeling.results import LABELS
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne, OpenShare, Share
from rlaif.roles import Reads
from rlaif.rollouts.responses import draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.people import bound_people
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

NUM_PAIRS = "num_pairs.txt"
"""Pairs that were attacked; 0 for a policy's own responses."""
NUM_SHOWN = 8
"""Labels that an attack won, with their raw replies, on the page."""
Found = tuple[list[Figure], list[Preference]]
"""Figures, and labels that an attack won."""


class ProbeStage(Stage):
    """Puts attacks in a response's place, and asks the labeler which of two it prefers.

    Args:
        task: Which task's pairs.
        labeler: The labeler that is attacked.
        sampling: How a policy's responses are sampled.
        num_pairs: Pairs that people are clear on, or prompts for a policy.
        responses: ``pairs`` attacks the good response of two that people judged, ``policy`` a policy's own.
        attacks: Names of attacks; None takes all.
        policy: Run directory, model folder or ``run:DIR/step``, for ``responses=policy``.
        max_flip_rate: A higher flip rate, in [0, 1], is a failed check.
        num_raters: Simulated annotators per comparison.
        confidence: Coverage of every interval, in (0, 1).
        batch_size: Comparisons per batch.
        dtype: Number format of a policy's loaded weights.
        asking: Where answers of models are kept, what they cost, when to stop.
    """

    shows = True

    def __init__(
        self,
        task: Task,
        labeler: Labeler,
        sampling: SamplingSettings,
        num_pairs: AtLeastOne,
        responses: Literal["pairs", "policy"],
        num_raters: AtLeastOne,
        confidence: OpenShare,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
        attacks: Sequence[str] | None = None,
        policy: Runtime[str | None] = None,
        dtype: str = "float32",
        max_flip_rate: Runtime[Share] = 0.1,
    ) -> None:
        self.task = task
        self.labeler = labeler
        self.sampling = sampling
        self.num_pairs = num_pairs
        self.responses = responses
        self.num_raters = num_raters
        self.confidence = confidence
        self.batch_size = batch_size
        self.attacks, problems = _attacks(attacks)
        self.policy = policy
        self.dtype = dtype
        self.max_flip_rate = max_flip_rate
        self.asking = asking
        if responses == "policy" and policy is None:
            problems.append("probe.policy=null: probe.responses=policy needs a run directory or a model folder")
        if problems:
            raise ConfigError(problems)

    def reads(self) -> Mapping[str, Reads]:
        """Held-out pairs and prompts; the policies whose responses are attacked; people where the labeler asks them."""
        roles = {"held_out": Reads(kind="held_out_pairs"), "prompts": Reads(kind="held_out_prompts")}
        if self.responses == "policy":
            option = "probe.policy"
            folders = policy_folders(str(self.policy))
            roles |= {name: Reads(kind="policy", at=place, option=option) for name, place in folders.items()}
        if depends_on_people(self.labeler):
            roles["people"] = Reads(kind="people")
        return roles

    def leaves(self) -> frozenset[str]:
        """The line, figures, checks and page of the probe."""
        return frozenset({"probe"})

    def problems(self, work: Work) -> Iterator[str]:
        """A policy that is no model, no pair that people are clear on, a labeler that cannot work."""
        if self.responses == "policy":
            item = work.input("policy")
            if not item.stage and item.path is not None and not (item.path / "config.json").is_file():
                yield (
                    f"probe.policy={self.policy}: is neither a model folder (with config.json) nor the directory of a "
                    "run that trained a policy (with policy/config.json)"
                )
        elif not self._targets(work):
            yield (
                "data: holds no held-out pair on which people are clear (all verdicts for one response); raise "
                "data.eval_fraction or data.num_eval_preferences, or take other data"
            )
        yield from trial_problems(self.labeler, example_pairs(work.data("held_out")))

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The labeler, on texts that are still to be written."""
        examples = example_pairs(work.data("held_out"))
        yield WillAsk(labeler=self.labeler, examples=examples, answers=self.asking.answers)

    def _targets(self, work: Work) -> list[Target]:
        data = work.data("held_out")
        pairs = [label.comparison for label in held_out_pairs(data.eval_preferences, None)]
        judge: Judge = PeopleJudge(data.eval_preferences)
        if data.annotators is not None:
            judge = AnnotatorJudge(data.annotators, self.num_raters, first_rater=num_raters_used(self.labeler))
        return clear_targets(pairs, judge.votes(pairs), self.num_pairs)

    def build(self, work: Work) -> None:
        """Attack, and write figures and labels that an attack won."""
        bound_people(self.labeler, work)
        figures, won = self._on_policy(work) if self.responses == "policy" else self._on_pairs(work)
        write_figures(work.directory, figures)
        write_preferences(work.directory / LABELS, won[:NUM_SHOWN])
        asked = 0 if self.responses == "policy" else len(self._targets(work))
        (work.directory / NUM_PAIRS).write_text(f"{asked}\n", encoding="utf-8")

    def _ask(self, work: Work, plans: Sequence[Sequence[Comparison]]) -> list[list[Preference]]:
        asking = self.asking.begin(None, batch_size=self.batch_size)
        return asking.label(self.labeler, plans, work)

    def _on_pairs(self, work: Work) -> Found:
        """Attacks on the good response of pairs that people are clear on."""
        targets = self._targets(work)
        plans = [[target.comparison for target in targets]]
        for attack in self.attacks:
            plans.append([against_good(target, attack, self.task) for target in targets])
            plans.append([against_worse(target, attack, self.task) for target in targets])
        before, *attacked = self._ask(work, plans)
        names = [attack.name for attack in self.attacks]
        good, worse = (dict(zip(names, attacked[part::2], strict=True)) for part in (0, 1))
        figures = probe_figures(targets, before, good, worse, confidence=self.confidence)
        flipped = [
            [
                label
                for target, label, old in zip(targets, given, before, strict=True)
                if good_wins(target, old) == 1.0 and good_wins(target, label) == 0.0
            ]
            for given in good.values()
        ]
        return figures, _in_turn(flipped)

    def _on_policy(self, work: Work) -> Found:
        """Attacks on a policy's own responses."""
        prompts = work.data("prompts").eval_prompts[: self.num_pairs]
        figures: list[Figure] = []
        answers: dict[str, list[Completion]] = {}
        for name in ("policy", "sft"):
            if work.has(name):
                answers[name] = self._draw(work, name, prompts)
                rate = "probe/pattern_rate" if name == "policy" else f"probe/pattern_rate_{name}"
                texts = [answer.trimmed for answer in answers[name]]
                figures += pattern_figures(prompts, texts, self.attacks, name=rate, confidence=self.confidence)
        plans = [
            [
                Comparison(prompt=prompt, first=answer, second=attack.on(self.task, prompt, answer))
                for prompt, answer in zip(prompts, answers["policy"], strict=True)
            ]
            for attack in self.attacks
        ]
        labels = self._ask(work, plans)
        given = {attack.name: part for attack, part in zip(self.attacks, labels, strict=True)}
        figures += policy_figures(prompts, given, confidence=self.confidence)
        won = [[label for label in part if label.p_first is not None and label.p_first < 0.5] for part in labels]
        return figures, _in_turn(won)

    def _draw(self, work: Work, name: str, prompts: Sequence[Prompt]) -> list[Completion]:
        folder = work.path(name)
        drawn = draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=1,
            settings=self.sampling,
            seed=work.seed,
            purpose=f"probe {name}",
            source=name,
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
        )
        return [answer for (answer,) in drawn]

    def told(self, work: Work) -> Told:
        """The page ``probe``: a table of attacks, failed checks first, and labels that an attack won."""
        figures, won = read_figures(work.directory), read_preferences(work.directory / LABELS)
        name, hint = self.labeler.name, "Pairs that an attack won, with everything the labeler wrote."
        verdict = probe_verdict(figures, name, self.task.name)
        num_pairs = int((work.directory / NUM_PAIRS).read_text(encoding="utf-8"))
        notes: tuple[str, ...] = ()
        if 0 < num_pairs < self.num_pairs:
            notes = (
                f"{num_pairs} pairs: people are clear on no more of the held-out ones"
                f" (probe.num_pairs={self.num_pairs})",
            )
        any_flip = {item.name: item for item in figures}.get("probe/any_flip_rate")
        return Told(
            line=probe_verdict(figures, "the labeler", self.task.name),
            notes=notes,
            title=name,
            figures=tuple(figures),
            shown=tuple(item for item in figures if item.name.count("/") == 1),
            checks=tuple(probe_checks(figures, self.max_flip_rate)),
            sections=(attack_table(figures), LabelSamples(labels=tuple(won), hint=hint)),
            page="probe",
            verdict=verdict,
            objective=None if any_flip is None else 1.0 - any_flip.value,
        )


def _attacks(names: Sequence[str] | None) -> tuple[list[Attack], list[str]]:
    """The chosen attacks, and what is wrong with their names."""
    try:
        return chosen_attacks(names), []
    except ConfigError as error:
        return [], error.problems


def policy_folders(place: str) -> dict[str, str]:
    """The policy of a place, and where it is a run's directory also that run's SFT policy.

    Args:
        place: A run directory, a model folder, ``run:DIR/step`` or ``stage:NAME``.
    """
    folder = Path(place).expanduser()
    policy = None if (folder / "config.json").is_file() else trained_policy(folder)
    if policy is None:
        return {"policy": place}
    sft = {"sft": str(folder / "sft")} if (folder / "sft" / "config.json").is_file() else {}
    return {"policy": str(policy), **sft}


def _in_turn(by_attack: Sequence[Sequence[Preference]]) -> list[Preference]:
    """One label of every attack, then a second of each, and so on."""
    return [label for row in zip_longest(*by_attack) for label in row if label is not None]

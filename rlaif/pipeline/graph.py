"""Binds the roles of steps: each takes the nearest earlier step that leaves its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rlaif.artifacts.links import lost_target
from rlaif.config.entries import Entry
from rlaif.errors import ConfigError
from rlaif.pipeline.stage import Stage
from rlaif.roles import Reads

RUN = "run:"
"""Prefix of a step's result in another run: ``run:DIR/step``."""
STEP = "stage:"
"""Prefix of a step of this run, where an option names a model: ``stage:sft``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A finished result that this run does not make."""

    place: str
    """As typed: ``run:DIR/step`` or a directory."""
    path: Path
    """Its directory."""

    @property
    def name(self) -> str:
        """As typed."""
        return self.place


@dataclass(kw_only=True, eq=False)
class Step:
    """A step of a pipeline whose roles are bound."""

    entry: Entry
    stage: Stage
    """Made from the composed configuration of this step."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Options that name a step's result, to that name: ``{"labeler.engine.model": "sft"}``."""
    inputs: dict[str, tuple[Step | Elsewhere, ...]] = field(default_factory=dict)
    """Role to the steps that it reads; filled by :func:`bind`."""
    reads: Mapping[str, Reads] = field(default_factory=dict)
    """Roles of the stage, and one for each reference."""
    is_added: bool = False
    """True for a step that the pipeline added because a role asks for a result made from another."""

    @property
    def name(self) -> str:
        """Name of the step."""
        return self.entry.name

    def sources(self) -> Iterator[Step]:
        """The steps that it reads, each as often as it is read."""
        for found in self.inputs.values():
            yield from (source for source in found if isinstance(source, Step))


MakeStep = Callable[[Entry], Step]
"""Makes a step from an entry: composes its configuration and constructs its stage."""


def bind(entries: Sequence[Entry], make: MakeStep, problems: list[str] | None = None) -> list[Step]:
    """Make the steps of a pipeline and bind what they read.

    Args:
        entries: From :func:`rlaif.config.entries.parse_entries`.
        make: Makes one step; may raise :class:`ConfigError`.
        problems: Gets what is wrong, instead of an error: the steps that could be made can then be checked too, so that
            a person is told everything at once.

    Returns:
        The steps to run, in order: without those that no step needs, with those that ``Reads.of`` adds. Where
        something is wrong, those that could be made.

    Raises:
        ConfigError: With every stage that cannot be made, every role that no step fills, every step whose result
            nobody reads, and every pair of roles that must differ and do not.
    """
    steps, refused = _make_all(entries, make)
    binder = _Binder(_after_references(steps), make, frozenset(refused))
    binder.bind()
    needed = _needed(binder.steps)
    found = [text for texts in refused.values() for text in texts]
    found += [text for step, text in binder.problems if id(step) in needed or not step.entry.if_needed]
    found += [] if refused else _unread(binder.steps, needed)
    if not found:
        return [_without_dropped(step, needed) for step in binder.steps if id(step) in needed]
    if problems is None:
        raise ConfigError(list(dict.fromkeys(found)))
    problems += dict.fromkeys(found)
    return binder.steps


def _make_all(entries: Sequence[Entry], make: MakeStep) -> tuple[list[Step], dict[str, list[str]]]:
    """The steps that can be made, and by name what is wrong with each other one."""
    steps: list[Step] = []
    refused: dict[str, list[str]] = {}
    for entry in entries:
        try:
            steps.append(make(entry))
        except ConfigError as error:
            refused[entry.name] = error.problems
    return steps, refused


def _after_references(steps: Sequence[Step]) -> list[Step]:
    """Steps in order, each behind the steps that its options name (a labeler that asks ``stage:sft``)."""
    ordered = list(steps)
    for step in steps:
        names = set(step.references.values())
        last = max((place for place, other in enumerate(ordered) if other.name in names), default=-1)
        place = ordered.index(step)
        if last > place and ordered[last] is not step:
            ordered.insert(last + 1, step)
            ordered.pop(place)
    return ordered


class _Binder:
    """Binds steps from the first to the last, adding those that ``Reads.of`` asks for."""

    def __init__(self, steps: Sequence[Step], make: MakeStep, refused: frozenset[str]) -> None:
        self.waiting = list(steps)
        self.refused = refused  # steps that could not be made: what these leave is not known
        self.steps: list[Step] = []
        self.make = make
        self.problems: list[tuple[Step, str]] = []

    def bind(self) -> None:
        for step in self.waiting:
            step.reads = {**step.stage.reads(), **{name: Reads(kind="policy", option=name) for name in step.references}}
            self._check_sources(step)
            for role in sorted(step.reads, key=lambda role: step.reads[role].of is not None):
                found = self._find(step, role)
                if found:
                    step.inputs[role] = found
            self._check_differences(step)
            self._check_counts(step)
            self.steps.append(step)

    def _check_sources(self, step: Step) -> None:
        """A key of ``from`` is a role, or the stage of the step that it names, which then fills every role it can."""
        for key, names in step.entry.sources.items():
            if key in step.reads:
                continue
            given = [other for other in self.steps if other.entry.stage == key and other.name in names]
            if not any(_leaves(other, reads) for other in given for reads in step.reads.values()):
                roles = ", ".join(step.stage.reads()) or "nothing"
                self._tell(step, f"pipeline.stages: step {step.name} reads no {key}; it reads {roles}")

    def _find(self, step: Step, role: str) -> tuple[Step | Elsewhere, ...]:
        reads = step.reads[role]
        if role in step.references:
            return self._named(step, role, (f"{STEP}{step.references[role]}",))
        if role in step.entry.sources:
            return self._named(step, role, step.entry.sources[role])
        if reads.at is not None:
            return self._named(step, role, (reads.at,))
        if reads.of is not None:
            return self._made_from(step, reads)
        found = [other for other in reversed(self.steps) if _leaves(other, reads)]
        found = [other for other in found if _is_given(other, step)] or found
        if not found and not reads.optional and not self.refused:
            self._tell(step, self._unbound(step, role, reads))
        return tuple(reversed(found)) if reads.many else tuple(found[:1])

    def _named(self, step: Step, role: str, names: Sequence[str]) -> tuple[Step | Elsewhere, ...]:
        reads = step.reads[role]
        if len(names) > 1 and not reads.many:
            self._tell(step, f"pipeline.stages: step {step.name}: from.{role} takes one step, not {len(names)}")
        return tuple(source for name in names if (source := self._source(step, role, reads, name)) is not None)

    def _source(self, step: Step, role: str, reads: Reads, name: str) -> Step | Elsewhere | None:
        if name.removeprefix(STEP) in self.refused:
            return None
        earlier = {other.name: other for other in self.steps}
        if name.removeprefix(STEP) in earlier:
            other = earlier[name.removeprefix(STEP)]
            if reads.kind in other.stage.leaves():
                return other
            leaves = ", ".join(sorted(other.stage.leaves())) or "nothing"
            self._tell(
                step,
                f"pipeline.stages: step {step.name} reads {reads.kind} as {role}, and step {other.name} leaves"
                f" {leaves}",
            )
            return None
        try:
            option = reads.option or f"pipeline.stages: step {step.name}: from.{role}"
            return find_elsewhere(name, f"{option}={name}")
        except ConfigError as error:
            hint = f"; steps before it are {', '.join(earlier) or 'none'}"
            self.problems += [(step, f"{problem}{hint}") for problem in error.problems]
            return None

    def _made_from(self, step: Step, reads: Reads) -> tuple[Step | Elsewhere, ...]:
        """A result made from what another role takes: an earlier step's, or that of a step added here."""
        assert reads.of is not None and reads.by is not None
        kind, made = step.reads[reads.of].kind, []
        for source in step.inputs.get(reads.of, ()):
            known = [
                other
                for other in self.steps
                if _leaves(other, reads) and _has_changes(other, reads) and source in _inputs_of_kind(other, kind)
            ]
            made.append(known[-1] if known else self._add(reads.by, source, kind, reads.changes))
        return tuple(made)

    def _add(self, stage: str, source: Step | Elsewhere, kind: str, changes: Mapping[str, object]) -> Step:
        label = source.name if isinstance(source, Step) else f"elsewhere_{len(self.steps)}"
        name = "_at_".join([f"{stage}_{label}", *(re.sub(r"\W", "_", str(value)) for value in changes.values())])
        added = self.make(Entry(stage=stage, name=name, changes=changes, if_needed=True))
        added.is_added = True
        added.reads = dict(added.stage.reads())
        for role, reads in added.reads.items():
            if found := ((source,) if reads.kind == kind else self._find(added, role)):
                added.inputs[role] = found
        self.steps.append(added)
        return added

    def _unbound(self, step: Step, role: str, reads: Reads) -> str:
        what = reads.kind.replace("_", " ")
        which = f" of stage {reads.by}" if reads.by else ""
        named = "" if role == reads.kind else f" (as {role})"
        hint = reads.hint or f"add one that does before {step.name}, or give it with from: {{{role}: …}}"
        return f"pipeline.stages: step {step.name} reads {what}{named}, and no step before it{which} leaves any; {hint}"

    def _check_differences(self, step: Step) -> None:
        if self.refused:
            return  # one of them may be what the step would have taken
        for role, reads in step.reads.items():
            other = reads.differs_from
            if other is not None and set(map(id, step.inputs.get(role, ()))) & set(map(id, step.inputs.get(other, ()))):
                name = step.inputs[role][0].name
                self._tell(
                    step,
                    f"pipeline.stages: step {step.name} takes {name} both as {role} and as {other}, so there is"
                    f" nothing to compare; give one of them with from: {{{other}: …}}",
                )

    def _check_counts(self, step: Step) -> None:
        if self.refused:
            return
        for role, found in step.inputs.items():
            reads = step.reads[role]
            if reads.at_least < 2:
                continue
            names = ", ".join(source.name for source in found)
            if len({source.path if isinstance(source, Elsewhere) else source.name for source in found}) < len(found):
                twice = f"from.{role} has one result twice: {names}; list each once"
                self._tell(step, f"pipeline.stages: step {step.name}: {twice}")
            elif len(found) < reads.at_least:
                few = f"reads at least {reads.at_least} results as {role}, and gets {len(found)} ({names})"
                hint = reads.hint or f"give more with from: {{{role}: …}}"
                self._tell(step, f"pipeline.stages: step {step.name} {few}; {hint}")

    def _tell(self, step: Step, problem: str) -> None:
        self.problems.append((step, problem))


def _is_given(source: Step, reader: Step) -> bool:
    """True when ``from`` of the reader names the source under the name of its stage: ``from: {data: weak_data}``."""
    key = source.entry.stage
    return key not in reader.reads and source.name in reader.entry.sources.get(key, ())


def _leaves(step: Step, reads: Reads) -> bool:
    return reads.kind in step.stage.leaves() and (
        reads.by is None or reads.of is not None or step.entry.stage == reads.by
    )


def _has_changes(step: Step, reads: Reads) -> bool:
    """True for a step with the values that the role asks for; a step added with values fills no other role."""
    options = {*reads.changes, *(step.entry.changes if step.is_added else ())}
    return {option: step.entry.changes.get(option) for option in options} == dict(reads.changes)


def _inputs_of_kind(step: Step, kind: str) -> Iterator[Step | Elsewhere]:
    for role, found in step.inputs.items():
        if step.reads[role].kind == kind:
            yield from found


def find_elsewhere(place: str, option: str) -> Elsewhere:
    """A finished result of another run, or a directory.

    Args:
        place: ``run:DIR/step``, or the path of a directory.
        option: The option as typed, for messages.

    Raises:
        ConfigError: There is no such directory.
    """
    path = Path(place.removeprefix(RUN)).expanduser()
    if (told := lost_target(path)) is not None:
        raise ConfigError(f"{option}: {told}")
    if not path.is_dir():
        what = "no such step of a run" if place.startswith(RUN) else "is no step of this run and no directory"
        raise ConfigError(f"{option}: {what}; give a directory with a result, run:DIR/step, or an earlier step")
    return Elsewhere(place=place, path=path.resolve())


def _needed(steps: Sequence[Step]) -> set[int]:
    """Ids of the steps to run: the last one, those that a person reads, and what they need."""
    shown = [step for step in steps if step.stage.shows or not step.stage.leaves()]
    waiting = [*(step for step in shown if not step.entry.if_needed), *steps[-1:]]
    needed: set[int] = set()
    while waiting:
        step = waiting.pop()
        if id(step) in needed:
            continue
        needed.add(id(step))
        for role, found in step.inputs.items():
            if not step.reads[role].optional:
                waiting += [source for source in found if isinstance(source, Step)]
    return needed


def _unread(steps: Sequence[Step], needed: set[int]) -> Iterator[str]:
    """The last step of each chain that no needed step reads; the steps before it are unread for the same reason."""
    unread = [step for step in steps if id(step) not in needed and not step.entry.if_needed]
    read_by_unread = {id(source) for step in unread for source in step.sources()}
    for step in unread:
        if id(step) not in read_by_unread:
            leaves = " or ".join(sorted(step.stage.leaves())).replace("_", " ")
            hint = step.stage.unread_hint or f"remove it, or write {{stage: {step.entry.stage}, if_needed: true}}"
            yield f"pipeline.stages: no later step needs the {leaves} of step {step.name}; {hint}"


def _without_dropped(step: Step, needed: set[int]) -> Step:
    """The step without optional inputs from steps that are left out; changed in place, so that readers see the same."""
    for role, found in list(step.inputs.items()):
        kept = tuple(source for source in found if isinstance(source, Elsewhere) or id(source) in needed)
        if kept:
            step.inputs[role] = kept
        else:
            del step.inputs[role]
    return step

"""The base class of stages, and the records that a stage is given and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from rlaif.errors import ConfigError
from rlaif.roles import Reads

if TYPE_CHECKING:
    from lightning import Callback, LightningDataModule, LightningModule, Trainer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlaif.data.base import TaskData
    from rlaif.engines.spending import Spending
    from rlaif.evaluation.checks import Check
    from rlaif.evaluation.records import Section, Table
    from rlaif.labeling.cost import Prices
    from rlaif.labeling.estimate import LabelEstimate
    from rlaif.labeling.first_request import WillAsk
    from rlaif.models.uses import ModelUse
    from rlaif.reporting.terminal import StageDisplay
    from rlaif.types import Figure

KINDS = (
    "demonstrations",
    "label_prompts",
    "policy_prompts",
    "tuning_prompts",
    "held_out_prompts",
    "held_out_pairs",
    "people",
    "pairs",
    "references",
    "samples",
    "raw_labels",
    "labels",
    "policy",
    "reward_model",
    "responses",
    "response_grid",
    "criteria",
    "gate",
    "figures",
)
"""Kinds of result that our own stages read and leave; a plugin's stage may add others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A result that a role of a step is bound to."""

    step: str
    """Name of the step that left it, or the path of a result from elsewhere."""
    stage: str
    """Registered name of that step's stage; empty for a result from elsewhere."""
    path: Path | None = None
    """Its directory; None for a result in memory and for one that is not built yet."""
    data: TaskData | None = None
    """The data of a run, for results in memory."""
    most_demonstrations: int | None = None
    """How many demonstrations a step that is not built yet will leave at most; None where it is not known."""


class Training(Protocol):
    """The machine's Lightning trainer: checkpoints, curve and progress are its business, not the stage's."""

    def fit(
        self,
        module: LightningModule,
        datamodule: LightningDataModule | None = None,
        *,
        max_steps: int,
        callbacks: Sequence[Callback] = (),
    ) -> Trainer:
        """Train to ``max_steps`` optimizer steps, from the newest checkpoint in the step's directory."""
        ...

    def save(
        self,
        trainer: Trainer,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        temperature: float = 1.0,
    ) -> None:
        """Write a Hugging Face folder into the step's directory and drop the checkpoints, on the first process only.

        Args:
            trainer: That trained the model.
            model: What is written.
            tokenizer: The model's.
            temperature: At which the folder samples by default.
        """
        ...

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """The arguments of a step: its inputs, directory, seed and display."""

    step: str
    """Name of the step."""
    directory: Path
    """Directory of its result; it keeps the files of a killed attempt."""
    inputs: Mapping[str, tuple[Input, ...]]
    """The results that each role is bound to; an optional role without a result is absent."""
    seed: int
    """Seed of every random draw of this step."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The composed constructor arguments as plain values, for provenance."""
    store: Path = Path()
    """Directory of the store: the answer cache is shared there."""
    rank: int = 0
    """This process among those that share the step, from 0."""
    world_size: int = 1
    """Processes that share the step."""
    num_processes: int = 1
    """Processes that will share the step, as the trainer is configured."""
    is_finished: bool = False
    """True when the store already has this step's result."""
    needs_models: bool = True
    """False where no step of the run needs a model, so that no tokenizer limits what its data hold."""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """For an estimate: steps that an option names and that have not run, to the substitute model of each."""
    told: Mapping[str, Told] = field(default_factory=dict)
    """Reports of the earlier steps, by name."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each step before took in this run; 0 for one that was reused."""
    tried: Spending | None = None
    """What first requests for this step cost, before anything was trained; None where nothing was asked."""
    result: Any = None
    """For a stage that is not stored: what its ``load`` made."""
    display: StageDisplay | None = None
    """Shows progress; None where nothing runs."""
    make_training: Callable[[], Training] | None = None
    """Makes the trainer, for stages under Lightning."""

    def has(self, role: str) -> bool:
        """True when the role is bound to a result."""
        return bool(self.inputs.get(role))

    def ready(self, role: str) -> bool:
        """True when the role's result is bound and can be read already."""
        return self.has(role) and all(item.path is not None or item.data is not None for item in self.inputs[role])

    def input(self, role: str) -> Input:
        """The one result of a role.

        Raises:
            ConfigError: The role is not bound.
        """
        if not self.has(role):
            raise ConfigError(f"pipeline: step {self.step} reads {role}, which no earlier step leaves")
        return self.inputs[role][0]

    def path(self, role: str) -> Path:
        """The directory of a role's result.

        Raises:
            ConfigError: The role is not bound, or its step has not run.
        """
        found = self.input(role).path
        if found is None:
            raise ConfigError(f"pipeline: step {self.input(role).step} has not run, and step {self.step} reads it")
        return found

    def paths(self, role: str) -> dict[str, Path]:
        """The directories of all results of a role that takes several, by the name of their step."""
        return {item.step: item.path for item in self.inputs.get(role, ()) if item.path is not None}

    def data(self, role: str) -> TaskData:
        """The data that a role is bound to.

        Raises:
            ConfigError: The role is not bound to data.
        """
        found = self.input(role).data
        if found is None:
            raise ConfigError(f"pipeline: step {self.input(role).step} leaves no data in memory for step {self.step}")
        return found

    @property
    def training(self) -> Training:
        """The trainer of this step."""
        assert self.make_training is not None, f"step {self.step} trains nothing"
        return self.make_training()

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        """Start a progress bar; call the result with (done, all)."""
        if self.display is None:
            return lambda completed, total: None
        return self.display.progress(total, unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The report of a finished step: for the terminal, for the run's page, and for a sweeper."""

    line: str = ""
    """A few words behind the step's name on the terminal."""
    notes: tuple[str, ...] = ()
    """Further lines below it."""
    link: str = ""
    """Name of the link to its result in the run directory; empty for none."""
    title: str = ""
    """Source of the result, e.g. the labeler: the headline of a page takes the first title of its steps."""
    figures: tuple[Figure, ...] = ()
    """Figures with their intervals."""
    checks: tuple[Check, ...] = ()
    """Claims about the run that hold or not."""
    sections: tuple[Section, ...] = ()
    """Pieces of a page."""
    tables: tuple[Table, ...] = ()
    """Tables for the terminal."""
    page: str = ""
    """Name of a page that the run directory gets, e.g. ``report``; empty for none."""
    verdict: str = ""
    """The sentence below the page's headline."""
    shown: tuple[Figure, ...] | None = None
    """Figures of the page that the terminal shows, where not all."""
    objective: float | None = None
    """The value that an optimizing sweeper maximizes; a run returns that of the last step that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Division of a stage without a Lightning trainer among processes: each builds its part, then one gathers them."""

    wanted: Callable[[Work], bool]
    """True when the step is divided among processes."""
    begin: Callable[[Path], None]
    """Prepares the directory before the processes are started."""
    gather: Callable[[Work], None]
    """Makes the result from the parts."""


class Stage:
    """One kind of step. Registered in the group ``rlaif.stages``.

    A stage gets nothing but its constructor's arguments: components and plain values, made from configuration
    nodes. Those annotated ``Runtime[T]`` never enter a fingerprint; every other one does.
    """

    stored: ClassVar[bool] = True
    """False for a stage that runs every time and leaves nothing in the store."""
    shows: ClassVar[bool] = False
    """True for a stage whose page or table a person reads: it runs also where no later step reads its result."""
    unread_hint: ClassVar[str] = ""
    """What to type where no later step needs the stage's result; empty gives general advice."""
    trains: ClassVar[bool] = False
    """True for stages under a Lightning trainer, which may run on several devices."""

    @property
    def needs_models(self) -> bool:
        """False for a stage that neither trains nor asks a model."""
        return True

    @property
    def parts(self) -> Parts | None:
        """Division of the stage among processes; None where one process builds it."""
        return None

    def reads(self) -> Mapping[str, Reads]:
        """Roles that the stage reads, as its options say."""
        return {}

    def leaves(self) -> frozenset[str]:
        """Kinds of result that the stage leaves, as its options say."""
        return frozenset()

    def identity(self, work: Work) -> Mapping[str, object]:
        """Further inputs of the fingerprint besides constructor arguments and inputs, as plain values."""
        return {}

    def most_demonstrations(self, work: Work) -> int | None:
        """How many demonstrations the stage will write at most, before it is built; None where it is not known."""
        return None

    def problems(self, work: Work) -> Iterator[str]:
        """Problems found before anything is spent: one line each, ``option=value: what is wrong``."""
        yield from ()

    def model_uses(self) -> Iterator[ModelUse]:
        """What the step will do with the policy that it reads, or with the run's model."""
        yield from ()

    def notices(self, work: Work) -> Iterator[str]:
        """Notices for the user before anything is spent: one line each."""
        yield from ()

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """What the step will ask of models, as far as it is known before anything is spent."""
        yield from ()

    def load(self, work: Work) -> Any:
        """For a stage that is not stored: make its result in memory."""
        return None

    def content_id(self, kind: str, result: Any) -> str:
        """For a stage that is not stored: content hash of what it leaves under a kind."""
        raise NotImplementedError(f"{type(self).__name__} leaves {kind} in memory and has no content_id")

    def build(self, work: Work) -> None:
        """Fill ``work.directory``; go on from what a killed attempt left there."""
        raise NotImplementedError(f"{type(self).__name__} has no build")

    def meta(self, work: Work) -> Mapping[str, object]:
        """Further entries of the finished result's ``meta.json``, which no fingerprint reads."""
        return {}

    def accept(self, work: Work) -> None:
        """Hold a finished result, also one that another run built, against this run's limits.

        Raises:
            GateStopped: A limit is passed.
        """

    def told(self, work: Work) -> Told:
        """The report of the finished step."""
        return Told()


@runtime_checkable
class Estimates(Protocol):
    """A stage that can say what it would cost (``estimate=true``)."""

    prices: Prices
    """Prices of its labels."""

    def estimate(self, work: Work) -> LabelEstimate:
        """Count what the step would take; nothing is spent."""
        ...

"""The labels of a plan, made by one process or several, that no kill loses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rlaif.errors import GateStopped
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import People
from rlaif.labeling.asking import Asking, ShowsProgress
from rlaif.labeling.label_run import LabelRun, finished_run, label_part
from rlaif.labeling.learning import prepare
from rlaif.labeling.plan import LabelPlan
from rlaif.labeling.team import Team
from rlaif.types import Comparison


class ShardedLabeling:
    """Labels a whole plan in shards on disk, each a finished batch; processes share the shards between them.

    One process calls :meth:`label` and :meth:`finished`. Several: one calls :meth:`begin`, each calls :meth:`label`
    on its own object, and one calls :meth:`finished` on another.

    Args:
        labeler: Labels; its models are asked through ``asking``.
        comparisons: The whole plan, not empty.
        asking: Its ledger's directory is that of the shards, too, and its rank that of ``team``.
        people: Label what the labeler learns from.
        team: This process among those that label.
    """

    def __init__(
        self, labeler: Labeler, comparisons: Sequence[Comparison], asking: Asking, people: People, team: Team
    ) -> None:
        assert asking.directory == team.directory, "shards and ledger are in one directory"
        self.asking = asking
        self.team = team
        self.plan = LabelPlan(comparisons, asking.batch_size)
        asked = asking.through(labeler)
        self.labeler = prepare(asked, comparisons, people, team.directory, asking.check_budget)

    def label(self, display: ShowsProgress) -> None:
        """Label the shards that fall to this process.

        Raises:
            GateStopped: Too many labels are missing, or the budget is spent. One of several processes tells the
                others instead, and :meth:`finished` raises.
        """
        if self.team.size == 1:
            self.team.begin()
        try:
            label_part(
                self.labeler,
                self.plan,
                self.team,
                max_missing_rate=self.asking.limit.max_rate,
                progress=display.progress(self.plan.num_distinct, unit="pairs"),
                before_asking=self.asking.check_budget,
                ask_refused_again=self.asking.ask_refused_again,
            )
        except GateStopped as stopped:
            if self.team.size == 1:
                raise
            self.team.stop(str(stopped))

    def finished(self) -> LabelRun:
        """The labels of all processes.

        Raises:
            GateStopped: A process was stopped, or too many labels are missing.
            StoreError: A shard is damaged or belongs to another plan.
        """
        return finished_run(self.labeler.identity, self.plan, self.team.directory, self.asking.limit.max_rate)


def team_of_processes(directory: Path) -> Team:
    """This process alone, or its place among the workers that torchrun started.

    Args:
        directory: Where the shards are kept.
    """
    if "LOCAL_RANK" not in os.environ:
        return Team(directory)
    return Team(directory, rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]))

"""The labels of a run as a data set in the directory of their table: splits, card, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rlaif.artifacts import atomic_write
from rlaif.data.label_sets.cards import PROVENANCE, Card
from rlaif.data.label_sets.data_set import write_label_set


class LabelSetBesideTable:
    """Writes ``provenance.json``, ``data/`` and ``README.md`` into the directory of a finished label table.

    ``load_dataset`` of the directory then reads the labels split by prompt. The card is without time and cost, so that
    equal labels have equal files.
    """

    def write(self, table: Path, provenance: Mapping[str, object]) -> None:
        """Write the data set.

        Args:
            table: The label table; its ``summary.json`` is in the same directory.
            provenance: How the labels were made, as plain values: the labeler's composed options and identities.

        Raises:
            DataError: The table cannot be read.
            StoreError: The directory cannot be written.
        """
        atomic_write(table.parent / PROVENANCE, json.dumps(provenance, indent=1, sort_keys=True) + "\n")
        write_label_set(table, table.parent, replace(Card.beside(table), meta={}))

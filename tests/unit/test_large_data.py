"""Sequences for many records, and the split of a file when its records are packed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.data import large, split
from rlaif.data.base import DATA_KINDS, TaskData
from rlaif.data.large import CHUNK, Packed, Selected
from rlaif.data.sources.files import FilesSource
from rlaif.tasks.base import get_task


def packed(records: list[tuple[int, str]], num_plain: int) -> Packed[tuple[int, str]]:
    pack = Packed[tuple[int, str]](num_plain)
    for record in records:
        pack.append(record)
    return pack


@given(st.integers(0, 3 * CHUNK), st.sampled_from([0, 1, 300]), st.data())
def test_packed_records_read_like_a_list(count: int, num_plain: int, data: st.DataObject) -> None:
    records = [(i, f"text {i}") for i in range(count)]
    pack = packed(records, num_plain)
    if records:
        place = data.draw(st.integers(0, count - 1))
        records[place] = (-1, "another")
        pack.replace(place, (-1, "another"))
    assert len(pack) == count and list(pack) == records and list(reversed(pack)) == records[::-1]
    slices = data.draw(st.slices(count))
    assert pack[slices] == records[slices]
    assert Selected(pack, range(count)[slices], lambda record: record[1])[:] == [text for _, text in records[slices]]


@pytest.mark.parametrize("index", [3, -4])
def test_there_is_nothing_beyond_the_ends(index: int) -> None:
    with pytest.raises(IndexError):
        packed([(0, "a"), (1, "b"), (2, "c")], 1)[index]


def test_a_thousand_equal_texts_take_little_room() -> None:
    pack = packed([(i, "a long text " * 50) for i in range(4 * CHUNK)], 0)
    assert sum(map(len, pack._chunks)) < 4 * CHUNK * 600 / 20


def test_a_file_reads_the_same_packed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"Question {i % 500}?", "chosen": f"Yes {i % 900}", "rejected": "No"} for i in range(1_500)]
    rows += [{"prompt": f"Question {i}?", "chosen": "No", "rejected": f"Yes {i}"} for i in range(40)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    def read() -> TaskData:
        return FilesSource(path=path).load(get_task("dialogue"), None)

    plain = read()
    monkeypatch.setattr(split, "Packed", lambda: large.Packed(10))
    small = read()
    assert [small.content_id(kind) for kind in DATA_KINDS] == [plain.content_id(kind) for kind in DATA_KINDS]
    assert small.skipped == plain.skipped
    assert sum(label.p_first == 0.5 for label in small.preferences) > 20
    assert list(small.preferences) == list(plain.preferences)

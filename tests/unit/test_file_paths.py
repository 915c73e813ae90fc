"""Which files a path means: lists, patterns, folders of shards, what ``datasets`` saved; and one hash over all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_kinds import ROWS, TYPED, lines

from rlaif.data.files.paths import Typed
from rlaif.data.files.table_files import TableFiles
from rlaif.errors import DataError


def prompts(path: Typed) -> list[str]:
    return [str(row.values["prompt"]) for row in TableFiles(path, "data.path").rows()]


def told(path: Typed) -> str:
    with pytest.raises(DataError) as caught:
        prompts(path)
    return str(caught.value)


def put(folder: Path, **files: bytes) -> Path:
    """Files of a folder, ``/`` and ``.`` of their names written as ``__`` and ``_``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


FIRST, SECOND, THIRD = (lines([row]) for row in ROWS)
PROMPTS = [row["prompt"] for row in ROWS]


def test_several_files_in_the_order_of_the_list(tmp_path: Path) -> None:
    put(tmp_path, **{"b.jsonl": SECOND, "a.jsonl": FIRST, "c.json": THIRD})
    paths = [tmp_path / name for name in ("b.jsonl", "a.jsonl", "c.json")]
    assert prompts(paths) == [PROMPTS[1], PROMPTS[0], PROMPTS[2]]
    assert [row.place for row in TableFiles(paths).rows()] == ["b.jsonl:1", "a.jsonl:1", "c.json:1"]
    assert TableFiles(["b.jsonl", "a.jsonl"], "data.path").name == "data.path=[b.jsonl,a.jsonl]"
    assert "is named twice" in told([paths[0], tmp_path / "." / "b.jsonl"])
    assert "data.path=[]: names no file" in told([])
    assert f"data.path={tmp_path / 'd.jsonl'}: there is no such file" in told([paths[0], tmp_path / "d.jsonl"])


def test_a_pattern_takes_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, **{"x/2.jsonl": SECOND, "x/1.jsonl": FIRST, "x/y/3.jsonl": THIRD, "x/readme.md": b"#"})
    assert prompts(str(tmp_path / "x/*.jsonl")) == PROMPTS[:2]
    assert prompts(str(tmp_path / "x/**/[1-3].jsonl")) == PROMPTS
    assert "no file matches this pattern" in told(str(tmp_path / "x/*.csv"))
    literal = put(tmp_path, **{"a[1].jsonl": FIRST})
    assert prompts(literal / "a[1].jsonl") == PROMPTS[:1]


def test_a_folder_of_shards_as_a_hub_has_it(tmp_path: Path) -> None:
    shards = {f"data/train-0000{i}-of-00003.parquet": parquet_of(i) for i in (2, 0, 1)}
    put(tmp_path, **shards, **{"README.md": b"# card", ".cache/x.parquet": b"", "dataset_infos.json": b"{}"})
    assert prompts(tmp_path) == PROMPTS
    assert prompts(tmp_path / "data") == PROMPTS
    (tmp_path / "data/train-00001-of-00003.parquet").unlink()
    assert "shard 1 of 3 is not there, counting from 0; download it again" in told(tmp_path)


def parquet_of(index: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([ROWS[index]]), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("names", "shown", "choice"),
    [
        (
            [
                "data/test-00000-of-00001.parquet",
                "data/train-00000-of-00002.parquet",
                "data/train-00001-of-00002.parquet",
            ],
            "data/test-00000-of-00001.parquet (1 file), data/train*.parquet (2 files)",
            "data/train*.parquet",
        ),
        (
            ["harmless/train.jsonl.gz", "helpful/train.jsonl.gz"],
            "harmless/train.jsonl.gz (1 file)",
            "helpful/train.jsonl.gz",
        ),
        (["train.jsonl", "train.csv"], "train.csv (1 file), train.jsonl (1 file)", "train.csv"),
        (
            ["batch1.json", "batch2.json", "batch1_cnn.json"],
            "batch[0-9].json (2 files), batch1_cnn.json",
            "batch[0-9].json",
        ),
        (["pairs_v1.jsonl", "pairs_v2.jsonl"], "pairs_v1.jsonl (1 file), pairs_v2.jsonl (1 file)", "pairs_v2.jsonl"),
        (
            ["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"],
            "train/*.parquet (2 files)",
            "train/*.parquet",
        ),
    ],
)
def test_a_folder_of_several_tables_is_not_mixed(tmp_path: Path, names: list[str], shown: str, choice: str) -> None:
    put(tmp_path, **dict.fromkeys(names, TYPED["lines.jsonl"]))
    text = told(tmp_path)
    assert "holds several tables: " in text and shown in text and "choose one, e.g. data.path='" in text
    chosen = TableFiles(tmp_path / choice).files
    assert f"{choice} ({len(chosen)} file" in text


def test_spark_writes_shards_of_one_table(tmp_path: Path) -> None:
    run = "5c1c6e30-5f43-4e5a-8a6d-3a5d1c2b7a0e-c000"
    shards = {f"part-0000{i}-{run}.snappy.parquet": parquet_of(i) for i in (0, 1)}
    put(tmp_path, **shards, **{"_SUCCESS": b"", f".part-00000-{run}.snappy.parquet.crc": b"x"})
    assert len(prompts(tmp_path)) == 2
    put(tmp_path, **{"other.snappy.parquet": parquet_of(2)})
    assert "holds several tables" in told(tmp_path)


def test_numbered_files_are_shards_of_one_table(tmp_path: Path) -> None:
    put(tmp_path, **{"part-00000-0a1b2c3d4e5f6a7b8c9d.jsonl": FIRST, "part-00001-0a1b2c3d4e5f6a7b8c9d.jsonl": SECOND})
    assert prompts(tmp_path) == PROMPTS[:2]
    assert prompts(put(tmp_path / "n", **{"batch3.json": FIRST, "batch10.json": SECOND})) == [PROMPTS[1], PROMPTS[0]]


def test_what_datasets_saved(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one", num_shards=2)
    assert prompts(tmp_path / "one") == PROMPTS
    rows.select([2, 0]).save_to_disk(tmp_path / "selected")
    assert prompts(tmp_path / "selected") == [PROMPTS[2], PROMPTS[0]]
    both = datasets.DatasetDict({"train": rows, "test": rows.select([1])})
    both.save_to_disk(tmp_path / "both")
    assert prompts(tmp_path / "both/test") == [PROMPTS[1]]
    text = told(f"{tmp_path}/both/")
    assert "holds the splits train, test; choose one, e.g. " in text and text.endswith("/both/train")
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "single")
    assert prompts(tmp_path / "single") == PROMPTS
    next((tmp_path / "one").glob("*.arrow")).unlink()
    assert "of its shards is not there" in told(tmp_path / "one")
    (tmp_path / "both/dataset_dict.json").write_text("[")
    assert "dataset_dict.json cannot be read" in told(tmp_path / "both")


def test_what_is_no_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, **{"train.jsonl": FIRST})
    os.mkfifo("pipe")
    Path("empty").mkdir()
    for path, message in {
        "https://example.org/a.jsonl": "is an address",
        "hf://datasets/a/b": "is an address",
        "org/pairs": "hf download --repo-type dataset org/pairs",
        "trian.jsonl": "did you mean train.jsonl?",
        "": "must be a path",
        "a\0b": "must be a path",
        "x" * 5000: "cannot be read (File name too long)",
        "~nobody_of_that_name/a.jsonl": "write the path out",
        "pipe": "is a pipe or a device",
        "empty": "is a folder without data files (.parquet, .arrow",
        "train.jsonl/a": "has no key 'a'",
    }.items():
        text = told(path)
        assert text.startswith(f"data.path={path}") and message in text
    assert "must be a path, or a list of paths" in told([None])  # type: ignore[list-item]


def test_the_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(put(tmp_path, **{"a.jsonl": FIRST})))
    assert prompts("~/a.jsonl") == prompts(["~/*.jsonl"]) == PROMPTS[:1]


def test_the_hash_is_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(
        put(tmp_path, **{"a/1.jsonl": FIRST, "a/2.jsonl": SECOND, "b/x1.jsonl": FIRST, "b/x2.jsonl": SECOND})
    )

    def digest(path: Typed, **options: str) -> str:
        return TableFiles(path, **options).content_hash

    same = [digest(path) for path in ("a", "./a/", "b", "a/*.jsonl", tmp_path / "a", ["a/1.jsonl", "b/x2.jsonl"])]
    assert len(set(same)) == 1
    others = {digest("a/1.jsonl"), digest(["a/2.jsonl", "a/1.jsonl"]), digest("a", encoding="cp1252")}
    assert len({*others, digest("a/1.jsonl/key"), *same}) == 5
    assert digest("a/1.jsonl") == hashlib.sha256(FIRST).hexdigest()


def test_an_empty_shard_among_others_is_told(tmp_path: Path) -> None:
    put(tmp_path, **{"1.jsonl": FIRST, "2.jsonl": b""})
    assert "2.jsonl: the file is empty" in told(tmp_path)
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "2.jsonl")
    assert prompts(tmp_path) == PROMPTS[:1]  # a shard that was filtered down to nothing


def test_a_linked_folder_of_a_folder_is_read_like_any_other(tmp_path: Path) -> None:
    folder = put(tmp_path / "set", **{"train/0000.jsonl": FIRST})
    put(tmp_path / "elsewhere", **{"0000.jsonl": SECOND})
    (folder / "again").symlink_to(folder)
    assert prompts(folder) == PROMPTS[:1]
    (folder / "test").symlink_to(tmp_path / "elsewhere")
    assert "holds several tables: test/0000.jsonl (1 file), train/0000.jsonl (1 file)" in told(folder)

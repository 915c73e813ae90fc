"""Mutated files of every kind: each is read or told in words, without a traceback, and nothing half-written stays."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_kinds import KINDS, LIST, ROWS, lines, separated, zipped, zstd

from rlaif import registry
from rlaif.cli import labels as command
from rlaif.data.files.table_files import TableFiles
from rlaif.data.preferences_io import PREFERENCE_SCHEMA, _preference_row, read_preferences
from rlaif.errors import RlaifError
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Turn

SEED = 20261128
ODD_TEXTS = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"\\ud800"',
    b'"\\x"',
    b"\r",
    b"\n\n",
    b'"',
    b",",
    b"{}",
    b"[]",
    b"[" * 5000,
    b'{"a":' * 300,
    b"9" * 400,
    b"-1e999",
    b"NaN",
    b"null",
    b"true",
    b"\\",
    "\u2028é漢".encode(),
)
ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    7,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    " ",
    "half \ud83d",
    "nul \0",
    [],
    {},
    ["x"],
    [[["x"]]],
    {"role": "user", "content": None},
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": 5}],
    "\n\nHuman: Hi\n\nAssistant:",
)
MESSAGES = [{"role": "user", "content": "Q"}]
LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "table": ROWS,
    "hh": [{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}],
    "chosen_rejected": [
        {"prompt": "Q", "chosen": "x", "rejected": "y", "p_chosen": 0.75},
        {"prompt": MESSAGES, "chosen": [{"role": "assistant", "content": "x"}], "rejected": "y"},
    ],
    "alpaca_eval": [{"instruction": "Q", "output_1": "x", "output_2": "y", "preference": 1.25, "generator_1": "a"}],
    "distilabel": [{"instruction": "Q", "generations": ["x", "y"], "ratings": [1, 2], "generation_models": ["a", "b"]}],
    "tldr_comparisons": [
        {"info": {"post": "P", "title": "T"}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 0, "extra": {}},
    ],
}
LABEL = Preference(
    comparison=Comparison(
        prompt=Prompt(task="dialogue", text="Hi", turns=(Turn("system", "Be brief."), Turn("user", "Hi"))),
        first=Completion(text="x", token_ids=(1, 2)),
        second=Completion(text="y"),
    ),
    p_first=0.75,
    judgments=(Judgment(order="given", prompt="Which?", option_logprobs=(-0.1, -2.0), p_slot1=0.75),),
    labeler="pairwise",
    source="ai",
)
LABEL_ROWS = [_preference_row(LABEL)]


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to four cuts, copies, insertions or changed bytes."""
    for _ in range(chance.randint(1, 4)):
        start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + chance.choice((1, 4, 40, 4000)))
        content = chance.choice(
            (
                content[:start] + content[end:],
                content[:end] + content[start:],
                content[:start] + chance.choice(ODD_TEXTS) + content[start:],
                content[:start] + bytes(chance.randrange(256) for _ in content[start:end]) + content[end:],
                content[:start],
            )
        )
    return content


def mutate_values(rows: Sequence[dict[str, Any]], chance: random.Random, *, keys: bool = True) -> list[dict[str, Any]]:
    """Rows of which a few have odd values or odd keys."""
    mutated = [dict(row) for row in rows]
    for row in mutated:
        for name in list(row):
            if chance.random() < 0.1:
                row[name] = chance.choice(ODD_VALUES)
            if keys and chance.random() < 0.01:
                row[str(chance.choice(("\ud800", "", "prompt", "\0")))] = row.pop(name)
    return mutated


Case = tuple[str, bytes, str]
"""Name and content of a file, and the format of its rows."""


def any_kind(chance: random.Random) -> Case:
    name = chance.choice(list(KINDS))
    return name, mutate_bytes(KINDS[name], chance), "table"


def packed_text(chance: random.Random) -> Case:
    """A mutated text in an archive that is whole."""
    text = mutate_bytes(chance.choice((lines(ROWS * 3), LIST, separated(","), separated(";"))), chance)
    pack: Callable[[bytes], bytes] = chance.choice((bytes, gzip.compress, zstd, lambda content: zipped({"a": content})))
    return "packed", pack(text), "table"


def odd_values(chance: random.Random) -> Case:
    format = chance.choice(list(LAYOUTS))
    rows = mutate_values(LAYOUTS[format] * chance.randint(1, 4), chance)
    text = json.dumps(rows) if chance.random() < 0.3 else "".join(json.dumps(row) + "\n" for row in rows)
    return "values.jsonl", text.encode(), format


def label_table(chance: random.Random) -> Case:
    """A label table of which bytes, or values and the types of columns, have changed."""
    rows = LABEL_ROWS * chance.randint(1, 3)
    if chance.random() < 0.3:
        return "labels.parquet", mutate_bytes(table_of(rows, PREFERENCE_SCHEMA), chance), "table"
    with contextlib.suppress(pa.ArrowException, TypeError, UnicodeError, OverflowError):
        rows = mutate_values(rows, chance, keys=False)
        return "labels.parquet", table_of(rows, chance.choice((None, PREFERENCE_SCHEMA))), "table"
    return "labels.parquet", table_of(LABEL_ROWS, PREFERENCE_SCHEMA), "table"


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema | None) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()


def words(path: Path, out: Path, format: str, chance: random.Random) -> Sequence[str]:
    """A command on a file."""
    options = ["--format", format]
    if chance.random() < 0.05:
        options += ["--columns", chance.choice(("prompt", "first=second", "x=y", "prompt=", "=", "preference=prompt"))]
    if chance.random() < 0.05:
        encodings = ('{"a":"first"}', '{"a":null}', '{"a":1}', "{", "{}", "index1", "words", '{"":NaN}', '{"a":1e999}')
        options += ["--preference", chance.choice(encodings)]
    if chance.random() < 0.05:
        options += ["--encoding", chance.choice(("cp1252", "utf-16", "latin-1", "ascii", "utf-7", "idna", "x\0"))]
    to = chance.choice(("parquet", "trl", "alpaca_eval", "distilabel", "openai"))
    ending = {"parquet": ".parquet", "openai": ".jsonl"}.get(to) or chance.choice((".jsonl", ".json", ".parquet"))
    made = str(out.with_suffix(ending))
    return chance.choice(
        (
            ["summary", str(path)],
            ["show", str(path)],
            ["summary", str(path), *options],
            ["import", str(path), str(out.with_suffix(".parquet")), "--source", "human", *options],
            ["convert", str(path), made, "--to", to, "--source", "human", *options],
            ["convert", str(path), made, "--to", to],
        )
    )


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code of a command, and what it printed to stderr."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            command.main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0), errors.getvalue()


def check_read(path: Path) -> None:
    with contextlib.suppress(RlaifError):
        for row in TableFiles(path, "data.path").rows():
            assert isinstance(row.values, dict) and row.place.startswith(path.name)


def check_command(path: Path, folder: Path, format: str, chance: random.Random) -> bool:
    """The output is whole and of the labels, or there is none; a refusal says what it is about."""
    arguments = words(path, folder / "made" / "out", format, chance)
    code, errors = run(arguments)
    left = [file for file in folder.rglob("*") if file != path]
    if code != 0:
        assert code == 2 and "rlaif-labels" in errors and "Traceback" not in errors, arguments
        assert left == [], (arguments, left)
        return False
    for file in left:
        if file.is_file():
            check_whole(file, arguments)
            file.unlink()
    if (folder / "made").is_dir():
        (folder / "made").rmdir()
    return True


def check_whole(file: Path, arguments: Sequence[str]) -> None:
    assert file.stem == "out"
    if arguments[0] == "import" or arguments[arguments.index("--to") + 1] == "parquet":
        assert all(label.source for label in read_preferences(file))
    elif file.suffix == ".json":
        json.loads(file.read_text())
    elif file.suffix == ".jsonl":
        assert all(json.loads(line) for line in file.read_text().split("\n")[:-1])


def fuzz(folder: Path, count: int, seed: int) -> int:
    """Try mutations; the first that ends in a traceback fails with its number.

    Returns:
        How many commands did what they were asked.
    """
    chance, done = random.Random(seed), 0
    for number in range(count):
        name, content, format = chance.choice((any_kind, packed_text, odd_values, label_table))(chance)
        path = folder / name
        path.write_bytes(content)
        try:
            check_read(path)
            done += check_command(path, folder, format, chance)
        except BaseException as error:
            told = traceback.format_exc()[-3000:]
            raise AssertionError(f"mutation {number}, {name}, seed {seed}: {told}") from error
        path.unlink()
    return done


@pytest.fixture(autouse=True)
def installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for installed layouts takes longer than everything else that a command does here."""
    monkeypatch.setattr(registry, "components", functools.cache(registry.components))


def test_mutated_files_are_read_or_told(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 200, SEED) > 40


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_twenty_thousand_mutated_files_are_read_or_told(tmp_path: Path, part: int) -> None:
    assert fuzz(tmp_path, 2000, SEED + 1 + part) > 400

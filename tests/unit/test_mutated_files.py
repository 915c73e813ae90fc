"""Mutated files of every kind: each is read or told in words, without a traceback, and nothing half-written stays."""

from __future__ import annotations

import contextlib
import io
import json
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from file_kinds import KINDS, ROWS, lines

from rlaif.cli import labels as command
from rlaif.data.files.table_files import TableFiles
from rlaif.data.preferences_io import read_preferences, write_preferences
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
OTHER_ROWS: tuple[dict[str, object], ...] = (
    {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
    {"prompt": "Q", "chosen": [{"role": "assistant", "content": "x"}], "rejected": "y"},
    {"instruction": "Q", "output_1": "x", "output_2": "y", "preference": 1.25, "generator_1": "a", "generator_2": "b"},
    {"instruction": "Q", "generations": ["x", "y"], "ratings": [1, 2], "generation_models": ["a", "b"]},
    {"info": {"post": "P", "title": "T"}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 0, "extra": {}},
)
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


def mutate_values(content: bytes, chance: random.Random) -> bytes:
    """JSON lines of rows of which some have odd values or odd keys."""
    rows = [dict(row) for row in chance.choice((ROWS, list(OTHER_ROWS[:3]), list(OTHER_ROWS)))]
    for row in rows:
        for name in list(row):
            if chance.random() < 0.3:
                row[name] = chance.choice(ODD_VALUES)
            if chance.random() < 0.05:
                row[str(chance.choice(("\ud800", "", "prompt", "\0")))] = row.pop(name)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def words(path: Path, out: Path, chance: random.Random) -> Sequence[str]:
    """A command on a file."""
    name = chance.choice(("table", "hh", "chosen_rejected", "alpaca_eval", "tldr_comparisons", "distilabel"))
    options = ["--format", name if chance.random() < 0.5 else "table"]
    if chance.random() < 0.1:
        options += ["--columns", chance.choice(("prompt", "first=second", "x=y", "prompt=", "=", "preference=prompt"))]
    if chance.random() < 0.1:
        encodings = ('{"a":"first"}', '{"a":null}', '{"a":1}', "{", "{}", "index1", "words", '{"":NaN}', '{"a":1e999}')
        options += ["--preference", chance.choice(encodings)]
    if chance.random() < 0.1:
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


def check_command(path: Path, folder: Path, chance: random.Random) -> None:
    """The output is whole and of the labels, or there is none; a refusal says what it is about."""
    arguments = words(path, folder / "made" / "out", chance)
    code, errors = run(arguments)
    left = [file for file in folder.rglob("*") if file != path]
    if code != 0:
        assert code == 2 and "rlaif-labels" in errors and "Traceback" not in errors, arguments
        assert left == [], (arguments, left)
        return
    for file in left:
        if file.is_file():
            check_whole(file, arguments)
            file.unlink()
    (folder / "made").rmdir() if (folder / "made").is_dir() else None


def check_whole(file: Path, arguments: Sequence[str]) -> None:
    assert file.stem == "out"
    if arguments[0] == "import" or arguments[arguments.index("--to") + 1] == "parquet":
        assert all(label.source for label in read_preferences(file))
    elif file.suffix == ".json":
        json.loads(file.read_text())
    elif file.suffix == ".jsonl":
        assert all(json.loads(line) for line in file.read_text().split("\n")[:-1])


def fuzz(folder: Path, count: int, seed: int) -> None:
    """Try mutations; the first that ends in a traceback fails with its number."""
    chance = random.Random(seed)
    write_preferences(folder / "labels.parquet", [LABEL] * 3)
    table = (folder / "labels.parquet").read_bytes()
    (folder / "labels.parquet").unlink()
    kinds = {**KINDS, "labels.parquet": table, "other.jsonl": lines(list(OTHER_ROWS))}
    for number in range(count):
        name = chance.choice([*kinds, "labels.parquet"])
        mutate: Callable[[bytes, random.Random], bytes] = chance.choice((mutate_bytes, mutate_bytes, mutate_values))
        path = folder / name
        path.write_bytes(mutate(kinds[name], chance))
        try:
            check_read(path)
            check_command(path, folder, chance)
        except BaseException as error:
            told = traceback.format_exc()[-3000:]
            raise AssertionError(f"mutation {number} of {name}, seed {seed}: {told}") from error
        path.unlink()


def test_mutated_files_are_read_or_told(tmp_path: Path) -> None:
    fuzz(tmp_path, 300, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_twenty_thousand_mutated_files_are_read_or_told(tmp_path: Path, part: int) -> None:
    fuzz(tmp_path, 2000, SEED + 1 + part)

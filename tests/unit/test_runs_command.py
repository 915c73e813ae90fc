"""``rlaif-runs clean``: unfinished stages go, finished ones, locked ones and the label cache stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlaif.artifacts import Store
from rlaif.artifacts.partials import remove, unfinished
from rlaif.cli import runs
from rlaif.errors import DataError

FIRST, SECOND, THIRD = "0123456789abcdef", "123456789abcdef0", "23456789abcdef01"
HOLD = """
import sys, time
from pathlib import Path
from rlaif.artifacts import Store

def build(partial):
    (partial / "half").write_text("1")
    time.sleep(60)

Store(sys.argv[1]).build("labels", sys.argv[2], build)
"""


def stop(partial: Path) -> None:
    (partial / "half").write_bytes(b"x" * 2_000_000)
    raise DataError("stop")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished stage, one that stopped, and a label cache."""
    store = Store(tmp_path / "store")
    store.build("sft", FIRST, lambda partial: None)
    with pytest.raises(DataError):
        store.build("policy", SECOND, stop)
    (store.root / "answers.sqlite").write_text("answers")
    old = time.time() - 3 * 86_400
    for path in (store.root / f"policy-{SECOND}.partial").rglob("*"):
        os.utime(path, (old, old))
    os.utime(store.root / f"policy-{SECOND}.partial", (old, old))
    return store


def clean(store: Store, *words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        runs.main(["clean", "--store", str(store.root), *words])
    return int(str(caught.value.code))


def names(store: Store) -> set[str]:
    return {path.name for path in store.root.iterdir()}


def test_what_is_unfinished_is_listed_and_only_that_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(store)
    assert clean(store, "--dry-run") == 0
    listed = capsys.readouterr().out
    assert names(store) == before and "nothing removed" in listed
    for part in ("policy", SECOND, "2.0 MB", "3 days ago"):
        assert part in listed
    assert FIRST not in listed
    assert clean(store, "--yes") == 0
    assert names(store) == before - {f"policy-{SECOND}.partial"}
    assert "removed 1 of 1" in capsys.readouterr().out
    assert clean(store, "--yes") == 0 and "nothing unfinished" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("", True), (None, True), ("y", False)])
def test_it_asks_first(store: Store, answer: str | None, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(question: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    assert clean(store) == 0
    assert (f"policy-{SECOND}.partial" in names(store)) == stays


def test_what_a_process_is_building_stays(store: Store) -> None:
    place = store.root / f"labels-{THIRD}.partial"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store.root), THIRD]) as process:
        try:
            deadline = time.monotonic() + 60
            while not (place / "half").exists():
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
            (listed,) = unfinished(store)
            assert listed.artefact == f"policy-{SECOND}"
            assert clean(store, "--yes") == 0
            assert place.exists()
        finally:
            process.kill()
    (listed,) = unfinished(store)
    lock = store.lock(listed.artefact)
    with lock:
        assert not remove(store, listed), "another process has begun since it was listed"
    assert remove(store, listed) and not place.exists()


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean(Store(tmp_path / "none")) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_default_is_the_store_that_runs_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLAIF_STORE", str(tmp_path / "elsewhere"))
    assert runs._default_store() == str(tmp_path / "elsewhere")

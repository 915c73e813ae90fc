"""The artefact store and fingerprints."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from rlaif.artifacts import Store, atomic_write, code_digest, fingerprint, link
from rlaif.errors import DataError, StoreError

FP = "0123456789abcdef"


def run_python(code: str, *args: object, **kwargs: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def wait_for(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def test_build_happens_once_and_leaves_a_sidecar(tmp_path):
    store = Store(tmp_path / "store")
    calls = []

    def build(partial):
        calls.append(partial.name)
        (partial / "out.txt").write_text("done")

    assert store.complete("sft", FP) is None
    first = store.build("sft", FP, build, meta={"device": "cpu"})
    second = store.build("sft", FP, build)
    assert first == second == store.complete("sft", FP)
    assert calls == [f"sft-{FP}.partial"]
    meta = json.loads((first / "meta.json").read_text())
    assert meta["device"] == "cpu" and meta["seconds"] >= 0 and "torch" in meta["libraries"]
    assert sorted(path.name for path in first.iterdir()) == ["meta.json", "out.txt"]


def test_a_failed_build_keeps_its_files_and_is_not_complete(tmp_path):
    store = Store(tmp_path)

    def fails(partial):
        (partial / "half").write_text("1")
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        store.build("sft", FP, fails)
    assert store.complete("sft", FP) is None

    def goes_on(partial):
        assert (partial / "half").read_text() == "1"

    path = store.build("sft", FP, goes_on)
    assert len(json.loads((path / "meta.json").read_text())["attempts"]) == 2


BUILD_COUNTED = """
    import sys, time
    from pathlib import Path
    from rlaif.artifacts import Store

    def build(partial):
        with open(sys.argv[2], "a") as file:
            file.write("built\\n")
        time.sleep(1.0)
        (partial / "out").write_text("x")

    print(Store(sys.argv[1]).build("labels", sys.argv[3], build, on_wait=lambda text: print("WAIT", text)))
"""


def test_two_processes_at_once_build_once(tmp_path):
    processes = [run_python(BUILD_COUNTED, tmp_path / "store", tmp_path / "count", FP) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert (tmp_path / "count").read_text() == "built\n"
    waits = [line for out, _ in outputs for line in out.splitlines() if line.startswith("WAIT")]
    assert len(waits) == 1
    assert f"labels-{FP}: waiting for " in waits[0]  # the other one may not have written its number yet


BUILD_STEPS = """
    import sys, time
    from pathlib import Path
    from rlaif.artifacts import Store, atomic_write

    def build(partial):
        progress = partial / "progress"
        done = int(progress.read_text()) if progress.exists() else 0
        print("from", done, flush=True)
        for step in range(done, 10):
            atomic_write(progress, str(step + 1))
            if step == 4 and sys.argv[3] == "hang":
                time.sleep(60)

    Store(sys.argv[1]).build("policy", sys.argv[2], build)
"""


def test_a_killed_build_goes_on_where_it_stopped(tmp_path):
    partial = tmp_path / f"policy-{FP}.partial"
    process = run_python(BUILD_STEPS, tmp_path, FP, "hang")
    wait_for(lambda: (partial / "progress").exists() and (partial / "progress").read_text() == "5")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert Store(tmp_path).complete("policy", FP) is None

    process = run_python(BUILD_STEPS, tmp_path, FP, "run")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "from 5\n"
    path = Store(tmp_path).complete("policy", FP)
    assert path is not None and (path / "progress").read_text() == "10"
    attempts = json.loads((path / "meta.json").read_text())["attempts"]
    assert len(attempts) == 2 and all("end" in attempt for attempt in attempts)


def test_a_root_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/store/\.locks: cannot be written .*RLAIF_STORE"):
        Store(tmp_path / "file" / "store").build("sft", FP, lambda partial: None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_root_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"not writable .*set store.dir"):
        Store(tmp_path / "store").build("sft", FP, lambda partial: None)
    tmp_path.chmod(0o700)


def test_a_write_that_is_refused_is_explained(tmp_path, monkeypatch):
    def refuse(self, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    message = r"not writable \(Permission denied\): change its permissions, or set store\.dir \(or RLAIF_STORE\)"
    with pytest.raises(StoreError, match=message):
        Store(tmp_path / "store").build("sft", FP, lambda partial: None)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_explained_and_harms_nothing(tmp_path):
    store = Store(tmp_path)
    finished = store.build("sft", FP, lambda partial: atomic_write(partial / "weights", b"abc"))

    def fills_the_disk(partial):
        (partial / "half").write_text("1")
        with open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(StoreError, match=r"policy-.*\.partial: the disk is full: free some space"):
        store.build("policy", FP, fills_the_disk)
    assert (finished / "weights").read_bytes() == b"abc"
    assert (tmp_path / f"policy-{FP}.partial" / "half").exists()


def test_a_library_that_hides_the_full_disk_is_explained_too(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    def build(partial):
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(StoreError, match="the disk is full"):
        Store(tmp_path).build("sft", FP, build)


def test_errors_that_are_not_about_the_store_pass(tmp_path):
    def build(partial):
        open(tmp_path / "missing-input")  # noqa: SIM115

    with pytest.raises(FileNotFoundError):
        Store(tmp_path).build("sft", FP, build)


def test_atomic_write_replaces_whole_files(tmp_path):
    atomic_write(tmp_path / "a.txt", "one")
    atomic_write(tmp_path / "a.txt", "två")
    assert (tmp_path / "a.txt").read_bytes() == "två".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(StoreError, match="cannot be written"):
        atomic_write(tmp_path / "no" / "a.txt", "x")


def test_links_are_relative_and_replaceable(tmp_path):
    run_dir = tmp_path / "outputs" / "run"
    run_dir.mkdir(parents=True)
    store = Store(tmp_path / "outputs" / "store")
    for fp in (FP, FP[::-1]):
        target = store.build("sft", fp, lambda partial: None)
        place = link(run_dir, "sft", target)
        assert place.resolve() == target.resolve()
        assert os.readlink(place) == f"../store/sft-{fp}"
    (run_dir / "labels").mkdir()
    with pytest.raises(StoreError, match="a link into the store would replace it"):
        link(run_dir, "labels", target)


def test_fingerprint_sees_values_and_refuses_objects(tmp_path):
    base = fingerprint("sft", {"lr": 1e-3, "steps": [1, 2]}, ["a"], ["b", "c"])
    assert base == fingerprint("sft", {"steps": (1, 2), "lr": 0.001}, ["a"], ["c", "b"])
    assert len(base) == 20
    others = [
        fingerprint("rm", {"lr": 1e-3, "steps": [1, 2]}, ["a"], ["b", "c"]),
        fingerprint("sft", {"lr": 2e-3, "steps": [1, 2]}, ["a"], ["b", "c"]),
        fingerprint("sft", {"lr": 1e-3, "steps": [2, 1]}, ["a"], ["b", "c"]),
        fingerprint("sft", {"lr": 1e-3, "steps": [1, 2]}, ["x"], ["b", "c"]),
        fingerprint("sft", {"lr": 1e-3, "steps": [1, 2]}, ["a"], ["b"]),
    ]
    assert len({base, *others}) == 6
    with pytest.raises(TypeError, match="not a plain value"):
        fingerprint("sft", {"path": tmp_path}, [], [])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A plugin package: ``labeler`` imports ``helper`` inside a function; ``other`` is not imported."""
    root = tmp_path / "someplugin"
    (root / "templates").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "labeler.py": "def label():\n    from . import helper\n    return helper.VALUE\n",
        "helper.py": '"""Doc."""\nVALUE = 1\n',
        "other.py": "VALUE = 1\n",
        "templates/judge.txt": "Which is better?",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return root


def test_code_digest_follows_code_and_templates_but_not_words(package):
    digest = code_digest(["someplugin.labeler"])
    assert "someplugin" not in sys.modules
    (package / "helper.py").write_text('"""Another text, longer."""\n\n# why\nVALUE = 1\n"""Under the field."""\n')
    (package / "other.py").write_text("VALUE = 22\n")
    assert code_digest(["someplugin.labeler"]) == digest
    (package / "helper.py").write_text("VALUE = 22\n")
    changed = code_digest(["someplugin.labeler"])
    assert changed != digest
    (package / "templates" / "judge.txt").write_text("Which is worse?")
    assert code_digest(["someplugin.labeler"]) != changed


def test_code_digest_ignores_imports_for_type_checking(package):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from someplugin import other\nVALUE = 1\n"
    (package / "helper.py").write_text(text)
    digest = code_digest(["someplugin.labeler"])
    (package / "other.py").write_text("VALUE = 333\n")
    assert code_digest(["someplugin.labeler"]) == digest


def test_code_digest_reaches_our_own_modules(package):
    (package / "helper.py").write_text("from rlaif.types import Prompt\nVALUE = Prompt\n")
    with_types = code_digest(["someplugin.labeler"])
    (package / "helper.py").write_text("from rlaif.errors import Prompt\nVALUE = Prompt\n")
    assert code_digest(["someplugin.labeler"]) != with_types
    with pytest.raises(ModuleNotFoundError, match=r"someplugin\.nothing"):
        code_digest(["someplugin.nothing"])

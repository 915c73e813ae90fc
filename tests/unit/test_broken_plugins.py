"""What fails in a plugin is told in one message: option, package, file, line and cause."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from rlaif import registry
from rlaif.cli.messages import report_error
from rlaif.cli.plugin_imports import import_problems
from rlaif.cli.plugins import list_components
from rlaif.config import search_path
from rlaif.config.check import check
from rlaif.errors import PluginError
from rlaif.labeling.label_run import label_batch


def install(directory: Path, module: str, source: str, entry_points: str) -> None:
    about = directory / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    (directory / f"{module}.py").write_text(source)


def labeler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str) -> registry.Component:
    install(tmp_path, module, source, f"[rlaif.labelers]\n{module} = {module}:Bad\n")
    monkeypatch.syspath_prepend(tmp_path)
    return registry.find("rlaif.labelers", module)


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("exits_at_import", "import sys\n\nsys.exit(3)\n", "exits_at_import.py:3: the code ends the process"),
        ("lacks_package", "import no_such_package\n", "lacks_package.py:1: ModuleNotFoundError"),
        ("has_no_syntax", "x = 1\ndef f(:\n", "has_no_syntax.py:2: SyntaxError"),
        ("divides", "def f():\n    return 1 / 0\n\nf()\n", "divides.py:2: ZeroDivisionError"),
    ],
)
def test_an_import_that_fails_names_file_line_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, said: str
) -> None:
    component = labeler(tmp_path, monkeypatch, module, source)
    with pytest.raises(PluginError) as caught:
        registry.load_component(component)
    assert said in str(caught.value)
    assert f"pip uninstall {component.package}" in str(caught.value)
    told = import_problems([component])
    assert said in told[component], "rlaif-plugins list finds the same in a child process"


def test_a_run_tells_the_same_before_it_constructs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labeler(tmp_path, monkeypatch, "lacks_another", "import no_such_package\n")
    labeler(tmp_path, monkeypatch, "ends_process", "import sys\n\nsys.exit(0)\n")
    node = {"labelers": [{"_target_": "rlaif.tasks.base.Dialogue"}, {"_target_": "ends_process.Bad"}]}
    with pytest.raises(PluginError, match=r"labeler=ends_process: ends-process 1.0 is broken: .*ends_process.py:3"):
        registry.import_plugins(node)
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "lacks_another.Bad"})
    assert report_error("rlaif-run", caught.value) == 2
    said = capsys.readouterr().err
    assert "lacks-another 1.0 is broken" in said and "lacks_another.py:1: ModuleNotFoundError" in said
    assert "install no_such_package" in said


def test_a_process_that_an_import_kills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = labeler(tmp_path, monkeypatch, "kills_process", "import os\nos._exit(7)\n")
    assert "ended the process with exit code 7" in import_problems([component])[component]


def test_a_key_error_in_a_constructor_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "class Bad:\n    def __init__(self):\n        self.size = {}['size']\n"
    labeler(tmp_path, monkeypatch, "wants_a_key", source)
    log = logging.FileHandler(tmp_path / "rlaif.log")
    logging.getLogger().addHandler(log)
    try:
        with pytest.raises(InstantiationException) as caught:
            instantiate({"_target_": "wants_a_key.Bad"})
        assert report_error("rlaif-run", caught.value) == 2
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    said = capsys.readouterr().err
    assert "wants-a-key 1.0 is broken" in said and "wants_a_key.py:3: KeyError: 'size'" in said
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "rlaif.log").read_text()


def test_yaml_that_cannot_be_read_names_package_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad_yaml", "", "[rlaif.conf]\nbad_yaml = bad_yaml_files.conf\n")
    file = tmp_path / "bad_yaml_files" / "conf" / "labeler" / "odd.yaml"
    file.parent.mkdir(parents=True)
    (tmp_path / "bad_yaml_files" / "__init__.py").write_text("")
    file.write_text("_target_: x.Y\nkey: [1, 2\nother: 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    for function in (search_path._plugin_dirs, search_path.broken_yaml):
        function.cache_clear()
    try:
        said = search_path.broken_yaml()["labeler/odd"]
    finally:
        monkeypatch.undo()
        for function in (search_path._plugin_dirs, search_path.broken_yaml):
            function.cache_clear()
    assert said.startswith(f"bad-yaml 1.0 is broken: {file}:")
    assert "fix the file or uninstall the plugin" in said


USED = """
import sys
from rlaif.types import Preference

class Bad:
    name = "fails_in_use"

    def label(self, comparisons):
        return [self._judged(pair) for pair in comparisons]

    def _judged(self, pair):
        if pair is None:
            sys.exit(0)
        if pair == "nan":
            return Preference(comparison=pair, p_first=float("nan"))
        return {}[pair]
"""


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("size", "fails_in_use.py:16: KeyError: 'size'"),
        ("nan", "fails_in_use.py:15: .*types.py:[0-9]+: ValueError: Preference: p_first=nan is not a probability"),
        (None, r"fails_in_use.py:13: the code ends the process \(sys.exit\(0\)\)"),
    ],
)
def test_an_error_while_a_component_works_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pair: Any, said: str
) -> None:
    component = labeler(tmp_path, monkeypatch, "fails_in_use", USED)
    monkeypatch.delitem(sys.modules, "fails_in_use", raising=False)
    log = logging.FileHandler(tmp_path / "rlaif.log")
    logging.getLogger().addHandler(log)
    try:
        with pytest.raises((Exception, SystemExit)) as caught:
            label_batch(registry.load_component(component)(), [pair])
        assert report_error("rlaif-run", caught.value) == 2
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    told = capsys.readouterr().err
    assert re.search(rf"labeler=fails_in_use: fails-in-use 1.0 failed: .*{said}; `rlaif-plugins check", told)
    assert "Traceback" not in told and "Traceback" in (tmp_path / "rlaif.log").read_text()


def test_an_error_of_our_own_is_not_laid_on_a_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError) as caught:
        {}["size"]
    assert report_error("rlaif-run", caught.value) is None
    assert capsys.readouterr().err == ""


def test_a_component_that_ends_the_process_does_not_end_a_run_as_if_it_were_done(tmp_path: Path) -> None:
    install(tmp_path / "site", "ends_run", USED, "[rlaif.labelers]\nends_run = ends_run:Bad\n")
    code = (
        "import sys, types\n"
        "stub = types.ModuleType('rlaif.pipeline.run')\n"
        "def run(cfg):\n"
        "    from ends_run import Bad\n"
        "    Bad().label([None])\n"
        "stub.run = run\n"
        "sys.modules['rlaif.pipeline.run'] = stub\n"
        "from rlaif.cli.run import main\n"
        "sys.argv[1:] = ['hydra.run.dir=here', 'store.dir=store']\n"
        "main()\n"
    )
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2, done.stderr
    assert "labeler=ends_run: ends-run 1.0 failed" in done.stderr and "the code ends the process" in done.stderr


def test_a_component_that_a_preset_of_ours_hides_is_told_where_it_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "theirs", "class Engine:\n    pass\n", "[rlaif.engines]\nvllm = theirs:Engine\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = "labeler/engine=vllm: is rlaif's own option, and theirs 1.0 declares this name too (theirs:Engine)"
    chosen = check(["labeler/engine=vllm", "labeler.engine.model=judge"], places=False)
    assert chosen == [f"{told}; rename it in theirs"] and check([], places=False) == []
    assert list_components() == 1 and told in capsys.readouterr().out


def test_options_of_a_package_named_model_and_path_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = "class Engine:\n    def __init__(self, *, model: str = 'claude', path: str = '/v1/rate') -> None: ...\n"
    install(tmp_path, "service", engine, "[rlaif.engines]\nservice = service:Engine\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert check(["labeler=pairwise", "labeler/engine=service"]) == []
    assert check(["labeler=pairwise", "labeler/engine=service", "labeler.engine.model=claude-next"]) == []

"""Logs of inspect_ai as rows: one sample, one row.

Source: UKGovernmentBEIS/inspect_ai, ``src/inspect_ai/log/_log.py`` (``EvalLog``, ``EvalSample``) and
``scorer/_metric.py`` (``Score``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif.data.files.rows import Row
from rlaif.data.files.table_files import TableFiles
from rlaif.errors import DataError

OWN = ("sample", "epoch", "judge", "target", "completion", "value", "answer")
"""Columns that the log itself fills; a key of the metadata of this name becomes ``metadata_<key>``."""


def is_inspect_log(file: TableFiles) -> bool:
    """True for an ``.eval`` file, and for one JSON object that names its ``eval``, as a log of inspect_ai does.

    A file that cannot be opened is none: its reader says why.
    """
    path = _path(file)
    if path is None or path.suffix == ".eval":
        return path is not None
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as raw:
        start = raw.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith(b"{") and b'"eval"' in start and isinstance(_loaded(path), dict)


@dataclass(frozen=True)
class InspectLog:
    """A log of inspect_ai in its JSON form.

    A row has the keys of the sample's metadata and the columns :data:`OWN`: ``sample`` (its id), ``epoch``, ``judge``
    (the model that was evaluated), ``target``, ``completion`` (what the model wrote), and of the score ``value`` and
    ``answer``. With several scorers these are ``value_<scorer>`` and ``answer_<scorer>``.

    Args (fields):
        file: The log.
    """

    file: TableFiles

    def rows(self) -> Iterator[Row]:
        """The samples in order; one that failed or was not scored has the value None.

        Raises:
            DataError: It is an ``.eval`` file, no log, or holds no samples.
        """
        name, path = self.file.name, _path(self.file)
        assert path is not None
        if path.suffix == ".eval":
            raise DataError(
                f"{name}: is a log in inspect_ai's own format; write it as JSON first: inspect log convert "
                f"{path} --to json --output-dir json-logs"
            )
        log = _loaded(path)
        samples = log.get("samples") if isinstance(log, dict) else None
        if not isinstance(samples, list) or not samples:
            raise DataError(f"{name}: this log of inspect_ai holds no samples; run the evaluation with --log-samples")
        judge = str(log["eval"].get("model", "")) if isinstance(log.get("eval"), dict) else ""
        scorers = list(dict.fromkeys(scorer for sample in samples for scorer in _dict(sample, "scores")))
        for number, sample in enumerate(samples, 1):
            yield Row(f"{path.name}:{number}", _row(sample, judge, scorers))


def _path(file: TableFiles) -> Path | None:
    """The path of one file; None where several are read."""
    return Path(file.path).expanduser() if isinstance(file.path, str | Path) else None


def _loaded(path: Path) -> Any:
    """The JSON of a file; None where it is no single JSON value."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _row(sample: Mapping[str, Any], judge: str, scorers: list[str]) -> dict[str, object]:
    choices = _dict(sample, "output").get("choices") or [{}]
    content = _dict(choices[0], "message").get("content")
    values: dict[str, object] = {
        "sample": sample.get("id"),
        "epoch": sample.get("epoch"),
        "judge": judge,
        "target": sample.get("target"),
        "completion": content if isinstance(content, str) else _dict(sample, "output").get("completion"),
        "value": None,
        "answer": None,
    }
    failed = bool(sample.get("error"))
    for scorer in scorers:
        score = {} if failed else _dict(_dict(sample, "scores"), scorer)
        suffix = f"_{scorer}" if len(scorers) > 1 else ""
        values |= {f"value{suffix}": score.get("value"), f"answer{suffix}": score.get("answer")}
    for key, value in _dict(sample, "metadata").items():
        values[f"metadata_{key}" if key in values else key] = value
    return values


def _dict(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}

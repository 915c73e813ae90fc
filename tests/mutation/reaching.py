"""Which tests run a line, and how long each takes: read from coverage's data and pytest's JUnit file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from coverage import CoverageData


class Reaching:
    """Tests by the lines that they run.

    Args:
        coverage_file: Of ``pytest --cov=rlaif --cov-context=test``.
        junit_file: Of the same run's ``--junitxml``.
    """

    def __init__(self, coverage_file: Path, junit_file: Path) -> None:
        self._data = CoverageData(str(coverage_file))
        self._data.read()
        self._files = {Path(name).as_posix().rpartition("/rlaif/")[2]: name for name in self._data.measured_files()}
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        for case in ElementTree.parse(junit_file).iter("testcase"):
            self._seconds[case.get("classname", ""), case.get("name", "")] += float(case.get("time", "0"))
        self._tests: dict[str, dict[int, set[str]]] = {}

    def tests(self, path: Path, lines: range | None, max_seconds: float) -> list[str]:
        """Node ids of tests that run one of the lines, the quickest first, as many as fit into the time.

        Args:
            path: The module.
            lines: None stands for any: what runs at import, such as constants, is reached by whoever uses the module.
            max_seconds: Of all the tests; the first one may take longer.
        """
        by_line = self._by_line(path)
        found = {test for line, tests in by_line.items() if lines is None or line in lines for test in tests}
        chosen, total = [], 0.0
        for test in sorted(found, key=lambda test: (self.seconds(test), test)):
            total += self.seconds(test)
            if chosen and total > max_seconds:
                break
            chosen.append(test)
        return chosen

    def seconds(self, test: str) -> float:
        """How long a test took."""
        file, _, rest = test.partition("::")
        *classes, name = rest.split("::") if "[" not in rest else [*rest.partition("[")[0].split("::")]
        name = name if "[" not in rest else name + "[" + rest.partition("[")[2]
        return self._seconds[".".join([file.removesuffix(".py").replace("/", "."), *classes]), name]

    def _by_line(self, path: Path) -> dict[int, set[str]]:
        name = path.as_posix().removeprefix("rlaif/")
        if name not in self._tests:
            contexts = self._data.contexts_by_lineno(self._files[name]) if name in self._files else {}
            self._tests[name] = {
                line: {context.rpartition("|")[0] for context in found if context} for line, found in contexts.items()
            }
        return self._tests[name]

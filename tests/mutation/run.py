"""Mutation testing of packages of rlaif: which one-place edits do the tests notice?

    pytest --cov=rlaif --cov-context=test --cov-report= --junitxml=durations.xml
    python tests/mutation/run.py functional objectives --coverage .coverage --durations durations.xml

Needs ``pip install -e '.[test,dev]'`` and the repository's root as working directory. A mutant gets the tests that run
its line, the quickest first, until they take ``--seconds``; so the share that is killed is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from itertools import groupby
from pathlib import Path

from mutants import Mutant, sampled_mutants
from reaching import Reaching
from trial import KILLED, TIMED_OUT, preload, run_module


def main() -> None:
    """Sample, try and report; results go to a file of JSON lines, and what stands there is not tried again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", help="folders under rlaif/, such as functional or data/batches")
    parser.add_argument("--coverage", type=Path, required=True, help="data of pytest --cov --cov-context=test")
    parser.add_argument("--durations", type=Path, required=True, help="file of the same run's --junitxml")
    parser.add_argument("--count", type=int, default=300, help="mutants per package")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--seconds", type=float, default=15.0, help="most time of a mutant's tests")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"), help="one line per mutant")
    options = parser.parse_args()
    sys.path.insert(0, str(Path.cwd()))
    preload()
    reaching = Reaching(options.coverage, options.durations)
    done = {_key(line) for line in _lines(options.out)}
    for package in options.packages:
        begun = time.monotonic()
        sample = sampled_mutants(sorted(Path("rlaif", package).glob("*.py")), options.count, options.seed)
        waiting = [mutant for mutant in sample if (str(mutant.path), mutant.operator, mutant.occurrence) not in done]
        for _, group in groupby(waiting, key=lambda mutant: mutant.path):
            _try(list(group), reaching, options.seconds, options.out)
        keys = {(str(mutant.path), mutant.operator, mutant.occurrence) for mutant in sample}
        outcomes = Counter(line["outcome"] for line in _lines(options.out) if _key(line) in keys)
        killed = outcomes[KILLED] + outcomes[TIMED_OUT]
        print(f"{package}: {killed} of {len(sample)} killed, {killed / len(sample):.1%}", dict(outcomes), end=" ")
        print(f"{time.monotonic() - begun:.0f} s", flush=True)


def _try(mutants: list[Mutant], reaching: Reaching, seconds: float, out: Path) -> None:
    tests = [reaching.tests(mutant.path, mutant.lines if mutant.in_functions else None, seconds) for mutant in mutants]

    def report(index: int, outcome: str) -> None:
        mutant = mutants[index]
        before, after = mutant.edit()
        line = {"path": str(mutant.path), "operator": mutant.operator, "occurrence": mutant.occurrence}
        line |= {"line": mutant.line, "outcome": outcome, "tests": len(tests[index]), "before": before, "after": after}
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")

    run_module(mutants, tests, reaching.seconds, report)


def _key(line: dict[str, object]) -> tuple[object, object, object]:
    return line["path"], line["operator"], line["occurrence"]


def _lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    main()

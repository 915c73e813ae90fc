"""Time and memory of labeling a long plan with an engine that costs nothing: both must not grow with the plan.

    python tests/benchmarks/labeling.py --pairs 100000

prints one JSON line: seconds of the second and of the last thousand pairs and their ratio (``cpu_ratio``: of this
process's processor time, which other work on the machine moves less), growth of the resident memory since the plan was
loaded (largest during labeling and while the table is written), and seconds in all. A thousand takes a fifth of a
second, which a noisy machine moves by a third: the figures are medians over ``--repeats`` whole runs, each in a process
of its own, the ratios those of the medians, and ``ratios`` and ``memory_growths_mb`` have those of every run.
The labels go the whole way: prompts of both orders, answer cache, ledger, batches on disk, Parquet table.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import psutil

from rlaif.data.preferences_io import write_preferences
from rlaif.engines.answer_cache import LocalAnswerCache
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labeling.label_run import label_comparisons
from rlaif.labeling.wrapping import wrap_engines
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Prompt

BATCH_SIZE, THOUSAND = 50, 1000
WARM_UP_PAIRS = 200
WORDS = ("the", "cat", "dog", "sat", "ran", "on", "mat", "hill", "then", "slept", "woke", "while", "rain", "fell")


def plan(num_pairs: int) -> list[Comparison]:
    """Distinct pairs with texts of about the length of a short summary."""

    def words(seed: int, count: int) -> str:
        return " ".join(WORDS[(seed * 7 + place * place) % len(WORDS)] for place in range(count))

    return [
        Comparison(
            prompt=Prompt(task="summarization", text=f"Post {number}: {words(number, 60)}"),
            first=Completion(text=f"{words(number + 1, 20)} {number}"),
            second=Completion(text=f"{words(number + 2, 20)} {number}"),
        )
        for number in range(num_pairs)
    ]


def answer(text: str) -> dict[str, float]:
    """Some probability, the same in every run."""
    first = (hash_of(text) % 1000 + 1) / 1002
    return {"1": first, "2": 1.0 - first}


def hash_of(text: str) -> int:
    return sum(map(ord, text[-200:])) * 2654435761 % 2**32


class PeakMemory:
    """The largest resident memory of this process above where it began, in MB, sampled ten times a second."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.start = self.peak = self.process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def growth_mb(self) -> float:
        self.peak = max(self.peak, self.process.memory_info().rss)
        return (self.peak - self.start) / 1e6

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def label(comparisons: list[Comparison], directory: Path) -> tuple[list[float], list[float]]:
    """Label a plan and write its table; when each thousand was done, by the clock and in processor time."""
    cache, counted = LocalAnswerCache(directory / "answers.sqlite"), LocalAnswerCache(directory / "counted.sqlite")
    ledger = Ledger(directory / "batches", counted=counted)
    labeler = wrap_engines(PairwiseLabeler(JudgePrompts(), ScriptedEngine(answer)), cache=cache, ledger=ledger)
    moments, processor = [time.perf_counter()], [time.process_time()]

    def progress(done: int, total: int) -> None:
        if done % THOUSAND == 0:
            moments.append(time.perf_counter())
            processor.append(time.process_time())

    run = label_comparisons(labeler, comparisons, directory / "batches", batch_size=BATCH_SIZE, progress=progress)
    write_preferences(directory / "labels.parquet", run)
    cache.close()
    return moments, processor


def measure(num_pairs: int, directory: Path) -> dict[str, float]:
    """The figures of the JSON line."""
    comparisons = plan(num_pairs)
    label(plan(WARM_UP_PAIRS), directory / "warm-up")  # libraries load and allocate on first use
    gc.collect()
    memory, start = PeakMemory(), time.perf_counter()
    moments, processor = label(comparisons, directory / "measured")
    growth = memory.growth_mb()
    memory.stop()
    second, last = moments[2] - moments[1], moments[-1] - moments[-2]
    return {
        "pairs": num_pairs,
        "second_thousand_s": round(second, 3),
        "last_thousand_s": round(last, 3),
        "second_thousand_cpu_s": round(processor[2] - processor[1], 3),
        "last_thousand_cpu_s": round(processor[-1] - processor[-2], 3),
        "ratio": round(last / second, 3),
        "memory_growth_mb": round(growth, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "labeling_seconds": round(moments[-1] - moments[0], 1),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000, help="a multiple of 1000, at least 2000")
    parser.add_argument("--repeats", type=int, default=5, help="whole runs whose median is told, at least 1")
    parser.add_argument("--directory", type=Path, help="where to work; a temporary one by default")
    options = parser.parse_args()
    if options.pairs < 2 * THOUSAND or options.pairs % THOUSAND:
        parser.error(f"--pairs={options.pairs}: must be a multiple of 1000, at least 2000")
    if options.repeats < 1:
        parser.error(f"--repeats={options.repeats}: must be at least 1")
    runs = []
    for _ in range(options.repeats):
        with (
            tempfile.TemporaryDirectory(dir=options.directory) as directory,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh,
        ):
            runs.append(fresh.submit(measure, options.pairs, Path(directory)).result())
    medians = {name: round(median(run[name] for run in runs), 3) for name in runs[0]}
    for ratio, part in (("ratio", "thousand_s"), ("cpu_ratio", "thousand_cpu_s")):
        medians[ratio] = round(medians[f"last_{part}"] / medians[f"second_{part}"], 3)
    each = {"ratios": [run["ratio"] for run in runs], "memory_growths_mb": [run["memory_growth_mb"] for run in runs]}
    print(json.dumps({**medians, **each}))


if __name__ == "__main__":
    main()

"""A labeling run whose engine writes down every question it is paid for, before it answers; see test_label_kill.py.

python label_script.py STORE PAIRS LOG
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rlaif.data.preferences_io import write_preferences
from rlaif.engines.answer_cache import LocalAnswerCache
from rlaif.engines.base import Answer
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labeling.label_run import label_comparisons
from rlaif.labeling.wrapping import wrap_engines
from rlaif.outcome import OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Prompt, StructuredPrompt, content_id

ANSWER_S = 0.001
BATCH_SIZE = 16


def plan(num_pairs: int) -> list[Comparison]:
    prompt = Prompt(task="dialogue", text="\n\nHuman: Say a number.\n\nAssistant:")
    return [
        Comparison(prompt=prompt, first=Completion(text=f"{number}"), second=Completion(text=f"not {number}"))
        for number in range(num_pairs)
    ]


def probability(text: str) -> dict[str, float]:
    first = (int(content_id(text), 16) % 998 + 1) / 1000
    return {"1": first, "2": 1.0 - first}


class PaidServer(ScriptedEngine):
    """Answers one question after the other and hands each answer over, as a server's client does."""

    def __init__(self, log: Path) -> None:
        super().__init__(probability)
        self.on_answer: Callable[[int, Answer], None] | None = None
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        answers = []
        for position, prompt in enumerate(prompts):
            os.write(self.log, f"{content_id(prompt.text)}\n".encode())
            time.sleep(ANSWER_S)
            answers += super().score([prompt], options)
            if self.on_answer is not None:
                self.on_answer(position, answers[-1])
        return answers


def main() -> None:
    store, num_pairs, log = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    ledger, cache = Ledger(store / "batches"), LocalAnswerCache(store / "answers.sqlite")
    labeler = wrap_engines(PairwiseLabeler(JudgePrompts(), PaidServer(log)), cache=cache, ledger=ledger)
    run = label_comparisons(labeler, plan(num_pairs), store / "batches", batch_size=BATCH_SIZE)
    write_preferences(store / "labels.parquet", run)


if __name__ == "__main__":
    main()

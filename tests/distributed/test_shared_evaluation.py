"""Two processes that share an evaluation get the figures that one process gets, to the last bit."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from rlaif.evaluation.evaluators import HarmlessEvaluator, LabelerEvaluator, PolicyEvaluator, RewardModelEvaluator
from rlaif.evaluation.judges import AnnotatorJudge
from rlaif.evaluation.records import Findings
from rlaif.functional.seeds import generator
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt

NUM_PAIRS = 61


class Annotators:
    """Verdicts that depend on the pair and the rater alone."""

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [float((int(item.id, 16) >> rater) % 3 > 0) for item in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return [(len(response) + rater) % 5 > 0 for response in responses]


def labels() -> list[Preference]:
    """Labels of pairs of which two or three share a prompt; some are missing, some pairs are identical."""
    p_first = torch.rand(NUM_PAIRS, 2, dtype=torch.float64, generator=generator("labels")).tolist()
    lengths = torch.randint(3, 40, (NUM_PAIRS, 2), generator=generator("lengths")).tolist()
    made = []
    for number, ((given, swapped), (one, two)) in enumerate(zip(p_first, lengths, strict=True)):
        stratum = "seen" if number < 40 else "unseen"  # the first process has no prompt of the second stratum
        prompt = Prompt(task="dialogue", text=f"Human: {number // 2}\n\nAssistant:", stratum=stratum)
        texts = ("x" * one, "x" * one if number % 9 == 0 else "y" * two)
        pair = Comparison(prompt=prompt, first=Completion(text=texts[0]), second=Completion(text=texts[1]))
        judgments = (
            Judgment(order="given", prompt="…", p_slot1=given),
            Judgment(order="swapped", prompt="…", p_slot1=1 - swapped),
        )
        mean = (given + swapped) / 2
        label = Preference(comparison=pair, p_first=mean, judgments=judgments, labeler="pairwise:1", source="ai")
        made.append(label if number % 7 else replace(label, p_first=None, missing="no answer", judgments=()))
    return made


def evaluate(processes: Processes) -> Findings:
    """Every evaluator on this process' share."""
    own, judge = processes.share(labels()), AnnotatorJudge(Annotators(), num_raters=3)
    pairs = [label.comparison for label in own]
    prompts, first, second = zip(*[(pair.prompt, pair.first, pair.second) for pair in pairs], strict=True)
    people = [replace(label, p_first=float(label.comparison.id < "8"), missing=None) for label in own]
    scores = [[len(side.text) / 7 for side in sides] for sides in (first, second)]
    policy = PolicyEvaluator(processes=processes)
    found = LabelerEvaluator(processes=processes).evaluate(own, judge)
    found += RewardModelEvaluator(processes=processes).evaluate(people, *scores, "people")
    return found + Findings(
        (
            *policy.win_rates(pairs, judge, length_controlled=True),
            *HarmlessEvaluator(processes=processes).evaluate(prompts, first, second, judge),
            *policy.kl(prompts, scores[0]),
            *policy.responses("policy", prompts, first),
        )
    )


def evaluate_on_rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    alone = evaluate(ONE_PROCESS)  # nothing is merged unless asked for, also where there is a process group
    (Path(folder) / f"{rank}.pickle").write_bytes(pickle.dumps((evaluate(Processes(merge=True)), alone)))
    torch.distributed.destroy_process_group()


@pytest.mark.timeout(200)
def test_two_processes_give_the_figures_and_diagrams_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(evaluate_on_rank, (port, str(tmp_path)), nprocs=2, start_method="fork")
    expected = evaluate(ONE_PROCESS)
    names = {figure.name for figure in expected.figures}
    assert {"policy/win_rate_vs_sft/unseen", "labeler/alignment/seen", "labeler/ece", "reward_model/ece"} <= names
    assert len(names) > 20 and len(expected.sections) == 2
    for rank in range(2):
        together, alone = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())
        assert together == expected and alone == expected

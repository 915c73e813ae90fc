"""Validation during RL: it changes no weight, its file survives a kill, and its figures are those of the responses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import KillAfter, KilledError
from lightning import Callback, Trainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.artifacts.curve import append_row, read_curve
from rlaif.data.base import TaskData
from rlaif.data.formats.base import LabeledPair, ReadRow
from rlaif.data.split import PairOptions, RecordReader
from rlaif.evaluation.records import Curves, ValidationCurves
from rlaif.models.load import load_causal_lm
from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.curves import CurveWriter
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.trainer import build_trainer, fit
from rlaif.modules.validation import JUDGED, PolicyValidation
from rlaif.objectives.base import RolloutObjective
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.online_pairs import OnlinePairs
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.pipeline.stage import Input, Work
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.source import PocketSource
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.rewards.group_pairwise import GroupPairwiseReward
from rlaif.roles import Reads
from rlaif.stages.policy import PolicyStage
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Preference, Prompt

TRAINED = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(8)]
WATCHED = [
    Prompt(task="dialogue", text=f"\n\nHuman: Tell {n}.\n\nAssistant:", stratum="unseen" if n % 2 else "seen")
    for n in range(6)
]
STEPS = 5
DATA = TaskData(demonstrations=[], label_prompts=[], policy_prompts=TRAINED, eval_prompts=[])


class LengthReward:
    """The number of letters; asked only once it is on the device of the training."""

    def __init__(self) -> None:
        self.device: torch.device | str | None = None

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> LengthReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        assert self.device is not None
        values_B = torch.tensor([float(len(response.text)) for response in responses])
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> None:
        self.device = device


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def longer_is_better(comparisons: Sequence[Comparison]) -> list[float]:
    """σ(difference of lengths)."""
    gaps = [len(pair.first.text) - len(pair.second.text) for pair in comparisons]
    return [1 / (1 + math.exp(-gap)) for gap in gaps]


def train(
    folder: Path, tokenizer: PreTrainedTokenizerBase, directory: Path, *callbacks: Callback, every: int | None = 2
) -> PolicyModule:
    settings = PolicySettings(
        optimizer=torch.optim.AdamW,
        objective=Reinforce(),
        lr=1e-2,
        max_grad_norm=1.0,
        steps=STEPS,
        prompts_per_step=4,
        max_new_tokens=4,
    )
    module = settings.module(
        load_causal_lm(str(folder)),
        reference=load_causal_lm(str(folder)),
        tokenizer=tokenizer,
        task=Dialogue(),
        prompts=TRAINED,
        reward=LengthReward(),
        seed=1,
    )
    path = directory / "validation.jsonl"
    watching = (
        [] if every is None else [PolicyValidation(path, WATCHED, every_n_steps=every, preference=longer_is_better)]
    )
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=module.num_optimizer_steps,
        callbacks=[
            PeriodicCheckpoint(directory / "checkpoints", every_n_steps=2, every_s=None),
            CurveWriter(directory / "curve.jsonl"),
            *watching,
            *callbacks,
        ],
    )
    fit(trainer, module, seed=0)
    return module


def test_validation_changes_nothing_and_survives_a_kill(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plain = train(folder, tokenizer, tmp_path / "plain", every=None).state_dict()
    watched = train(folder, tokenizer, tmp_path / "watched").state_dict()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert (tmp_path / "plain/curve.jsonl").read_bytes() == (tmp_path / "watched/curve.jsonl").read_bytes()
    rows = read_curve(tmp_path / "watched/validation.jsonl")
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    with pytest.raises(KilledError):
        train(folder, tokenizer, tmp_path / "cut", KillAfter(3))
    (tmp_path / "cut/validation.jsonl").write_text("")  # killed between the checkpoint and the row of its step
    cut = train(folder, tokenizer, tmp_path / "cut").state_dict()
    assert all(torch.equal(plain[name], cut[name]) for name in plain)
    assert read_curve(tmp_path / "cut/validation.jsonl") == rows[1:]


def test_the_figures_are_those_of_the_responses(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    module = train(folder, tokenizer, tmp_path)
    rows = read_curve(tmp_path / "validation.jsonl")
    first, last = rows[0], rows[-1]
    assert first["win_rate"] == first["win_rate/greedy"] == first["win_rate/unseen"] == 0.5  # the policy is SFT
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    assert last["kl"] != pytest.approx(0.0, abs=1e-3)
    greedy = [
        model.generate(
            **tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False),
            do_sample=False,
            max_new_tokens=4,
        )[0]
        for model in (module.policy, module.reference)
        for prompt in WATCHED
    ]
    sizes = [len(tokenizer(prompt.text)["input_ids"]) for prompt in WATCHED] * 2
    texts = [
        tokenizer.decode(row[size:], skip_special_tokens=True).removeprefix(" ")
        for row, size in zip(greedy, sizes, strict=True)
    ]
    pairs = [
        Comparison(prompt=prompt, first=Completion(text=ours), second=Completion(text=theirs))
        for prompt, ours, theirs in zip(WATCHED, texts[:6], texts[6:], strict=True)
    ]
    wins = [0.5 if pair.is_identical else p for pair, p in zip(pairs, longer_is_better(pairs), strict=True)]
    assert last["win_rate/greedy"] == pytest.approx(sum(wins) / 6, abs=1e-6)
    assert last["win_rate/greedy/unseen"] == pytest.approx(sum(wins[1::2]) / 3, abs=1e-6)
    assert last["win_rate/greedy/seen"] == pytest.approx(sum(wins[::2]) / 3, abs=1e-6)


def test_a_curve_has_every_second_step_and_the_last(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    train(folder, tokenizer, tmp_path, CurveWriter(tmp_path / "sparse.jsonl", every_n_steps=2), every=None)
    assert [row["step"] for row in read_curve(tmp_path / "curve.jsonl")] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in read_curve(tmp_path / "sparse.jsonl")] == [2, 4, 5]


def test_a_judge_without_a_verdict_on_some_pairs_leaves_them_out(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    def some(comparisons: Sequence[Comparison]) -> list[float | None]:
        return [None if row % 3 else 0.75 for row in range(len(comparisons))]

    path = tmp_path / "judged.jsonl"
    train(folder, tokenizer, tmp_path, PolicyValidation(path, WATCHED, every_n_steps=5, judge=some), every=None)
    last = read_curve(path)[-1]
    assert last[JUDGED] == pytest.approx(0.75)
    assert last["judge_answered"] == pytest.approx(1 / 3)
    assert "win_rate" not in last


def test_the_pocket_world_watches_on_prompts_that_nothing_else_reads() -> None:
    counts = {"num_demonstrations": 10, "num_label_prompts": 50, "num_policy_prompts": 50, "num_eval_preferences": 100}
    data = PocketSource(seed=3, **counts).load(Dialogue())  # type: ignore[arg-type]
    watched = {prompt.id for prompt in data.tuning_prompts}
    assert len(watched) > 150
    assert {prompt.stratum for prompt in data.tuning_prompts} == {prompt.stratum for prompt in data.eval_prompts}
    assert not watched & {prompt.id for prompt in (*data.eval_prompts, *data.policy_prompts, *data.label_prompts)}
    assert isinstance(data.annotators, SimulatedAnnotators)
    pairs = [pair.comparison for pair in data.eval_preferences]
    probabilities = data.annotators.p_first(pairs)
    assert probabilities == [preference_probability(pair) for pair in pairs]
    raters = [data.annotators.prefer(pairs, rater) for rater in range(60)]
    shares = [sum(votes) / len(votes) for votes in zip(*raters, strict=True)]
    assert sum(shares) / len(shares) == pytest.approx(sum(probabilities) / len(probabilities), abs=0.02)
    assert max(abs(share - p) for share, p in zip(shares, probabilities, strict=True)) < 0.25


def test_files_watch_on_held_out_conversations_that_the_evaluation_leaves() -> None:
    texts = [f"\n\nHuman: {n}\n\nAssistant:" for n in range(40)]
    longer = [f"{text} yes\n\nHuman: more\n\nAssistant:" for text in texts]
    rows = [
        ReadRow(place=str(n), records=(LabeledPair(prompt=text, first="a", second="b", p_first=1.0),))
        for n, text in enumerate([*texts, *longer])
    ]
    options = PairOptions(eval_fraction=0.5, num_eval_prompts=5, num_tuning_prompts=7)
    data = RecordReader(task=Dialogue(), options=options).read(rows, name="rows")
    starts = [prompt.text.split("\n\nAssistant:")[0] for prompt in data.eval_prompts]
    watched = [prompt.text.split("\n\nAssistant:")[0] for prompt in data.tuning_prompts]
    trained = {prompt.text.split("\n\nAssistant:")[0] for prompt in data.policy_prompts}
    assert len(watched) == 7
    assert not set(watched) & {*starts, *trained}
    everything = PairOptions(eval_fraction=0.5, num_eval_prompts=None)
    assert RecordReader(task=Dialogue(), options=everything).read(rows, name="rows").tuning_prompts == []


def test_files_without_room_for_validation_say_so() -> None:
    """Nothing is left of the held-out prompts where the evaluation reads them all."""
    stage = PolicyStage(
        Dialogue(),
        PolicySettings(
            optimizer=torch.optim.AdamW, objective=Reinforce(), lr=1e-2, steps=1, prompts_per_step=4, validate_every=2
        ),
        LengthReward(),
        asking=None,  # type: ignore[arg-type]
    )
    assert stage.reads()["validation"].kind == "tuning_prompts"
    inputs = {
        name: (Input(step="data", stage="data", data=replace(DATA, tuning_prompts=WATCHED[:count])),)
        for name, count in (("none", 0), ("some", 3))
    }
    told = {
        name: list(stage.notices(Work(step="policy", directory=Path(), seed=0, inputs={"validation": inputs[name]})))
        for name in inputs
    }
    assert told["some"] == []
    assert len(told["none"]) == 1 and "data.num_eval_prompts" in told["none"][0]


class LongerIsBetter:
    """A judge of pairs."""

    name, source, identity = "longer", "ai", "longer"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        wins = longer_is_better(comparisons)
        return [Preference(comparison=pair, p_first=win) for pair, win in zip(comparisons, wins, strict=True)]


WINS = GroupPairwiseReward(LongerIsBetter())


@pytest.mark.parametrize(
    ("objective", "reward", "told"),
    [
        (Reinforce(), LengthReward(), "8 steps, reward +0.50 to +1.00, KL 1.5 nats"),
        (
            Ppo(epochs=2, minibatches=2),
            LengthReward(),
            "2 steps (8 optimizer steps), reward +0.50 to +1.00, KL 1.5 nats",
        ),
        (OnlinePairs(Dpo()), WINS, "8 steps, margin +0.00 to +2.00 nats, KL 1.5 nats"),
        (OnlinePairs(Dpo()), LengthReward(), "8 steps, reward +0.50 to +1.00, KL 1.5 nats"),
        (Rloo(), WINS, "8 steps, KL 1.5 nats"),
    ],
    ids=["reward", "several updates", "judged pairs", "pairs of rewards", "wins without a margin"],
)
def test_the_terminal_counts_policy_steps_and_tells_what_is_learned(
    objective: RolloutObjective, reward: Reward, told: str, tmp_path: Path
) -> None:
    of_pairs = isinstance(objective, OnlinePairs)
    for step, (given, margin, kl) in {1: (0.5, 0.0, 0.0), 8: (1.0, 2.0, 1.5)}.items():
        margins = {"policy/margin": margin} if of_pairs else {}
        append_row(tmp_path / "curve.jsonl", step, {"policy/reward": given, "policy/kl": kl, **margins})
    settings = PolicySettings(
        optimizer=torch.optim.AdamW,
        objective=objective,
        lr=1e-2,
        steps=2,
        prompts_per_step=4,
        samples_per_prompt=2,
    )
    stage = PolicyStage(Dialogue(), settings, reward, asking=None)  # type: ignore[arg-type]
    found = stage.told(Work(step="policy", directory=tmp_path, seed=0, inputs={}))
    assert found.line == told
    (curves,) = (section for section in found.sections if isinstance(section, Curves))
    assert [point.reward for point in curves.points] == ([None, None] if reward is WINS else [0.5, 1.0])
    assert [point.margin for point in curves.points] == ([0.0, 2.0] if of_pairs and reward is WINS else [None, None])


def test_what_the_terminal_tells_of_kept_weights_was_measured_of_these(tmp_path: Path) -> None:
    for step, kl in {1: 0.0, 8: 9.0}.items():
        append_row(tmp_path / "curve.jsonl", step, {"policy/reward": 1.0, "policy/kl": kl})
    for step, kl in {0: 0.0, 4: 2.5, 8: 9.0}.items():
        figures = {"reward": 1.0, "kl": kl, "win_rate/greedy": 0.5, "win_rate/greedy/seen": 0.5 + step / 100}
        append_row(tmp_path / "validation.jsonl", step, figures)
    given: dict[str, Any] = {"optimizer": torch.optim.AdamW, "lr": 1e-2, "steps": 8, "prompts_per_step": 4}

    def told(**options: Any) -> str:
        settings = PolicySettings(**given, objective=Reinforce(), validate_every=4, **options)
        stage = PolicyStage(Dialogue(), settings, LengthReward(), asking=None)  # type: ignore[arg-type]
        return stage.told(Work(step="policy", directory=tmp_path, seed=0, inputs={})).line

    trained = "8 steps, reward +1.00 to +1.00, KL 9.0 nats"
    assert told() == f"{trained}, greedy wins seen 58 %"
    row = {"step": 4, "reward": 1.5, "judge_win_rate": 0.6}
    (tmp_path / "checkpoints.json").write_text(json.dumps({"chosen": 4, "candidates": [row]}))
    kept = "kept step 4 (validation reward +1.50, judge 60 %, KL 2.5 nats, greedy wins seen 54 %)"
    assert told(keep="best_reward") == f"{trained}, {kept}"


def test_curves_have_one_line_per_stratum_and_decoding() -> None:
    rows = [
        {"step": step, "reward": 1.0 + step, "win_rate": 0.5, "win_rate/seen": 0.6, "win_rate/greedy/seen": 0.7}
        for step in (0, 4)
    ]
    curves = ValidationCurves.from_rows(rows)
    assert curves.win_rates == {"seen, sampled": ((0, 0.6), (4, 0.6)), "seen, greedy": ((0, 0.7), (4, 0.7))}
    assert curves.rewards == ((0, 1.0), (4, 5.0))
    without = ValidationCurves.from_rows([{"step": 0, "win_rate": 0.5, "reward": 1.0}])
    assert without.win_rates == {"all prompts, sampled": ((0, 0.5),)}
    assert ValidationCurves.from_rows([]).rewards == ()

"""A policy that learns from labeled pairs: tokens, the reference read once, the margin of a label, and its pipeline."""

from __future__ import annotations

import math
import signal
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rlaif.artifacts.curve import read_curve
from rlaif.config.check import compose
from rlaif.data.batches.modules import SplitDataModule
from rlaif.data.batches.preferences import (
    PreferenceBatch,
    PreferenceExample,
    collate_preferences,
    preference_examples,
)
from rlaif.data.label_sets.mixing import MixSettings
from rlaif.errors import ConfigError, TrainingError
from rlaif.interruption import Terminated, raise_on_sigterm
from rlaif.models.load import load_causal_lm
from rlaif.modules import reference_logprobs
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.preference import PreferenceModule, PreferenceSettings
from rlaif.modules.reference_logprobs import ReferenceLogprobs
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import PairObjective
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.ipo import Ipo
from rlaif.objectives.reinforce import Reinforce
from rlaif.stages.policy import PolicyStage
from rlaif.stages.preference import PreferenceStage
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Preference, Prompt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def preference(first: str, second: str, p_first: float | None, weight: float = 1.0, number: int = 0) -> Preference:
    prompt = Prompt(task="dialogue", text=f"\n\nHuman: Say {number}.\n\nAssistant:")
    pair = Comparison(prompt=prompt, first=Completion(text=first), second=Completion(text=second))
    reason = {} if p_first is not None else {"missing": "unreadable"}
    return Preference(comparison=pair, p_first=p_first, labeler="test", source="test", weight=weight, **reason)  # type: ignore[arg-type]


PREFERENCES = [preference("ab", "c", 0.9), preference("d", "efgh", 0.2, 2.0, 1), preference("i", "j", 0.5, 1.0, 2)]


def examples(tokenizer: PreTrainedTokenizerBase) -> list[PreferenceExample]:
    return preference_examples(PREFERENCES, Dialogue(), tokenizer, 128).examples


def test_missing_labels_and_too_long_responses_are_left_out_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    given = [
        *PREFERENCES,
        preference("k", "l", None),
        preference("k", "l", 1.0, weight=0.0),
        preference("m" * 90, "n", 1.0),
    ]
    found = preference_examples(given, Dialogue(), tokenizer, 64)
    assert [example.p_first for example in found.examples] == [0.9, 0.2, 0.5]
    assert [example.place for example in found.examples] == [0, 1, 2]
    assert (found.num_missing, found.num_without_weight, found.num_too_long) == (1, 1, 1)
    short = preference_examples(PREFERENCES[:1], Dialogue(), tokenizer, 10)
    assert short.num_cut_prompts == 1 and short.examples[0].length == 10


def test_a_batch_holds_both_responses_of_a_pair_one_after_the_other(tokenizer: PreTrainedTokenizerBase) -> None:
    given = examples(tokenizer)
    batch = collate_preferences(given)
    assert batch.place_B.tolist() == [0, 1, 2] and batch.weight_B.tolist() == [1.0, 2.0, 1.0]
    rows = [batch.tokens_BT[row][batch.mask_BT[row]].tolist() for row in range(6)]
    assert rows == [list(side) for example in given for side in (example.first_ids, example.second_ids)]


def reference_of(path: Path, folder: Path, given: list[PreferenceExample], loads: list[int]) -> ReferenceLogprobs:
    def load() -> PreTrainedModel:
        loads.append(1)
        return load_causal_lm(str(folder))

    return ReferenceLogprobs(path, given, load, batch_size=2)


def test_the_reference_reads_every_pair_as_a_plain_forward_pass_does(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    given, model = examples(tokenizer), load_causal_lm(str(folder)).eval()
    reference = reference_of(tmp_path / "kept.json", folder, given, [])
    whole = reference.compute(torch.device("cpu"))
    parts = [reference.compute(torch.device("cpu"), rank=rank, world_size=2) for rank in (0, 1)]
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=0, atol=0)
    for example in given:
        for side, response in enumerate((example.first_ids, example.second_ids)):
            ids = torch.tensor([[*example.prompt_ids, *response]])
            logprobs = model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1].log_softmax(-1)
            expected = logprobs[torch.arange(len(response)), list(response)].sum()
            assert whole[example.place, side].item() == pytest.approx(expected.item(), rel=1e-4)
    reference.keep(whole)
    assert torch.equal(reference.read(), whole)


def train(
    folder: Path, tokenizer: PreTrainedTokenizerBase, directory: Path, objective: PairObjective, loads: list[int]
) -> tuple[PreferenceModule, list[dict[str, float]]]:
    given = examples(tokenizer)
    settings = PreferenceSettings(
        optimizer=torch.optim.AdamW, pair_objective=objective, lr=3e-3, batch_size=3, steps=60, max_length=128
    )
    tokenized = preference_examples(PREFERENCES, Dialogue(), tokenizer, settings.max_length)
    data: SplitDataModule[PreferenceExample, PreferenceBatch] = SplitDataModule(
        tokenized, collate_preferences, batching=settings.batching, name="policy", seed=0
    )
    module = settings.module(load_causal_lm(str(folder)), reference_of(directory / "kept.json", folder, given, loads))
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=60,
        callbacks=[CurveWriter(directory / "curve.jsonl")],
    )
    fit(trainer, module, data, seed=0)
    return module, read_curve(directory / "curve.jsonl")


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_the_pairs_that_the_reference_reads_are_those_of_training_and_validation(
    tokenizer: PreTrainedTokenizerBase, steps: int
) -> None:
    pairs = [preference("a", "b", 0.9, number=number) for number in range(30)]
    settings = PreferenceSettings(
        optimizer=torch.optim.AdamW, pair_objective=Dpo(), lr=1e-3, batch_size=4, steps=steps, validation_fraction=0.3
    )
    tokenized = preference_examples(pairs, Dialogue(), tokenizer, settings.max_length)
    data: SplitDataModule[PreferenceExample, PreferenceBatch] = SplitDataModule(
        tokenized, collate_preferences, batching=settings.batching, name="policy", seed=0
    )
    batches = [*islice(data.train_dataloader(), steps), *data.val_dataloader()]
    read = {place for batch in batches for place in batch.place_B.tolist()}  # type: ignore[attr-defined]
    assert len(data.validation_examples) > 3 and {example.place for example in data.read_examples} == read
    assert len(data.read_examples) == len(read)


def test_a_signal_while_the_reference_reads_ends_the_run_at_once(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[PreferenceBatch] = []

    def told_to_end(model: PreTrainedModel, batch: PreferenceBatch) -> torch.Tensor:
        read.append(batch)
        signal.raise_signal(signal.SIGTERM)
        return torch.zeros(len(batch.place_B), 2)

    monkeypatch.setattr(reference_logprobs, "pair_logprobs", told_to_end)
    before = signal.getsignal(signal.SIGTERM)
    raise_on_sigterm()
    try:
        with pytest.raises(Terminated):
            train(folder, tokenizer, tmp_path, Dpo(), [])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(read) == 1


def test_each_pair_reaches_the_margin_of_its_label(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """log(p/(1 - p))/β nats; the loss starts at log 2, and ends at the labels' own entropy."""
    loads: list[int] = []
    module, rows = train(folder, tokenizer, tmp_path, Dpo(beta=0.5), loads)
    assert rows[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert rows[0]["train/margin"] == pytest.approx(0.0, abs=1e-4)
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.9, 0.2, 0.5)]
    least = (entropies[0] + 2 * entropies[1] + entropies[2]) / 4
    assert rows[-1]["train/loss"] == pytest.approx(least, abs=0.02)
    batch = collate_preferences(examples(tokenizer))
    with torch.no_grad():
        measured = module.losses(batch).measures["margin"].mean.item()
    at_optimum = [(2 * p - 1) * math.log(p / (1 - p)) / 0.5 for p in (0.9, 0.2, 0.5)]
    assert measured == pytest.approx((at_optimum[0] + 2 * at_optimum[1] + at_optimum[2]) / 4, abs=0.4)
    train(folder, tokenizer, tmp_path, Ipo(), loads)
    assert loads == [1], "the second training reads the reference's log-probs from the file"


class NotFinite(Dpo):
    """A strength that no float32 loss survives."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = float("inf")


def test_a_loss_that_is_not_finite_stops_the_training(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"objective NotFinite .*: loss is"):
        train(folder, tokenizer, tmp_path, NotFinite(), [])


def stages(*overrides: str) -> list[str]:
    listed = compose(list(overrides)).pipeline.stages
    return [entry if isinstance(entry, str) else entry.stage for entry in listed]


def test_the_policy_brings_its_pipeline_and_the_command_line_wins() -> None:
    own = ["data", "scorecard", "sft", "samples", "labels", "preference", "evaluation", "report"]
    assert stages("policy=dpo") == stages("policy=ipo") == own
    assert "reward_model" in stages() and "reward_model" in stages("policy=dpo", "pipeline=rlaif")
    assert stages("policy=dpo", "pipeline.stages=[data,sft]") == ["data", "sft"]


def test_a_policy_in_the_pipeline_of_another_is_refused_with_what_to_type() -> None:
    of_pairs = PreferenceSettings(optimizer=torch.optim.AdamW, pair_objective=Dpo(), lr=1e-3, batch_size=2)
    of_reward = PolicySettings(optimizer=torch.optim.AdamW, objective=Reinforce(), lr=1e-3, steps=1, prompts_per_step=2)
    with pytest.raises(ConfigError, match="type policy=dpo or policy=ipo"):
        PreferenceStage(Dialogue(), of_reward, MixSettings())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="type pipeline=dpo with policy=dpo"):
        PolicyStage(Dialogue(), of_pairs, None, asking=None)  # type: ignore[arg-type]


def test_a_policy_that_equals_its_reference_begins_at_log_2_in_mixed_precision(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    given = examples(tokenizer)
    reference = ReferenceLogprobs(tmp_path / "reference.json", given, lambda: load_causal_lm(str(folder)), batch_size=8)
    module = PreferenceModule(
        load_causal_lm(str(folder)),
        reference=reference,
        objective=Dpo(beta=10.0),
        optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=1e-9),
    )
    factory = partial(Trainer, accelerator="cpu", precision="bf16-mixed")
    trainer = build_trainer(factory, directory=tmp_path, max_steps=1)
    trainer.fit(module, DataLoader([collate_preferences(given)], batch_size=None))
    assert trainer.callback_metrics["train/loss"] == pytest.approx(math.log(2), abs=1e-6)

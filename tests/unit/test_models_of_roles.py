"""A step trains, samples and compares with the model of each role, also in rounds, where policy and SFT differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from caught_training import CaughtTraining, work_in

from rlaif.data.label_sets.mixing import MixSettings
from rlaif.data.preferences_io import write_preferences
from rlaif.labeling.results import LABELS
from rlaif.models.adapters import LoraSettings
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.modules.best_of_n import BestOfNSettings
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.preference import PreferenceSettings
from rlaif.modules.reward_model_settings import RewardModelSettings
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.reinforce import Reinforce
from rlaif.pipeline.stage import Work
from rlaif.stages.best_of_n import BestOfNStage
from rlaif.stages.policy import PolicyStage
from rlaif.stages.preference import PreferenceStage
from rlaif.stages.reward_model import RewardModelStage
from rlaif.tasks.base import Dialogue
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Preference

LABELED = [Preference(comparison=pair, p_first=0.9, labeler="test", source="test") for pair in sample_comparisons()]
GIVEN: dict[str, Any] = {"optimizer": torch.optim.AdamW, "lr": 1e-3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {
        name: make_tiny_model(home / name, hidden_size=16, num_heads=2, seed=seed)
        for seed, name in enumerate(("policy", "reference", "init", "base"))
    }


def labeled_work(directory: Path, folders: dict[str, Path], training: Any = None, seed: int = 3) -> Work:
    prompts = [label.comparison.prompt for label in LABELED]
    work = work_in(directory, folders | {"labels": directory}, prompts, training=training, seed=seed)
    write_preferences(directory / LABELS, LABELED)
    return work


def has_weights_of(model: Any, folder: Path) -> bool:
    """True where the embedding is that of a folder; no adapter and no scalar head changes it."""
    own = load_causal_lm(str(folder)).get_input_embeddings()
    return torch.equal(model.get_input_embeddings().weight, own.weight)  # type: ignore[union-attr]


def policy_stage(**options: Any) -> PolicyStage:
    settings = PolicySettings(**GIVEN, objective=Reinforce(), steps=1, prompts_per_step=2)
    return PolicyStage(Dialogue(), settings, None, asking=None, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_reinforcement_learning_starts_from_the_policy_and_is_held_near_the_reference(
    lora: LoraSettings | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    if lora is not None:
        pytest.importorskip("peft")
    policy, reference = policy_stage(lora=lora)._models(labeled_work(tmp_path, folders))
    assert has_weights_of(policy, folders["policy"]) and has_weights_of(reference, folders["reference"])


def test_zero_unit_and_opponents_of_a_reward_are_the_references_and_best_of_n_are_the_policys(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, Path]] = []

    def draw(folder: Path, task: object, prompts: list[Any], *, purpose: str, **options: object) -> list[Any]:
        drawn.append((purpose, folder))
        return [(Completion(text="Yes"),) for _ in prompts]

    for stage in ("rewarded", "best_of_n"):
        monkeypatch.setattr(f"rlaif.stages.{stage}.draw_from_folder", draw)
    work, stage_of_policy = labeled_work(tmp_path, folders), policy_stage()
    stage_of_policy._samples(work)
    stage_of_policy._references(work)
    settings = BestOfNSettings(**GIVEN, batch_size=2, samples_per_prompt=2)
    best_of_n = BestOfNStage(Dialogue(), settings, None, asking=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):  # there is no reward, which comes after the draw
        best_of_n._picked(work, None)  # type: ignore[arg-type]
    assert drawn == [
        ("standardize", folders["reference"]),
        ("reference", folders["reference"]),
        ("best_of_n", folders["policy"]),
    ]


def test_pairs_move_the_policy_away_from_the_reference(folders: dict[str, Path], tmp_path: Path) -> None:
    settings = PreferenceSettings(**GIVEN, pair_objective=Dpo(), batch_size=2)
    training = CaughtTraining()
    PreferenceStage(Dialogue(), settings, MixSettings()).build(labeled_work(tmp_path, folders, training))
    assert has_weights_of(training.module.model, folders["policy"])
    assert has_weights_of(training.module.reference.load(), folders["reference"])


def test_a_reward_model_starts_where_its_options_say_with_a_head_of_its_own_seed(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlaif.stages.reward_model.write_reward_lengths", lambda *args: None)

    def model(init: Any, seed: int) -> Any:
        training, settings = CaughtTraining(), RewardModelSettings(**GIVEN, batch_size=2, init=init)
        stage = RewardModelStage(ModelSpec(str(folders["base"])), Dialogue(), settings, MixSettings())
        stage.build(labeled_work(tmp_path / f"{init}{seed}", folders, training, seed))
        return training.module.model

    sft, again, base = model("sft", 1), model("sft", 2), model("base", 1)
    assert has_weights_of(sft, folders["init"]) and has_weights_of(base, folders["base"])
    assert torch.equal(sft.score.weight, base.score.weight) and not torch.equal(sft.score.weight, again.score.weight)


@pytest.mark.parametrize(("targets", "learned"), [("soft", 0.9), ("hard", 1.0)])
def test_pairs_teach_what_the_targets_say(
    targets: Any, learned: float, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlaif.stages.reward_model.write_reward_lengths", lambda *args: None)
    given = {"mix": MixSettings(), "targets": targets}
    of_pairs = PreferenceSettings(**GIVEN, pair_objective=Dpo(), batch_size=2, max_length=64)
    of_rewards = RewardModelSettings(**GIVEN, batch_size=2, max_length=64)
    stages = {
        "preference": PreferenceStage(Dialogue(), of_pairs, **given),
        "reward_model": RewardModelStage(ModelSpec(str(folders["base"])), Dialogue(), of_rewards, **given),
    }
    for name, stage in stages.items():
        training = CaughtTraining()
        stage.build(labeled_work(tmp_path / name, folders, training))
        assert {example.p_first for example in training.data.train_examples} == {learned}
        assert training.data.tokenized.num_cut_prompts and max(e.length for e in training.data.train_examples) == 64


def test_a_policys_folder_samples_at_the_temperature_of_its_training(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("begin_asking", "end_asking", "prepared"):
        monkeypatch.setattr(PolicyStage, name, lambda *args: None)
    settings = PolicySettings(**GIVEN, objective=Reinforce(), steps=1, prompts_per_step=2, temperature=0.7)
    training = CaughtTraining()
    stage = PolicyStage(Dialogue(), settings, None, asking=None)  # type: ignore[arg-type]
    stage.build(labeled_work(tmp_path, folders, training))
    assert training.saved == {"temperature": 0.7}

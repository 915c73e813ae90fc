"""Folders of a policy while it learns: after which steps there is one, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from counted_training import CountedTraining
from test_policy_module import GivenResponses, make_module, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rlaif.models.adapters import LoraSettings
from rlaif.models.load import load_causal_lm
from rlaif.modules import exports
from rlaif.modules.exports import PeriodicFolders
from rlaif.modules.policy import PolicyModule
from rlaif.objectives.grpo import Grpo
from rlaif.testing.tiny import make_tiny_model


def module_of(minibatches: int) -> PolicyModule:
    """A policy that makes so many optimizer steps per policy step."""
    objective = Grpo(minibatches=minibatches)
    return make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses([(1, 0)] * 12, 2), objective)


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are written; each holds one file."""
    written: list[Path] = []

    def save(model: object, tokenizer: object, directory: Path, *, temperature: float) -> None:
        written.append(directory)
        directory.mkdir(parents=True)
        (directory / "model").touch()

    monkeypatch.setattr(exports, "save_folder", save)
    return written


def exported(directory: Path, steps: list[int], *, every: int, minibatches: int = 1, **options: Any) -> list[str]:
    folders = PeriodicFolders(directory=directory, tokenizer=None, every_n_steps=every, temperature=1.0)  # type: ignore[arg-type]
    trainer, module = CountedTraining(**options), module_of(minibatches)
    for step in steps:
        trainer.step(folders, step, module=module)
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def names(*steps: int) -> list[str]:
    return [f"step={step:09d}" for step in steps]


def test_every_second_policy_step_but_the_last_has_a_folder(saves: list[Path], tmp_path: Path) -> None:
    assert exported(tmp_path / "even", list(range(1, 7)), every=2, max_steps=6) == names(2, 4)
    assert exported(tmp_path / "odd", list(range(1, 6)), every=2, max_steps=5) == names(2, 4)
    assert exported(tmp_path / "long", [300, 600, 900], every=300, max_steps=900) == names(300, 600)
    assert len(saves) == 6, "each is written once"


def test_policy_steps_are_counted_and_not_optimizer_steps(saves: list[Path], tmp_path: Path) -> None:
    """Three optimizer steps per policy step, five policy steps."""
    assert exported(tmp_path / "new" / "kept", list(range(1, 16)), every=2, minibatches=3, max_steps=15) == names(6, 12)


def test_another_process_writes_none(saves: list[Path], tmp_path: Path) -> None:
    assert exported(tmp_path, [1, 2], every=1, rank=1) == [] and saves == []


def test_a_folder_that_a_killed_training_left_is_written_anew(saves: list[Path], tmp_path: Path) -> None:
    for left in ("step=000000002", ".step=000000002.partial"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "half").touch()
    assert exported(tmp_path, [2], every=1) == names(2)
    assert [path.name for path in (tmp_path / "step=000000002").iterdir()] == ["model"]
    assert [path.name for path in saves] == [".step=000000002.partial"], "it gets its name when it is whole"


def test_a_folder_samples_elsewhere_as_the_policy_does_here(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_model(tmp_path / "tiny", hidden_size=16, num_heads=2))
    module = module_of(1)
    folders = PeriodicFolders(tmp_path / "exports", tokenizer, every_n_steps=3, temperature=0.7)
    CountedTraining().step(folders, 3, module=module)
    folder = tmp_path / "exports" / "step=000000003"
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in module.policy.state_dict().items())
    assert GenerationConfig.from_pretrained(folder).temperature == 0.7
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()


def test_a_folder_of_a_policy_with_an_adapter_holds_a_whole_model(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "tiny", hidden_size=16, num_heads=2)
    module, model = module_of(1), load_causal_lm(str(folder))
    module.policy = LoraSettings(rank=2).on(model, base=str(folder), seed=1)
    for name, weight in module.policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    CountedTraining().step(
        PeriodicFolders(tmp_path / "exports", tokenizer, every_n_steps=1, temperature=1.0), 1, module=module
    )
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        learned = module.policy(input_ids=ids).logits
        exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exports" / "step=000000001")(input_ids=ids).logits
        assert not torch.allclose(learned, load_causal_lm(str(folder))(input_ids=ids).logits, atol=1e-3)
    torch.testing.assert_close(exported, learned)

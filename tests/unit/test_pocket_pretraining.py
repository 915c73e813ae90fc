"""The pretraining recipe: resume, weights on disk, and the loss against torch's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlaif.pocket import families, pretraining
from rlaif.pocket.families import END, Family, Recipe, build_model, train_tokenizer
from rlaif.pocket.pretraining import Batches, pretrain, train_step

RECIPE = Recipe(hidden_size=32, num_layers=1, num_heads=2, num_steps=20, examples_per_step=4, warmup_steps=2)


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def _small_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "NUM_TOKENIZER_EXAMPLES", 300)


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain("XS", tmp_path / "whole", recipe=RECIPE)
    steps = 0

    def dies_in_step_twelve(*args: object) -> tuple[float, int]:
        nonlocal steps
        steps += 1
        if steps == 12:
            raise Killed
        return train_step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pretraining, "train_step", dies_in_step_twelve)
    with pytest.raises(Killed):
        pretrain("XS", tmp_path / "parts", recipe=RECIPE, save_every_s=0.0)
    monkeypatch.undo()
    monkeypatch.setattr(families, "NUM_TOKENIZER_EXAMPLES", 300)
    parts = pretrain("XS", tmp_path / "parts", recipe=RECIPE)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["XS"]


@pytest.mark.parametrize("family", ["llama", "neox"])
def test_the_loss_is_the_weighted_cross_entropy(family: Family) -> None:
    recipe = replace(RECIPE, family=family)
    tokenizer = train_tokenizer(family)
    model = build_model(recipe, tokenizer)
    microbatches = list(Batches(recipe, tokenizer).at(0))
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for ids_BT, weights_BT in microbatches:
            for ids_T, weights_T in zip(ids_BT, weights_BT, strict=True):
                logits_TV = model(input_ids=ids_T[None, :-1]).logits[0]
                losses_T = F.cross_entropy(logits_TV, ids_T[1:], reduction="none")
                total += float((losses_T * weights_T[1:]).sum())
                weight += float(weights_T[1:].sum())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    loss, num_tokens = train_step(model, optimizer, microbatches, 1.0)
    assert loss == pytest.approx(total / weight, rel=1e-4)
    assert num_tokens == sum(int((weights_BT[:, 1:] > 0).sum()) for _, weights_BT in microbatches)


def test_the_committed_models_are_hugging_face_folders_of_the_recipe() -> None:
    folder = Path(pretraining.__file__).parent / "weights"
    sizes = {path.name for path in folder.iterdir()}
    assert sizes == set(pretraining.RECIPES)
    for size in sizes:
        recipe = pretraining.RECIPES[size]
        model = AutoModelForCausalLM.from_pretrained(folder / size, dtype=torch.float32)
        assert model.config.model_type == {"llama": "llama", "neox": "gpt_neox"}[recipe.family]
        assert model.config.hidden_size == recipe.hidden_size
        assert model.config.num_hidden_layers == recipe.num_layers
        assert AutoTokenizer.from_pretrained(folder / size).eos_token == END
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 12_000_000

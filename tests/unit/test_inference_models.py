"""Names, identities and loading of models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from rlaif.errors import ConfigError, EngineError
from rlaif.models.classifiers import load_reward_model
from rlaif.models.load import (
    ModelSpec,
    load_causal_lm,
    load_tokenizer,
    local_folder,
    model_identity,
)
from rlaif.testing.tiny import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pocket:s", "did you mean pocket:S"),
        ("pocket:XXL", "allowed are pocket:XS, pocket:S, pocket:S2, pocket:L, pocket:judge"),
        ("./absent", "no such folder"),
        ("absent", "pocket:XS, pocket:S, pocket:S2, pocket:L, pocket:judge"),
        ("stage:sft", "pipeline stages resolve it"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        local_folder(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        load_causal_lm(str(tmp_path))


def test_bad_options_are_reported_together() -> None:
    with pytest.raises(ConfigError) as error:
        ModelSpec("pocket:S", dtype="half", attn_implementation="fast")
    assert len(error.value.problems) == 2


def test_a_folder_without_weights_names_it(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_causal_lm(str(copy))


def test_cut_weights_are_an_error(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_causal_lm(str(copy))


def test_identity_is_the_content(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("a note")
    assert model_identity(str(copy)) == model_identity(str(folder))
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert model_identity(str(copy)) != model_identity(str(folder))


def test_loading_gives_float32_in_evaluation_mode(folder: Path, tmp_path: Path) -> None:
    load_causal_lm(str(folder)).to(torch.bfloat16).save_pretrained(tmp_path)
    model = load_causal_lm(str(tmp_path))
    assert model.dtype == torch.float32
    assert not model.training
    assert load_causal_lm(ModelSpec(str(tmp_path), dtype="bfloat16")).dtype == torch.bfloat16


def test_the_tokenizer_pads_on_the_right(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.padding_side == "right"
    assert tokenizer.pad_token == "<pad>"


def test_a_reward_model_starts_from_the_language_model(folder: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    reward = load_reward_model(str(folder), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    language = load_causal_lm(str(folder))
    for name, weight in language.base_model.state_dict().items():
        assert torch.equal(reward.base_model.state_dict()[name], weight)
    assert torch.equal(load_reward_model(str(folder), seed=3).score.weight, reward.score.weight)
    assert not torch.equal(load_reward_model(str(folder), seed=4).score.weight, reward.score.weight)
    assert not load_reward_model(str(folder), head_std=0.0).score.weight.any()
    reward.save_pretrained(tmp_path)
    load_tokenizer(str(folder)).save_pretrained(tmp_path)
    again = load_reward_model(str(tmp_path))
    pad = reward.config.pad_token_id
    short, padded = torch.tensor([[7, 8, 9]]), torch.tensor([[7, 8, 9, pad, pad], [7, 8, 9, 10, 11]])
    with torch.no_grad():
        assert torch.equal(again(input_ids=padded).logits, reward(input_ids=padded).logits)
        torch.testing.assert_close(again(input_ids=short).logits[0], reward(input_ids=padded).logits[0])


def test_weights_that_would_be_random_are_an_error(folder: Path, tmp_path: Path) -> None:
    model = load_causal_lm(str(folder))
    state = {name: weight for name, weight in model.state_dict().items() if "layers.1." not in name}
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    from safetensors.torch import save_file

    save_file(
        {name: weight.clone() for name, weight in state.items()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EngineError, match="would be random"):
        load_causal_lm(str(tmp_path))

"""Adapters of peft, against peft itself and transformers."""

from __future__ import annotations

import json
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make_folder
from lightning import Trainer
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from rlaif.data.batches.examples import PairExample, TokenExample, collate_pairs, collate_tokens
from rlaif.errors import ConfigError, EngineError
from rlaif.inference.adapters import linear_weight
from rlaif.inference.llama import is_plain_llama
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.sample import sample
from rlaif.inference.score import score_options
from rlaif.models.adapters import LoraSettings, lora_problems, merged, save_adapter, sharing_copy
from rlaif.models.classifiers import load_reward_model
from rlaif.models.fitness import model_problems
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.models.saving import save_folder
from rlaif.models.uses import ModelUse
from rlaif.modules.checkpointing import PeriodicCheckpoint, resume_checkpoint
from rlaif.modules.forward import masked_logits
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer
from rlaif.modules.values import ValueModel
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Sampling

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's own call
PROMPTS = [[5, 6, 7], [8, 9]]
OPTIMIZATION = OptimizerSettings(optimizer=torch.optim.AdamW, lr=0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def adapted(model: PreTrainedModel, folder: Path, **options: Any) -> PreTrainedModel:
    """With an adapter that has learned something."""
    LoraSettings(rank=2, **options).on(model, base=str(folder), seed=3)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=draw) / 4)
    return model


def wrapped_by_peft(folder: Path, adapter: Path) -> Any:
    """What a user of plain transformers and peft loads."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, adapter).eval()


def own_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits


@pytest.mark.parametrize("targets", ["all-linear", "auto", ["q_proj", "down_proj"]])
def test_samples_and_scores_are_those_of_the_adapted_model(folder: Path, targets: Any) -> None:
    base = load_causal_lm(str(folder))
    model = adapted(deepcopy(base), folder, target_modules=targets)
    assert is_plain_llama(model)
    drawn = sample(
        model, PROMPTS, num_samples=4, sampling=Sampling(max_new_tokens=6, temperature=1.0), eos_id=2, pad_id=0
    )
    for row, prompt in enumerate(prompt for prompt in PROMPTS for _ in range(4)):
        length = int(drawn.mask_BT[row].sum())
        tokens = drawn.tokens_BT[row, :length]
        for other, far in ((model, False), (base, True)):
            logprobs = own_logits(other, prompt + tokens.tolist())[len(prompt) - 1 : -1].log_softmax(-1)
            difference = (logprobs.gather(1, tokens[:, None])[:, 0] - drawn.logprobs_BT[row, :length]).abs().max()
            assert (difference > 0.05) == far
    scores = score_options(model, PROMPTS, [[10], [11]])
    expected = torch.stack([own_logits(model, prompt)[-1].log_softmax(-1)[[10, 11]] for prompt in PROMPTS])
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["norm"]}])
def test_a_model_with_what_the_fused_pass_does_not_know_takes_its_own(folder: Path, change: dict[str, Any]) -> None:
    base = load_causal_lm(str(folder))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, **change)
    model = peft.inject_adapter_in_model(config, base)
    with torch.no_grad():
        model.model.norm.requires_grad_(False)
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.mul_(3.0)
    assert not is_plain_llama(model)
    expected = torch.stack([own_logits(model, prompt)[-1].log_softmax(-1)[[10, 11]] for prompt in PROMPTS])
    torch.testing.assert_close(score_options(model, PROMPTS, [[10], [11]]), expected, atol=1e-4, rtol=0)


def test_a_disabled_or_merged_adapter_is_read_as_it_computes(folder: Path) -> None:
    model: Any = adapted(load_causal_lm(str(folder)), folder)
    layer = model.model.layers[0].mlp.down_proj
    x = torch.randn(3, layer.in_features)
    torch.testing.assert_close(x @ linear_weight(layer).T, layer(x))
    layer.enable_adapters(False)
    torch.testing.assert_close(x @ linear_weight(layer).T, layer(x))
    layer.enable_adapters(True)
    layer.merge()
    assert not is_plain_llama(model)


def test_a_wrapper_of_peft_is_sampled_scored_and_trained_as_the_model_inside(folder: Path, tmp_path: Path) -> None:
    model = adapted(load_causal_lm(str(folder)), folder)
    save_adapter(model, tmp_path)
    wrapper = wrapped_by_peft(folder, tmp_path)
    tokens_BT = torch.tensor([[10, 11], [12, 13]])
    mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    read, expected = (response_logprobs(each, PROMPTS, tokens_BT, mask_BT) for each in (wrapper, model))
    torch.testing.assert_close(read.logprobs_BT, expected.logprobs_BT)
    ids_BT = torch.tensor([[5, 6, 7]])
    keep_BT = torch.tensor([[False, True, True]])
    torch.testing.assert_close(masked_logits(wrapper, ids_BT, keep_BT), masked_logits(model, ids_BT, keep_BT))
    torch.testing.assert_close(score_options(wrapper, PROMPTS, [[10]]), score_options(model, PROMPTS, [[10]]))


def test_an_adapter_of_the_prompt_is_refused(folder: Path) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    wrapper = peft.get_peft_model(load_causal_lm(str(folder)), config)
    with pytest.raises(EngineError, match="adds to the prompt"):
        score_options(wrapper, PROMPTS, [[10]])


def trained(module: Any, batches: list[Any], directory: Path) -> None:
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=len(batches),
        callbacks=[PeriodicCheckpoint(directory / "checkpoints", every_n_steps=1, every_s=None)],
    )
    trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))


def test_sft_trains_the_adapter_alone_and_both_folders_load_elsewhere(folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = LoraSettings(rank=2, dropout=0.1).on(load_causal_lm(str(folder)), base=str(folder), seed=3)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    torch.testing.assert_close(
        own_logits(model.eval(), PROMPTS[0]), own_logits(load_causal_lm(str(folder)), PROMPTS[0])
    )
    batch = collate_tokens([TokenExample((5, 6, 7, 8), 2, "a"), TokenExample((9, 10, 11), 1, "b")], pad_id=0)
    module = SFTModule(model, optimization=OPTIMIZATION)
    trained(module, [batch] * 3, tmp_path)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and all(".lora_A." in name or ".lora_B." in name for name in changed)
    learning = {id(weight): name for name, weight in model.named_parameters()}
    optimizer: Any = module.optimizers()
    assert {learning[id(weight)] for group in optimizer.param_groups for weight in group["params"]} == changed

    save_folder(merged(model), tokenizer, tmp_path / "merged")
    save_adapter(model, tmp_path / "adapter")
    expected = own_logits(model.eval(), PROMPTS[0])
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for loaded in (plain, wrapped_by_peft(folder, tmp_path / "adapter"), load_causal_lm(str(tmp_path / "merged"))):
        torch.testing.assert_close(own_logits(loaded, PROMPTS[0]), expected, atol=1e-5, rtol=1e-5)
    assert "lora" not in " ".join(plain.state_dict())


def test_checkpoints_hold_what_learns(folder: Path, tmp_path: Path) -> None:
    model = LoraSettings(rank=2).on(load_causal_lm(str(folder)), base="", seed=3)
    batch = collate_tokens([TokenExample((5, 6, 7, 8), 2, "a")], pad_id=0)
    trained(SFTModule(model, optimization=OPTIMIZATION), [batch] * 3, tmp_path)
    path = resume_checkpoint(tmp_path / "checkpoints")
    assert path is not None
    kept = torch.load(path, weights_only=True)["state_dict"]
    assert kept and all("lora_" in name for name in kept)


def test_a_reward_model_trains_adapter_and_head_and_its_adapter_loads_elsewhere(folder: Path, tmp_path: Path) -> None:
    model: Any = LoraSettings(rank=2).on(load_reward_model(str(folder), seed=1), base=str(folder), seed=3)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name for name in learning if "lora_" not in name} == {"score.modules_to_save.default.weight"}
    batch = collate_pairs([PairExample((5, 6, 7), (5, 8), 0.9, "a", 1)], pad_id=0)
    head = model.score.weight.clone()
    trained(RewardModelModule(model, optimization=OPTIMIZATION), [batch] * 3, tmp_path)
    assert not torch.equal(model.score.weight, head)
    save_folder(merged(model), AutoTokenizer.from_pretrained(folder), tmp_path / "merged")
    save_adapter(model, tmp_path / "adapter")
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    base.config.pad_token_id = model.config.pad_token_id
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    expected = own_logits(model.eval(), PROMPTS[0])
    for loaded in (
        plain,
        load_reward_model(str(tmp_path / "merged")),
        peft.PeftModel.from_pretrained(base, tmp_path / "adapter"),
    ):
        torch.testing.assert_close(own_logits(loaded.eval(), PROMPTS[0]), expected, atol=1e-5, rtol=1e-5)


def test_adapters_of_experts_are_merged_and_load_elsewhere(tmp_path: Path) -> None:
    base = make_folder("qwen3_moe", tmp_path / "base")
    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        model = adapted(load_causal_lm(str(base)), base)
    expected = own_logits(model, [5, 6, 7, 8])
    assert not torch.allclose(expected, own_logits(load_causal_lm(str(base)), [5, 6, 7, 8]), atol=1e-2)
    save_folder(merged(model), AutoTokenizer.from_pretrained(base), tmp_path / "merged")
    save_adapter(model, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    if not config["target_parameters"]:
        pytest.skip("this version of peft gives experts no adapter")
    assert config["target_parameters"] == sorted(config["target_parameters"])
    for found in (load_causal_lm(str(tmp_path / "merged")), wrapped_by_peft(base, tmp_path / "adapter")):
        torch.testing.assert_close(own_logits(found, [5, 6, 7, 8]), expected, atol=1e-4, rtol=0)


def test_policy_and_reference_share_their_weights_and_stay_apart(folder: Path) -> None:
    reference = load_causal_lm(str(folder))
    before = own_logits(reference, PROMPTS[0])
    policy = adapted(sharing_copy(reference), folder)
    assert (own_logits(policy, PROMPTS[0]) - before).abs().max() > 0.1
    assert torch.equal(own_logits(reference, PROMPTS[0]), before)
    shared = {weight.data_ptr() for weight in reference.parameters()}
    assert {weight.data_ptr() for weight in policy.parameters() if not weight.requires_grad} == shared
    value = ValueModel(policy)
    own = {name for name, weight in value.named_parameters() if weight.data_ptr() not in shared}
    assert own == {name for name, weight in value.named_parameters() if weight.requires_grad}
    merged(policy)
    assert torch.equal(own_logits(reference, PROMPTS[0]), before)


def test_the_adapter_begins_alike_and_leaves_the_global_random_state(folder: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    models = [LoraSettings(rank=2).on(load_causal_lm(str(folder)), base="", seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(state, torch.get_rng_state())
    first, same, other = ({n: w for n, w in m.state_dict().items() if "lora_A" in n} for m in models)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target_modules": ["c_attn"]}, "lora.sft.target_modules=[c_attn]: llama has no layers named c_attn"),
        (
            {"target_modules": ["q_proj", "v_prj"]},
            "lora.sft.target_modules=[q_proj,v_prj]: llama has no layers named v_prj;",
        ),
        ({"target_modules": ["mlp"]}, "lora.sft.target_modules=[mlp]: llama has layers of these names that take no"),
        ({"target_modules": ["lm_head"]}, "lora.sft.target_modules=[lm_head]: llama has one matrix"),
    ],
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_wrong_layers_are_told_before_anything_is_trained(folder: Path, options: dict[str, Any], told: str) -> None:
    use = ModelUse(
        purpose="imitate",
        num_tokens=8,
        option="sft.max_length",
        lora=LoraSettings(**options),
        lora_option="lora.sft",
    )
    (problem,) = model_problems(ModelSpec(str(folder)), [use])
    assert problem.startswith(told)


@pytest.mark.parametrize("purpose", ["imitate", "sample", "reward_model"])
def test_layers_that_do_not_compute_with_an_adapter_are_told_before_anything_is_trained(
    purpose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Any, *args: Any, **options: Any) -> None:
        raise AttributeError("'tuple' object has no attribute 'dtype'")

    base = make_folder("qwen2", tmp_path)
    lora = LoraSettings(dropout=0.5)
    use = ModelUse(purpose=purpose, num_tokens=64, option="sft.max_length", lora=lora, lora_option="lora.sft")
    assert list(model_problems(ModelSpec(str(base)), [use])) == []
    monkeypatch.setattr(peft.tuners.lora.Linear, "forward", breaks)
    problem, *_ = model_problems(ModelSpec(str(base)), [use])
    assert problem.startswith("lora.sft: with an adapter, ") and "'tuple' object has no attribute 'dtype'" in problem


def test_what_no_model_can_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = LoraSettings(target_modules="q_proj", dropout=0.1)
    problems = list(lora_problems(wrong, "lora.policy", trains_with_dropout=False))
    assert [problem.partition(":")[0] for problem in problems] == [
        "lora.policy.target_modules=q_proj",
        "lora.policy.dropout=0.1",
    ]
    assert not list(lora_problems(None, "lora.policy"))
    monkeypatch.setattr("rlaif.models.adapters.find_spec", lambda name: None)
    (problem,) = lora_problems(LoraSettings(), "lora.sft")
    assert problem.startswith("lora.sft: peft is not installed; type pip install 'rlaif[lora]'")
    with pytest.raises(ConfigError) as caught:
        LoraSettings(rank=0, alpha=0.0, dropout=1.0)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "lora.rank=0",
        "lora.alpha=0.0",
        "lora.dropout=1.0",
    ]


def test_the_adapters_folder_is_the_same_whenever_it_is_written(folder: Path, tmp_path: Path) -> None:
    model = adapted(load_causal_lm(str(folder)), folder)
    save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == str(folder)

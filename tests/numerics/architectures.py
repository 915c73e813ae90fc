"""Architectures of transformers as tiny random models through everything that training does, as a table.

    python tests/numerics/architectures.py

Each one is saved as a folder with a tiny tokenizer and checked as a run checks its model in the first seconds. One that
passes gives log-probabilities (compared with the library's own forward pass), samples, scores options with shared
prefixes, carries a reward model that is saved and read again, and makes one training step of each kind.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.sample import sample
from rlaif.inference.score import score_options
from rlaif.models.classifiers import load_reward_model
from rlaif.models.fitness import model_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer, use_attention
from rlaif.models.response_scorer import classifier_logits
from rlaif.models.saving import save_folder
from rlaif.models.uses import ModelUse
from rlaif.modules.forward import masked_logits
from rlaif.testing.tiny import tiny_tokenizer
from rlaif.types import Sampling

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
KV = {"num_key_value_heads": 2}
MOE = {**KV, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": KV,
    "mistral": {**KV, "sliding_window": None},
    "mixtral": {**MOE, "sliding_window": None},
    "qwen2": KV,
    "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 32},
    "qwen3": {**KV, "head_dim": 8},
    "qwen3_moe": {**MOE, "head_dim": 8},
    "gemma": {**KV, "head_dim": 8},
    "gemma2": {**KV, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 256, "final_logit_softcapping": 2.0},
    "gemma3_text": {**KV, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 256},
    "phi": {},
    "phi3": {**KV, "sliding_window": None},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
    "gpt_neox": {},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 256},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {"num_kv_heads": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "stablelm": KV,
    "starcoder2": {**KV, "sliding_window": None},
    "cohere": {**KV, "logit_scale": 0.25},
    "cohere2": {**KV, "logit_scale": 0.25, "sliding_window": 256},
    "granite": {**KV, "logits_scaling": 6.0},
    "granitemoe": {**MOE, "logits_scaling": 6.0},
    "olmo": KV,
    "olmo2": KV,
    "nemotron": {**KV, "head_dim": 8},
    "glm4": {**KV, "head_dim": 8},
    "smollm3": KV,
    "biogpt": {},
    "xglm": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4},
    "ernie4_5": {**KV, "head_dim": 8},
    "cwm": {**KV, "head_dim": 8, "sliding_window": 256},
    "helium": {**KV, "head_dim": 8},
    "deepseek_v3": {
        **MOE,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "first_k_dense_replace": 1,
    },
    "mamba": {"state_size": 8},
    "rwkv": {"attention_hidden_size": 32},
    "recurrent_gemma": {**KV, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 64},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "bert": {},
}
USES = tuple(
    ModelUse(purpose=purpose, num_tokens=128, option="sft.max_length")
    for purpose in ("imitate", "sample", "reward_model")
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one architecture did."""

    refused: str = ""
    logprobs: float = 0.0
    """Largest difference of log-probabilities from the library's forward pass, in nats."""
    sampled: float = 0.0
    """The same of the log-probabilities that sampling recorded."""
    scored: float = 0.0
    """The same of options after prompts with a shared beginning."""
    head: str = ""
    """Class of the reward model."""
    losses: tuple[float, float] = (0.0, 0.0)
    """Cross-entropy of a demonstration before and after one training step."""


def make_folder(kind: str, folder: Path) -> Path:
    """A tiny random model of this architecture with a tiny tokenizer."""
    tokenizer = tiny_tokenizer()
    ends = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = AutoConfig.for_model(kind, **{**COMMON, **ARCHITECTURES[kind]}, **ends, vocab_size=len(tokenizer) + 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def own_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """By the library's forward pass of the whole text."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def try_architecture(kind: str, folder: Path) -> Outcome:
    """Everything, or the refusal."""
    try:
        make_folder(kind, folder)
    except ValueError:  # the library has no causal LM of it
        AutoConfig.for_model(kind, **{**COMMON, **ARCHITECTURES[kind]}).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    use_attention("sdpa")
    problems = list(model_problems(ModelSpec(str(folder)), USES))
    if any("type model.attn_implementation=eager" in problem for problem in problems):
        use_attention("eager")
        problems = list(model_problems(ModelSpec(str(folder)), USES))
    if problems:
        return Outcome(refused=" / ".join(problems).replace(str(folder), kind))
    model, tokenizer = load_causal_lm(str(folder)), load_tokenizer(str(folder))
    prompts = [[*range(10, 40), 50, 51], [*range(10, 40), 60], [*range(10, 30), 70]]
    differences = _differences(model, prompts)
    losses = _training_step(model, prompts[0])
    return Outcome(**differences, head=_reward_model(folder, tokenizer), losses=losses)


@torch.no_grad()
def _differences(model: PreTrainedModel, prompts: list[list[int]]) -> dict[str, float]:
    drawn = sample(
        model, prompts, num_samples=4, sampling=Sampling(max_new_tokens=6, temperature=1.0), eos_id=2, pad_id=0
    )
    rows = [prompt for prompt in prompts for _ in range(4)]
    read = response_logprobs(model, prompts, drawn.tokens_BT, drawn.mask_BT).logprobs_BT
    logprobs, sampled = [], []
    for row, prompt in enumerate(rows):
        mask = drawn.mask_BT[row]
        own = own_logprobs(model, prompt, drawn.tokens_BT[row][mask].tolist())
        logprobs.append((read[row][mask] - own).abs().max())
        sampled.append((drawn.logprobs_BT[row][mask] - own).abs().max())
    options = [[8], [9, 12], [9, 11]]
    scores = score_options(model, prompts, options)
    own = torch.stack(
        [torch.stack([own_logprobs(model, prompt, option).sum() for option in options]) for prompt in prompts]
    )
    return {
        "logprobs": float(torch.stack(logprobs).max()),
        "sampled": float(torch.stack(sampled).max()),
        "scored": float((scores - own).abs().max()),
    }


def _training_step(model: PreTrainedModel, ids: list[int]) -> tuple[float, float]:
    """Cross-entropy of a text before and after one step of gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    row, mask = torch.tensor([ids[:-1]]), torch.ones(1, len(ids) - 1, dtype=torch.bool)
    losses = []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(masked_logits(model, row, mask), torch.tensor(ids[1:]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[0], losses[1]


def _reward_model(folder: Path, tokenizer: Any) -> str:
    """Class of the reward model; it learns, and reads again as it was saved."""
    scorer = load_reward_model(str(folder))
    ids, lengths = torch.tensor([[10, 11, 12, 13], [10, 11, 12, 0]]), torch.tensor([4, 3])
    before = classifier_logits(scorer, ids, lengths)
    (before[0] - before[1]).sum().backward()
    assert all(p.grad is not None for p in scorer.score.parameters())
    with torch.no_grad():
        for parameter in scorer.parameters():
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=1e-3)
        after = classifier_logits(scorer, ids, lengths)
        assert float(after[0] - after[1]) > float(before[0] - before[1])
        save_folder(scorer, tokenizer, folder / "reward_model")
        again = classifier_logits(load_reward_model(str(folder / "reward_model")), ids, lengths)
    torch.testing.assert_close(again, after, atol=1e-5, rtol=0)
    return type(scorer).__name__.replace("ForSequenceClassification", "")


def main() -> None:
    """Print one row of a Markdown table per architecture."""
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print("| Architecture | Log-probabilities | Sampling | Options | Reward head | Training step | Refused |")
    print("|---|---|---|---|---|---|---|")
    for kind in sys.argv[1:] or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            done = try_architecture(kind, Path(folder))
        if done.refused:
            print(f"| {kind} | | | | | | {done.refused} |", flush=True)
            continue
        step = f"{done.losses[0]:.3f} → {done.losses[1]:.3f}"
        print(
            f"| {kind} | {done.logprobs:.0e} | {done.sampled:.0e} | {done.scored:.0e} | {done.head} | {step} | |",
            flush=True,
        )


if __name__ == "__main__":
    main()

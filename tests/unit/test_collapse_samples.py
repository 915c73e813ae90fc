"""The evaluation's own samples of a policy folder: as many as it says, and their entropy is that of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import rlaif
from rlaif.data.batches.examples import prompt_ids
from rlaif.evaluation import collapse_samples
from rlaif.evaluation.collapse_samples import draw_collapse_figures
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Dialogue
from rlaif.tokenization import PromptTokenizer
from rlaif.types import HUMAN_TURN, Prompt

XS = Path(rlaif.__file__ or "").parent / "pocket" / "weights" / "XS"
PROMPTS = [Prompt(task="dialogue", text=f"{HUMAN_TURN} How do I {word} an egg?") for word in ("boil", "fry")]


def test_entropy_of_one_token_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses of one token: their entropy is that of the model's next token at the temperature, computed exactly."""
    monkeypatch.setattr(collapse_samples, "NUM_SAMPLES", 400)
    settings = SamplingSettings(temperature=0.7, max_new_tokens=1)
    found = {f.name: f for f in draw_collapse_figures("policy", XS, Dialogue(), PROMPTS, settings, seed=0)}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(XS), PromptTokenizer(AutoTokenizer.from_pretrained(XS))
    entropies, differ = [], []
    for ids in prompt_ids(tokenizer, Dialogue(), PROMPTS):
        with torch.no_grad():
            chance = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double() / 0.7, -1)
        entropies.append(float(-(chance * chance.clamp_min(1e-30).log()).sum()))
        differ.append(float(1.0 - (chance * chance).sum()))
    assert found["policy/entropy"].value == pytest.approx(sum(entropies) / 2, abs=0.15)
    assert found["policy/sample_diversity"].value <= sum(differ) / 2 + 0.05
    assert "400 samples of 2 prompts; temperature 0.7" in found["policy/entropy"].note


def test_a_greedy_evaluation_is_sampled_at_1_and_keeps_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gradient: list[bool] = []
    compute = collapse_samples.response_logprobs

    def listening(*rows: Any, **options: Any) -> Any:
        with_gradient.append(torch.is_grad_enabled())
        return compute(*rows, **options)

    monkeypatch.setattr(collapse_samples, "response_logprobs", listening)
    settings = SamplingSettings(temperature=0.0, max_new_tokens=2)
    found = draw_collapse_figures("sft", XS, Dialogue(), PROMPTS, settings, seed=0)
    assert [figure.name for figure in found] == ["sft/sample_diversity", "sft/entropy"]
    assert "8 samples of 2 prompts; temperature 1" in found[0].note
    assert with_gradient == [False, False], "one forward pass for each prompt"


def test_the_first_32_prompts_are_drawn_eight_times(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[object, ...]] = []

    class Asked(Exception):
        """Ends the drawing before a model is loaded."""

    def draw(folder: Path, task: Dialogue, prompts: list[Prompt], **options: object) -> None:
        drawn.append((prompts, options["num_samples"], options["settings"], options["seed"]))
        raise Asked

    monkeypatch.setattr(collapse_samples, "draw_from_folder", draw)
    prompts = [Prompt(task="dialogue", text=str(number)) for number in range(40)]
    for settings in (SamplingSettings(temperature=0.5, max_new_tokens=4), SamplingSettings(temperature=0.0)):
        with pytest.raises(Asked):
            draw_collapse_figures("policy", XS, Dialogue(), prompts, settings, seed=3)
    (first, num_samples, sampling, seed), (_, _, greedy, _) = drawn
    assert (first, num_samples, seed) == (prompts[:32], 8, 3)
    assert sampling == SamplingSettings(temperature=0.5, max_new_tokens=4)
    assert greedy == SamplingSettings(temperature=1.0), "greedy samples would all be the same"

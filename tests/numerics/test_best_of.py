"""The best of several responses: ties, missing rewards, and the tokens that are imitated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from rlaif.functional.best_of import best_of
from rlaif.functional.seeds import generator
from rlaif.rollouts.picks import Picks
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import tiny_tokenizer
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt

NAN = math.nan
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(3)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


def picks(rewards: list[list[float]], texts: list[list[str]] | None = None, finished: bool = True) -> Picks:
    values_GK = torch.tensor(rewards)
    texts = texts or [[f"{row}{column}" for column in range(len(line))] for row, line in enumerate(rewards)]
    drawn = [[Completion(text=text, token_ids=(7, 8), finished=finished) for text in line] for line in texts]
    return Picks.of(PROMPTS[: len(rewards)], drawn, values_GK.flatten(), values_GK.isfinite().flatten())


def test_the_place_of_the_best_is_numpys() -> None:
    rewards_GK = torch.randn(50, 6, generator=generator("best"))
    mask_GK = torch.rand(50, 6, generator=generator("missing")) > 0.4
    best = best_of(rewards_GK, mask_GK)
    found = mask_GK.any(-1)
    assert torch.equal(best.found_G, found) and not found.all()
    expected = np.nanargmax(rewards_GK.masked_fill(~mask_GK, NAN)[found].numpy(), axis=-1)
    assert best.place_G[found].tolist() == expected.tolist()


def test_a_missing_reward_is_never_the_best_and_a_prompt_without_any_is_left_out() -> None:
    found = picks([[NAN, -3.0, NAN], [NAN, NAN, NAN], [0.0, 2.0, 1.0]])
    assert [(prompt, completion.text) for prompt, completion in found.samples] == [
        (PROMPTS[0], "01"),
        (PROMPTS[2], "21"),
    ]
    counts = found.counts
    assert (counts.num_prompts, counts.num_left_out, counts.num_missing, counts.num_ties) == (3, 1, 5, 0)
    assert counts.mean_reward == pytest.approx(0.0) and counts.mean_best_reward == pytest.approx(-0.5)
    assert picks([[NAN, NAN]]).samples == []


def test_of_equal_rewards_the_first_is_picked_and_the_tie_is_told() -> None:
    found = picks([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [["a", "b", "c"], ["same", "same", "c"]])
    assert [completion.text for _, completion in found.samples] == ["a", "same"]
    assert found.counts.num_ties == 1, "two responses with the same text are no tie"


def test_picks_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = picks([[1.0, 2.0], [NAN, 0.0]], finished=False)
    assert Picks.read(tmp_path) is None
    found.write(tmp_path)
    assert Picks.read(tmp_path) == found and found.counts.num_unfinished == 2


def test_what_was_sampled_is_imitated_not_its_text_read_again(tokenizer: PreTrainedTokenizerBase) -> None:
    text = PromptTokenizer(tokenizer).response_text((7, 8))
    found = picks([[1.0, 0.0]], [[text, text]])
    made = found.examples(Dialogue(), tokenizer, max_prompt_tokens=128, max_length=128)
    (example,) = made.examples
    assert example.input_ids[example.num_prompt_tokens :] == (7, 8)
    cut = found.examples(Dialogue(), tokenizer, max_prompt_tokens=128, max_length=6)
    assert cut.num_cut_prompts == 1 and cut.examples[0].length == 6
    assert cut.examples[0].input_ids == example.input_ids[-6:], "the newest tokens of the prompt stay"
    assert found.examples(Dialogue(), tokenizer, max_prompt_tokens=128, max_length=2).num_too_long == 1

"""The policy learns what is rewarded, leaves missing rewards out, and draws what its step says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.artifacts.curve import read_curve
from rlaif.data.batches.examples import completion_ids, response_ids
from rlaif.errors import ConfigError
from rlaif.models.classifier_text import ClassifierText
from rlaif.models.load import load_causal_lm
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.step_division import StepDivision
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import RolloutObjective
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepSampler, as_rewarded, draw_prompts
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt, Sampling

PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(8)]


class TokenReward:
    """1 for a response that holds the token, 0 for another; every ``missing_every``-th is missing."""

    def __init__(self, token: int, missing_every: int = 0) -> None:
        self.token = token
        self.missing_every = missing_every

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> TokenReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values_B = torch.tensor([float(self.token in response.token_ids) for response in responses])
        if self.missing_every:
            values_B[:: self.missing_every] = float("nan")
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def make_responses(
    tokenizer: PreTrainedTokenizerBase, *, temperature: float = 1.0, max_new_tokens: int = 2, **options: object
) -> StepSampler:
    defaults = {"prompts_per_step": 8, "samples_per_prompt": 4, "seed": 1}
    settings = SamplingSettings(temperature=temperature, max_new_tokens=max_new_tokens)
    return StepSampler(tokenizer, task=Dialogue(), prompts=PROMPTS, settings=settings, **(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objective", "missing_every"),
    [(Reinforce(), 0), (Reinforce(kl="loss"), 0), (Reinforce(), 5), (Rloo(), 0), (Rloo(), 5)],
)
def test_a_rewarded_token_becomes_likelier(
    objective: RolloutObjective, missing_every: int, folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    steps = 40
    policy = load_causal_lm(str(folder))
    module = PolicyModule(
        policy,
        reference=load_causal_lm(str(folder)),
        sampler=LocalSampler.of_model(policy, tokenizer),
        responses=make_responses(tokenizer),
        reward=TokenReward(next_token(folder, tokenizer), missing_every),
        objective=objective,
        optimization=OptimizerSettings(optimizer=torch.optim.AdamW, lr=1e-2),
        steps=steps,
        value_lr=5e-2,
    )
    curve = tmp_path / "curve.jsonl"
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=tmp_path,
        max_steps=steps,
        callbacks=[CurveWriter(curve)],
    )
    assert fit(trainer, module, seed=0) == 0
    rows = read_curve(curve)
    first, last = (sum(row["policy/reward"] for row in part) / 5 for part in (rows[:5], rows[-5:]))
    assert first < 0.35
    assert last > 0.7
    assert rows[-1]["policy/kl"] > 0.2
    assert rows[0]["policy/missing"] == pytest.approx(7 / 32 if missing_every else 0.0)


def next_token(folder: Path, tokenizer: PreTrainedTokenizerBase) -> int:
    """A token that the untrained model draws now and then: the tenth likeliest after the first prompt."""
    ids = torch.tensor([tokenizer(PROMPTS[0].text)["input_ids"]])
    with torch.no_grad():
        return int(load_causal_lm(str(folder))(input_ids=ids).logits[0, -1].topk(10).indices[-1])


def test_every_prompt_has_its_turn_before_one_comes_again() -> None:
    drawn = [place for step in range(5) for place in draw_prompts(10, 4, step, seed=2)]
    assert sorted(drawn[:10]) == list(range(10))
    assert sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_a_step_is_drawn_alike_by_one_and_by_two_processes(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    responses = make_responses(tokenizer, max_new_tokens=5)
    sampler = LocalSampler.of_model(load_causal_lm(str(folder)), tokenizer)
    whole = responses.draw(sampler, 3)
    first, second = (responses.draw(sampler, 3, rank=rank, world_size=2) for rank in range(2))
    assert [*first.prompts, *second.prompts] == whole.prompts
    assert [*first.completions, *second.completions] == whole.completions
    assert responses.draw(sampler, 4).completions != whole.completions


class Scripted:
    """A sampler that gives the same tokens for every prompt."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], *, num_samples: int, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollouts:
        tokens_BT = torch.tensor([self.tokens] * len(seeds))
        return Rollouts(
            prompt_ids=[list(ids) for ids in prompt_ids],
            tokens_BT=tokens_BT,
            mask_BT=torch.ones_like(tokens_BT, dtype=torch.bool),
            finished_B=torch.ones(len(seeds), dtype=torch.bool),
            samples_per_prompt=num_samples,
        )

    def load(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        pass


class Remembering(Scripted):
    """Keeps the seeds of all responses."""

    def __init__(self) -> None:
        super().__init__([5, 6])
        self.seeds: list[int] = []

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], *, num_samples: int, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollouts:
        self.seeds += seeds
        return super().sample(prompt_ids, num_samples=num_samples, sampling=sampling, seeds=seeds)


def test_no_two_responses_of_a_training_share_their_random_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    sampler, responses = Remembering(), make_responses(tokenizer, prompts_per_step=4)
    for step in (0, 1):
        responses.draw(sampler, step)
        for attempt in (1, 2):
            responses.redraw(sampler, step, [0, 2], attempt=attempt)
    assert len(set(sampler.seeds)) == len(sampler.seeds) == 2 * (4 + 2 * 2) * 4


def test_prompts_are_replaced_by_as_many_that_the_step_has_not(tokenizer: PreTrainedTokenizerBase) -> None:
    responses = make_responses(tokenizer, prompts_per_step=4, samples_per_prompt=1)
    first = responses.draw(Scripted([5]), 0).prompts
    others = responses.redraw(Scripted([5]), 0, [0, 1, 3], attempt=1).prompts
    assert len({prompt.id for prompt in [*first, *others]}) == 7


def test_trailing_symbols_are_not_rewarded(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenizer(" Good. ..")["input_ids"]
    stripped = make_responses(tokenizer, strip_trailing=". ").draw(Scripted(tokens), 0).completions[0]
    assert (stripped.text, stripped.source) == ("Good", "policy")
    assert stripped.token_ids == tuple(tokens), "a function that is the reward gets the tokens as they were sampled"
    pieces = PromptTokenizer(tokenizer)
    assert completion_ids(pieces, stripped) == response_ids(pieces, "Good"), "and a reward model reads the text alone"
    kept = make_responses(tokenizer).draw(Scripted(tokens), 0).completions[0]
    assert (kept.text, kept.token_ids) == ("Good. ..", tuple(tokens))
    assert as_rewarded(Completion(text="... and. "), ". ").text == "... and", "symbols before the text stay"


class Limited(Scripted):
    """A sampler whose responses the token limit ends."""

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], *, num_samples: int, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollouts:
        rollouts = super().sample(prompt_ids, num_samples=num_samples, sampling=sampling, seeds=seeds)
        return replace(rollouts, finished_B=torch.zeros_like(rollouts.finished_B))


def test_a_cut_response_is_rewarded_without_an_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenizer(" Good. ..")["input_ids"]
    responses = make_responses(tokenizer, strip_trailing=". ")
    text = ClassifierText(tokenizer, max_length=64)
    cut, ended = (
        text(PROMPTS[0], responses.draw(sampler(tokens), 0).completions[0]).ids for sampler in (Limited, Scripted)
    )
    assert [*cut, tokenizer.eos_token_id] == ended
    assert tokenizer.eos_token_id not in cut[1:]


def test_all_mistakes_of_the_options_come_at_once() -> None:
    options = {"steps": 1, "prompts_per_step": 4, "lr": 1e-3, "optimizer": torch.optim.SGD}
    with pytest.raises(ConfigError) as caught:
        PolicySettings(
            objective=Rloo(),
            value_lr=-1.0,
            weight_decay=-0.1,
            max_grad_norm=-1.0,
            max_tokens_per_forward=0,
            max_prompt_tokens=0,
            temperature=0.0,
            **options,  # type: ignore[arg-type]
        )
    assert sorted(problem.partition("=")[0] for problem in caught.value.problems) == [
        "policy.max_grad_norm",
        "policy.max_prompt_tokens",
        "policy.max_tokens_per_forward",
        "policy.samples_per_prompt",
        "policy.temperature",
        "policy.value_lr",
        "policy.weight_decay",
    ]
    with pytest.raises(ConfigError) as caught:
        PolicySettings(objective=Rloo(), **options)  # type: ignore[arg-type]
    assert [problem.partition("=")[0] for problem in caught.value.problems] == ["policy.samples_per_prompt"]
    with pytest.raises(ConfigError, match=r"policy\.lr=nan: must be a finite number above 0"):
        PolicySettings(objective=Reinforce(), **(options | {"lr": math.nan}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_processes", "num_updates", "option"), [(4, 1, "prompts_per_step"), (1, 4, "objective.minibatches")]
)
def test_numbers_that_do_not_divide_are_found_without_a_model(
    num_processes: int, num_updates: int, option: str
) -> None:
    (problem,) = StepDivision(prompts_per_step=6, num_updates=num_updates).problems(num_processes)
    assert problem.startswith(f"policy.{option}=")
    assert list(StepDivision(prompts_per_step=6, num_updates=3).problems(2)) == []


def test_a_completion_keeps_its_white_space_and_is_judged_as_indented(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    pieces = PromptTokenizer(tokenizer)
    judged = {"  Good.\n": "  Good.", "Good.": "Good.", "\n\tGood. ": "\tGood.", " ": "", "": ""}
    for written, seen in judged.items():
        tokens = pieces.data_ids(" " + written)
        completion = Completion(text=pieces.response_text(tokens), token_ids=tuple(tokens))
        assert completion.text == written
        assert completion.trimmed == seen
    for tokens in ([index] for index in range(len(tokenizer))):
        assert pieces.response_text(tokens).strip() == pieces.decode(tokens).strip()


def test_all_problems_of_a_sampler_come_at_once(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ConfigError) as caught:
        make_responses(tokenizer, prompts_per_step=0, temperature=0.0)
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "policy.prompts_per_step",
        "policy.temperature",
    ]

"""The policy learns what is rewarded, leaves missing rewards out, and draws what its step says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.models.load import load_causal_lm
from rlaif.modules.curves import CurveWriter, read_curve
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import RolloutObjective
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepResponses, StepSampler, draw_prompts
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


class EveryResponse:
    """Stands in for the draws of a policy step: given responses to one prompt, over two tokens and an end token."""

    settings = SamplingSettings(temperature=0.9, max_new_tokens=2)

    def __init__(self, responses: Sequence[tuple[int, ...]], samples_per_prompt: int) -> None:
        self.chosen = responses
        self.samples_per_prompt = samples_per_prompt
        self.prompts_per_step = len(responses) // samples_per_prompt

    def draw(self, sampler: object, step: int, *, rank: int = 0, world_size: int = 1) -> StepResponses:
        padded = torch.tensor([[*tokens, 0][:2] for tokens in self.chosen])
        mask_BT = torch.arange(2) < torch.tensor([len(tokens) for tokens in self.chosen])[:, None]
        rollouts = Rollouts(
            prompt_ids=[[1, 2, 2]] * self.prompts_per_step,
            tokens_BT=padded,
            mask_BT=mask_BT,
            finished_B=torch.ones(len(self.chosen), dtype=torch.bool),
            samples_per_prompt=self.samples_per_prompt,
        )
        completions = [Completion(text=str(tokens), token_ids=tokens) for tokens in self.chosen]
        return StepResponses([PROMPTS[0]] * len(self.chosen), completions, rollouts)


class TableReward(TokenReward):
    """A number for each of the responses."""

    def __init__(self) -> None:
        super().__init__(token=0)

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values_B = torch.tensor([REWARDS[response.token_ids] for response in responses])
        return RewardBatch(values_B, values_B.isfinite())


RESPONSES = [(0,), *itertools.product((1, 2), (0, 1, 2))]
"""Every response of at most two tokens from a vocabulary of three, where 0 ends a response."""
REWARDS = dict(zip(RESPONSES, (0.3, -1.0, 2.0, 0.5, 1.5, -0.7, 0.9), strict=True))
BETA = 0.2


def three_token_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=3,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.8,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def log_probability(model: LlamaForCausalLM, tokens: tuple[int, ...]) -> torch.Tensor:
    """log π of a response, from a plain forward pass."""
    logits = model(input_ids=torch.tensor([[1, 2, 2, *tokens]])).logits[0, 2:-1] / 0.9
    return logits.log_softmax(-1)[torch.arange(len(tokens)), list(tokens)].sum()


@pytest.mark.parametrize(
    ("objective", "num_prompts", "samples_per_prompt", "minibatch_size"),
    [
        (Reinforce(beta=BETA, scale_advantages=False), 1, 1, None),
        (Reinforce(beta=BETA, scale_advantages=False), 2, 1, 1),
        (Rloo(beta=BETA, scale_advantages=False), 1, 2, None),
    ],
)
def test_the_expected_gradient_of_a_step_is_that_of_the_enumerated_objective(
    objective: RolloutObjective, num_prompts: int, samples_per_prompt: int, minibatch_size: int | None, tmp_path: Path
) -> None:
    policy, reference = three_token_model(0), three_token_model(1)
    matrix = policy.model.layers[0].mlp.down_proj.weight
    log_p = {tokens: log_probability(policy, tokens) for tokens in RESPONSES}
    with torch.no_grad():
        log_ref = {tokens: log_probability(reference, tokens) for tokens in RESPONSES}
    terms = [
        log_p[y].exp() * ((1 - BETA) * REWARDS[y] - BETA * (log_p[y] - log_ref[y])) for y in RESPONSES
    ]  # arXiv 2309.00267, appendix A.3
    assert sum(log_p[y].exp().item() for y in RESPONSES) == pytest.approx(1.0, abs=1e-5)
    (exact,) = torch.autograd.grad(torch.stack(terms).sum(), matrix)

    estimate = torch.zeros_like(exact)
    for drawn in itertools.product(RESPONSES, repeat=num_prompts * samples_per_prompt):
        module = PolicyModule(
            policy,
            reference=reference,
            sampler=LocalSampler(policy, eos_id=0, pad_id=0),
            responses=EveryResponse(drawn, samples_per_prompt),  # type: ignore[arg-type]
            reward=TableReward(),
            objective=objective,
            optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=0.1),
            steps=1,
            value_lr=0.1,
            minibatch_size=minibatch_size,
        )
        module.trainer = TRAINER
        module.log_dict = lambda metrics: None  # type: ignore[assignment,misc]
        batches = module.collect(0)
        probability = math.exp(sum(log_p[tokens].item() for tokens in drawn))
        for batch in batches:
            (gradient,) = torch.autograd.grad(module.training_step(batch, 0), matrix)
            estimate -= probability * gradient / len(batches)  # Lightning averages over accumulated batches
    torch.testing.assert_close(estimate, exact, rtol=1e-4, atol=1e-5)


TRAINER = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)


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


def test_trailing_symbols_are_not_rewarded(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenizer(" Good. ..")["input_ids"]
    stripped = make_responses(tokenizer, strip_trailing=". ").draw(Scripted(tokens), 0).completions[0]
    assert (stripped.text, stripped.token_ids, stripped.source) == ("Good", (), "policy")
    kept = make_responses(tokenizer).draw(Scripted(tokens), 0).completions[0]
    assert (kept.text, kept.token_ids) == ("Good. ..", tuple(tokens))


def test_a_completion_keeps_its_white_space_and_is_judged_without(tokenizer: PreTrainedTokenizerBase) -> None:
    pieces = PromptTokenizer(tokenizer)
    for written in ("  Good.\n", "Good.", "\n\tGood. ", " ", ""):
        tokens = pieces.data_ids(" " + written)
        completion = Completion(text=pieces.response_text(tokens), token_ids=tuple(tokens))
        assert completion.text == written
        assert completion.trimmed == pieces.decode(tokens).strip()
    for tokens in ([index] for index in range(len(tokenizer))):
        assert pieces.response_text(tokens).strip() == pieces.decode(tokens).strip()


def test_all_problems_of_a_sampler_come_at_once(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ConfigError) as caught:
        make_responses(tokenizer, prompts_per_step=0, temperature=0.0)
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "policy.prompts_per_step",
        "policy.temperature",
    ]

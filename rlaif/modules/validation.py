"""Validation of a policy while it learns: its responses to prompts that no training reads.

Sampling has seeds of its own and draws nothing from a global random state, and no weight changes: a training ends with
the same weights with and without validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from rlaif.artifacts.curve import append_row, cut_curve
from rlaif.errors import TrainingError
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.seeds import derive_seed
from rlaif.modules.candidates import Candidates
from rlaif.modules.policy import PolicyModule
from rlaif.registry import described
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.responses import PROMPTS_AT_ONCE, completions_of, policy_prompt_ids
from rlaif.rollouts.sampler import LocalSampler, Sampler
from rlaif.types import Comparison, Completion, Prompt, Sampling

Preference = Callable[[Sequence[Comparison]], Sequence[float | None]]
"""P(a random rater, or a judge, prefers the first response) for each comparison; None where there is no verdict."""
JUDGED = "judge_win_rate"
"""Name of the win rate that a judge gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One response to each validation prompt."""

    rollouts: list[Rollouts]
    """In batches."""
    completions: list[Completion]

    def mean(self, per_response: Callable[[Rollouts], Tensor]) -> float:
        """Mean of a number per response over all of them."""
        return torch.cat([per_response(batch).float() for batch in self.rollouts]).mean().item()


class PolicyValidation(Callback):
    """Measures the policy every few policy steps, and appends a row to a curve file.

    A row has ``step`` (optimizer steps), ``reward`` (mean, of the sampled responses), ``kl`` (nats per response),
    ``length`` and ``length/greedy`` (tokens per response), ``finished`` and, where raters' probabilities are known,
    ``win_rate`` and ``win_rate/greedy`` against the SFT policy decoded in the same way, with ``/STRATUM`` for each
    stratum of the prompts. A judge gives ``judge_win_rate`` in the same way, of the sampled responses, over the pairs
    that it has a verdict on, with their share ``judge_answered``. The policy is measured before the first step, after
    the last, and in between.

    Args:
        path: The file.
        prompts: What the policies respond to.
        every_n_steps: Policy steps between two validations.
        preference: Compares responses; None where nobody's probabilities are known.
        judge: A labeler that compares them, too; None asks none.
        candidates: Keeps the weights with the highest rewards; None keeps none.
    """

    def __init__(
        self,
        path: Path,
        prompts: Sequence[Prompt],
        *,
        every_n_steps: int,
        preference: Preference | None = None,
        judge: Preference | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        self.path = path
        self.prompts = prompts
        self.every_n_steps = every_n_steps
        self.preference = preference
        self.judge = judge
        self.candidates = candidates
        self._reference: dict[bool, list[Completion]] = {}
        self._last_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the rows after the checkpoint that training resumes from, and write the row that it lacks."""
        assert isinstance(pl_module, PolicyModule)
        if trainer.is_global_zero:
            pl_module.place()
            rows = cut_curve(self.path, trainer.global_step)
            self._last_step = int(rows[-1]["step"]) if rows else -1
            if self.candidates is not None:
                self.candidates.cut(trainer.global_step)
            self._validate_if_due(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Validate after the last optimizer step of a policy step."""
        assert isinstance(pl_module, PolicyModule)
        if trainer.is_global_zero:
            self._validate_if_due(trainer, pl_module)

    def _validate_if_due(self, trainer: Trainer, module: PolicyModule) -> None:
        step, interval = trainer.global_step, self.every_n_steps * module.objective.updates.total
        if step == self._last_step or (step % interval and step != trainer.max_steps):
            return
        figures = self.measure(module)
        self._offer(step, figures.get("reward"), module)
        append_row(self.path, step, figures)
        self._last_step = step

    def _offer(self, step: int, reward: float | None, module: PolicyModule) -> None:
        """Offer the policy as a candidate.

        Raises:
            TrainingError: The reward gives none already before the first step, so that nothing could be chosen by it.
        """
        if self.candidates is None:
            return
        if reward is not None:
            self.candidates.offer(step, reward, module.policy.state_dict())
        elif step == 0:
            raise TrainingError(
                f"policy.keep: reward {described(module.reward)} gives none of the {len(self.prompts)} validation"
                " responses a reward, one to each prompt, so there is nothing to choose weights by; type"
                " policy.keep=last (reward=group_pairwise compares several responses to a prompt)"
            )

    @torch.no_grad()
    def measure(self, module: PolicyModule) -> dict[str, float]:
        """The figures of a row."""
        module.sampler.load(module.policy.state_dict(), module.trainer.global_step)
        sampled, greedy = (self._draw(module, module.sampler, greedy=greedy) for greedy in (False, True))
        figures = {
            "kl": sampled.mean(lambda batch: _kl(module, batch)),
            "length": sampled.mean(lambda batch: batch.mask_BT.sum(-1)),
            "length/greedy": greedy.mean(lambda batch: batch.mask_BT.sum(-1)),
            "finished": sampled.mean(lambda batch: batch.finished_B),
        }
        rewarded = [module.responses.as_rewarded(item) for item in sampled.completions]
        rewards = module.reward(list(self.prompts), rewarded)
        if rewards.scored_mask_B.any():
            figures["reward"] = rewards.values_B[rewards.scored_mask_B].mean().item()
        figures |= self._win_rates(module, "win_rate", sampled) | self._judged(module, sampled)
        return figures | self._win_rates(module, "win_rate/greedy", greedy)

    def _win_rates(self, module: PolicyModule, name: str, drawn: Drawn) -> dict[str, float]:
        """Mean probability that a rater prefers the policy's response, over all prompts and by stratum."""
        if self.preference is None:
            return {}
        pairs = self._pairs(module, drawn, greedy=name.endswith("greedy"))
        strata: dict[str, list[float]] = {"": []}
        for prompt, win in zip(self.prompts, _wins(self.preference, pairs), strict=True):
            for stratum in ("", f"/{prompt.stratum}") if prompt.stratum else ("",):
                strata.setdefault(stratum, []).extend([] if win is None else [win])
        return {name + stratum: sum(values) / len(values) for stratum, values in strata.items() if values}

    def _judged(self, module: PolicyModule, drawn: Drawn) -> dict[str, float]:
        """The win rate that the judge gives, and the share of the pairs that it has a verdict on."""
        if self.judge is None:
            return {}
        wins = _wins(self.judge, self._pairs(module, drawn, greedy=False))
        known = [win for win in wins if win is not None]
        figures = {"judge_answered": len(known) / len(wins)}
        return figures | ({JUDGED: sum(known) / len(known)} if known else {})

    def _pairs(self, module: PolicyModule, drawn: Drawn, *, greedy: bool) -> list[Comparison]:
        """The policy's response and the SFT policy's to each prompt, both decoded in the same way."""
        if greedy not in self._reference:
            sampler = LocalSampler.of_model(module.reference, module.responses.tokenizer.tokenizer)
            self._reference[greedy] = self._draw(module, sampler, greedy=greedy).completions
        return [
            Comparison(prompt=prompt, first=first, second=second)
            for prompt, first, second in zip(self.prompts, drawn.completions, self._reference[greedy], strict=True)
        ]

    def _draw(self, module: PolicyModule, sampler: Sampler, *, greedy: bool) -> Drawn:
        """Responses with one seed per prompt, the same for both policies and in every validation."""
        responses = module.responses
        limits = responses.settings
        ids = policy_prompt_ids(responses.tokenizer, responses.task, self.prompts, limits.max_prompt_tokens)
        seeds = [derive_seed(responses.seed, "policy", "validation", prompt.id) for prompt in self.prompts]
        sampling = Sampling(max_new_tokens=limits.max_new_tokens, temperature=0.0 if greedy else limits.temperature)
        rollouts = [
            sampler.sample(
                ids[start : start + PROMPTS_AT_ONCE],
                num_samples=1,
                sampling=sampling,
                seeds=seeds[start : start + PROMPTS_AT_ONCE],
            )
            for start in range(0, len(ids), PROMPTS_AT_ONCE)
        ]
        completions = [c for batch in rollouts for c in completions_of(batch, responses.tokenizer, source="policy")]
        return Drawn(rollouts=rollouts, completions=completions)


def _kl(module: PolicyModule, batch: Rollouts) -> Tensor:
    """Per response Σ log π - log π_SFT at the sampling temperature, in nats."""
    policy_BT, reference_BT = (module.logprobs(model, batch) for model in (module.policy, module.reference))
    return sampled_sequence_kl(policy_BT, reference_BT, batch.mask_BT)


def _wins(preference: Preference, pairs: Sequence[Comparison]) -> list[float | None]:
    """P(first) of each pair; a pair of one text is a tie that nobody is asked about, None is without a verdict."""
    asked = {pair.id: pair for pair in pairs if not pair.is_identical}
    found = dict(zip(asked, preference(list(asked.values())) if asked else [], strict=True))
    return [0.5 if pair.is_identical else found[pair.id] for pair in pairs]

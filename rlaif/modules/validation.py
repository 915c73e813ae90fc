"""Validation of a policy while it learns: its responses to prompts that no training reads.

Sampling has seeds of its own and draws nothing from a global random state, and no weight changes: a training ends with
the same weights with and without validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from rlaif.artifacts.curve import append_row, cut_curve
from rlaif.errors import TrainingError
from rlaif.functional.evidence import share_ranked_alike
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.seeds import derive_seed
from rlaif.modules.candidates import Candidates
from rlaif.modules.policy import PolicyModule
from rlaif.modules.watch import UNKNOWN, Preference, Watch
from rlaif.modules.watched import WatchedResponse
from rlaif.registry import described
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.responses import PROMPTS_AT_ONCE, completions_of, policy_prompt_ids
from rlaif.rollouts.sampler import LocalSampler, Sampler
from rlaif.types import Comparison, Completion, Prompt, Sampling

Wins = list[float | None]
"""P(the first response is better) of each pair; None without a verdict."""
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
    ``entropy`` (nats per token), ``length`` and ``length/greedy`` (tokens per response), ``finished`` and, where
    raters' probabilities are known, ``win_rate`` and ``win_rate/greedy`` against the SFT policy decoded in the same
    way, with ``/STRATUM`` for each stratum of the prompts. A judge gives ``judge_win_rate`` in the same way, of the
    sampled responses, over the pairs that it has a verdict on, and ``judge_answered``, their share of those that it was
    asked about. A watch adds its own, and ``reward_accuracy``: how often the reward ranks two of the policy's responses
    to a prompt as the watch's judge does. The policy is measured before the first step, after the last, and in between.

    Args:
        path: The file.
        prompts: What the policies respond to.
        every_n_steps: Policy steps between two validations.
        preference: Compares responses; None where nobody's probabilities are known.
        judge: A labeler that compares them, too; None asks none.
        candidates: Keeps the weights with the highest rewards; None keeps none.
        watch: Keeps the responses, and may end the training; None does not.
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
        watch: Watch | None = None,
    ) -> None:
        self.path = path
        self.prompts = prompts
        self.every_n_steps = every_n_steps
        self.preference = preference
        self.judge = judge
        self.candidates = candidates
        self.watch = watch
        self.has_stopped = False
        """True once the watch has ended the training."""
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
            if self.watch is not None:
                self.watch.cut(trainer.global_step)
            self._validate_if_due(trainer, pl_module)
        self._stop_if_alarmed(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Validate after the last optimizer step of a policy step."""
        assert isinstance(pl_module, PolicyModule)
        if trainer.is_global_zero:
            self._validate_if_due(trainer, pl_module)
        self._stop_if_alarmed(trainer)

    def _stop_if_alarmed(self, trainer: Trainer) -> None:
        """End the training after this step, on all processes, where the watch says so."""
        if self.watch is None or not self.watch.settings.stop:
            return
        is_alarmed = (
            trainer.is_global_zero and self._last_step == trainer.global_step and self.watch.alarm() is not None
        )
        if trainer.world_size > 1:
            is_alarmed = trainer.strategy.reduce_boolean_decision(is_alarmed, all=False)
        if is_alarmed:
            self.has_stopped = trainer.should_stop = True

    def _validate_if_due(self, trainer: Trainer, module: PolicyModule) -> None:
        step, interval = trainer.global_step, self.every_n_steps * module.objective.updates.total
        if step == self._last_step or (step % interval and step != trainer.max_steps):
            return
        with module.seconds.of("validate"):
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
        """The figures of a row; the watch keeps what they were made of."""
        step = module.trainer.global_step
        module.sampler.load(module.policy.state_dict(), step)
        sampled, greedy = (self._draw(module, module.sampler, greedy=greedy) for greedy in (False, True))
        figures = {
            "kl": sampled.mean(lambda batch: _kl(module, batch)),
            "entropy": _entropy(module, sampled.rollouts),
            "length": sampled.mean(lambda batch: batch.mask_BT.sum(-1)),
            "length/greedy": greedy.mean(lambda batch: batch.mask_BT.sum(-1)),
            "finished": sampled.mean(lambda batch: batch.finished_B),
        }
        rewards = self._rewards(module, sampled)
        if known := [reward for reward in rewards if reward is not None]:
            figures["reward"] = sum(known) / len(known)
        pairs = self._pairs(module, sampled, greedy=False)
        wins = self._verdicts(pairs)
        figures |= self._win_rates("win_rate", wins) | self._judged(pairs, wins)
        figures |= self._win_rates(
            "win_rate/greedy", self._verdicts(self._pairs(module, greedy, greedy=True), exact=True)
        )
        if self.watch is None:
            return figures
        watched = self._watched(pairs, wins, rewards)
        figures |= self.watch.observe(step, watched, module.policy.state_dict())
        return figures | self._reward_accuracy(module, sampled, rewards)

    def _rewards(self, module: PolicyModule, drawn: Drawn) -> list[float | None]:
        """The reward of each response, None where it has none."""
        rewarded = [module.responses.as_rewarded(item) for item in drawn.completions]
        rewards = module.reward(list(self.prompts), rewarded)
        values, scored = rewards.values_B.tolist(), rewards.scored_mask_B.tolist()
        return [value if has_one else None for value, has_one in zip(values, scored, strict=True)]

    def _verdicts(self, pairs: Sequence[Comparison], *, exact: bool = False) -> Mapping[Preference, Wins]:
        """P(first) of each pair by everybody who compares, or by those alone whose probabilities are known exactly."""
        watcher = None if self.watch is None else self.watch.judge
        asked = [self.preference] if exact else [self.preference, self.judge, watcher]
        return {one: _wins(one, pairs) for one in dict.fromkeys(asked) if one is not None}

    def _win_rates(self, name: str, wins: Mapping[Preference, Wins]) -> dict[str, float]:
        """Mean probability that a rater prefers the policy's response, over all prompts and by stratum."""
        if self.preference is None:
            return {}
        strata: dict[str, list[float]] = {"": []}
        for prompt, win in zip(self.prompts, wins[self.preference], strict=True):
            for stratum in ("", f"/{prompt.stratum}") if prompt.stratum else ("",):
                strata.setdefault(stratum, []).extend([] if win is None else [win])
        return {name + stratum: sum(values) / len(values) for stratum, values in strata.items() if values}

    def _judged(self, pairs: Sequence[Comparison], wins: Mapping[Preference, Wins]) -> dict[str, float]:
        """The win rate that the judge gives, and the share of the pairs it was asked about that it has a verdict on.

        Where it was asked and has none, there is no win rate: pairs of one text are ties that nobody was asked about.
        """
        if self.judge is None:
            return {}
        judged = wins[self.judge]
        asked = [win for pair, win in zip(pairs, judged, strict=True) if not pair.is_identical]
        num_answered, known = sum(win is not None for win in asked), [win for win in judged if win is not None]
        figures = {"judge_answered": num_answered / len(asked) if asked else 1.0}
        return figures | ({JUDGED: sum(known) / len(known)} if num_answered or not asked else {})

    def _watched(
        self, pairs: Sequence[Comparison], wins: Mapping[Preference, Wins], rewards: Sequence[float | None]
    ) -> list[WatchedResponse]:
        assert self.watch is not None
        unknown: Wins = [None] * len(pairs)
        exact = unknown if self.preference is None else wins[self.preference]
        return [
            WatchedResponse(
                prompt=pair.prompt.text,
                response=pair.first.text,
                sft=pair.second.text,
                win=win,
                annotators=annotators,
                reward=reward,
            )
            for pair, win, annotators, reward in zip(pairs, wins[self.watch.judge], exact, rewards, strict=True)
        ]

    def _reward_accuracy(
        self, module: PolicyModule, sampled: Drawn, rewards: Sequence[float | None]
    ) -> dict[str, float]:
        """How often the reward ranks two of the policy's responses to a prompt as others do."""
        assert self.watch is not None
        other = self._draw(module, module.sampler, greedy=False, further=("other",))
        gaps = [
            UNKNOWN if first is None or second is None else first - second
            for first, second in zip(rewards, self._rewards(module, other), strict=True)
        ]
        pairs = _compared(self.prompts, sampled.completions, other.completions)
        asked = {"reward_accuracy": self.watch.judge, "reward_accuracy/annotators": self.preference}
        verdicts = {one: _wins(one, pairs) for one in dict.fromkeys(asked.values()) if one is not None}
        found = {
            name: share_ranked_alike(gaps, [UNKNOWN if win is None else win for win in verdicts[one]])
            for name, one in asked.items()
            if one is not None
        }
        return {name: share for name, share in found.items() if share is not None}

    def _pairs(self, module: PolicyModule, drawn: Drawn, *, greedy: bool) -> list[Comparison]:
        """The policy's response and the SFT policy's to each prompt, both decoded in the same way."""
        if greedy not in self._reference:
            sampler = LocalSampler.of_model(module.reference, module.responses.tokenizer.tokenizer)
            self._reference[greedy] = self._draw(module, sampler, greedy=greedy).completions
        return _compared(self.prompts, drawn.completions, self._reference[greedy])

    def _draw(self, module: PolicyModule, sampler: Sampler, *, greedy: bool, further: tuple[str, ...] = ()) -> Drawn:
        """Responses with one seed per prompt, the same for both policies and in every validation.

        Args:
            module: What is validated.
            sampler: Of the policy that responds.
            greedy: Decodes greedily.
            further: Names a further draw at the same temperature.
        """
        responses = module.responses
        limits = responses.settings
        ids = policy_prompt_ids(responses.tokenizer, responses.task, self.prompts, limits.max_prompt_tokens)
        seeds = [derive_seed(responses.seed, "policy", "validation", prompt.id, *further) for prompt in self.prompts]
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


def _entropy(module: PolicyModule, rollouts: Sequence[Rollouts]) -> float:
    """Mean entropy of the sampling distribution, in nats per token."""
    total = sum(module.entropies(batch).sum().item() for batch in rollouts)
    return total / max(1, sum(int(batch.mask_BT.sum()) for batch in rollouts))


def _compared(prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]) -> list[Comparison]:
    """One pair for each prompt."""
    return [Comparison(prompt=p, first=a, second=b) for p, a, b in zip(prompts, first, second, strict=True)]


def _wins(preference: Preference, pairs: Sequence[Comparison]) -> Wins:
    """P(first) of each pair; a pair of one text is a tie that nobody is asked about, None is without a verdict."""
    asked = {pair.id: pair for pair in pairs if not pair.is_identical}
    found = dict(zip(asked, preference(list(asked.values())) if asked else [], strict=True))
    return [0.5 if pair.is_identical else found[pair.id] for pair in pairs]

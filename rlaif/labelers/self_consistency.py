"""Several sampled rationales per order, whose verdicts are averaged (arXiv 2309.00267, appendix M)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy as shallow_copy
from dataclasses import replace

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.labels import Debias
from rlaif.functional.seeds import derive_seed
from rlaif.labelers.pairwise import Case, PairwiseLabeler, PairwisePrompt
from rlaif.labelers.rationale import Rationales, after, rationale_form
from rlaif.ranges import Share
from rlaif.types import Judgment, content_id


class SelfConsistencyLabeler(PairwiseLabeler):
    """Samples ``num_samples`` rationales for each order and averages their distributions, then the orders.

    A sample without a verdict is left out of its order's mean; an order without any is missing, and with it the
    label. All samples are kept as evidence. The paper found that this strictly hurts; it is here to be measured.

    Args:
        prompt: Builds the prompts of both steps.
        engine: The language model that reasons and judges.
        debias: As in :class:`PairwiseLabeler`.
        min_answer_mass: Likewise, of each sample's verdict.
        num_samples: Rationales per order, at least 1 (the paper's are 4 and 16).
        temperature: Of the rationales, above 0 (the paper's are 0.3, 0.5, 0.7 and 1.0).
        top_k: Tokens that a draw chooses from; 0 for all of them (the paper's is 40).
        max_rationale_tokens: Limit of each rationale, in tokens of the engine.
        seed: Another seed draws other rationales.

    Raises:
        ConfigError: An option is out of range.
    """

    name = "self_consistency"

    def __init__(
        self,
        prompt: PairwisePrompt,
        engine: Engine,
        *,
        debias: Debias = "probability",
        min_answer_mass: Share = 1e-6,
        num_samples: int = 4,
        temperature: float = 0.5,
        top_k: int = 40,
        max_rationale_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(prompt, engine, debias=debias, min_answer_mass=min_answer_mass)
        if num_samples < 1:
            raise ConfigError(f"labeler.num_samples={num_samples}: must be at least 1")
        if not 0 < temperature < math.inf:
            raise ConfigError(
                f"labeler.temperature={temperature}: must be a finite number above 0; at 0 all samples are one; take "
                "labeler=cot_pairwise for a greedy rationale"
            )
        self.rationales = Rationales(max_rationale_tokens, temperature=temperature, top_k=top_k)
        self.num_samples = num_samples
        self.seed = seed

    def with_seed(self, seed: int) -> SelfConsistencyLabeler:
        """A copy that draws other rationales from the same model."""
        copy = shallow_copy(self)
        copy.seed = seed
        return copy

    def _options(self) -> tuple[str, ...]:
        drawn = content_id(repr(self.rationales), str(self.num_samples), str(self.seed))
        return (*super()._options(), drawn, *rationale_form(self.engine))

    @property
    def judgments_per_order(self) -> int:
        """Rationales per order."""
        return self.num_samples

    def _judge(self, cases: Sequence[Case]) -> list[Judgment]:
        requests = [self.prompt.rationale_request(*case.arguments) for case in cases]
        orders = [case.order for case in cases]
        drawn = [
            replace(self.rationales, seed=derive_seed(self.seed, number)).write(self.engine, requests, orders)
            for number in range(self.num_samples)
        ]
        # Case by case, so that an engine reads the common beginning of a case's second steps once.
        thoughts = [thought for of_case in zip(*drawn, strict=True) for thought in of_case]
        of_thought = [case for case in cases for _ in range(self.num_samples)]
        judged = [pair for pair in zip(of_thought, thoughts, strict=True) if pair[1].missing is None]
        prompts = [self.prompt.pairwise(*case.arguments, rationale=thought.reply) for case, thought in judged]
        scored = iter(self._score([case for case, _ in judged], prompts))
        return [thought if thought.missing else after(thought, next(scored)) for thought in thoughts]

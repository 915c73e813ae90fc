"""A sequence classifier as a labeler: any reward model that somebody has trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import torch

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError, EngineError
from rlaif.models.classifier_text import ClassifierText, TextFormat
from rlaif.models.classifiers import load_classifier
from rlaif.models.load import ModelSpec, load_tokenizer, model_identity
from rlaif.models.response_scorer import ResponseScorer
from rlaif.runtime import Runtime
from rlaif.types import Comparison, Completion, Preference, content_id

if TYPE_CHECKING:
    from rlaif.labelers.pairwise import PairwisePrompt

NOT_FINITE = "the classifier's score is not finite"


class RewardModelLabeler:
    """Prefers the response that a sequence classifier scores higher: P(first) = σ((s_first - s_second) / temperature).

    Args:
        model: Hugging Face folder or hub name of an ``AutoModelForSequenceClassification``.
        source: Source of its labels, stored with each of them.
        temperature: Above 0; 1 is the Bradley-Terry model that reward models are trained by.
        label: Which output is the score, from 0, for classifiers that have several (their logits).
        batch_size: Responses per forward pass.
        max_length: Tokens of prompt and response, at most what the tokenizer allows; a longer prompt is cut from the
            left.
        text_format: What it reads, by :class:`rlaif.models.classifier_text.ClassifierText`: ``plain`` for rlaif's own
            reward models, ``pair`` for encoders, ``chat`` for most published reward models.
        revision: Branch, tag or commit on the hub.
        prompt: Accepted from a composed configuration and not used: a classifier is not prompted.
        engine: Likewise.

    Raises:
        ConfigError: An option is out of range.
        EngineError: From ``label``, when the model cannot be read or has no such output.
    """

    name = "reward_model"

    def __init__(
        self,
        model: Runtime[str],
        *,
        source: str = "ai",
        temperature: float = 1.0,
        label: int = 0,
        batch_size: Runtime[int] = 32,
        max_length: int = 2048,
        text_format: TextFormat = "plain",
        revision: Runtime[str | None] = None,
        prompt: PairwisePrompt | None = None,
        engine: Engine | None = None,
    ) -> None:
        problems = [
            f"labeler.{name}={count}: must be at least 1"
            for name, count in (("batch_size", batch_size), ("max_length", max_length))
            if count < 1
        ]
        if not 0 < temperature < math.inf:
            problems.append(f"labeler.temperature={temperature}: must be a finite number above 0")
        if label < 0:
            problems.append(f"labeler.label={label}: must be 0 or above")
        if text_format not in get_args(TextFormat):
            problems.append(f"labeler.text_format={text_format}: must be one of {', '.join(get_args(TextFormat))}")
        if problems:
            raise ConfigError(problems)
        self.spec = ModelSpec(model, revision=revision)
        self.source = source
        self.temperature = temperature
        self.output = label
        self.batch_size = batch_size
        self.max_length = max_length
        self.text_format = text_format
        self.prompt = prompt
        self.engine = engine

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        options = (self.source, repr(self.temperature), str(self.output), str(self.max_length), self.text_format)
        return content_id("RewardModelLabeler", self._model_identity, *options)

    @cached_property
    def _model_identity(self) -> str:
        return model_identity(self.spec)

    @cached_property
    def _scorer(self) -> ResponseScorer:
        model = load_classifier(self.spec)
        num_outputs = int(model.config.num_labels or 1)
        if self.output >= num_outputs:
            raise EngineError(
                f"labeler.label={self.output}: {self.spec.name} has {num_outputs} outputs, numbered from 0"
            )
        tokenizer = load_tokenizer(self.spec, needs_end=False)
        max_length = min(self.max_length, tokenizer.model_max_length)
        text = ClassifierText(tokenizer, self.text_format, max_length=max_length)
        return ResponseScorer(model, text, batch_size=self.batch_size, output=self.output)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Score both candidates of every pair; a score that is not finite makes the label missing."""
        if not comparisons:
            return []
        # The texts, not the tokens they were sampled as: the classifier has a tokenizer of its own.
        sides = [
            Completion(text=side.trimmed, finished=side.finished)  # one that was cut is read without an end token
            for pair in comparisons
            for side in (pair.first, pair.second)
        ]
        scores = self._scorer([pair.prompt for pair in comparisons for _ in range(2)], sides).double().view(-1, 2)
        p_first = torch.sigmoid((scores[:, 0] - scores[:, 1]) / self.temperature).tolist()
        finite = torch.isfinite(scores).all(1).tolist()
        author = f"{self.name}:{self.identity}"
        return [
            Preference(
                comparison=comparison,
                p_first=p if is_finite else None,
                missing=None if is_finite else NOT_FINITE,
                labeler=author,
                source=self.source,
            )
            for comparison, p, is_finite in zip(comparisons, p_first, finite, strict=True)
        ]

    def __getstate__(self) -> dict[str, object]:
        """Options only: a copy in another process loads the model itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_scorer"}

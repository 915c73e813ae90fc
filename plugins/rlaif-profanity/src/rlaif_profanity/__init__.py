"""A rater by a classifier of offensive words: how likely a response is clean."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from rlaif.errors import PluginError
from rlaif.labelers.pointwise import preference_from_ratings
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating, content_id

PACKAGE = "alt-profanity-check"
TIMEOUT_S = 600
"""Of a call of the child process: a batch takes seconds."""
CHILD = (
    "import json, sys; from profanity_check import predict_prob; "
    "print(json.dumps(predict_prob(json.load(sys.stdin)).tolist()))"
)


class ProfanityLabeler:
    """Rates a response by the probability that it has no offensive words; of two the cleaner one is preferred.

    Args:
        prompt: Takes no prompt.
        engine: Asks no model.

    Raises:
        PluginError: The classifier is not installed, or cannot be loaded.
    """

    name = "profanity"
    source = "classifier"

    def __init__(self, *, prompt: None = None, engine: None = None) -> None:
        self.prompt = prompt
        self.engine = engine
        try:
            self._version = version(PACKAGE)
        except PackageNotFoundError as error:
            raise PluginError(f"labeler=profanity: pip install {PACKAGE}, whose classifier it asks") from error

    @property
    def identity(self) -> str:
        """Content hash of the classifier's version."""
        return content_id(self.name, self._version)

    def check(self) -> None:
        """Ask the classifier once, before anything is trained.

        Raises:
            PluginError: It cannot be asked.
        """
        _p_offensive(["Good day."])

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """One rating per response, from 0 to 1: the probability that it is clean."""
        author = f"{self.name}:{self.identity}"
        return [
            Rating(
                prompt=prompt,
                completion=completion,
                distribution=(p, 1.0 - p),
                lowest=0.0,
                highest=1.0,
                labeler=author,
                source=self.source,
            )
            for prompt, completion, p in zip(
                prompts, completions, _p_offensive([completion.text for completion in completions]), strict=True
            )
        ]

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison: P(the first is clean and the second is not), equal ratings counting one half."""
        sides = [side for pair in comparisons for side in (pair.first, pair.second)]
        prompts = [pair.prompt for pair in comparisons for _ in range(2)]
        ratings = iter(self.rate(prompts, sides))
        return [preference_from_ratings(pair, next(ratings), next(ratings)) for pair in comparisons]


def _p_offensive(texts: Sequence[str]) -> list[float]:
    """The classifier's probability for each text, from a child process that has no environment of the run."""
    if not texts:
        return []
    command = [sys.executable, "-I", "-W", "ignore", "-c", CHILD]
    given = json.dumps(list(texts))
    try:
        child = subprocess.run(
            command, input=given, capture_output=True, text=True, env={}, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise PluginError(f"labeler=profanity: the classifier gave no answer in {TIMEOUT_S} s") from error
    if child.returncode:
        raise PluginError(f"labeler=profanity: the classifier could not be asked:\n{child.stderr.strip()[-2000:]}")
    try:
        found = [float(p) for p in json.loads(child.stdout)]
    except (ValueError, TypeError) as error:
        raise PluginError(f"labeler=profanity: the classifier answered {child.stdout[:200]!r}, no numbers") from error
    if len(found) != len(texts) or not all(0.0 <= p <= 1.0 for p in found):
        raise PluginError(f"labeler=profanity: the classifier gave {found[:5]} … for {len(texts)} texts")
    return found

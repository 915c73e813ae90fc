"""The contract of an engine as checks: ``rlaif-plugins check labeler/engine=NAME``."""

from __future__ import annotations

import math
import pickle

from rlaif.engines.base import Engine
from rlaif.outcome import OptionScores
from rlaif.testing.contract import CheckResult, require, run_checks
from rlaif.types import Sampling, Segment, StructuredPrompt

OPTIONS = ("1", "2")
TOLERANCE = 1e-4
"""Padding to another width moves the last digits of a float32 forward pass."""
MAX_NEW_TOKENS = 8


def check_engine(engine: Engine) -> list[CheckResult]:
    """Run every contract check on an engine; none of them raises. It is asked about forty short questions."""
    return run_checks(CHECKS, engine)


def prompt(candidate: str, *, about: str = "a kettle") -> StructuredPrompt:
    """A small judge prompt with one piece of data."""
    return StructuredPrompt(
        segments=(
            Segment(text=f"You judge texts about {about}. Say 1 if the text is good and 2 if it is bad.\n\nText:"),
            Segment(text=f" {candidate}", is_data=True),
            Segment(text="\n\nAnswer="),
        )
    )


PROMPTS = [prompt(text) for text in ("The kettle boils.", "No.", "It is a kettle, and a fine one, bought in spring.")]


def check_declares(engine: Engine) -> str:
    """Its identity is a text that does not change."""
    require(isinstance(engine.identity, str) and bool(engine.identity), "identity must be a text that is not empty")
    require(engine.identity == engine.identity, "identity changes between two reads")
    return f"identity {engine.identity}"


def check_scores(engine: Engine) -> str:
    """One answer per prompt; log-probabilities of options that exclude each other, at most 0 and together at most 1."""
    require(engine.score([], OPTIONS) == [], "no prompts must give no answers")
    scores = engine.score(PROMPTS, OPTIONS)
    require(len(scores) == len(PROMPTS), f"{len(scores)} answers for {len(PROMPTS)} prompts")
    for score in scores:
        require((score.logprobs is None) == (score.missing is not None), "give log-probabilities or a missing reason")
        if score.logprobs is not None:
            require(len(score.logprobs) == len(OPTIONS), f"{len(score.logprobs)} numbers for {len(OPTIONS)} options")
            require(all(x <= TOLERANCE for x in score.logprobs), f"a log-probability above 0: {score.logprobs}")
            total = sum(math.exp(x) for x in score.logprobs)
            require(total <= 1.0 + TOLERANCE, f"the options' probabilities sum to {total:.4g}")
    present = sum(score.missing is None for score in scores)
    require(present > 0, f"every answer is missing ({scores[0].missing})")
    return f"{present} of {len(scores)} prompts answered"


def check_order_of_options(engine: Engine) -> str:
    """The numbers follow the options as they are asked for."""
    ahead, behind = engine.score(PROMPTS, OPTIONS), engine.score(PROMPTS, OPTIONS[::-1])
    worst = max((_difference(a, _reversed(b)) for a, b in zip(ahead, behind, strict=True)), default=0.0)
    require(worst <= TOLERANCE, f"asked in the other order the options' numbers differ by {worst:.3g}")
    return "asked in either order alike"


def check_batch_invariance(engine: Engine) -> str:
    """An answer does not depend on the other prompts of the call."""
    together = engine.score(PROMPTS, OPTIONS)
    worst = max(_difference(a, engine.score([item], OPTIONS)[0]) for a, item in zip(together, PROMPTS, strict=True))
    require(worst <= TOLERANCE, f"one by one differs from a batch by {worst:.3g}, more than {TOLERANCE:g}")
    return f"one by one differs from a batch by {worst:.1g} at most"


def check_too_long(engine: Engine) -> str:
    """A prompt that cannot be answered neither raises nor touches its neighbours."""
    huge = prompt("kettle " * 200_000)
    alone = engine.score(PROMPTS, OPTIONS)
    mixed = engine.score([huge, *PROMPTS], OPTIONS)
    worst = max(_difference(a, b) for a, b in zip(alone, mixed[1:], strict=True))
    require(worst <= TOLERANCE, f"neighbours of a prompt of 1.4 MB change by {worst:.3g}")
    return f"a prompt of 1.4 MB: {mixed[0].missing or 'answered'}"


def check_generates(engine: Engine) -> str:
    """One text per prompt, within its limit, ended before a stop string; greedy twice is the same."""
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS, stop=("\n",))
    require(engine.generate([], sampling) == [], "no prompts must give no texts")
    texts = engine.generate(PROMPTS, sampling)
    require(len(texts) == len(PROMPTS), f"{len(texts)} texts for {len(PROMPTS)} prompts")
    for text in texts:
        require(text.missing is None or not text.text, "a missing text must be empty")
        require("\n" not in text.text, "the text goes on after the stop string")
        require(
            len(text.token_ids) <= MAX_NEW_TOKENS, f"{len(text.token_ids)} tokens where {MAX_NEW_TOKENS} are allowed"
        )
    again = engine.generate(PROMPTS, sampling)
    require([item.text for item in again] == [item.text for item in texts], "two greedy calls gave different texts")
    present = sum(text.missing is None for text in texts)
    require(present > 0, f"every text is missing ({texts[0].missing})")
    return f"{present} of {len(texts)} texts written"


def check_seeded(engine: Engine) -> str:
    """A sampled text depends on the seed and the prompt, not on its place in the call."""
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS, temperature=1.0, seed=7)
    forward = [item.text for item in engine.generate(PROMPTS, sampling)]
    backward = [item.text for item in engine.generate(PROMPTS[::-1], sampling)][::-1]
    require(forward == backward, "the same prompt and seed gave another text in another place of the call")
    return "equal seeds and prompts gave equal texts"


def check_rendered(engine: Engine) -> str:
    """The input of the model is equal for equal prompts and different for different ones."""
    rendered = [engine.rendered(item) for item in PROMPTS]
    require(all(isinstance(item, bytes) for item in rendered), "rendered must give bytes")
    require(rendered == [engine.rendered(item) for item in PROMPTS], "equal prompts are rendered differently")
    others = [engine.rendered(item) for item in (*PROMPTS, prompt("No.", about="a pan"), prompt("no."))]
    require(len(set(others)) == len(others), "different prompts are rendered alike: they would share cached answers")
    require(engine.num_tokens("a kettle that boils") > 0, "num_tokens of a text must be above 0")
    return f"{len(others)} prompts, {len(set(others))} renderings"


def check_picklable(engine: Engine) -> str:
    """It can be sent to another process and is the same engine there."""
    require(pickle.loads(pickle.dumps(engine)).identity == engine.identity, "the identity changed through pickle")
    return "same identity after pickle"


CHECKS = {
    "declares itself": check_declares,
    "scores": check_scores,
    "order of options": check_order_of_options,
    "batch invariance": check_batch_invariance,
    "too long": check_too_long,
    "generates": check_generates,
    "seeded": check_seeded,
    "rendered": check_rendered,
    "picklable": check_picklable,
}


def _reversed(score: OptionScores) -> OptionScores:
    logprobs = None if score.logprobs is None else score.logprobs[::-1]
    return OptionScores(logprobs=logprobs, missing=score.missing)


def _difference(a: OptionScores, b: OptionScores) -> float:
    """Largest difference of probabilities; both missing is none."""
    require((a.logprobs is None) == (b.logprobs is None), f"missing ({a.missing or b.missing}) only once")
    if a.logprobs is None or b.logprobs is None:
        return 0.0
    return max(abs(math.exp(x) - math.exp(y)) for x, y in zip(a.logprobs, b.logprobs, strict=True))

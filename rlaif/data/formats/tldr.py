"""Comparisons of summaries of Reddit posts (arXiv 2009.01325)."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError, OtherTaskError, chosen_and_rejected, label_of
from rlaif.data.formats.fields import fields_of, number_of, text_of
from rlaif.errors import DataError


def parse_tldr(values: Mapping[str, object]) -> LabeledPair:
    """A comparison of two summaries of a Reddit post (arXiv 2009.01325), in the query format of its authors.

    Comparisons of news articles (the CNN/DM batches) are of another task. Source: openai/summarize-from-feedback,
    ``summarize_from_feedback/utils/experiment_helpers.py``.
    """
    if "cnndm" in str(values.get("batch", "")):
        raise OtherTaskError("news article, no post", str(values["batch"]))
    info, summaries = fields_of(values, "info"), values["summaries"]
    if not isinstance(summaries, list) or len(summaries) != 2:
        raise DataError(f"summaries is {summaries!r:.40}; expected a list of two")
    if not info.get("post"):
        raise OddRowError("empty prompt")
    prompt = f"SUBREDDIT: r/{info.get('subreddit')}\n\nTITLE: {info.get('title')}\n\nPOST: {info['post']}"
    texts = [text_of(fields_of({"summaries": summary}, "summaries"), "text").removeprefix(" ") for summary in summaries]
    choice = values["choice"]
    with label_of(prompt, *texts):
        if choice not in (0, 1):
            raise OddRowError("no choice", str(choice))
        confidence = number_of(fields_of(values, "extra"), "confidence") if values.get("extra") else None
    return chosen_and_rejected(prompt, texts[choice], texts[1 - choice], confidence)


LAYOUT = Layout(parse_tldr, (("info", "summaries", "choice"),), has_confidence=True)

"""Human preferences from the hub, without the hub."""

import pytest

import rlaif.data.sources.hub as hub
from rlaif.data.sources.hub import HubSource
from rlaif.errors import ConfigError, DataError
from rlaif.tasks.base import HarmlessDialogue, Summarization


def tldr_row(number: int, *, choice: int = 1, confidence: int | None = 8, batch: str = "batch3") -> dict:
    return {
        "info": {"id": str(number), "post": f"Post {number}.", "title": "A title", "subreddit": "advice"},
        "summaries": [
            {"text": f" Left {number}.", "policy": "sup", "note": None},
            {"text": f" Right {number}.", "policy": "ref", "note": None},
        ],
        "choice": choice,
        "worker": "w",
        "batch": batch,
        "split": "train",
        "extra": {"confidence": confidence},
    }


def serve(monkeypatch, rows: list[dict]) -> list[tuple[str, str]]:
    asked = []

    def load_rows(table, split):
        asked.append((table.repo, table.files.format(split=split)))
        return rows

    monkeypatch.setattr(hub, "load_rows", load_rows)
    return asked


def test_tldr_rows_keep_confidence_and_leave_news_out(monkeypatch):
    rows = [tldr_row(i, choice=i % 2, confidence=1 + i % 9) for i in range(90)]
    asked = serve(monkeypatch, [*rows, tldr_row(90, batch="batch0_cnndm"), tldr_row(91, batch="cnndm2")])
    source = HubSource("tldr", eval_fraction=0.3, eval_confidences=(1, 2, 8, 9))
    data = source.load(Summarization())
    assert asked == [("openai/summarize_from_feedback", "comparisons/train/*.parquet")]
    assert data.skipped.num_rows == 92 and data.skipped.counts == {"other batch": 2}
    assert data.label_prompts[0].text.startswith("SUBREDDIT: r/advice\n\nTITLE: A title\n\nPOST: Post ")
    for preference in data.preferences:
        assert preference.p_first is not None and preference.confidence is not None
        chosen = preference.comparison.first if preference.p_first == 1.0 else preference.comparison.second
        number = int(chosen.text.split()[1].rstrip("."))
        assert chosen.text == f"{('Left', 'Right')[number % 2]} {number}."
        assert preference.confidence == 1 + number % 9
    assert {preference.confidence for preference in data.preferences} == set(range(1, 10))
    assert {preference.confidence for preference in data.eval_preferences} <= {1, 2, 8, 9}
    assert source.identity != HubSource("tldr", eval_fraction=0.3).identity


def test_hh_is_read_as_from_a_file(monkeypatch):
    context = "\n\nHuman: Hi {}\n\nAssistant:"
    rows = [{"chosen": context.format(i) + " a", "rejected": context.format(i) + " b"} for i in range(20)]
    asked = serve(monkeypatch, [*rows, {"chosen": context + "", "rejected": context + " b"}])
    data = HubSource("hh_harmless", split="test").load(HarmlessDialogue())
    assert asked == [("Anthropic/hh-rlhf", "harmless-base/test.jsonl.gz")]
    assert data.skipped.counts == {"empty response": 1}
    assert data.skipped.examples == ("hh_harmless/test:21: empty response",)
    assert {demonstration.response for demonstration in data.demonstrations} == {"a"}


def test_without_a_network_the_way_out_is_named(monkeypatch):
    def unreachable(table, split):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(hub, "load_rows", unreachable)
    message = r"data\.dataset=hh_helpful \(Anthropic/hh-rlhf, train\): cannot be loaded .* use data=files"
    with pytest.raises(DataError, match=message):
        HubSource("hh_helpful").load(HarmlessDialogue())


def test_wrong_options_are_explained():
    with pytest.raises(ConfigError, match=r"data\.dataset=shp: allowed are hh_harmless, hh_helpful, tldr"):
        HubSource("shp")
    with pytest.raises(ConfigError, match=r"data\.split=validation: allowed are train, test"):
        HubSource("hh_helpful", split="validation")
    with pytest.raises(ConfigError, match=r"data\.eval_confidences"):
        HubSource("hh_helpful", eval_confidences=(9,))

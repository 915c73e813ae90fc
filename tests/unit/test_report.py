"""The report: what it says, that it needs nothing outside, and that it is the same twice."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rlaif.errors import StoreError
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.probe import attack_table, probe_checks
from rlaif.evaluation.records import (
    CurvePoint,
    Curves,
    LabelSamples,
    PFirstHistogram,
    ReliabilityBin,
    ReliabilityDiagram,
    SideBySide,
    SideBySideRow,
    Table,
    Text,
    ValidationCurves,
)
from rlaif.evaluation.win_rate import policy_verdict
from rlaif.reporting.page import figures_json, render_html, write_page
from rlaif.reporting.page_content import Page, RunInfo
from rlaif.reporting.plots import rates_with_intervals
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }} \ud800"
SIMULATED = "simulated annotators; 3 raters per prompt, ties count ½"


def figures(low: float = 0.67) -> tuple[Figure, ...]:
    return (
        Figure(name="policy/win_rate_vs_sft", value=0.71, low=low, high=0.75, n=400, note=SIMULATED),
        Figure(name="policy/win_rate_vs_sft/seen", value=0.72, low=0.66, high=0.78, n=320, note=SIMULATED),
        Figure(name="policy/harmless_rate", value=0.87, low=0.84, high=0.9, n=400, note=SIMULATED),
        Figure(name="labeler/missing_rate", value=0.3, low=0.28, high=0.32, n=2000, note=EVIL),
        Figure(name="policy/kl", value=6.25, n=400),
        Figure(name="time/labels", value=71.5),
    )


def label(missing: str | None = None) -> Preference:
    comparison = Comparison(
        prompt=Prompt(task="dialogue", text=EVIL), first=Completion(text=EVIL), second=Completion(text="plain")
    )
    given = Judgment(order="given", prompt="…", reply="because " + EVIL, p_slot1=0.875)
    swapped = Judgment(order="swapped", prompt="…", p_slot1=None if missing else 0.375, missing=missing)
    return Preference(
        comparison=comparison,
        p_first=None if missing else 0.75,
        missing=missing,
        judgments=(given, swapped),
        labeler="cot_pairwise",
        source="ai",
    )


@pytest.fixture(scope="module")
def report() -> Page:
    diagrams = [
        ReliabilityDiagram(
            title=title,
            judged_by="simulated annotators",
            bins=(ReliabilityBin(predicted=0.2, observed=0.3, count=4),),
        )
        for title in ("Labeler", "Reward model")
    ]
    row = SideBySideRow(prompt=EVIL, sft=EVIL, policy=EVIL, label=label(), annotators=2 / 3)
    return Page(
        title="Canonical RLAIF " + EVIL,
        task="harmless_dialogue",
        verdict=policy_verdict(figures(), "harmless_dialogue"),
        figures=figures(),
        checks=tuple(run_checks(figures())),
        sections=(
            SideBySide(rows=(row,)),
            *diagrams,
            Curves(points=tuple(CurvePoint(step=i, reward=i / 10, kl=i / 5, length=None) for i in range(20))),
            ValidationCurves(win_rates={EVIL: ((0, 0.5), (4, 0.7))}, rewards=((0, 0.1), (4, 0.3)), title=EVIL),
            LabelSamples(labels=(label(), label("no option " + EVIL))),
            PFirstHistogram(p_first=(0.1, 0.5, 0.9)),
        ),
        run=RunInfo(
            command="rlaif-run task=harmless_dialogue",
            provenance={"sft": "3f9a77c2b1d0", "note": EVIL},
            stage_seconds={"sft": 0.0, "labels": 71.5},
            config="seed: 0  # " + EVIL,
        ),
    )


class ParsedPage(HTMLParser):
    """Tags, attributes and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open = tag
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on")

    def handle_data(self, data: str) -> None:
        if self._open == "h2" and data.strip():
            self.headings.append(data.strip())
            self._open = ""


def test_page_is_self_contained(report: Page) -> None:
    text = render_html(report)
    page = ParsedPage(text)
    assert all(link.startswith("#") for link in page.links) and page.links
    assert not re.search(r"https?:|//\w|@import|javascript:", text)
    assert re.findall(r"url\((?!#)", text) == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("svg") == 8
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_text_of_models_is_escaped(report: Page) -> None:
    text = render_html(report)
    assert "<script" not in text and "alert(&#39;x&#39;)" in text
    assert "{{ 7 * 7 }}" in text, "text is data, never a template"


def test_text_of_a_language_from_right_to_left_stands_so(report: Page) -> None:
    assert "pre, td, summary { unicode-bidi: plaintext; }" in render_html(report)


def test_a_name_in_another_script_gives_no_warning() -> None:
    figure = Figure(name="policy/win_rate_vs_sft", value=0.7, low=0.6, high=0.8, n=40, note="LLM judge 模型")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = render_html(Page(title="x", task="dialogue", verdict="", figures=(figure,)))
    assert "judged by LLM judge 模型</text>" in text


def test_a_word_without_a_break_stays_in_the_page(report: Page) -> None:
    assert ".checks div, .orders dd { overflow-wrap: anywhere; }" in render_html(report), "both lie in flex boxes"


def test_what_was_cut_stands_below_the_verdict(report: Page) -> None:
    assert '<ul class="notes">' not in render_html(report)
    page = render_html(replace(report, notes=("samples: 3 of 4 prompts are <longer>",)))
    assert page.index("</h1>") < page.index("samples: 3 of 4 prompts are &lt;longer&gt;") < page.index("</header>")


def test_failed_checks_stand_first_and_both_orders_are_shown(report: Page) -> None:
    text = render_html(report)
    headings = ParsedPage(text).headings
    assert headings[0] == "Failed checks"
    assert headings.index("Win rates") < headings.index("Figures") < headings.index("Provenance")
    assert "<dd>0.88</dd>" in text and "<dd>0.62</dd>" in text and "<dd>0.75</dd>" in text
    assert "missing: no option" in text and "Rationale, as given" in text
    assert "Preferred by 67 % of the simulated annotators." in text
    assert "reused from store" in text


def test_a_probe_has_a_row_for_each_attack_and_marks_what_failed() -> None:
    rates = {"flip_rate": 0.17, "flip_rate/echo": 0.04, "flip_rate/choose_1": 0.3, "win_rate_vs_good/choose_1": 0.41}
    probed = tuple(
        Figure(name=f"probe/{name}", value=value, low=value - 0.01, high=value + 0.01, n=30, note="planted:7f3a")
        for name, value in rates.items()
    )
    lost = Preference(
        comparison=Comparison(
            prompt=Prompt(task="dialogue", text="?"),
            first=Completion(text="good"),
            second=Completion(text="", source="attack:empty"),
        ),
        p_first=0.25,
    )
    sections = (attack_table(probed), LabelSamples(labels=(lost,)))
    text = render_html(
        Page(
            kind="probe",
            title="probe",
            task="dialogue",
            verdict="",
            figures=probed,
            checks=tuple(probe_checks(probed, 0.1)),
            sections=sections,
        )
    )
    table = text[text.index("<h2>Attacks</h2>") : text.index("<h2>Figures</h2>")]
    rows = [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
    assert [row[0] for row in rows] == ["Attack", "echo", "choose_1"]
    assert rows[1][-4:] == ["4.0", "%", "3.0–5.0", "–"]
    assert rows[2][-6:] == ["30.0", "%", "29.0–31.0", "41.0", "%", "40.0–42.0"]
    assert re.findall(r'failed">([\d.]+)', table) == ["30.0"]
    assert table.count("judged by planted:7f3a") == 1
    assert "flip rate · " not in text[text.index("<h2>Figures</h2>") :]
    assert "Second · the attack empty" in text and '<span class="hint">empty</span>' in text


def test_an_empty_report_has_no_empty_sections() -> None:
    empty = (
        Curves(points=()),
        ValidationCurves(win_rates={}),
        PFirstHistogram(p_first=()),
        LabelSamples(labels=()),
        SideBySide(rows=()),
    )
    page = Page(title="SFT only", task="dialogue", verdict=policy_verdict([], "dialogue"), sections=empty)
    text = render_html(page)
    assert "<section>" not in text and "no win rate was measured" in text


def test_sections_of_one_type_stand_together_in_the_order_given_and_their_ids_differ() -> None:
    """Rounds of training hand over several curves; the order of other types among them does not matter."""
    points = tuple(CurvePoint(step=step, reward=float(step)) for step in range(3))
    bins = (ReliabilityBin(predicted=0.2, observed=0.3, count=4),)
    diagram = ReliabilityDiagram(title="Labeler", judged_by="people", bins=bins)
    sections = (
        Curves(points=points, title="Round 1"),
        diagram,
        PFirstHistogram(p_first=(0.2,), title="Labels 1"),
        Curves(points=points, title="Round 2"),
        ValidationCurves(win_rates={"seen, greedy": ((0, 0.5), (1, 0.6))}, title="Validation 1"),
        ValidationCurves(win_rates={}, rewards=((0, 0.5), (1, 0.6)), title="Validation 2"),
        diagram,
        PFirstHistogram(p_first=(0.2,), title="Labels 2"),
    )
    parsed = ParsedPage(render_html(Page(title="rounds", task="dialogue", verdict="", sections=sections)))
    assert parsed.headings == ["Labels and calibration", "Validation 1", "Validation 2", "Round 1", "Round 2"]
    assert len(set(parsed.ids)) == len(parsed.ids) and parsed.tags.count("svg") == 8


def test_the_path_of_a_judges_model_leaves_a_plot_its_room() -> None:
    judge = "LLM judge /data/" + "a-folder-with-a-long-name/" * 6 + "checkpoint-9"
    names = ("policy/win_rate_vs_sft", "policy/win_rate_vs_sft_llm_judge")
    figures = [
        Figure(name=name, value=0.6, low=0.5, high=0.7, n=9, note=f"{who}; x")
        for name, who in zip(names, ("people", judge), strict=True)
    ]
    svg = str(rates_with_intervals(figures, name="win-rates", parity=True))
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert max(map(len, shown)) == 48
    assert any(text.startswith("LLM judge /data/") and text.endswith("/checkpoint-9") for text in shown)
    assert judge in svg, "whole in the description"
    page = render_html(Page(title="x", task="dialogue", verdict="v", figures=tuple(figures)))
    assert f'<td class="judge">{judge}' in page, "and in the table"


def test_plain_sections_are_shown_as_data() -> None:
    table = Table(title="Filtered", columns=("reason", "pairs"), rows=((EVIL, "3"),), hint="Pairs left out.")
    page = Page(title="t", task="dialogue", verdict="", sections=(table, Text(title="Note", text=f"One.\n\n{EVIL}")))
    text = render_html(page)
    assert ParsedPage(text).headings == ["Filtered", "Note"]
    assert "<script" not in text and text.count("alert(&#39;x&#39;)") == 2 and text.count("<p>") == 2


def test_written_twice_is_the_same_bytes(report: Page, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = write_page(report, tmp_path / name)
        assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.json"]
        contents.append((path.read_bytes(), (path.parent / "report.json").read_bytes()))
    assert contents[0] == contents[1]
    turned = dataclasses.replace(report, figures=report.figures[::-1])
    assert figures_json(turned.figures).encode("utf-8", "backslashreplace") == contents[0][1]


def test_report_json_schema() -> None:
    records = json.loads(figures_json(figures()))
    assert [record["name"] for record in records] == sorted(figure.name for figure in figures())
    for record in records:
        assert set(record) - {"note"} == {"name", "value", "low", "high", "n"}
    kl = next(record for record in records if record["name"] == "policy/kl")
    assert kl == {"name": "policy/kl", "value": 6.25, "low": None, "high": None, "n": 400}
    assert figures_json([]) == "[]\n"


def test_undefined_or_doubled_figures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy/kl: nan .* not finite"):
        figures_json([Figure(name="policy/kl", value=math.nan)])
    with pytest.raises(ValueError, match="given twice"):
        figures_json([Figure(name="policy/kl", value=1.0)] * 2)


def test_unwritable_directory_is_a_clear_error(report: Page, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_page(report, tmp_path / "file")


def test_checks_read_intervals_and_limits() -> None:
    checks = {check.figure: check for check in run_checks(figures(low=0.49))}
    assert not checks["policy/win_rate_vs_sft"].passed
    assert "contains 50 %" in checks["policy/win_rate_vs_sft"].detail
    assert not checks["labeler/missing_rate"].passed
    assert "labeler/alignment" not in checks, "what was not measured is not checked"
    relaxed = run_checks(figures(), CheckLimits(max_missing_rate=0.3))
    assert all(check.passed for check in relaxed)
    assert [check.passed for check in run_checks(figures())] == [False, True]


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [(0.7, 0.6, 0.8, "better than"), (0.51, 0.47, 0.54, "about as good as"), (0.3, 0.2, 0.4, "worse than")],
)
def test_verdict_in_words(value: float, low: float, high: float, words: str) -> None:
    figure = Figure(name="policy/win_rate_vs_sft", value=value, low=low, high=high, n=1200, note=SIMULATED)
    sentence = policy_verdict([figure], "harmless_dialogue")
    assert sentence.startswith(f"In harmless dialogue the policy is {words} the SFT policy")
    assert sentence.endswith("1,200 prompts), judged by simulated annotators.")

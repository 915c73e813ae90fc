"""Votes: the last unambiguous verdict of a message, in the forms that chat models use."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlaif.engines.openai.verdicts import in_ascii
from rlaif.engines.openai.votes import read_vote

PAIR = ("1", "2")
SCALE = tuple(str(score) for score in range(1, 11))
RANKINGS = ("1 2 3", "1 3 2", "2 1 3", "2 3 1", "3 1 2", "3 2 1")

FIRST = (
    "<think>\nSummary 2 leaves out the event.\n</think>\n\n1",
    "It is shorter.</think>\n**1**",
    "**1**",
    "__1__",
    "`1`",
    '"1"',
    "“1”.",
    "(1)",
    "1)",
    "# 1",
    "> 1",
    "- 1",
    "1!",
    "$1$",
    "```\n1\n```",
    "1<|im_end|>",
    "Better Response=1",
    "Better Summary=1\n",
    "Preferred Response=1",
    "**Better Response=1**",
    "Better Response = **1**",
    "Better Response: 1\n\nIt tells more than Response 2.",
    "Better Summary=Summary 1",
    "Response 1",
    "**Response 1**",
    "Summary #1",
    "Assistant 1.",
    "\\boxed{1}",
    "$\\boxed{1}$.",
    "\\boxed{\\text{Response 1}}",
    "[[1]]",
    "My verdict is [[1]].",
    "<answer>1</answer>",
    "Answer: 1",
    "answer: 1.",
    "**Answer:** 1",
    "Final Answer:\n\n1",
    "Final answer → 1",
    "The answer is 1.",
    "The final answer is **1**.",
    "So my choice is Response 1.",
    "The better response is 1.",
    "The better one is Response 1.",
    "Winner: Response 1",
    "Verdict: 1 (it covers the event)",
    "Answer: 1 - it covers the event.",
    "Answer: 1, because it covers the event.",
    "Answer: Response 1 is better.",
    "Response 1 is better",
    "Response 1 is better.",
    "Response 1 is better than Response 2.",
    "Response 1 is clearly the better response overall.",
    "Overall, Response 1 is slightly better than response 2, because it names the plan.",
    "I think that Response 1 is better.",
    "Based on these points, Summary 1 is the better summary.",
    "I prefer Response 1.",
    "I would choose Response 1 over Response 2.",
    "Response 1 wins.",
    '{"answer": 1}',
    '{"answer": "1", "reason": "Response 2 {sic} is long"}',
    '```json\n{\n  "better_response": "Response 1"\n}\n```',
    '{"explanation": "2 is longer", "winner": 1}',
    "1\n\nThe first tells what happened.",
    "1 because it is shorter.",
    "Response 2 is better at detail.\nResponse 1 is better at accuracy.\n\nAnswer: 1",
    "**Response 1**\nClear.\n\n**Response 2**\nToo long.\n\nBetter Response=1",
    "Answer: 2\n\nThat misses the plan. Final answer: 1",
    "Better Summary=2\n\nExample\nBetter Summary=1",
    "Both have 2 sentences.\n\n1",
    "Compare the 2 summaries in 10 words.\n\n**Answer: 1**",
)
NOT_READABLE = (
    "",
    " \n ",
    "one",
    "the first",
    "1 or 2",
    "between 1 and 2",
    "1/2",
    "1, 2",
    "1 and 2",
    "1 2",
    "1-2",
    "1?",
    "10",
    "12",
    "11.",
    "1.5",
    "1%",
    "-1",
    "1st",
    "3",
    "not 1",
    "Not 1.",
    "The answer is not 1.",
    "The answer isn't 1.",
    "I do not think the answer is 1.",
    "It is not true that Response 1 is better.",
    "If brevity matters, Response 1 is better.",
    "The answer is 1 or 2.",
    "Answer: 1 or 2",
    "Answer: 1 (or 2)",
    "Answer: 1, or maybe 2",
    "Answer: neither",
    "Answer: probably 1",
    "Answer: 10",
    "Answer:",
    "Better Response=",
    "Better Response=1 or 2",
    "Response 1 is not better.",
    "Response 1 is worse than Response 2.",
    "Response 1 is better in clarity, Response 2 in accuracy.",
    "Response 1 is better. Response 2 is better.",
    "Is Response 1 better?",
    "Response 1\nResponse 2",
    "**Response 1**\nClear.\n\n**Response 2**\nLong.",
    "1.\nClear.\n2.\nLong.",
    "It says so in 2 sentences.",
    "Response 1 says it in 2 sentences.",
    "There are 2 summaries; the better one is clear.",
    "\\boxed{1 \\text{ or } 2}",
    "\\boxed{1} and [[2]]",
    "[[C]]",
    "Answer: 1 (tie)",
    "Answer: 1 - a tie",
    "1 (both are fine)",
    '{"winner": "2", "winner": "1"}',
    "[[1]] [[1,2]]",
    '{"answer": 3}',
    '{"answer": null}',
    '{"answer": true}',
    '{"answer": [1, 2]}',
    '{"answer": 1, "winner": 2}',
    '{"score": 1}',
    '{"answer": 1.5}',
    "<answer>1 or 2</answer>",
    "Answer: 1\n\nWait, Response 2 names the plan.",
    "The answer is 1. No, it is the other.",
    "If it must be short, the answer is 1. If it must be whole, the answer is 2 or both.",
    "<think>1",
    "Answer: 1\n<think>No, it is",
    "1\n\nI am not sure that the answer is 1.",
    "2. Response 1 is better.",
    "<think>The answer is 1",
    "<think>1</think>",
    "analysisThe answer is 1",
    "Score: 1",
    "Worse Response: 1",
)


def swapped(text: str) -> str:
    return text.translate(str.maketrans("12", "21"))


@pytest.mark.parametrize("text", FIRST)
def test_a_verdict_is_read_and_names_the_other_option_when_the_numbers_change_places(text: str) -> None:
    assert read_vote(text, PAIR) == "1"
    assert read_vote(swapped(text), PAIR) == "2"


@pytest.mark.parametrize("text", NOT_READABLE)
def test_what_is_ambiguous_is_not_read(text: str) -> None:
    assert read_vote(text, PAIR) is None
    assert read_vote(swapped(text), PAIR) is None


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("7", "7"),
        ("10", "10"),
        ("1", "1"),
        ("1/10", "1"),
        ("7/10", "7"),
        ("10/10", "10"),
        ("**7/10**", "7"),
        ("7 out of 10", "7"),
        ("Score: 7/10", "7"),
        ("Score=7", "7"),
        ("**Rating:** 7", "7"),
        ("Rating: [[7]]", "7"),
        ("The score is 7.", "7"),
        ("Overall score: 7 out of 10.", "7"),
        ("I would give it a score of 7 out of 10.", "7"),
        ("I would rate this response a 7.", "7"),
        ("This response deserves a 7/10.", "7"),
        ('{"score": 7, "reason": "2 slips"}', "7"),
        ("Clarity: 9/10\nAccuracy: 8/10\n\nOverall: 7/10", "7"),
        ("It has 2 slips and 3 sentences.\n\nScore: 7", "7"),
        ("7.5/10", None),
        ("7-8", None),
        ("7 or 8", None),
        ("11", None),
        ("0/10", None),
        ("7/5", None),
        ("7/100", None),
        ("It has 2 slips.", None),
        ("Response 1", None),
        ("Score: about 7", None),
    ],
)
def test_scores(text: str, score: str | None) -> None:
    assert read_vote(text, SCALE) == score


@pytest.mark.parametrize(
    ("text", "option", "options"),
    [
        ("Good.", "good", ("bad", "good")),
        ("Verdict: bad", "bad", ("bad", "good")),
        ("Verdict=Good", "good", ("bad", "good")),
        ("not good", None, ("bad", "good")),
        ("It is good, not bad.", None, ("bad", "good")),
        ("2 1 3", "2 1 3", RANKINGS),
        ("Ranking=2 1 3", "2 1 3", RANKINGS),
        ("Ranking: 2 > 1 > 3", "2 1 3", RANKINGS),
        ("2, 1, 3", "2 1 3", RANKINGS),
        ("2 1", None, RANKINGS),
        ("2 1 3 4", None, RANKINGS),
        ("[[A]]", "A", ("A", "B")),
        ("Answer: A", "A", ("A", "B")),
        ("Answer: a tie", None, ("A", "B")),
        ("a", None, ("A", "B")),
        ("yes.", "yes", ("yes", "no")),
        ("10", "10", ("1", "10")),
        ("1", "1", ("1", "10")),
    ],
)
def test_other_options(text: str, option: str | None, options: tuple[str, ...]) -> None:
    assert read_vote(text, options) == option


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("More harmful Response=1", "1"),
        ("1", "1"),
        ("Answer: 1", "1"),
        ("Response 1 is more harmful than Response 2.", "1"),
        ("Response 1 is worse.", "1"),
        ("Response 1 is better.", None),
        ("I prefer Response 1.", None),
        ("Better Response: 1", None),
        ("Preference: 1", None),
    ],
)
def test_where_the_worse_response_is_asked_for_praise_is_no_answer(text: str, vote: str | None) -> None:
    assert read_vote(text, PAIR, asks_for_worse=True, ending="More harmful Response=") == vote


YES_OR_NO = ("no", "yes")


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("Yes, it does.", "yes"),
        ("**Yes**, the response meets the criterion.", "yes"),
        ("Yes. The response answers the question, and says no more.", "yes"),
        ("Yes it does.", "yes"),
        ("Yes, the response is polite. However, it is long.", "yes"),
        ("No, it is not polite.", "no"),
        ("No - it names no date", "no"),
        ("No; the date is lacking.", "no"),
        ("No—the date is lacking.", "no"),
        ("Answer: Yes, it does.", "yes"),
        ("Answer=No, the date is lacking.", "no"),
        ('{"answer": "No, the date is lacking."}', "no"),
        ("Yes, it names one.\n\nFinal answer: no", "no"),
        ("Yes and no.", None),
        ("Yes, but it is rude.", None),
        ("Yes, partially.", None),
        ("Yes, and no.", None),
        ("Yes, to some extent.", None),
        ("Yes or no?", None),
        ("Yes/No", None),
        ("Yes, it does. No, wait, it does not.", None),
        ("Yes, it does. Wait, it names no date.", None),
        ("Yes. Wait, it names no date.", None),
        ("Yes. No, it names no date.", None),
        ("No, I cannot judge this.", None),
        ("Yes, I can help with that. Please send the response.", None),
        ("No answer can be given.", None),
        ("It does. Yes, it does.", None),
        ("Nothing speaks against it.", None),
    ],
)
def test_an_answer_in_words_may_be_explained(text: str, vote: str | None) -> None:
    assert read_vote(text, YES_OR_NO) == vote


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("Good. It answers the question.", "good"),
        ("Bad! It is rude.", "bad"),
        ("Good, but long.", None),
        ("Good points are rare.", None),
    ],
)
def test_of_other_words_the_first_sentence_must_be_the_answer(text: str, vote: str | None) -> None:
    assert read_vote(text, ("bad", "good")) == vote


@pytest.mark.parametrize("text", ["２", "٢", "२", "答：２", "答＝２。", "\\boxed{２}"])
def test_digits_of_other_scripts(text: str) -> None:
    assert read_vote(text, PAIR, ending="答:") == "2"
    assert read_vote("１０", PAIR) is None and read_vote("１０", SCALE) == "10"


def test_the_end_of_ones_own_prompt_is_a_name() -> None:
    assert read_vote("Treffender ist Antwort=2", PAIR) is None
    assert read_vote("Treffender ist Antwort=2", PAIR, ending="Treffender ist Antwort=") == "2"


@pytest.mark.parametrize(
    ("text", "options", "vote"),
    [
        ("1", PAIR, "1"),
        ("1", ("1", "10"), None),  # it may have gone on as 10
        ("**1**\n\nThe first response tells", PAIR, "1"),
        ("Better Response=1\n\nIt", PAIR, "1"),
        ("Response 1 is better on clarity, but Response", PAIR, None),
        ("I compare them.\n\nAnswer: 1", PAIR, None),
        ("Answer: 1", PAIR, None),
        ("<think>a</think>1\n\nIt", PAIR, "1"),
        ("**Response 1**\n- It answers the question clearly, with", PAIR, None),  # a heading
        ("### Response 1\nIt", PAIR, None),
        ("Option 1\nis", PAIR, None),
    ],
)
def test_of_a_cut_message_counts_what_no_further_word_can_change(
    text: str, options: tuple[str, ...], vote: str | None
) -> None:
    assert read_vote(text, options, finished=False) == vote


OPTION_SETS = st.sampled_from([PAIR, SCALE, ("bad", "good"), ("A", "B"), RANKINGS, ("yes", "no", "tie")])
PIECES = st.sampled_from(
    [
        *("Answer: ", "Response ", "is better", " than ", "\\boxed{", "}", "[[", "]]", "{", '"answer"', ": ", "="),
        *("\n", ". ", "Score", "/", "**", "<answer>", "</answer>", "</think>", "I prefer ", "Better Response="),
        *(" out of ", ", ", "x"),
    ]
)
MESSAGES = st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join)


@settings(max_examples=400, deadline=None)
@given(options=OPTION_SETS, text=MESSAGES)
def test_a_text_without_an_option_is_never_a_vote(options: tuple[str, ...], text: str) -> None:
    words = {word for option in options for word in option.split()}
    assume(not any(word.casefold() in in_ascii(text).casefold() for word in words))
    assert read_vote(text, options) is None


@settings(max_examples=400, deadline=None)
@given(text=st.lists(PIECES | st.sampled_from(["1", "2", " 1", " 2", "not ", " or "]), max_size=10).map("".join))
def test_no_number_is_favoured(text: str) -> None:
    vote = read_vote(text, PAIR)
    assert read_vote(swapped(text), PAIR) == (None if vote is None else swapped(vote))


@settings(max_examples=300, deadline=None)
@given(thought=MESSAGES, answer=st.sampled_from(["1", "**2**", "Answer: 1", "hm"]))
def test_what_was_thought_changes_no_vote(thought: str, answer: str) -> None:
    assume("<" not in thought and "assistantfinal" not in thought)
    assert read_vote(f"<think>{thought}</think>\n{answer}", PAIR) == read_vote(answer, PAIR)


@pytest.mark.parametrize(
    "word", ["after ", "overall ", "[", "{", "*", "(", "Response 1 ", "<think>", "1 - ", "\\boxed{"]
)
def test_long_messages_are_read(word: str) -> None:
    assert read_vote(word * 20_000, PAIR) is None

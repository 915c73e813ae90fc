"""Words that people write for the better response and for good and bad ones, and how values compare."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

COMMON_WORDS: Mapping[str, float | None] = {
    **dict.fromkeys(
        (
            *("first", "a", "left", "model_a", "response_a", "output_a", "answer_a", "option_a", "assistant_a"),
            *("a>b", "a>>b", "[[a]]", "a is better", "response 1", "response_1", "response-1", "output_1", "answer1"),
            *("completion_a", "summary_a", "text1", "model 1", "a wins", "model a", "response a", "assistant a"),
        ),
        1.0,
    ),
    **dict.fromkeys(
        (
            *("second", "b", "right", "model_b", "response_b", "output_b", "answer_b", "option_b", "assistant_b"),
            *("b>a", "b>>a", "a<b", "[[b]]", "b is better", "response 2", "response_2", "response-2", "output_2"),
            *("answer2", "completion_b", "summary_b", "text2", "model 2", "b wins", "model b", "response b"),
            "assistant b",
        ),
        0.0,
    ),
    **dict.fromkeys(
        (
            *(
                "tie",
                "tied",
                "draw",
                "equal",
                "same",
                "both",
                "neither",
                "a=b",
                "b=a",
                "[[c]]",
                "tie (bothbad)",
                "tie (inconsistent)",
            ),
            *("both are good", "both are bad", "both good", "both bad", "bothbad", "both_good", "both_bad", "similar"),
            *("no preference", "equally good", "equally bad", "about the same"),
        ),
        0.5,
    ),
    **dict.fromkeys(("none", "null", "nan", "n/a", "na", "skip", "skipped", "unsure", "unknown"), None),
}
"""Words that people write for the better response; no numbers, whose meaning nobody can see."""
_BETWEEN = re.compile(r"[\s_-]+")
_JOINED_WORDS = {_BETWEEN.sub("", word): meaning for word, meaning in COMMON_WORDS.items()}
_MUCH_BETTER = re.compile(
    r"( is)?( slightly| much| significantly| clearly| somewhat| a (bit|little|lot))? better$| wins$"
)
"""How sure a person was; the label is the order alone."""
_AROUND_A_WORD = "*_.()[]<>\"'`:! "
_BEFORE_A_WORD = ("option ", "response ", "answer ", "assistant ", "model ", "output ", "summary ", "completion ")


def common_word(word: str) -> float | bool | None:
    """The meaning of a word of :data:`COMMON_WORDS`, whatever stands around it; False for another word.

    >>> common_word("**b**."), common_word("option a"), common_word("(tie)"), common_word("7")
    (0.0, 1.0, 0.5, False)
    >>> common_word("response 1 is slightly better"), common_word("b is much better")
    (1.0, 0.0)
    """
    plain = _MUCH_BETTER.sub("", word.strip(_AROUND_A_WORD))
    shorter = next((plain.removeprefix(start) for start in _BEFORE_A_WORD if plain.startswith(start)), plain)
    for known in (word, plain, shorter.strip(_AROUND_A_WORD)):
        if known in COMMON_WORDS:
            return COMMON_WORDS[known]
    return _JOINED_WORDS.get(_BETWEEN.sub("", plain), False)


_GOOD = "good yes y up thumbs_up thumbsup 👍 positive desirable chosen accepted like liked upvote pass correct"
_BAD = "bad no n down thumbs_down thumbsdown 👎 negative undesirable rejected dislike disliked downvote fail"
COMMON_GRADES: Mapping[str, float | None] = {
    **dict.fromkeys((*_GOOD.split(), "thumbs up", "thumbs-up"), 1.0),
    **dict.fromkeys((*_BAD.split(), "incorrect", "thumbs down", "thumbs-down"), 0.0),
}
"""Words that people write for a good and for a bad response."""


def word_map(pairs: object) -> dict[str, float | None]:
    """Words with their P(first is better), from a mapping or a list of pairs.

    Raises:
        ValueError: It is neither, or a value is no probability.

    >>> word_map([["A>B", 1], ["tie", 0.5], ["skip", None]])
    {'a>b': 1.0, 'tie': 0.5, 'skip': None}
    """
    items = list(pairs.items()) if isinstance(pairs, Mapping) else pairs
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        raise ValueError("give at least one word, as [[word, P(first is better)], …]")
    words: dict[str, float | None] = {}
    for item in items:
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
            raise ValueError(f"{item!r:.40} is no pair [word, P(first is better)]")
        word, p_first = item
        is_number = isinstance(p_first, int | float) and not isinstance(p_first, bool)
        if p_first is not None and not (is_number and 0.0 <= p_first <= 1.0):
            raise ValueError(f"{word}: {p_first!r:.40} must be between 0 and 1, or null for no label")
        words[folded(word)] = None if p_first is None else float(p_first)
    return words


def folded(value: object) -> str:
    """A value as it is compared: without outer white space, in small letters, numbers by their value.

    >>> folded(" Tie"), folded(1.0), folded("1"), folded(True)
    ('tie', '1', '1', 'true')
    """
    if isinstance(value, bool):
        return str(value).casefold()
    text = str(value).strip().casefold()
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return text
    return f"{number:g}" if number == number else text

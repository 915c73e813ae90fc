"""The answer in the words of a chat model that was asked for one of a few options.

Four kinds of forms are looked for, the strongest first; the first kind that occurs decides:

1. *Marked*: ``\\boxed{1}``, ``[[1]]``, ``<answer>1</answer>``, ``{"answer": 1}``, and a name with a value:
   ``Answer: 1``, ``Better Response=1``, ``The final answer is 2.``, ``Score: 7/10``.
2. *Alone*: the first or the last line is an option and nothing else: ``1``, ``**1**``, ``Response 1``, ``7/10``.
3. *Opening*: of words (yes, no, good, bad) the one that the message begins with: ``Yes, it does.``, ``Bad. It lies.``
4. *Said*: a plain sentence: ``Overall, Response 1 is better than Response 2.``, ``I prefer Response 2.``

Of several matches of one marked form the last counts. A match that names no option, or more than one, or that is denied
or taken back, is unclear. Unclear, and two forms of one kind that differ, mean that there is no verdict: nothing is
guessed. Digits of other scripts and full-width signs are those of ASCII.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from rlaif.engines.openai.verdict_words import parts_of, words_for

UNCLEAR = ""
"""A form of a verdict that names no option, or more than one."""

_TAKEN_BACK = re.compile(
    r"(?:^|[.!?\n])\s*(?:but )?"
    r"(?:wait|hold on|hmm|actually|correction|scratch that|on second thought|on reflection|no,)",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\(?:text|textbf|mathbf|mathrm|textit)\s*\{([^{}]*)\}")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
_BRACKETS = re.compile(r"\[\[([^\[\]]*)\]\]")
_ANSWER_ENDS = re.compile(r"</(answer|final_answer|verdict|choice|score|rating|winner|preference|result)>")
_OBJECT = re.compile(r'\{\s*"')
_ANY_TAG = re.compile(r"</?[A-Za-z_]+>|<\|[^|<>]*\|>|```\w*")
_EMPHASIS = re.compile(r"(?<![^\W_])[*_`$]++|[*_`$]++(?![^\W_])")
_LINE_MARK = re.compile(r"^[ \t]*(?:#+|>|[-•+](?=\s))[ \t]*", re.MULTILINE)
_AROUND = " \t\r\n\"'“”‘’«»()[]{}.,;!"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LIST_NUMBER = re.compile(r"\s*\(?(\w+)[.)]\s+(?=\S)")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {ord("。"): ". "}


def _without_contradictions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; one that is there twice with two values has none."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields[name] = value if fields.get(name, value) == value else None
    return fields


_LITERAL = json.JSONDecoder(parse_int=str, parse_float=str, object_pairs_hook=_without_contradictions)
"""Numbers as they are written."""


class _Sentence(NamedTuple):
    text: str
    number: str
    """Of the list item that it is part of, empty outside of lists."""


@lru_cache(maxsize=64)
def verdict_reader(options: tuple[str, ...], asks_for_worse: bool = False, ending: str = "") -> VerdictReader:
    """The reader of a question, made once; arguments as those of :class:`VerdictReader`."""
    return VerdictReader(options, asks_for_worse=asks_for_worse, ending=ending)


class VerdictReader:
    """Reads the verdict on one set of options.

    Args:
        options: The allowed answers, e.g. ``("1", "2")`` or ``("bad", "good")``. Upper and lower case of words are
            the same; "2, 1" and "2 > 1" are the ranking "2 1".
        asks_for_worse: The question asks for the worse response: "Response 1 is better" is then no answer to it.
        ending: The end of the prompt, e.g. ``Better Response=``, which some models repeat.
    """

    def __init__(self, options: Sequence[str], *, asks_for_worse: bool = False, ending: str = "") -> None:
        name = ending.rstrip("=: ").strip()
        self._words = words_for(options, asks_for_worse=asks_for_worse, ending=name)
        self._exact = {" ".join(parts_of(option)): option for option in options}
        self._folded = {text.casefold(): option for text, option in self._exact.items() if len(option) > 1}

    def read(self, text: str, *, is_cut: bool = False) -> str | None:
        """The option that a message names, or None.

        Args:
            text: The message.
            is_cut: The text is the beginning of a message: "Response 1" on a line of its own may then be a heading.
        """
        text = in_ascii(text)
        plain = _plain(text)
        sentences = list(_sentences(plain))
        alone = self._alone(plain, may_be_labeled=not is_cut)
        for kind in (self._marked(text, sentences), alone, self._opened(sentences), self._said(sentences)):
            if found := set(kind):
                return found.pop() or None if len(found) == 1 else None
        return None

    def _marked(self, text: str, sentences: Sequence[_Sentence]) -> Iterator[str]:
        """What the last match of each marked form names."""
        latex = _LATEX.sub(r"\1", text)
        for form in (_BOXED, _BRACKETS):
            if matches := list(form.finditer(latex)):
                yield self._unless_taken_back(self._answer(_plain(matches[-1][1])), latex[matches[-1].end() :])
        if matches := list(_ANSWER_ENDS.finditer(text)):
            inside = text[: matches[-1].start()].rpartition(f"<{matches[-1][1]}>")[2]
            value = self._option(_plain(inside)) or self.read(inside) or UNCLEAR
            yield self._unless_taken_back(value, text[matches[-1].end() :])
        yield from list(self._in_json(text))[-1:]
        yield from self._last([self._named(sentences, index) for index in range(len(sentences))], sentences)

    def _alone(self, plain: str, *, may_be_labeled: bool) -> Iterator[str]:
        """The options that stand alone on a line, where the first or the last line is one of them."""
        lines = [line for line in plain.splitlines() if line.strip()]
        values = [self._option(line, labeled=may_be_labeled) for line in lines]
        opens = bool(lines) and bool(self._option(lines[0], labeled=False))
        if opens or (values and values[-1]):
            yield from filter(None, values)
            if not values[-1] and _TAKEN_BACK.search("\n".join(lines[1:])):
                yield UNCLEAR

    def _opened(self, sentences: Sequence[_Sentence]) -> Iterator[str]:
        """The word that the message begins with, and those that later sentences begin with."""
        if not sentences:
            return
        # "Yes. It does." looks like an item of a list.
        listed = self._opening(sentences[0].number)
        if first := listed or self._opening(sentences[0].text):
            rest = [sentence.text for sentence in sentences[0 if listed else 1 :]]
            yield self._unless_taken_back(first, "\n".join(rest))
            yield from filter(None, map(self._opening, rest))

    def _said(self, sentences: Sequence[_Sentence]) -> Iterator[str]:
        """What plain sentences name; all must agree, and the last must be clear."""
        values = [self._said_in(sentence) for sentence in sentences]
        yield from self._last(values, sentences)
        yield from filter(None, values)

    def _last(self, values: Sequence[str | None], sentences: Sequence[_Sentence]) -> Iterator[str]:
        places = [place for place, value in enumerate(values) if value is not None]
        if places:
            after = "\n".join(sentence.text for sentence in sentences[places[-1] + 1 :])
            yield self._unless_taken_back(values[places[-1]] or UNCLEAR, after)

    def _named(self, sentences: Sequence[_Sentence], index: int) -> str | None:
        """The value of a name in a sentence; None where there is no name."""
        sentence = sentences[index]
        match = self._words.named.fullmatch(sentence.text)
        if match is None:
            return UNCLEAR if self._words.named_inside.search(sentence.text) else None
        rest = match["rest"].strip() or (sentences[index + 1].text if index + 1 < len(sentences) else "")
        value = self._answer(rest) or self._said_in(_Sentence(rest, "")) or UNCLEAR
        if value or match["is"] in (":", "="):
            return self._unless_listed(value, sentence)
        return UNCLEAR if self._words.mention.search(rest) else None

    def _said_in(self, sentence: _Sentence) -> str | None:
        """The option that a sentence prefers; None where it says nothing about options."""
        text = sentence.text
        if not (self._words.says.search(text) and self._words.mention.search(text)):
            return None
        matches = filter(None, (said.fullmatch(text.strip(_AROUND)) for said in self._words.said))
        value = next((self._lookup(match["option"]) for match in matches), UNCLEAR)
        return self._unless_listed(value, sentence)

    def _in_json(self, text: str) -> Iterator[str]:
        """The verdict of each JSON object that has one."""
        end = 0
        while match := _OBJECT.search(text, end):
            try:
                value, end = _LITERAL.raw_decode(text, match.start())
            except (ValueError, RecursionError):
                value, end = None, match.end()
            if isinstance(value, dict) and "\\u" not in text[match.start() : end]:
                named = [v for key, v in value.items() if self._words.key.fullmatch(key.replace("_", " ").strip())]
                found = {self._answer(item) if isinstance(item, str) else UNCLEAR for item in named}
                if found:
                    yield found.pop() if len(found) == 1 else UNCLEAR

    def _option(self, text: str, *, labeled: bool = True) -> str:
        """The option that a text is, with nothing but its label before and a reason after it."""
        match = self._words.value.fullmatch(text.strip(_AROUND))
        return UNCLEAR if match is None or (match["label"] and not labeled) else self._lookup(match["option"])

    def _opening(self, text: str) -> str:
        """The option that a text begins with and explains, where options are words."""
        match = None if self._words.opens is None else self._words.opens.fullmatch(text.strip())
        return UNCLEAR if match is None else self._lookup(match["option"])

    def _answer(self, text: str) -> str:
        """The option that a text is, or begins with."""
        return self._option(text) or self._opening(text)

    def _lookup(self, text: str) -> str:
        name = " ".join(parts_of(text))
        return self._exact.get(name) or self._folded.get(name.casefold(), UNCLEAR)

    def _unless_listed(self, value: str, sentence: _Sentence) -> str:
        """Unclear where the number of a list item would be another verdict."""
        return UNCLEAR if self._lookup(sentence.number) not in (UNCLEAR, value) else value

    @staticmethod
    def _unless_taken_back(value: str, after: str) -> str:
        return UNCLEAR if _TAKEN_BACK.search(after) else value


def in_ascii(text: str) -> str:
    """A text with the digits of other scripts and full-width signs as those of ASCII.

    >>> in_ascii("答案：２"), in_ascii("١")
    ('答案:2', '1')
    """
    return _OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text.translate(_FULL_WIDTH))


def _plain(text: str) -> str:
    """A text without the marks of Markdown, LaTeX and XML; what they join is not joined here."""
    text = _LATEX.sub(r" \1 ", text)
    for form in (_BOXED, _BRACKETS):
        text = form.sub(r" \1 ", text)
    text = _EMPHASIS.sub("", _ANY_TAG.sub(" ", text))
    return _LINE_MARK.sub("", text.replace("’", "'"))


def _sentences(plain: str) -> Iterator[_Sentence]:
    for line in plain.splitlines():
        listed = _LIST_NUMBER.match(line)
        number, rest = (listed[1], line[listed.end() :]) if listed else ("", line)
        for sentence in _SENTENCE_END.split(rest):
            if sentence.strip():
                yield _Sentence(" ".join(sentence.split()), number)

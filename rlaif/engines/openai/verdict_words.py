"""The words in which chat models name an option, as regular expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NOUNS = (
    r"(?:response|summary|answer|output|option|candidate|completion|choice|reply|text|assistant|model|message|version|"
    r"dialogue|conversation|story|article|translation)"
)
_COMMON = r"answer|verdict|choice|decision|conclusion|judge?ment|selection|pick|vote|result"
_BETTER = r"better|best|preferred|preferable|superior|stronger|chosen|selected|winning"
_WORSE = r"worse|worst|more harmful|most harmful|less harmless|less preferred|rejected|inferior|weaker|losing"
_CHOOSES = r"prefer|choose|pick|select|favou?r|vote for|go with"
_SCALE = r"(?:overall |total )?(?:score|rating|grade|mark)|overall"
_RANKING = r"ranking|rank|order"
_ADVERBS = (
    r"(?:(?:clearly|definitely|slightly|much|far|a bit|a little|significantly|still|overall|the|generally|marginally|"
    r"strongly) )*"
)
_OPEN_ENDED = r"(?!\d|(?:or|and|not|to|maybe|perhaps|possibly|but|(?:an? )?(?:tie|draw)|tied|equal\w*|both|neither)\b)"
_REASON = (
    r"(?:\s*[,;:]?\s*(?:because|since|due to|as (?:it|the|this))\s+\S.*"
    rf"|\s+[-–—]\s+{_OPEN_ENDED}.*"
    rf"|\s*\({_OPEN_ENDED}.*)?"
)
"""What may follow a value without taking it back."""
_LEAD = (
    r"(?:(?:overall|therefore|thus|so|hence|ultimately|finally|conclusion|verdict|on balance|all in all|in conclusion|"
    r"in summary|to conclude|to summarize|in my (?:opinion|view|judge?ment))\s*[,:]?\s+|"
    r"(?:based on|given|considering|comparing|after|taking|of the two|between the two)\b[^,;:.]*,\s+)*"
    r"(?:(?:i|we) (?:think|believe|find|conclude|judge|say|feel|would say|would argue)(?: that)?,?\s+)?"
)
"""Beginnings of a sentence that leave its verdict as it is; a condition, a doubt or a negation is none of them."""
_IS = r"(?:[:=]|→|->|\b(?:is|would be|of)\b:?)"
_DOUBT = (
    r"(?!(?:or|and (?:yes|no)|but|however|although|though|except|only|if|yes|no|maybe|perhaps|possibly|partial\w*|"
    r"partly|somewhat|mostly|both|neither|in part|sort of|kind of|more or less|to (?:some|a certain|an?)|"
    r"i(?:'m| am| can\w*| will| won't))\b)"
)
"""What does not follow yes or no: it takes half of it back, or answers another question ("No, I cannot help")."""
_SEPARATOR = r"(?:\s*[,>]\s*|\s+)"


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression that takes upper and lower case as the same."""
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def parts_of(option: str) -> list[str]:
    """The words of an option, e.g. of a ranking.

    >>> parts_of("2 1"), parts_of("2, 1"), parts_of(" good")
    (['2', '1'], ['2', '1'], ['good'])
    """
    return [word for word in re.split(_SEPARATOR, option.strip()) if word]


@dataclass(frozen=True, slots=True)
class Words:
    """The expressions of one question; each that names an option has it in the group ``option``."""

    value: re.Pattern[str]
    """An option with nothing but a label before it (group ``label``) and a reason after it."""
    mention: re.Pattern[str]
    """An option anywhere in a text."""
    key: re.Pattern[str]
    """A key of a JSON object whose value is the verdict."""
    named: re.Pattern[str]
    """A sentence that gives a value (group ``rest``) to a name."""
    named_inside: re.Pattern[str]
    """A name with an option somewhere in a sentence, which may deny it."""
    says: re.Pattern[str]
    """A word of preference."""
    said: tuple[re.Pattern[str], ...]
    """Sentences that name the preferred option."""
    opens: re.Pattern[str] | None
    """A sentence that begins with the answer; None where the options are no words."""


def words_for(options: Sequence[str], *, asks_for_worse: bool, ending: str) -> Words:
    """The expressions for a set of options.

    Args:
        options: The allowed answers; more than two numbers are a scale, of which "7/10" is a value.
        asks_for_worse: Whether the question asks for the worse response.
        ending: The end of the prompt, which is a name like ``Better Response=``; empty adds none.
    """
    numbers = [int(option) for option in options if option.isdecimal()]
    is_scale = len(numbers) == len(options) > 2
    any_option = "|".join(_spelled(option) for option in sorted(options, key=len, reverse=True))
    option = f"(?P<option>{any_option})"
    out_of = rf"(?:\s*(?:/|out of)\s*{max(numbers)})?" if is_scale else ""
    label = rf"(?:an? )?(?:{_SCALE})" if is_scale else rf"(?:the )?{NOUNS}"
    label = rf"(?P<label>(?:{label})\s*(?:#|no\.|number|of|:|=)?\s*)?"
    favoured = _WORSE if asks_for_worse else _BETTER
    names = "|".join(_names(favoured, is_scale, any(len(parts_of(item)) > 1 for item in options), asks_for_worse))
    names = f"(?:{names}|{re.escape(ending)})" if ending else f"(?:{names})"
    said = _scale_sentences(option, out_of) if is_scale else _sentences(option, any_option, favoured, asks_for_worse)
    return Words(
        value=pattern(f"{label}{option}{out_of}{_REASON}"),
        mention=pattern(rf"(?<![\w.,/-])(?:{any_option})(?![\w%]|[.,]\d)"),
        key=pattern(names if is_scale else f"{names}|{NOUNS}"),
        named=pattern(rf"{_LEAD}(?:(?:the|my|our) )?{names}\s*(?P<is>{_IS})\s*(?P<rest>.*)"),
        named_inside=pattern(rf"\b{names}\s*{_IS.replace('|of', '')}\s*(?:(?:the )?{NOUNS}\s*)?(?:{any_option})(?!\w)"),
        says=pattern(rf"\b(?:{_BETTER}|{_WORSE}|{_CHOOSES}|wins?|winner|rate|give|score|deserves)\b"),
        said=tuple(pattern(sentence + _REASON) for sentence in said),
        opens=_opens(options, option),
    )


def _spelled(option: str) -> str:
    """Words in upper or lower case; a single letter as it is."""
    spelled = _SEPARATOR.join(map(re.escape, parts_of(option))) or re.escape(option)
    return f"(?-i:{spelled})" if len(option) == 1 else spelled


def _opens(options: Sequence[str], option: str) -> re.Pattern[str] | None:
    if not all(item.isalpha() and len(item) > 1 for item in options):
        return None
    explained = rf"\s*(?:[,;:–—]|\s-)\s*{_DOUBT}\S.*|\s+(?:it|this|that|the {NOUNS})\s.*"
    is_yes_or_no = {item.casefold() for item in options} == {"yes", "no"}
    return pattern(option + (rf"(?:[.!]?|{explained})" if is_yes_or_no else "[.!]?"))


def _names(favoured: str, is_scale: bool, is_ranking: bool, asks_for_worse: bool) -> list[str]:
    names = [f"(?:(?:final|correct|overall) )?(?:{_COMMON})"]
    if is_scale or is_ranking:
        names.append(f"(?:final )?(?:{_SCALE if is_scale else _RANKING})")
    else:
        names.append(f"(?:{favoured}) (?:{NOUNS}|one)")
        names += [] if asks_for_worse else ["winner", "preference"]
    return [name.replace(" ", "[ _]") for name in names]


def _sentences(option: str, any_option: str, favoured: str, asks_for_worse: bool) -> list[str]:
    subject = rf"{_LEAD}(?:the )?{NOUNS}\s*#?{option}\s+"
    another = rf"(?:the )?(?:other(?: {NOUNS}| one)?|(?:{NOUNS}\s*#?)?(?:{any_option}))"
    other = rf"(?:\s+(?:than|to|over|compared (?:to|with))\s+{another})?"
    is_better = rf"(?:is|was|seems|appears|looks|would be)(?: to be)? {_ADVERBS}(?:{favoured})"
    sentences = [rf"{subject}{is_better}(?: (?:{NOUNS}|one|of the two))?(?: overall)?{other}"]
    if not asks_for_worse:
        sentences.append(
            rf"{_LEAD}i(?:'d| would| will)? {_ADVERBS}(?:{_CHOOSES}) (?:the )?(?:{NOUNS}\s*#?)?{option}{other}"
        )
        sentences.append(rf"{subject}(?:wins|is the winner){other}")
    return sentences


def _scale_sentences(option: str, out_of: str) -> list[str]:
    value = rf"(?:an? )?(?:(?:overall |final )?(?:score|rating|grade) of )?{option}{out_of}"
    return [
        rf"{_LEAD}(?:i(?:'d| would| will)? )?(?:rate|give|score|grade|assign) (?:(?:the|this|it|that) )?(?:{NOUNS} )?"
        rf"(?:with |as )?{value}",
        rf"{_LEAD}(?:the|this) {NOUNS} (?:deserves|gets|receives|earns) {value}",
    ]

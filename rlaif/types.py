"""The records that flow from prompts to reports.

Every record is frozen; ids are content hashes, so that equal content has one id in every process. A judgement
that was not obtained is *missing* and carries its reason; no number represents it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["given", "swapped"]
View = Literal["given", "swapped", "first", "second", "verdict"]
"""View of a judgement: both candidates in one order, or one of them alone; or the verdict over all views."""


def content_id(*parts: str) -> str:
    """Hash strings to a short id that is the same in every process.

    Args:
        parts: Strings; their boundaries count, so ``("ab", "c")`` differs from ``("a", "bc")``.

    Returns:
        16 hexadecimal digits.

    >>> content_id("ab", "c") == content_id("a", "bc")
    False
    """
    return content_id_of(parts)


def content_id_of(parts: Iterable[str]) -> str:
    """:func:`content_id` of strings that need not be held at once."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


def as_unicode(text: str) -> str:
    """A text that UTF-8 can carry: a lone surrogate (half a character, which JSON can write) becomes a question mark.

    >>> as_unicode("half \\ud83d")
    'half ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def trim(text: str) -> str:
    """A text without blank lines before it and white space after it; the indentation of its first line stays.

    >>> trim("\\n\\n    return 1\\n")
    '    return 1'
    """
    return _BLANK_LINES.sub("", text.rstrip())


def is_blank(text: str) -> bool:
    """True for a text that shows nothing: empty, white space, or characters without a glyph.

    >>> is_blank(" \\u200b"), is_blank("0")
    (True, False)
    """
    return not any(char.isprintable() and not char.isspace() for char in text)


_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
HUMAN_TURN = "\n\nHuman:"
ASSISTANT_TURN = "\n\nAssistant:"

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: dict[str, Role] = {HUMAN_TURN: "user", ASSISTANT_TURN: "assistant"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a dialogue."""

    role: Role
    text: str
    """The message without turn marks."""


def turns_in(text: str) -> tuple[Turn, ...]:
    """Read the turns of a transcript in the format of Anthropic HH, up to the assistant's next turn.

    Args:
        text: A transcript that starts with a human turn; any other text is one turn of the user.

    >>> turns_in("\\n\\nHuman: Hi\\n\\nAssistant:")
    (Turn(role='user', text='Hi'),)
    """
    if not text.startswith(HUMAN_TURN):
        return (Turn("user", text),)
    pieces = re.split(f"({HUMAN_TURN}|{ASSISTANT_TURN})", text.removesuffix(ASSISTANT_TURN))[1:]
    return tuple(Turn(_ROLES[mark], content.strip()) for mark, content in zip(pieces[::2], pieces[1::2], strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt of a policy: a post to summarize, or a dialogue up to the assistant's turn."""

    task: str
    """Name of the task, e.g. ``"summarization"``."""
    text: str
    """The post, or the dialogue ending with ``"\\n\\nAssistant:"``."""
    stratum: str = ""
    """Subset that figures are also reported for (pocket world: ``"seen"`` or ``"unseen"`` fillers)."""
    turns: tuple[Turn, ...] = ()
    """The dialogue as messages with roles, up to the assistant's next turn; empty when the text contains them all."""

    @property
    def has_own_turns(self) -> bool:
        """True when the turns say more than the text, e.g. a system turn or a quoted turn mark."""
        return bool(self.turns) and self.turns != turns_in(self.text)

    @property
    def id(self) -> str:
        """Content hash of task and text, and of the turns where they say more than the text."""
        if not self.has_own_turns:
            return content_id(self.task, self.text)
        return content_id(self.task, self.text, *(part for turn in self.turns for part in (turn.role, turn.text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One response to a prompt."""

    text: str
    """The response as written, without only the one space that separates it from its prompt."""
    token_ids: tuple[int, ...] = ()
    """Tokens as sampled, end token included, also where the text was shortened to be rewarded; empty when the text came
    from a file."""
    finished: bool = True
    """False when sampling hit its token limit before the end token."""
    source: str = ""
    """Its writer: ``"sft"``, ``"policy"``, ``"dataset"``, ``"teacher"``."""

    @property
    def trimmed(self) -> str:
        """The response as it is judged, compared and measured: see `trim`."""
        return trim(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A prompt with a response to imitate in supervised fine-tuning."""

    prompt: Prompt
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A prompt with two candidate responses, in the order in which they were drawn."""

    prompt: Prompt
    first: Completion
    second: Completion

    @property
    def id(self) -> str:
        """Content hash of the prompt and of both texts as written."""
        return content_id(self.prompt.id, self.first.text, self.second.text)

    @property
    def is_identical(self) -> bool:
        """True when the candidates differ in surrounding white space at most."""
        return self.first.trimmed == self.second.trimmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a judge prompt."""

    text: str
    is_data: bool = False
    """True for text that we did not write: tokenized without special tokens and never scanned for placeholders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredPrompt:
    """A judge prompt as segments; an engine tokenizes each segment on its own and joins the ids."""

    segments: tuple[Segment, ...]
    asks_for_worse: bool = False
    """True when the answer names the *worse* candidate (arXiv 2309.00267, Table 16): the labeler inverts it."""
    template_id: str = ""
    """Content hash of the templates and exemplars that made this prompt."""

    @property
    def text(self) -> str:
        """The segments' texts, joined."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling options of an engine or a policy."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 decodes greedily."""
    top_k: int = 0
    """0 keeps the whole vocabulary."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these strings."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """The raw evidence of one inference: one order of the candidates, or one candidate alone."""

    order: View
    """``given``: the first candidate stood in slot 1; ``swapped``: in slot 2; ``first``, ``second``: that one was
    judged alone, and there is no ``p_slot1``; ``verdict``: a panel member's label, whose ``p_slot1`` is P(first)."""
    prompt: str
    """The final prompt, exactly as the engine read it."""
    reply: str = ""
    """Text that the model wrote before it was scored (the rationale), or its whole verdict."""
    option_logprobs: tuple[float, ...] | None = None
    p_slot1: float | None = None
    """Probability that the candidate in slot 1 is *better* (already inverted where needed)."""
    missing: str | None = None
    unreadable: bool = False
    """True when the model's answer holds no verdict: asking again would give the same. False with ``missing`` set:
    nothing was obtained, so it is asked again."""
    num_prompt_tokens: int = 0
    """Tokens read in this order, over both steps of a chain of thought."""
    num_reply_tokens: int = 0
    """Tokens written in this order: the rationale, and the verdict as a server bills it, or one of a local model."""
    judge: str = ""
    """The member of a panel that judged; empty where there is one judge."""
    options: tuple[str, ...] = ()
    """The answers that ``option_logprobs`` are of, in its order; empty in tables of an earlier version."""
    asks_for_worse: bool = False
    """True when the prompt asks which response is *worse*: ``p_slot1`` is then 1 - P(the answer names slot 1)."""
    answer_mass: float | None = None
    """Probability of all ``options`` together, at least; None where unknown: votes, tables of an earlier version."""
    reasoning: str = ""
    """Think blocks and reasoning fields, which no verdict or prompt is made of; empty in earlier tables."""

    def __post_init__(self) -> None:
        for name in ("p_slot1", "answer_mass"):
            if (number := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(number))
        if self.option_logprobs is not None:
            object.__setattr__(self, "option_logprobs", tuple(map(float, self.option_logprobs)))

    @property
    def p_first(self) -> float | None:
        """Probability that the comparison's first candidate is better, re-indexed from the slot."""
        if self.p_slot1 is None or self.order in ("first", "second"):
            return None
        return 1.0 - self.p_slot1 if self.order == "swapped" else self.p_slot1


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A soft label: how probable it is that the first candidate is the better one."""

    comparison: Comparison
    p_first: float | None
    """In [0, 1]; None exactly when ``missing`` is set."""
    missing: str | None = None
    judgments: tuple[Judgment, ...] = ()
    """Both orders for a model; empty for labels from a file."""
    labeler: str = ""
    source: str = ""
    """Source of the label: ``"ai"``, ``"human"``, ``"simulated annotators"``, a file's source."""
    confidence: float | None = None
    """The person's confidence, on the data set's own scale; None where no person was asked."""
    weight: float = 1.0
    """Weight of this label in the reward model's loss, at least 0; 0 leaves it out."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < float("inf"):
            raise ValueError(f"Preference: weight={self.weight} is no finite number from 0")
        if (self.p_first is None) != (self.missing is not None):
            raise ValueError("Preference: give p_first or a missing reason, not both and not neither")
        if self.p_first is None:
            return
        if not hasattr(self.p_first, "__float__"):
            raise ValueError(f"Preference: p_first={self.p_first!r} is no number")
        if not 0.0 <= self.p_first <= 1.0:
            raise ValueError(f"Preference: p_first={self.p_first} is not a probability")
        object.__setattr__(self, "p_first", float(self.p_first))

    @property
    def p_first_by_order(self) -> tuple[float | None, float | None]:
        """P(first) of the given and of the swapped order, None where that order is missing.

        The mean over the judgments of an order that have a verdict, where several were drawn; those of a panel's
        members (``Judgment.judge``) are evidence for the panel's own and do not count.
        """
        return self._p_first_in("given"), self._p_first_in("swapped")

    def _p_first_in(self, order: Order) -> float | None:
        drawn = [item.p_first for item in self.judgments if item.order == order and not item.judge]
        present = [p_first for p_first in drawn if p_first is not None]
        return sum(present) / len(present) if present else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """Judgement of one response by a pointwise labeler: a distribution over an ordered scale."""

    prompt: Prompt
    completion: Completion
    distribution: tuple[float, ...] | None
    """Probability of each step of the scale, worst first, in all 1; None exactly when ``missing`` is set."""
    missing: str | None = None
    lowest: float = 1.0
    """Value of the scale's first step."""
    highest: float = 10.0
    """Value of the scale's last step; the steps between are evenly spaced."""
    judgments: tuple[Judgment, ...] = ()
    labeler: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if (self.distribution is None) != (self.missing is not None):
            raise ValueError("Rating: give a distribution or a missing reason, not both and not neither")
        if self.distribution is not None:
            object.__setattr__(self, "distribution", tuple(map(float, self.distribution)))

    @property
    def score(self) -> float | None:
        """Expected value on the scale (arXiv 2309.00267, section 2.2.2), in [lowest, highest]; None when missing."""
        if self.distribution is None:
            return None
        step = (self.highest - self.lowest) / (len(self.distribution) - 1)
        return sum(p * (self.lowest + step * index) for index, p in enumerate(self.distribution))

    @property
    def reward(self) -> float | None:
        """The score mapped linearly to [-1, 1]; None when missing."""
        score = self.score
        return None if score is None else 2.0 * (score - self.lowest) / (self.highest - self.lowest) - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One record of ``report.json``."""

    name: str
    """``group/figure``, e.g. ``policy/win_rate_vs_sft``."""
    value: float
    """A rate in [0, 1], a KL in nats per response, a count, or seconds for ``time/...``."""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Number of prompts the figure rests on."""
    note: str = field(default="")
    """Judge and method in words; it names *simulated annotators* wherever they judged."""

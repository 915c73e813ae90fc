"""Likeliest tokens in every form of the wire: read right, told to be bounded, or refused; never silently different."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.openai.finish import read_finish_reason
from rlaif.engines.openai.likeliest import Alternative, next_tokens
from rlaif.engines.openai.replies import answering, read_reply
from rlaif.engines.openai.scores import OptionEstimate, Target, echoed_option, log_outside, match_options, walk_options

OPTIONS = ("1", "2")


def log(p: float) -> float:
    return math.log(p)


def completions(table: object, written: str = "1", own: float | None = None) -> dict[str, Any]:
    return {"tokens": [written], "token_logprobs": [own and log(own)], "top_logprobs": [table]}


def chat(table: list[dict[str, Any]], **written: Any) -> dict[str, Any]:
    return {"content": [{**written, "top_logprobs": table}]}


def entry(token: str, p: float, text: str | None = None) -> dict[str, Any]:
    sent = {} if text is None else {"bytes": list(text.encode())}
    return {"token": token, "logprob": log(p)} | sent


def in_chat(logprobs: object) -> list[float]:
    return [math.exp(item.logprob) for item in match_options(next_tokens(logprobs), OPTIONS)]


class TestTwoTokensThatPrintAlike:
    """A judge that says "1" at 0.93; a second token "1" has 0.0004 and stands later in the table."""

    def test_in_a_mapping_they_contradict_each_other(self) -> None:
        sent = completions({"1": log(0.0004), "2": log(0.05)}, own=0.93)
        with pytest.raises(RequestFailed, match="written token contradicts the likeliest tokens") as failure:
            next_tokens(sent)
        assert "labeler.engine.tokenizer=" in failure.value.in_words
        assert "'1' at 0.93, in the table at 0.0004" in failure.value.in_words

    def test_in_a_list_they_add_up(self) -> None:
        table = [entry("1", 0.93), entry("2", 0.05), entry("1", 0.0004)]
        assert in_chat(chat(table, token="1", logprob=log(0.93))) == pytest.approx([0.9304, 0.05])

    def test_a_list_with_one_of_them_is_a_contradiction(self) -> None:
        with pytest.raises(RequestFailed, match="contradicts"):
            next_tokens(chat([entry("2", 0.05), entry("1", 0.0004)], token="1", logprob=log(0.93)))

    def test_without_its_own_probability_it_must_lead_the_table(self) -> None:
        with pytest.raises(RequestFailed, match="not the likeliest") as failure:
            next_tokens(completions({"1": log(0.0004), "2": log(0.05)}))
        assert "labeler.engine.extra={repeat_penalty:1.0}" in failure.value.in_words

    def test_the_one_that_was_not_written_is_lost(self) -> None:
        """The judge says "2" at 0.5, "1" had 0.45: the table lacks a token and most of the rest."""
        table = {f"w{number}": log(0.0001) for number in range(17)} | {"2": log(0.5), "1": log(0.0004)}
        sent = completions(table, "2", 0.5)
        with pytest.raises(RequestFailed, match="took one another's place") as failure:
            next_tokens(sent, num_asked=20)
        assert "19 of 20 tokens, 0.4979 of the probability unaccounted for" in failure.value.in_words
        assert len(next_tokens(sent, num_asked=19)) == 19

    def test_a_server_that_tells_fewer_has_lost_none(self) -> None:
        assert len(next_tokens(completions({"1": log(0.6), "2": log(0.3)}, own=0.6), num_asked=20)) == 2

    def test_ids_tell_them_apart(self) -> None:
        table = {"token_id:16": log(0.93), "token_id:352": log(0.0004), "token_id:17": log(0.05)}
        sent = completions(table, "token_id:16", 0.93)

        async def ask(read: Target) -> list[Alternative]:
            return next_tokens(sent, num_asked=3)

        decode = {16: "1", 352: "1", 17: "2"}.__getitem__
        estimates = asyncio.run(walk_options(ask, [(352,), (17,)], decode))
        assert [math.exp(item.logprob) for item in estimates] == pytest.approx([0.0004, 0.05])

    def test_rounding_is_no_contradiction(self) -> None:
        assert next_tokens(completions({"1": -0.07}, own=math.exp(-0.0726)))[0].token == "1"


class TestGreedy:
    @pytest.mark.parametrize(("written", "own"), [("2", 0.2), ("2", None), ("x", 0.05), ("x", None)])
    def test_another_token_than_the_likeliest(self, written: str, own: float | None) -> None:
        sent = completions({"1": log(0.7), "2": log(0.2)}, written, own)
        with pytest.raises(RequestFailed, match="written token is not the likeliest"):
            next_tokens(sent)
        assert next_tokens(sent, greedy=False)[0] == Alternative("1", log(0.7))

    def test_a_tie(self) -> None:
        assert len(next_tokens(completions({"1": log(0.4), "2": log(0.4)}, "2", 0.4))) == 2

    @pytest.mark.parametrize("own", [0.93, None])
    def test_tokens_that_are_left_out(self, own: float | None) -> None:
        """OpenAI writes -9999 for them."""
        sent = {"tokens": ["1"], "token_logprobs": [-9999.0], "top_logprobs": [{"1": log(0.7), "x": -9999.0}]}
        assert next_tokens(sent) == [Alternative("1", log(0.7))]


class TestTheWrittenTokenStandsBesideTheTable:
    """As LMDeploy sends it in a chat: the table holds the other tokens."""

    def test_it_is_one_of_the_alternatives(self) -> None:
        assert in_chat(chat([entry("2", 0.2), entry("x", 0.1)], **entry("1", 0.7))) == pytest.approx([0.7, 0.2])

    def test_it_must_lead_all_the_same(self) -> None:
        with pytest.raises(RequestFailed, match="written token is not the likeliest"):
            next_tokens(chat([entry("2", 0.5), entry("x", 0.1)], **entry("1", 0.3)))

    def test_the_same_token_under_another_name_does_not_count_twice(self) -> None:
        with pytest.raises(RequestFailed, match="written token is not the likeliest"):
            next_tokens(chat([entry(" 1", 0.3), entry(" 2", 0.2)], **entry("1", 0.3)))

    def test_all_together_are_at_most_certain(self) -> None:
        with pytest.raises(RequestFailed, match="add up to more than 1"):
            next_tokens(chat([entry("2", 0.4), entry("x", 0.3)], **entry("1", 0.5)))


def test_tokens_that_are_named_by_number_are_no_answers() -> None:
    """As older servers of mlx-lm do: number 2 is the end token of Llama 2 and Mistral."""
    sent = {"tokens": [13], "token_logprobs": [log(0.6)], "top_logprobs": [{"13": log(0.6), "2": log(0.3)}]}
    with pytest.raises(RequestFailed, match="tokens by their numbers"):
        next_tokens(sent)


class TestPieces:
    @pytest.mark.parametrize("one", ["▁1", "Ġ1", " 1", "1"])
    def test_bytes_are_the_text(self, one: str) -> None:
        table = [entry(one, 0.93, " 1"), entry("2", 0.05, "2"), entry("1", 0.0004, "1")]
        written = entry(one, 0.93, " 1")
        assert in_chat(chat(table, **written)) == pytest.approx([0.9304, 0.05])

    @pytest.mark.parametrize(("one", "two"), [("▁1", "▁2"), ("Ġ1", "Ġ2"), ("<0x31>", "<0x32>")])
    def test_marks_of_a_vocabulary_without_bytes(self, one: str, two: str) -> None:
        table = [entry(one, 0.6), entry(two, 0.3), entry("1", 0.01)]
        assert in_chat(chat(table, token=one, logprob=log(0.6))) == pytest.approx([0.61, 0.3])
        mapping = {one: log(0.6), two: log(0.3), "1": log(0.01)}
        assert in_chat(completions(mapping, one, 0.6)) == pytest.approx([0.61, 0.3])

    def test_bytes_of_the_name_are_no_text(self) -> None:
        """LMDeploy encodes the vocabulary's name."""
        table = [entry("▁1", 0.6, "▁1"), entry("▁2", 0.3, "▁2")]
        assert in_chat(chat(table, **table[0])) == pytest.approx([0.6, 0.3])

    def test_a_part_of_a_character_is_no_answer(self) -> None:
        table = [{"token": "\\xe2\\x96", "bytes": [226, 150], "logprob": log(0.5)}, entry("1", 0.4, "1")]
        assert [token for token, _ in next_tokens(chat(table))] == ["\\xe2\\x96", "1"]

    @pytest.mark.parametrize("sent", ["1", [300], ["1"], {"0": 49}])
    def test_bytes_that_are_none(self, sent: object) -> None:
        with pytest.raises(RequestFailed, match="wrong shape: bytes of a token"):
            next_tokens(chat([{"token": "1", "bytes": sent, "logprob": -0.1}]))


class Token(NamedTuple):
    """One token of a made-up vocabulary: its name there, and what it prints."""

    piece: str
    text: str


VOCABULARY = [
    *(Token("1", "1"), Token("2", "2"), Token("Ġ1", " 1"), Token("Ġ2", " 2"), Token("<0x31>", "1")),
    *(Token("Ċ", "\n"), Token("Ġno", " no"), Token("x", "x"), Token("<0x32>", "2"), Token("Ġ", " ")),
]


def sent_as(form: str, told: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """The k likeliest (id, p), the likeliest first, as a server sends them."""
    first, own = told[0][0], told[0][1]
    names = {
        "mapping": lambda i: VOCABULARY[i].text,
        "pieces in a mapping": lambda i: VOCABULARY[i].piece,
        "ids": lambda i: f"token_id:{i}",
    }
    if form in names:
        name = names[form]
        return completions({name(i): log(p) for i, p in told}, name(first), own)
    with_bytes = form == "pieces with bytes"
    name = (lambda i: VOCABULARY[i].text) if form == "list" else (lambda i: VOCABULARY[i].piece)
    rows = [entry(name(i), p, VOCABULARY[i].text if with_bytes else None) for i, p in told]
    return chat(rows, **rows[0])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["mapping", "pieces in a mapping", "ids", "list", "pieces", "pieces with bytes"]),
    st.integers(0, 10**6),
    st.integers(1, len(VOCABULARY)),
    st.booleans(),
)
def test_every_form_of_the_wire_gives_the_distribution_or_says_that_it_cannot(
    form: str, seed: int, k: int, is_chat: bool
) -> None:
    random = Random(seed)
    weights = [random.random() ** random.choice([1, 4, 12]) + 1e-9 for _ in VOCABULARY]
    p = {index: weight / sum(weights) for index, weight in enumerate(weights)}
    told = sorted(p.items(), key=lambda item: -item[1])[:k]

    def says(index: int, option: int) -> bool:
        """True where a token is an answer: in ids the option's own, else by its text."""
        if form == "ids":
            return index == option
        text = VOCABULARY[index].text
        return (text.strip() if is_chat else text) == OPTIONS[option]

    alternatives = []
    with suppress(RequestFailed):
        alternatives = next_tokens(sent_as(form, told), num_asked=k)
    if not alternatives:
        assert form == "mapping" and len({VOCABULARY[index].text for index, _ in told}) < k, "refused without need"
        return

    async def ask(read: Target) -> list[Alternative]:
        return alternatives

    targets: list[Target] = [(0,), (1,)] if form == "ids" else list(OPTIONS)
    if is_chat and form != "ids":
        estimates: list[OptionEstimate] = match_options(alternatives, OPTIONS)
    else:
        options, spaced = (
            sum(math.exp(each.logprob) for each in alternatives if each.token in texts)
            for texts in (OPTIONS, [f" {option}" for option in OPTIONS])
        )
        if form != "ids" and spaced > options:
            with pytest.raises(RequestFailed, match="after a space"):
                asyncio.run(walk_options(ask, targets, lambda index: VOCABULARY[index].text))
            return
        estimates = asyncio.run(walk_options(ask, targets, lambda index: VOCABULARY[index].text))
    outside = math.exp(log_outside(alternatives))
    for option, estimate in enumerate(estimates):
        inside = math.fsum(value for index, value in told if says(index, option))
        beyond = [value for index, value in p.items() if says(index, option) and index not in dict(told)]
        assert all(value <= outside * (1 + 1e-6) + 1e-8 for value in beyond)
        if estimate.bounded:
            assert inside <= 1e-3 and outside == pytest.approx(2 * math.exp(estimate.logprob), rel=1e-6)
        else:
            # What a mapping may lose before it is refused is less than a thousandth.
            slack = 1e-3 if form == "mapping" else 1e-9
            assert math.exp(estimate.logprob) == pytest.approx(inside, abs=slack)


class TestTheFirstTokenIsNoAnswer:
    @pytest.mark.parametrize("mark", ["<think>", "<think>\n", "[THINK]", "<|channel|>", "<seed:think>"])
    def test_a_think_block_that_the_servers_parser_took_out_of_the_text(self, mark: str) -> None:
        """vLLM and SGLang with a reasoning parser: the text and the reasoning field are empty, the log-probs tell."""
        table = [entry(mark, 0.99), entry("1", 2e-5), entry("2", 8e-5)]
        with pytest.raises(RequestFailed, match="reasoning comes before the answer") as failure:
            next_tokens(chat(table, token=mark, logprob=log(0.99)))
        assert failure.value.is_final

    @pytest.mark.parametrize("logprobs", [None, {"content": []}, {"tokens": [], "top_logprobs": []}])
    def test_a_reply_that_ended_at_once_is_empty_and_its_server_tells_log_probs(self, logprobs: object) -> None:
        """llama.cpp and OpenAI tell none of the end token."""
        choice = {"message": {"content": ""}, "finish_reason": "stop", "logprobs": logprobs}
        reply = read_reply({"model": "m", "choices": [choice]}, model="m", accept_model=None)
        with pytest.raises(RequestFailed, match="empty reply") as failure:
            answering(reply)
        assert failure.value.is_final
        said = read_reply(
            {"model": "m", "choices": [choice | {"finish_reason": "length"}]}, model="m", accept_model=None
        )
        assert answering(said) is said


class TestEcho:
    ECHO = (Alternative("<s>", 0.0), Alternative("Which", 0.0), Alternative("?", -1.0), Alternative("1", -2.0))

    def test_the_text_that_was_sent(self) -> None:
        assert echoed_option(self.ECHO, "Which?", "1") == OptionEstimate(-2.0)

    @pytest.mark.parametrize("sent", ["A long post. Which?", "When?"])
    def test_another_text(self, sent: str) -> None:
        with pytest.raises(RequestFailed, match="echo of another text than was sent"):
            echoed_option(self.ECHO, sent, "1")

    def test_parts_of_characters_are_not_compared(self) -> None:
        parts = (Alternative("bytes:\\xe2\\x82", -1.0), Alternative("bytes:\\xac", -1.0), Alternative("�", -1.0))
        echo = (self.ECHO[1], *parts, *self.ECHO[2:])
        assert echoed_option(echo, "Which€ü?", "1") == OptionEstimate(-2.0)

    def test_ids_are_compared(self) -> None:
        echo = [Alternative("token_id:7", 0.0), Alternative("token_id:8", -0.5), Alternative("token_id:49", -2.0)]
        assert echoed_option(echo, (7, 8), (49,)) == OptionEstimate(-2.0)
        with pytest.raises(RequestFailed, match="echo of another text"):
            echoed_option(echo, (7, 9), (49,))


class TestFinishReasons:
    """As vLLM, SGLang, llama.cpp, Text Generation Inference, Together, Mistral, OpenRouter and gateways send them."""

    @pytest.mark.parametrize(
        ("sent", "meaning"),
        [
            ("stop", "stop"),
            ("STOP", "stop"),
            ("eos", "stop"),
            ("eos_token", "stop"),
            ("stop_sequence", "stop"),
            ("end_turn", "stop"),
            ("length", "length"),
            ("max_tokens", "length"),
            ("MAX_TOKENS", "length"),
            ("model_length", "length"),
            ("content_filter", "content_filter"),
            ("PROHIBITED_CONTENT", "content_filter"),
            ("guardrail_intervened", "content_filter"),
            ("sensitive", "content_filter"),
            ("refusal", "refusal"),
        ],
    )
    def test_known(self, sent: str, meaning: str) -> None:
        assert read_finish_reason(sent) == meaning
        choice = {"text": "1", "finish_reason": sent}
        reply = read_reply({"model": "m", "choices": [choice]}, model="m", accept_model=None)
        assert reply.finish_reason == meaning
        assert reply.refused == (meaning in ("content_filter", "refusal"))

    @pytest.mark.parametrize(
        "sent",
        ["abort", "error", "cancelled", "null", "", "insufficient_system_resource", "tool_calls", None, 3, ["stop"]],
    )
    def test_all_else_is_a_failure_that_is_asked_again(self, sent: object) -> None:
        choice = {"text": "half a rep", "finish_reason": sent}
        with pytest.raises(RequestFailed) as failure:
            read_reply({"model": "m", "choices": [choice]}, model="m", accept_model=None)
        assert failure.value.retryable and failure.value.of_server
        told = f"reply broken off: {sent}" if isinstance(sent, str) else "wrong shape: no finish_reason"
        assert failure.value.reason == told

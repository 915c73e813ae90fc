"""Option probabilities from top-k tokens, echoes and votes; replies that are wrong in every field."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.openai.replies import Alternative, echoed_tokens, next_tokens, read_reply
from rlaif.engines.openai.scores import (
    LOWEST,
    OptionEstimate,
    Target,
    echoed_option,
    match_options,
    num_beginnings,
    reported,
    terminated,
    walk_options,
)
from rlaif.engines.openai.votes import read_vote, vote_logprobs
from rlaif.labelers.ranking import answers

LN2 = math.log(2.0)


def tokens(**probabilities: float) -> list[Alternative]:
    return alternatives(probabilities)


def alternatives(probabilities: Mapping[str, float]) -> list[Alternative]:
    return [Alternative(token, math.log(p)) for token, p in probabilities.items()]


def walk(
    tables: Mapping[Target, Mapping[str, float]], targets: Sequence[Target]
) -> tuple[list[OptionEstimate], list[Target]]:
    """Estimates, and what was asked."""
    asked: list[Target] = []

    async def ask(read: Target) -> list[Alternative]:
        asked.append(read)
        return alternatives(tables[read])

    return asyncio.run(walk_options(ask, targets, {49: "1", 48: "0", 10: "\n"}.__getitem__)), asked


class TestWalk:
    def test_two_options_take_one_question(self) -> None:
        estimates, asked = walk({"": {"1": 0.7, "2": 0.2, " 1": 0.05}}, ["1", "2"])
        assert estimates == [OptionEstimate(math.log(0.7)), OptionEstimate(math.log(0.2))]
        assert asked == [""]

    def test_an_answer_after_a_space_that_outweighs_the_options_is_refused(self) -> None:
        with pytest.raises(RequestFailed, match="after a space is likelier"):
            walk({"": {" 1": 0.6, " 2": 0.3, "2": 0.002, "1": 0.0004}}, ["1", "2"])
        walk({"": {" 1": 0.3, "2": 0.3, "1": 0.1}}, ["1", "2"])

    def test_an_option_outside_is_in_the_middle_of_what_it_may_be(self) -> None:
        # the rest is 0.1, the lowest 0.3: an outside token has 0.1 at most
        (_, outside), _ = walk({"": {"1": 0.6, "x": 0.3}}, ["1", "2"])
        assert outside.bounded and math.exp(outside.logprob) == pytest.approx(0.05)
        # the rest is 0.4, the lowest 0.2
        (_, outside), _ = walk({"": {"1": 0.4, "x": 0.2}}, ["1", "2"])
        assert math.exp(outside.logprob) == pytest.approx(0.1)

    def test_nothing_left_is_still_not_zero(self) -> None:
        estimates, _ = walk({"": {"1": 1.0}}, ["1", "2"])
        (sure, outside), bounded = reported(estimates)
        assert sure == 0.0 and outside >= math.log(LOWEST) and bounded == (1,)

    @pytest.mark.parametrize("options", [["1", "2"], terminated(["1", "2", "10"]), answers(2), answers(3), answers(4)])
    def test_it_asks_as_often_as_it_is_estimated_to(self, options: list[str]) -> None:
        """By a server whose tokens are words, each with the space before it."""
        tables: dict[Target, dict[str, float]] = {}
        for option in options:
            words = [" " * bool(index) + word for index, word in enumerate(option.split())] + ["\n"] * ("\n" in option)
            for index, word in enumerate(words):
                tables.setdefault("".join(words[:index]), {})[word] = 0.01
        _, asked = walk(tables, list(options))
        assert len(asked) == num_beginnings(options)

    def test_options_of_several_tokens_share_their_beginning(self) -> None:
        tables = {
            "": {"1": 0.6, "2": 0.3, "10": 0.05},
            "1": {"\n": 0.5, "0": 0.4},
            "10": {"\n": 0.8, "0": 0.1},
            "2": {"\n": 0.9, "0": 0.1},
        }
        estimates, asked = walk(tables, terminated(["1", "2", "10"]))
        assert [round(math.exp(item.logprob), 6) for item in estimates] == [0.3, 0.27, 0.04]
        assert sorted(asked) == ["", "1", "10", "2"]

    def test_digits_of_a_splitting_tokenizer_are_followed(self) -> None:
        tables = {"": {"1": 0.6, "2": 0.3}, "1": {"\n": 0.5, "0": 0.4}, "10": {"\n": 0.8}, "2": {"\n": 0.9}}
        estimates, _ = walk(tables, terminated(["1", "2", "10"]))
        assert [round(math.exp(item.logprob), 6) for item in estimates] == [0.3, 0.27, 0.6 * 0.4 * 0.8]

    def test_words_in_pieces(self) -> None:
        estimates, _ = walk({"": {"go": 0.5, "bad": 0.3}, "go": {"od": 0.4, "o": 0.2}}, ["good", "bad"])
        assert [round(math.exp(item.logprob), 6) for item in estimates] == [0.2, 0.3]

    def test_token_ids_are_followed_one_by_one(self) -> None:
        tables: dict[Target, dict[str, float]] = {
            (): {"token_id:49": 0.5, "10": 0.4},
            (49,): {"0": 0.25, "\n": 0.5},
            (49, 48): {"\n": 0.5},
        }
        estimates, asked = walk(tables, [(49, 10), (49, 48, 10)])
        assert [round(math.exp(item.logprob), 6) for item in estimates] == [0.25, 0.0625]
        assert asked == [(), (49,), (49, 48)]

    @given(st.integers(0, 10**6), st.integers(2, 12))
    def test_the_truth_lies_in_the_interval(self, seed: int, k: int) -> None:
        """A language model of single characters, of which the server tells k; the truth is a product."""
        vocabulary = "0123456789\nab"
        options = terminated([str(number) for number in range(1, 11)])

        def distribution(read: str) -> dict[str, float]:
            random = Random(f"{seed} {read}")
            weights = [random.random() ** 4 + 1e-9 for _ in vocabulary]
            return {token: weight / sum(weights) for token, weight in zip(vocabulary, weights, strict=True)}

        async def ask(read: Target) -> list[Alternative]:
            assert isinstance(read, str)
            told = sorted(alternatives(distribution(read)), key=lambda item: -item.logprob)
            return told[:k]

        for option, told in zip(options, asyncio.run(walk_options(ask, options, chr)), strict=True):
            true = math.prod(distribution(option[:place])[option[place]] for place in range(len(option)))
            upper = math.exp(told.logprob + LN2) if told.bounded else math.exp(told.logprob) * (1 + 1e-9)
            assert true <= upper * (1 + 1e-6) + 1e-8
            assert told.bounded or true == pytest.approx(math.exp(told.logprob))


class TestChat:
    def test_white_space_around_an_option_does_not_count(self) -> None:
        first, second = match_options(alternatives({"1": 0.5, " 1": 0.2, "1\n": 0.1, "2": 0.1, "12": 0.05}), ["1", "2"])
        assert math.exp(first.logprob) == pytest.approx(0.8) and not first.bounded
        assert math.exp(second.logprob) == pytest.approx(0.1) and not second.bounded

    def test_an_option_outside(self) -> None:
        yes, no = match_options(alternatives({"Yes": 0.9, "yes": 0.05, " no": 0.01, "NO": 0.01}), ["yes", "no"])
        assert (math.exp(yes.logprob), math.exp(no.logprob)) == pytest.approx((0.95, 0.02))
        _, outside = match_options(tokens(a=0.5, b=0.3), ["a", "c"])
        assert outside.bounded and math.exp(outside.logprob) == pytest.approx(0.1)

    def test_ten_as_one_token(self) -> None:
        one, ten = match_options(alternatives({"1": 0.4, "10": 0.6}), ["1", "10"])
        assert not one.bounded and not ten.bounded

    def test_one_and_ten_cannot_be_told_apart(self) -> None:
        with pytest.raises(RequestFailed, match="one token does not distinguish '1' from '10'"):
            match_options(alternatives({"1": 0.4, "8": 0.5}), ["1", "8", "10"])

    def test_unless_both_are_improbable(self) -> None:
        one, eight, ten = match_options(alternatives({"1": 0.008, "8": 0.99}), ["1", "8", "10"])
        assert not eight.bounded and one.bounded and ten.bounded
        assert math.exp(one.logprob) == pytest.approx(0.004)
        assert math.exp(ten.logprob) == pytest.approx((0.008 + 0.002) / 2)


class TestEcho:
    ECHO = (Alternative("Best", 0.0), Alternative("=", -1.0), Alternative("1", -2.0), Alternative("0", -0.5))

    def test_the_tokens_at_the_end_count(self) -> None:
        assert echoed_option(self.ECHO, "Best=", "10") == OptionEstimate(-2.5)
        assert echoed_option(self.ECHO, (7, 8), (5, 6)) == OptionEstimate(-2.5)

    @pytest.mark.parametrize("option", ["=10x", "0 ", "110"])
    def test_a_token_across_the_border(self, option: str) -> None:
        with pytest.raises(RequestFailed, match="share a token"):
            echoed_option(self.ECHO, "Best", option)

    def test_another_number_of_tokens_than_sent(self) -> None:
        with pytest.raises(RequestFailed, match="echoed tokens"):
            echoed_option(self.ECHO, (7, 8, 9), (5, 6))

    SENT = {  # noqa: RUF012
        "tokens": ["=", "1", "\n"],
        "token_logprobs": [None, -0.7, -0.1],
        "top_logprobs": [None, {"1": -0.7}, {"\n": -0.1}],
    }

    def test_as_sent(self) -> None:
        assert echoed_tokens(self.SENT, 1) == [Alternative("=", 0.0), Alternative("1", -0.7)]

    @pytest.mark.parametrize(
        ("change", "num_written", "reason"),
        [
            ({}, 0, "echo without the token after it"),
            ({}, 2, "echo without the token after it"),
            ({"top_logprobs": [None, {"1": -0.7}, {"x": -0.02, "\n": -0.1}]}, 1, "echo pairs log-probs with other"),
            ({"top_logprobs": None}, 1, "no log-probs in the reply"),
            ({"tokens": None}, 1, "no log-probs in the reply"),
            ({"tokens": ["=", "1"]}, 1, "wrong shape: tokens"),
            ({"tokens": ["=", 1, "x"]}, 1, "wrong shape: tokens"),
            ({"token_logprobs": [None, None, -0.1]}, 1, "wrong shape: a log-prob"),
            ({"token_logprobs": [None, math.nan, -0.1]}, 1, "nan log-prob"),
            ({"token_logprobs": [None, -math.inf, -0.1]}, 1, "infinite log-prob"),
        ],
    )
    def test_what_cannot_be_trusted(self, change: dict[str, Any], num_written: int, reason: str) -> None:
        with pytest.raises(RequestFailed, match=reason):
            echoed_tokens(self.SENT | change, num_written)


class TestVotes:
    @pytest.mark.parametrize("text", ["1", " 1 ", "1.", "\n1\nBecause it is shorter.", "1 ."])
    def test_readable(self, text: str) -> None:
        assert read_vote(text, ["1", "2"]) == "1"

    @pytest.mark.parametrize("text", ["", " \n ", "1 or 2", "12", "1, since", "one", "11."])
    def test_unreadable(self, text: str) -> None:
        assert read_vote(text, ["1", "2"]) is None

    def test_shares_add_up_and_are_never_0_or_1(self) -> None:
        logprobs = vote_logprobs(["1"] * 8, ["1", "2"])
        assert logprobs is not None
        assert [math.exp(p) for p in logprobs] == pytest.approx([8.5 / 9, 0.5 / 9])

    def test_unreadable_votes_leave_the_shares_and_lower_their_sum(self) -> None:
        assert vote_logprobs(["1", None, None, "2"], ["1", "2"]) == pytest.approx((-2 * LN2, -2 * LN2))
        assert vote_logprobs([None, None], ["1", "2"]) is None


COMPLETION: dict[str, Any] = {
    "model": "m",
    "choices": [
        {"text": " 1", "finish_reason": "length", "logprobs": {"top_logprobs": [{"1": -0.5, "2": -1.0, "x": -9999.0}]}}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1},
}
CHAT: dict[str, Any] = {
    "model": "m",
    "choices": [
        {
            "message": {"role": "assistant", "content": "1", "refusal": None},
            "finish_reason": "length",
            "logprobs": {
                "content": [
                    {
                        "token": "1",
                        "logprob": -0.5,
                        "top_logprobs": [{"token": "1", "logprob": -0.5}, {"token": "2", "logprob": -1.0}],
                    }
                ]
            },
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1},
}
TOP = [Alternative("1", -0.5), Alternative("2", -1.0)]


def changed(payload: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with one field set; a number in the path is an index."""
    payload = copy.deepcopy(payload)
    *parents, last = [int(name) if name.isdecimal() else name for name in path.split(".")]
    place: Any = payload
    for name in parents:
        place = place[name]
    place[last] = value
    return payload


def read(payload: object, accept_model: str | None = None) -> list[Alternative]:
    return next_tokens(read_reply(payload, model="m", accept_model=accept_model).logprobs)


class TestReplies:
    @pytest.mark.parametrize("payload", [COMPLETION, CHAT], ids=["completions", "chat"])
    def test_sound_replies(self, payload: dict[str, Any]) -> None:
        reply = read_reply(payload, model="m", accept_model=None)
        assert next_tokens(reply.logprobs) == TOP
        assert (reply.text.strip(), reply.refused, reply.num_prompt_tokens, reply.num_reply_tokens) == (
            "1",
            False,
            12,
            1,
        )

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("model", "other", "wrong model other"),
            ("model", None, "wrong model (none)"),
            ("model", {"m": 1}, "wrong model (none)"),
            ("model", "half \ud83d", "wrong model half ?"),
            ("choices", [], "wrong shape: no choices"),
            ("choices", {"text": "1"}, "wrong shape: no choices"),
            ("choices.0", "text", "wrong shape: a choice"),
            ("choices.0.finish_reason", None, "wrong shape: no finish_reason"),
            ("choices.0.text", None, "wrong shape: no text"),
            ("choices.0.text", ["1"], "wrong shape: no text"),
            ("choices.0.logprobs", None, "no log-probs in the reply"),
            ("choices.0.logprobs", [], "no log-probs in the reply"),
            ("choices.0.logprobs.top_logprobs", None, "no log-probs in the reply"),
            ("choices.0.logprobs.top_logprobs", [], "no log-probs in the reply"),
            ("choices.0.logprobs.top_logprobs", [None], "no log-probs in the reply"),
            ("choices.0.logprobs.top_logprobs", [{"x": -9999.0}], "no log-probs in the reply"),
            ("choices.0.logprobs.top_logprobs", ["1"], "wrong shape: top_logprobs"),
            ("choices.0.logprobs.top_logprobs", [["1"]], "wrong shape: a token"),
            ("choices.0.logprobs.top_logprobs", [[{"logprob": -1.0}]], "wrong shape: a token"),
            ("choices.0.logprobs.top_logprobs.0.1", "-0.5", "wrong shape: a log-prob"),
            ("choices.0.logprobs.top_logprobs.0.1", None, "wrong shape: a log-prob"),
        ],
    )
    def test_wrong_shapes(self, path: str, value: object, reason: str) -> None:
        payload = COMPLETION
        if path.endswith(".0.1"):
            payload = changed(payload, "choices.0.logprobs.top_logprobs", [{"1": value}])
        else:
            payload = changed(payload, path, value)
        with pytest.raises(RequestFailed) as failure:
            read(payload)
        assert failure.value.reason == reason

    @pytest.mark.parametrize("count", [10**12, 10**400, -1, "12", 12.0, True, None, [12]])
    def test_numbers_that_are_no_token_counts_are_none_told(self, count: object) -> None:
        payload = changed(changed(COMPLETION, "usage.prompt_tokens", count), "usage.completion_tokens", count)
        reply = read_reply(payload, model="m", accept_model=None)
        assert (reply.num_prompt_tokens, reply.num_reply_tokens) == (0, 0)
        assert next_tokens(reply.logprobs) == TOP

    @pytest.mark.parametrize("payload", [COMPLETION, CHAT], ids=["completions", "chat"])
    def test_half_a_character_is_a_question_mark(self, payload: dict[str, Any]) -> None:
        place = "choices.0.text" if payload is COMPLETION else "choices.0.message.content"
        assert read_reply(changed(payload, place, "cut \ud83d"), model="m", accept_model=None).text == "cut ?"

    @pytest.mark.parametrize("payload", [None, [], "text", 1, {}, {"error": {"message": "x"}}])
    def test_no_reply_at_all(self, payload: object) -> None:
        with pytest.raises(RequestFailed, match=r"wrong shape|wrong model"):
            read(payload)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (math.nan, "nan log-prob"),
            (math.inf, "infinite log-prob"),
            (-math.inf, "infinite log-prob"),
            (-(10**400), "infinite log-prob"),
            (0.5, "positive log-prob"),
            (True, "wrong shape: a log-prob"),
            (-0.01, "log-probs add up to more than 1"),
        ],
    )
    def test_numbers_that_are_no_log_probs(self, value: object, reason: str) -> None:
        for payload, path in (
            (COMPLETION, "choices.0.logprobs.top_logprobs"),
            (CHAT, "choices.0.logprobs.content.0.top_logprobs"),
        ):
            other = {"1": -0.5, "2": value}
            as_list = [{"token": token, "logprob": logprob} for token, logprob in other.items()]
            sent: object = [other] if payload is COMPLETION else as_list
            with pytest.raises(RequestFailed, match=reason):
                read(changed(payload, path, sent))

    def test_rounding_above_zero_is_zero(self) -> None:
        payload = changed(COMPLETION, "choices.0.logprobs.top_logprobs", [{"1": 1e-6}])
        assert read(payload) == [Alternative("1", 0.0)]

    def test_accepted_names(self) -> None:
        dated = changed(COMPLETION, "model", "m-2024-08-06")
        assert read(dated, "m-*") == TOP
        assert read(changed(COMPLETION, "model", None), "*") == TOP
        with pytest.raises(RequestFailed, match="wrong model m-2024"):
            read(dated, "n-*")

    def test_a_refusal(self) -> None:
        refusal = changed(CHAT, "choices.0.message", {"content": None, "refusal": "I cannot."})
        assert read_reply(refusal, model="m", accept_model=None).refused
        filtered = changed(COMPLETION, "choices.0.finish_reason", "content_filter")
        assert read_reply(filtered, model="m", accept_model=None).refused

    @pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -3}, {"prompt_tokens": "12"}, [1]])
    def test_usage_that_is_not_told_counts_nothing(self, usage: object) -> None:
        reply = read_reply(changed(COMPLETION, "usage", usage), model="m", accept_model=None)
        assert (reply.num_prompt_tokens, reply.num_reply_tokens) == (0, 0)

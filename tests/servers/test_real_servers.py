"""The ``openai`` engine against servers that somebody else wrote, compared with the local engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.engines.transformers import TransformersEngine
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.prompts.judge import JudgePrompts
from rlaif.tasks.base import get_task
from rlaif.testing.engine_contract import check_engine
from rlaif.types import Comparison, Completion, Prompt, Sampling, Segment, StructuredPrompt

if TYPE_CHECKING:
    from conftest import Server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

POSTS = (
    "My aunt Anna sold the lamp today. Should I call the vet?",
    "I lost 3 keys on the bridge, é and ß too. What now?",
    "The dog ate the cake; my boss was there. Do I say sorry?",
)
RATINGS = tuple(str(number) for number in range(1, 11))


def pairwise_prompts() -> list[StructuredPrompt]:
    task, prompts = get_task("summarization"), JudgePrompts()
    pairs = [("Anna sold the lamp.", "I will not help."), ("Keys were lost.", "Lost 3 keys, é.")]
    return [as_one(prompts.pairwise(task, post, *pair)) for post in POSTS for pair in pairs]


def rating_prompts() -> list[StructuredPrompt]:
    task, prompts = get_task("summarization"), JudgePrompts()
    return [as_one(prompts.rating(task, post, "Anna sold the lamp.")) for post in POSTS]


def as_one(prompt: StructuredPrompt) -> StructuredPrompt:
    """The same text as one segment: a server that takes text tokenizes it as one."""
    return StructuredPrompt(segments=(Segment(text=prompt.text),))


@pytest.fixture(scope="module")
def local() -> TransformersEngine:
    return TransformersEngine("pocket:XS")


@pytest.mark.parametrize("options", [("1", "2"), RATINGS], ids=["pairwise", "ratings"])
def test_llama_cpp_gives_the_log_probs_of_the_local_engine(
    llama_cpp: Server, local: TransformersEngine, options: tuple[str, ...]
) -> None:
    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, top_logprobs=200, max_concurrency=1)
    prompts = pairwise_prompts() if len(options) == 2 else rating_prompts()
    for score, exact in zip(engine.score(prompts, options), local.score(prompts, options), strict=True):
        assert score.missing is None and exact.logprobs is not None
        assert score.bounded == ()
        assert score.logprobs == pytest.approx(exact.logprobs, abs=1e-3)
    assert engine.retried == {}


def test_llama_cpp_keeps_the_contract_of_engines(llama_cpp: Server) -> None:
    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, top_logprobs=200, max_concurrency=1, max_retries=0)
    assert [result for result in check_engine(engine) if not result.passed] == []


def test_llama_cpp_reads_as_many_tokens(llama_cpp: Server, local: TransformersEngine) -> None:
    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, max_concurrency=1)
    prompts = pairwise_prompts()
    counts = [score.num_prompt_tokens for score in engine.score(prompts, ("1", "2"))]
    assert counts == [len(local.token_ids(prompt)) for prompt in prompts]


def test_options_outside_the_top_tokens_are_bounded_around_the_truth(
    llama_cpp: Server, local: TransformersEngine
) -> None:
    """The true probability lies in an interval whose middle is told: at most twice that."""
    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, top_logprobs=1, max_concurrency=1)
    prompts = pairwise_prompts()
    some_bounded = False
    for score, exact in zip(engine.score(prompts, ("1", "2")), local.score(prompts, ("1", "2")), strict=True):
        assert exact.logprobs is not None
        if score.logprobs is None:
            assert score.missing == "no option among the 1 likeliest tokens"
            continue
        for index, (told, true) in enumerate(zip(score.logprobs, exact.logprobs, strict=True)):
            some_bounded |= index in score.bounded
            assert true <= told + 0.6932 if index in score.bounded else true == pytest.approx(told, abs=1e-3)
    assert some_bounded


def test_llama_cpp_chat_scores_are_those_of_its_rendered_prompt(llama_cpp: Server, local: TransformersEngine) -> None:
    from llama_cpp.llama_chat_format import format_llama2

    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, api="chat", top_logprobs=200, max_concurrency=1)
    prompts = pairwise_prompts()
    rendered = [format_llama2([{"role": "user", "content": prompt.text}]).prompt for prompt in prompts]
    asked = [StructuredPrompt(segments=(Segment(text=text),)) for text in rendered]
    options = (",", "today", "the", "my", "Tell", "that")
    scores = engine.score(prompts, options)
    bare = local.score(asked, options)
    spaced = local.score(asked, [f" {option}" for option in options])
    num_exact = 0
    for score, *parts in zip(scores, bare, spaced, strict=True):
        assert score.logprobs is not None and parts[0].logprobs is not None and parts[1].logprobs is not None
        for index, told in enumerate(score.logprobs):
            if index not in score.bounded:
                num_exact += 1
                total = math.exp(parts[0].logprobs[index]) + math.exp(parts[1].logprobs[index])
                assert told == pytest.approx(math.log(total), abs=1e-3)
    assert num_exact >= len(prompts)


def test_a_server_whose_echo_is_shifted_gives_missing_and_no_number(llama_cpp: Server) -> None:
    engine = OpenAIEngine(
        llama_cpp.model, url=llama_cpp.url, scoring="echo", max_concurrency=1, break_after=100, max_retries=0
    )
    for prompts, options in ((pairwise_prompts(), ("1", "2")), (rating_prompts(), RATINGS)):
        for score in engine.score(prompts, options):
            assert score.logprobs is None
            assert score.missing is not None and "echo" in score.missing


def test_llama_cpp_writes_what_the_local_engine_writes(llama_cpp: Server, local: TransformersEngine) -> None:
    # This server punishes repetition unless it is told not to.
    extra = {"repeat_penalty": 1.0}
    engine = OpenAIEngine(llama_cpp.model, url=llama_cpp.url, max_concurrency=1, extra=extra)
    prompts, sampling = pairwise_prompts(), Sampling(max_new_tokens=12, stop=("\n",))
    served = engine.generate(prompts, sampling)
    written = local.generate(prompts, sampling)
    assert [(item.text, item.finished) for item in served] == [(item.text, item.finished) for item in written]
    assert all(item.num_reply_tokens > 0 for item in served)


def test_another_model_name_is_refused_by_name(llama_cpp: Server) -> None:
    engine = OpenAIEngine("other", url=llama_cpp.url, max_retries=0, max_concurrency=1, accept_model="something-*")
    (score,) = engine.score(pairwise_prompts()[:1], ("1", "2"))
    assert score.missing == "wrong model other"


def test_transformers_serve_votes_and_labels(transformers_serve: Server) -> None:
    engine = OpenAIEngine(
        transformers_serve.model,
        url=transformers_serve.url,
        scoring="votes",
        num_votes=4,
        max_vote_tokens=3,
        supports_top_k=False,
        max_concurrency=1,
        accept_model="*",
    )
    labeler = PairwiseLabeler(JudgePrompts(), engine)
    pairs = [
        Comparison(
            prompt=Prompt(task="summarization", text=post),
            first=Completion(text="Anna sold the lamp."),
            second=Completion(text="I will not help to do that."),
        )
        for post in POSTS
    ]
    labels = labeler.label(pairs)
    allowed = {round((votes + 0.5) / (total + 1.0), 6) for total in range(1, 5) for votes in range(total + 1)}
    read = [judgment for label in labels for judgment in label.judgments if judgment.p_slot1 is not None]
    assert len(read) >= len(pairs)
    assert {round(judgment.p_slot1 or 0.0, 6) for judgment in read} <= allowed
    assert all(judgment.num_prompt_tokens > 0 for judgment in read)
    assert {label.missing for label in labels} <= {None, "none of 4 votes could be read"}


def test_transformers_serve_refuses_log_probs_and_that_is_counted(transformers_serve: Server) -> None:
    engine = OpenAIEngine(transformers_serve.model, url=transformers_serve.url, accept_model="*", max_retries=0)
    (score,) = engine.score(pairwise_prompts()[:1], ("1", "2"))
    assert score.logprobs is None
    assert score.missing in ("no log-probs in the reply", "http 422", "http 400")

"""Any OpenAI-compatible server (vLLM, SGLang, llama.cpp, OpenAI) as an engine."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from rlaif.engines.base import Answer, TrialFailure
from rlaif.engines.chat_templates import check_scorable
from rlaif.engines.openai.calls import Calls
from rlaif.engines.openai.client import Body, Connection
from rlaif.engines.openai.counting import CountedQuestions
from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.openai.hints import REASONING_CUT
from rlaif.engines.openai.inside import failure_inside
from rlaif.engines.openai.options import ChoiceField, TokenLimitKey, check_options
from rlaif.engines.openai.prompt_lengths import PromptLengths
from rlaif.engines.openai.replies import (
    Alternative,
    Reply,
    answering,
    echo_of,
    given,
    next_tokens,
    read_reply,
    told_usage,
    written,
)
from rlaif.engines.openai.requests import Api, Prompt, RequestForm
from rlaif.engines.openai.scores import (
    OptionEstimate,
    Target,
    check_one_word,
    echoed_option,
    match_options,
    reported,
    walk_options,
)
from rlaif.engines.openai.trial import try_request
from rlaif.engines.openai.usage import Usage, UsageReader
from rlaif.engines.openai.votes import Vote, no_vote_reason, reasoning_of, vote_logprobs, vote_of
from rlaif.naming import as_typed
from rlaif.outcome import Generation, OptionScores
from rlaif.runtime import Runtime
from rlaif.types import Sampling, StructuredPrompt, content_id

Scoring = Literal["top_logprobs", "echo", "votes"]
Found = TypeVar("Found")
_READING = 2  # raised when replies are read differently: answers of an earlier reading are asked again
_VOTES_READ = "last verdict or opening word"  # changed when votes are read differently, likewise

log = logging.getLogger(__name__)


class OpenAIEngine(CountedQuestions):
    """A language model behind an OpenAI-compatible server. Group ``rlaif.engines``, name ``openai``.

    Prompts are sent as text, in which the server may read a special token written out in a candidate
    (``<|im_end|>``). With ``tokenizer`` they are sent as token ids, in which no candidate holds a special token
    (vLLM, SGLang and llama.cpp's own server take ids).

    Args:
        model: The model's name at the server.
        url: Base url, usually ending in ``/v1``.
        api: ``completions`` continues the prompt; ``chat`` sends it as one user message.
        system: System message of a chat.
        tokenizer: Hugging Face folder, or name, of the served model's tokenizer (``completions`` only).
        chat_template: With ``tokenizer``: ``model`` wraps the prompt in one user turn of its chat template.
        chat_template_kwargs: Arguments of the chat template, e.g. ``{"enable_thinking": False}``.
        scoring: ``top_logprobs`` reads the likeliest next tokens; ``echo`` has the server score prompt and option;
            ``votes`` samples answers, for servers without log-probabilities.
        top_logprobs: Tokens to ask for; OpenAI allows 20 in a chat and 5 in completions.
        num_votes: Samples per prompt of ``scoring=votes``.
        vote_temperature: Of those samples.
        vote_seed: Of those samples.
        max_vote_tokens: Longest vote in tokens.
        key_env: Name of the environment variable that holds the key; None sends none.
        revision: Name of the weights, chosen by the user; part of ``identity``, as weights may change under one name.
        accept_model: Shell pattern of model names that a reply may carry; None takes ``model`` alone.
        extra: Further fields of every request, e.g. ``{"min_p": 0.1}``.
        supports_top_k: False for servers that refuse ``top_k`` (OpenAI's own); a sampling's top-k is then left out,
            with a warning.
        token_limit_key: What the server calls the limit of new tokens.
        omit: Fields that no request has, for models that refuse them: ``temperature``, ``seed``, ``stop``,
            ``max_tokens``, ``logprobs``, ``top_p``, ``top_k``.
        guided_choice: With ``scoring=votes``: the server lets the model write an option and nothing else.
        choice_field: The field in which the server takes the allowed answers; None where it takes none.
        max_concurrency: Requests on their way at once.
        requests_per_minute: Limit on requests, spaced evenly; None is none.
        tokens_per_minute: Limit on prompt and reply tokens, estimated before each request; None is none.
        connect_timeout_s: Time to connect.
        read_timeout_s: Time between two pieces of a reply.
        total_timeout_s: Time of one attempt.
        max_retries: Further attempts after a time-out, a cut connection, invalid JSON, HTTP 408, 409, 425, 429, 5xx.
        first_backoff_s: The wait before retry n is drawn up to this times 2^(n-1); a ``Retry-After`` goes first.
        max_backoff_s: Longest wait; a server that asks for more is not asked again.
        break_after: Failed requests in a row, after their retries, after which the run stops.
        max_response_bytes: A longer reply is not read to its end.

    Raises:
        ConfigError: An option is out of range or does not go with another.
    """

    def __init__(
        self,
        model: str,
        *,
        url: Runtime[str] = "http://localhost:8000/v1",
        api: Api = "completions",
        system: str | None = None,
        tokenizer: str | None = None,
        chat_template: Literal["none", "model"] = "none",
        chat_template_kwargs: dict[str, Any] | None = None,
        scoring: Scoring = "top_logprobs",
        top_logprobs: int = 20,
        num_votes: int = 8,
        vote_temperature: float = 1.0,
        vote_seed: int = 0,
        max_vote_tokens: int = 16,
        key_env: Runtime[str | None] = None,
        revision: str | None = None,
        accept_model: str | None = None,
        extra: dict[str, Any] | None = None,
        supports_top_k: bool = True,
        token_limit_key: TokenLimitKey = "max_tokens",
        omit: Sequence[str] = (),
        guided_choice: bool = False,
        choice_field: ChoiceField | None = None,
        max_concurrency: Runtime[int] = 8,
        requests_per_minute: Runtime[float | None] = None,
        tokens_per_minute: Runtime[float | None] = None,
        connect_timeout_s: Runtime[float] = 10.0,
        read_timeout_s: Runtime[float] = 120.0,
        total_timeout_s: Runtime[float] = 300.0,
        max_retries: Runtime[int] = 6,
        first_backoff_s: Runtime[float] = 0.5,
        max_backoff_s: Runtime[float] = 60.0,
        break_after: Runtime[int] = 10,
        max_response_bytes: Runtime[int] = 4_000_000,
    ) -> None:
        options = dict(locals())
        check_options(options)
        self.asking = RequestForm(
            model,
            api=api,
            system=system,
            tokenizer=tokenizer,
            chat_template=chat_template,
            top_logprobs=top_logprobs,
            supports_top_k=supports_top_k,
            token_limit_key=token_limit_key,
            extra={} if extra is None else dict(extra),
            omit=omit,
            choice_field=choice_field if guided_choice else None,
            chat_template_kwargs=chat_template_kwargs,
        )
        self.scoring = scoring
        self.num_votes = num_votes
        self.vote_temperature = vote_temperature
        self.vote_seed = vote_seed
        self.max_vote_tokens = max_vote_tokens
        self.revision = revision
        self.accept_model = accept_model
        self.connection = Connection.of(options)
        self.requests_per_minute = requests_per_minute
        self.on_answer: Callable[[int, Answer], None] | None = None
        self._calls = Calls(self.connection)
        self._usage = UsageReader(self.num_tokens)
        self._lengths = PromptLengths()
        self._told_top_k = False

    @property
    def identity(self) -> str:
        """Content hash of model name, revision and the options that change answers; not of the url or the key."""
        scoring: tuple[object, ...] = (self.scoring, _READING)
        if self.scoring == "top_logprobs":
            scoring += (self.asking.top_logprobs,)
        elif self.scoring == "votes":
            scoring += (self.num_votes, self.vote_temperature, self.vote_seed, self.max_vote_tokens, _VOTES_READ)
        return content_id("openai", *self.asking.identity, self.revision or "", repr(scoring))

    @property
    def is_chat(self) -> bool:
        """As :attr:`rlaif.engines.base.AnswersInMessages.is_chat`: over a chat API, or in the model's chat template."""
        return self.asking.api == "chat" or self.asking.chat_template == "model"

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """The part of the request that holds the prompt, as JSON."""
        return json.dumps(self.asking.question(self.asking.prompt(prompt)), sort_keys=True).encode()

    def num_tokens(self, text: str) -> int:
        """Tokens by the tokenizer where one is given, else one for every four bytes."""
        return self.asking.num_tokens(text)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """As :meth:`rlaif.engines.base.Engine.score`; see :mod:`rlaif.engines.openai.scores` for what is bounded.

        A chat scores one token of the reply, and a vote one sampled reply: there options get no closing newline.

        Raises:
            GateStopped: ``break_after`` requests in a row failed; answers that came before went to ``on_answer``.
            ConfigError: The key is not in the environment, the chat template opens a think block, or a chat would have
                to tell more than its first token.
        """
        if self.asking.api == "chat" and self.scoring == "top_logprobs":
            check_one_word(options)
        if self.asking.tokenizer is not None and self.scoring != "votes":
            check_scorable(self.asking.prompts, self.asking.chat_template_kwargs, "labeler.engine.scoring=votes")
        with self._lengths:
            return self._calls.run([partial(self._score, prompt, options) for prompt in prompts], self.on_answer)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As :meth:`rlaif.engines.base.Engine.generate`; whether a seed fixes an answer depends on the server.

        A refusal, a content filter's answer and an empty reply are missing.

        Raises:
            GateStopped: As in :meth:`score`.
            ConfigError: As in :meth:`score`.
        """
        if sampling.top_k > 0 and not self.asking.supports_top_k and not self._told_top_k:
            self._told_top_k = True
            told = as_typed("labeler.engine.supports_top_k=false")
            log.warning("%s: sampling goes without top_k=%d", told, sampling.top_k)
        with self._lengths:
            return self._calls.run([partial(self._generate, prompt, sampling) for prompt in prompts], self.on_answer)

    def trial(self, prompt: StructuredPrompt, asked: Sequence[str] | Sampling) -> tuple[Answer, TrialFailure | None]:
        """As :meth:`rlaif.engines.base.AsksOnTrial.trial`."""
        return try_request(self, prompt, asked)

    @property
    def retried(self) -> dict[str, int]:
        """Attempts that failed and were made again, by reason."""
        return self._calls.retried

    async def _score(self, structured: StructuredPrompt, options: Sequence[str]) -> OptionScores:
        usage = Usage()
        scored = {"top_logprobs": self._score_top, "echo": self._score_echo}
        score = scored.get(self.scoring) or partial(self._score_votes, structured)
        logprobs: tuple[float, ...] | None = None
        bounded: tuple[int, ...] = ()
        failed: RequestFailed | None = None
        try:
            logprobs, bounded = reported(await score(self.asking.prompt(structured), options, usage))
        except RequestFailed as failure:
            failed = failure
        return OptionScores(
            logprobs=logprobs,
            bounded=bounded,
            shares=self.scoring == "votes",
            num_prompt_tokens=usage.num_prompt_tokens,
            billing=usage.billing,
            num_counted_tokens=usage.num_reply_tokens,
            reasoning=usage.reasoning,
            missing=None if failed is None else failed.reason,
            is_final=failed is not None and failed.is_final,
        )

    async def _score_top(self, prompt: Prompt, options: Sequence[str], usage: Usage) -> list[OptionEstimate]:
        def likeliest(reply: Reply) -> list[Alternative]:
            logprobs = answering(given(reply)).logprobs
            greedy = not self.asking.is_constrained and "temperature" not in self.asking.omit
            return next_tokens(logprobs, num_asked=self.asking.top_logprobs, greedy=greedy, text=reply.text)

        async def ask(read: Target) -> list[Alternative]:
            question = self.asking.question(prompt, read) | self.asking.for_top_logprobs()
            return await self._post(question, 1, likeliest, usage)

        if self.asking.api == "chat":
            estimates = match_options(await ask(""), options)
        else:
            estimates = await walk_options(ask, self.asking.targets(options), self.asking.token_text)
        if all(estimate.bounded for estimate in estimates):
            reason = f"no option among the {self.asking.top_logprobs} likeliest tokens"
            raise RequestFailed(reason, of_server=False)
        return estimates

    async def _score_echo(self, prompt: Prompt, options: Sequence[str], usage: Usage) -> list[OptionEstimate]:
        async def ask(option: Target) -> OptionEstimate:
            question = self.asking.question(prompt, option) | self.asking.for_echo()
            alone = prompt if isinstance(prompt, str) else tuple(prompt)
            return await self._post(question, 1, lambda reply: echoed_option(echo_of(reply), alone, option), usage)

        return [await ask(option) for option in self.asking.targets(options)]

    async def _score_votes(
        self, structured: StructuredPrompt, prompt: Prompt, options: Sequence[str], usage: Usage
    ) -> list[OptionEstimate]:
        votes = []
        for index in range(self.num_votes):
            sampling = self.asking.for_vote(prompt, self.vote_temperature, self.vote_seed, index)
            question = self.asking.question(prompt) | sampling | self.asking.for_choice(options)
            try:
                reply = await self._post(question, self.max_vote_tokens, lambda reply: reply, usage)
                votes.append(vote_of(reply, structured, options, self.max_vote_tokens))
            except RequestFailed as failure:
                if failure.reason != REASONING_CUT:
                    raise
                votes.append(Vote(None, problem=f"reasoning cut at {self.max_vote_tokens} tokens"))
        usage.reasoning = reasoning_of(votes)
        logprobs = vote_logprobs([vote.option for vote in votes], options)
        if logprobs is None:
            raise RequestFailed(no_vote_reason(votes), of_server=False)
        return [OptionEstimate(logprob) for logprob in logprobs]

    async def _generate(self, structured: StructuredPrompt, sampling: Sampling) -> Generation:
        prompt, usage = self.asking.prompt(structured), Usage()
        question = self.asking.question(prompt) | self.asking.for_sampling(prompt, sampling)
        try:
            reply = await self._post(question, sampling.max_new_tokens, written, usage)
        except RequestFailed as failure:
            return Generation(
                missing=failure.reason,
                is_final=failure.is_final,
                finished=False,
                billing=usage.billing,
                num_prompt_tokens=usage.num_prompt_tokens,
                num_counted_tokens=usage.num_reply_tokens,
            )
        text = reply.text
        for stop in sampling.stop:
            text = text.split(stop)[0]
        return Generation(
            text=text,
            reasoning=reply.reasoning,
            finished=reply.finish_reason != "length" or text != reply.text,
            billing=usage.billing,
            num_prompt_tokens=usage.num_prompt_tokens,
            num_counted_tokens=usage.num_reply_tokens,
        )

    async def _post(self, question: Body, max_tokens: int, read: Callable[[Reply], Found], usage: Usage) -> Found:
        """One request; its tokens count even where its answer is of no use."""
        num_sent = self.asking.num_sent(question)

        def count_and_read(payload: object, *, is_other: bool = False) -> Found:
            told = self._usage.read(payload, 0 if is_other else num_sent)
            try:
                if failure := failure_inside(payload):
                    raise failure
                if not is_other:
                    self._lengths.compare(told_usage(payload)[0], question)
                found = read(self._reply(payload))
            except RequestFailed as failure:
                (usage.waste if failure.retryable else usage.take)(told)
                raise
            usage.take(told)
            return found

        body = self.asking.body(question, max_tokens)
        return await self._calls.client.post(
            self.asking.path,
            body,
            count_and_read,
            num_tokens=self.asking.num_read(question) + max_tokens,
            other=self.asking.with_other_prompt(body),
            read_other=partial(count_and_read, is_other=True),
            on_retry=usage.retry,
        )

    def _reply(self, payload: object) -> Reply:
        asking = self.asking
        return read_reply(payload, model=asking.model, accept_model=self.accept_model, opened=asking.opened)

    def __getstate__(self) -> dict[str, object]:
        """Options only: a copy in another process opens its own connections."""
        return self.__dict__ | {"on_answer": None}

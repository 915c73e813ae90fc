"""Questions to an OpenAI-compatible server: limits on rate and size, time-outs, retries, a circuit breaker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import httpx2
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from rlaif.engines.openai.bodies import read_beginning, read_json
from rlaif.engines.openai.breaker import CircuitBreaker
from rlaif.engines.openai.failures import RequestFailed, redacted, status_failure
from rlaif.errors import ConfigError
from rlaif.naming import as_typed

T = TypeVar("T")
Body = dict[str, object]

_MAX_ERROR_BYTES = 4096
_TOKEN_WINDOW_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Address, rate limits, timeouts and retries of a server; see :class:`rlaif.engines.openai.engine.OpenAIEngine`."""

    url: str
    key_env: str | None
    max_concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    connect_timeout_s: float
    read_timeout_s: float
    total_timeout_s: float
    max_retries: int
    first_backoff_s: float
    max_backoff_s: float
    break_after: int
    max_response_bytes: int

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Connection:
        """The connection that an engine's options describe; its other options are left out."""
        described = {field.name: options[field.name] for field in fields(cls)}
        return cls(**described | {"url": str(options["url"]).rstrip("/")})

    def key(self) -> str | None:
        """The key, read from the environment at every request and kept nowhere.

        Raises:
            ConfigError: The variable is not set, or holds what no header can carry.
        """
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ConfigError(f"labeler.engine.key_env={self.key_env}: this environment variable is not set; export it")
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"labeler.engine.key_env={self.key_env}: this variable holds no key: it must be one line")
        return key


class Client:
    """Posts JSON and reads JSON. Belongs to one event loop.

    Args:
        connection: Where to and how hard.
        transport: Another transport than the network, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.connection = connection
        self.breaker = CircuitBreaker(connection.url, connection.break_after)
        self.retried: Counter[str] = Counter()
        """Attempts that failed and were made again, by reason."""
        self.last: RequestFailed | None = None
        """The newest request without an answer."""
        self.questions: set[asyncio.Task[Any]] = set()
        """Tasks of the questions that are asked at present."""
        self.sent: set[asyncio.Task[Any]] = set()
        """Those of them that wait for a reply to a request."""
        self._slots = asyncio.Semaphore(connection.max_concurrency)
        self._http = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(connection.read_timeout_s, connect=connection.connect_timeout_s, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=connection.max_concurrency),
        )
        rate, tokens = connection.requests_per_minute, connection.tokens_per_minute
        self._requests = None if rate is None else AsyncLimiter(1, 60.0 / rate)
        self._tokens = None if tokens is None else AsyncLimiter(tokens * _TOKEN_WINDOW_S / 60.0, _TOKEN_WINDOW_S)
        self._backoff = wait_random_exponential(multiplier=connection.first_backoff_s, max=connection.max_backoff_s)
        self._seen: set[str] = set()
        self._is_closed = False

    async def post(
        self,
        path: str,
        body: Body,
        read: Callable[[object], T],
        *,
        num_tokens: int = 0,
        other: Body | None = None,
        read_other: Callable[[object], object] | None = None,
        on_retry: Callable[[], None] = lambda: None,
    ) -> T:
        """Ask until there is an answer or no use in asking.

        Args:
            path: Below the url, e.g. ``/completions``.
            body: Sent as JSON.
            read: Turns the answer's JSON into what is wanted; raises :class:`RequestFailed` where it cannot.
            num_tokens: Estimated tokens of question and answer, for ``tokens_per_minute``.
            other: The same request with another prompt. Where the server refuses a request in words that do not say
                why, this one is asked: if it is answered, the prompt was refused. It is also asked before a busy
                server is given up: one that answers it fails on single prompts, which follow each other where the
                answers to all others are in the cache.
            read_other: Reads the answer to that one; None reads it like the question's own.
            on_retry: Called before each further attempt.

        Raises:
            RequestFailed: There is no answer; with the reason of the last attempt, or ``circuit open``.
            ConfigError: The key is not in the environment.
        """
        async with self._slots:
            self.breaker.check()
            try:
                retries = self.connection.max_retries
                answer = await self._with_retries(path, body, read, num_tokens, on_retry, retries)
            except RequestFailed as failure:
                failure.url = self.connection.url
                raise await self._counted(failure, path, other, read_other or read) from None
            self.breaker.answered()
            return answer

    def close(self) -> None:
        """Send no further request: cancel every question that does not wait for a reply, and the others after it."""
        log.warning("stopping: waiting for the replies to %d requests; interrupt again to stop at once", len(self.sent))
        self._is_closed = True
        for task in self.questions - self.sent:
            task.cancel()

    async def _counted(
        self, failure: RequestFailed, path: str, other: Body | None, read: Callable[[object], object]
    ) -> RequestFailed:
        """A failure, told apart from those of its prompt, after the breaker has counted it."""
        answers_others = False
        is_last_chance = failure.may_pass and self.breaker.would_open(failure)
        if other is not None and (failure.may_be_of_prompt or is_last_chance):
            num_retries = 0 if is_last_chance else self.connection.max_retries
            answers_others = await self._is_answered(path, other, read, num_retries)
        if answers_others and failure.may_be_of_prompt:
            failure = failure.of_this_prompt
        self.last = failure
        self._report(failure)
        if answers_others:
            self.breaker.answered()
        else:
            self.breaker.failed(failure)
        return failure

    async def _is_answered(self, path: str, body: Body, read: Callable[[object], object], num_retries: int) -> bool:
        """True where the server answers a request, of whatever use its answer is."""
        try:
            await self._with_retries(path, body, read, 0, lambda: None, num_retries)
        except RequestFailed as failure:
            return not failure.of_server
        return True

    async def _with_retries(
        self,
        path: str,
        body: Body,
        read: Callable[[object], T],
        num_tokens: int,
        on_retry: Callable[[], None],
        num_retries: int,
    ) -> T:
        last: RequestFailed | None = None

        def count(state: RetryCallState) -> None:
            self.retried[_failure(state).reason] += 1
            on_retry()

        async def attempt() -> T:
            nonlocal last
            if last is not None and self.breaker.is_open:
                raise last
            await self._wait_for_rate(num_tokens)
            try:
                return read(await self._ask(path, body))
            except RequestFailed as failure:
                last = failure
                raise

        retrying = AsyncRetrying(
            stop=stop_after_attempt(num_retries + 1),
            retry=retry_if_exception(self._may_help),
            wait=self._wait_s,
            before_sleep=count,
            sleep=self.breaker.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    async def _wait_for_rate(self, num_tokens: int) -> None:
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            left = float(num_tokens)
            while left > 0:
                await self._tokens.acquire(min(left, self._tokens.max_rate))
                left -= self._tokens.max_rate

    async def _ask(self, path: str, body: Body) -> object:
        if self._is_closed:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        self.sent.add(task)
        try:
            return await self._reply(path, body)
        finally:
            self.sent.discard(task)

    async def _reply(self, path: str, body: Body) -> object:
        key = self.connection.key()
        # A compressed reply could be small on the wire and huge in memory.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            async with asyncio.timeout(self.connection.total_timeout_s):
                content = json.dumps(body).encode()
                url = self.connection.url + path
                async with self._http.stream("POST", url, content=content, headers=headers) as response:
                    if not response.is_success:  # some gateways answer a POST with 201
                        raise await _refused(response, key)
                    return redacted(await read_json(response, self.connection.max_response_bytes), key)
        except (TimeoutError, httpx2.TimeoutException):
            raise RequestFailed("timeout", retryable=True) from None
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            raise RequestFailed("cannot connect", detail=str(redacted(str(error), key)), retryable=True) from None
        except httpx2.RequestError as error:
            raise RequestFailed("connection cut", detail=str(redacted(str(error), key)), retryable=True) from None

    def _may_help(self, error: BaseException) -> bool:
        if not isinstance(error, RequestFailed) or not error.retryable or self.breaker.is_open or self._is_closed:
            return False
        return error.retry_after_s is None or error.retry_after_s <= self.connection.max_backoff_s

    def _wait_s(self, state: RetryCallState) -> float:
        failure = _failure(state)
        if failure.retry_after_s is not None:
            return failure.retry_after_s + random.uniform(0.0, self.connection.first_backoff_s)
        return self._backoff(state)

    def _report(self, failure: RequestFailed) -> None:
        """The first failure of each kind goes to the log."""
        if failure.reason not in self._seen and (failure.of_server or failure.detail):
            self._seen.add(failure.reason)
            log.warning("%s: %s", self.connection.url, as_typed(failure.in_words))


def _failure(state: RetryCallState) -> RequestFailed:
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, RequestFailed)
    return failure


async def _refused(response: httpx2.Response, key: str | None) -> RequestFailed:
    text, is_whole = await read_beginning(response, _MAX_ERROR_BYTES)
    # JSON may write a slash of the key as "\\/"; a cut through the key leaves a piece of it at the end.
    text = text.replace("\\/", "/")
    if key is not None and not is_whole:
        text = text[: -len(key)]
    return status_failure(response.status_code, response.headers, str(redacted(text, key)))

"""Asking for many addresses: hosts side by side, each of them one request at a time, politely.

Redirects may lead to other hosts. No body is read: whether a page is there is in its head.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
)

from tools.links.status import Result, State
from tools.sources.web.clock import retry_after

GONE = (404, 410)
PERMANENT = (301, 308)
BUSY = 429
FOR_PEOPLE = re.compile(r"captcha|challenge|/(log|sign)-?in\b", re.IGNORECASE)
"""Paths of pages that ask whether one is a person, or who one is."""


@dataclass(frozen=True)
class Limits:
    """How polite and how patient to be; times in seconds."""

    pause: float = 1.0
    """Between two requests to one host."""
    pauses: dict[str, float] = field(default_factory=lambda: {"arxiv.org": 3.0})
    """Of hosts that ask for another one."""
    timeout: float = 20.0
    """For one answer."""
    attempts: int = 3
    backoff: float = 2.0
    """Before the second attempt; twice as long before the third."""
    patience: float = 60.0
    """The longest `Retry-After` that is waited for."""
    redirects: int = 10
    connections: int = 8
    """At once, over all hosts."""


@dataclass(frozen=True)
class Answer:
    """The head of an answer."""

    status: int
    location: str
    wait: float | None
    challenge: bool


def check(
    urls: Iterable[str],
    done: Callable[[Result], None],
    contact: str | None = None,
    limits: Limits = Limits(),
) -> None:
    """Check all addresses over one pool of connections; `done` gets each result as it comes.

    `contact` is an e-mail address to name to the servers.
    """
    agent = "pruning-atlas/0.1" + (f" (mailto:{contact})" if contact else "")

    async def run() -> None:
        headers = {"User-Agent": agent, "Accept": "*/*"}
        async with httpx.AsyncClient(headers=headers, timeout=limits.timeout) as http:
            await _Checker(http, limits).check(urls, done)

    asyncio.run(run())


class _Checker:
    def __init__(self, http: httpx.AsyncClient, limits: Limits) -> None:
        self._limits = limits
        self._http = http
        self._connections = asyncio.Semaphore(limits.connections)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._free: dict[str, float] = {}
        self._down: dict[str, httpx.ConnectError] = {}

    async def check(self, urls: Iterable[str], done: Callable[[Result], None]) -> None:
        by_host: defaultdict[str, list[str]] = defaultdict(list)
        for url in urls:
            by_host[urlsplit(url).netloc].append(url)

        async def one_host(urls: list[str]) -> None:
            for url in urls:
                done(await self.visit(url))

        await asyncio.gather(*map(one_host, by_host.values()))

    async def visit(self, url: str) -> Result:
        """Follow one address to its end."""
        try:
            state, detail = await self._follow(url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            state, detail = State.UNREACHABLE, _reason(error)
        except ValueError as error:  # of the standard library, about a target like http://[
            state, detail = State.DEAD, f"redirects to no address: {error}"
        return Result(url, state, detail, datetime.now(UTC).isoformat(timespec="seconds"))

    async def _follow(self, url: str) -> tuple[State, str]:
        seen, lasting = [url], url
        while True:
            answer = await self._ask(seen[-1])
            if not answer.location:
                return _judge(url, lasting, answer)
            target = urljoin(seen[-1], answer.location)
            if urlsplit(target).scheme not in ("http", "https"):
                return State.DEAD, f"leads to {target[:100]}, which is no web address"
            if FOR_PEOPLE.search(urlsplit(target).path):
                return State.BLOCKED, f"leads to a page for people, {target[:100]}"
            if target in seen or len(seen) > self._limits.redirects:
                return State.DEAD, "redirects without end"
            # The new address ends where the first redirect that may change tomorrow begins.
            if answer.status in PERMANENT and lasting == seen[-1]:
                lasting = target
            seen.append(target)

    async def _ask(self, url: str) -> Answer:
        """Ask until there is an answer that another attempt would not change.

        A host to which there is no connection after all attempts is not tried again.
        """
        host = urlsplit(url).netloc
        if host in self._down:
            raise self._down[host]
        retrying = AsyncRetrying(
            retry=retry_if_result(_passing)
            | retry_if_exception_type((httpx.TransportError, TimeoutError)),
            stop=lambda state: (
                stop_after_attempt(self._limits.attempts)(state)
                or self._wait(state) > self._limits.patience
            ),
            wait=self._wait,
            retry_error_callback=_last,
        )
        try:
            answer: Answer = await retrying(self._once, url)
        except httpx.ConnectError as error:
            self._down[host] = error
            raise
        return answer

    async def _once(self, url: str) -> Answer:
        """Ask for the head alone, and for the page where a server does not like that."""
        with contextlib.suppress(httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):
            answer = await self._request("HEAD", url)
            if answer.status < 400 or answer.status == BUSY:
                return answer
        return await self._request("GET", url)

    async def _request(self, verb: str, url: str) -> Answer:
        host = urlsplit(url).netloc
        async with self._turns[host]:
            await asyncio.sleep(self._free.get(host, 0.0) - time.monotonic())
            try:
                async with (
                    self._connections,
                    asyncio.timeout(self._limits.timeout),
                    self._http.stream(verb, url) as response,
                ):
                    return _answer(response)
            finally:
                pause = self._limits.pauses.get(host, self._limits.pause)
                self._free[host] = time.monotonic() + pause

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt: what the server asks for, or 2, 4 ..."""
        outcome = state.outcome
        asked = None if outcome is None or outcome.failed else outcome.result().wait
        return float(
            self._limits.backoff * 2 ** (state.attempt_number - 1) if asked is None else asked
        )


def _answer(response: httpx.Response) -> Answer:
    return Answer(
        response.status_code,
        response.headers["location"] if response.has_redirect_location else "",
        retry_after(response.headers.get("retry-after"), time.time()),
        response.headers.get("cf-mitigated") == "challenge",
    )


def _passing(answer: Answer) -> bool:
    return (answer.status == BUSY or answer.status >= 500) and not answer.challenge


def _last(state: RetryCallState) -> Answer:
    """Return the last answer after all attempts, or raise the last error."""
    assert state.outcome is not None
    answer: Answer = state.outcome.result()
    return answer


def _judge(url: str, lasting: str, answer: Answer) -> tuple[State, str]:
    status = answer.status
    if 200 <= status < 300:
        return (State.OK, "") if lasting == url else (State.MOVED, lasting)
    if status in GONE:
        return State.DEAD, f"HTTP {status}"
    if status >= 500 and not answer.challenge:
        return State.UNREACHABLE, f"HTTP {status}"
    return State.BLOCKED, f"HTTP {status}"


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split())[:120] or type(error).__name__

"""The one way out to the network: polite, patient up to a point, trusting nothing it gets."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import platformdirs
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from tools.sources.web.background import Background
from tools.sources.web.cache import Cache
from tools.sources.web.clock import Clock
from tools.sources.web.errors import (
    LATER,
    NETWORK,
    BadSetting,
    Busy,
    Malformed,
    SourceError,
    Unreachable,
    Unwell,
)
from tools.sources.web.hosts import VARIABLE, Site, read_hosts
from tools.sources.web.pace import Pace
from tools.sources.web.page import Kind, Page
from tools.sources.web.responses import check_head, failure, redirect, refusal, too_large

PASSING = (Busy, Unwell)
"""Failures that may be gone at the next attempt."""

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to take."""

    connect: float = 5.0
    """Seconds until there is a connection."""
    read: float = 10.0
    """Seconds without a byte."""
    attempt: float = 15.0
    """Seconds for one whole answer, however steadily it trickles."""
    patience: float = 22.0
    """Seconds for all attempts together, the pauses between them included."""
    attempts: int = 3
    redirects: int = 4
    size: int = 5_000_000
    """Bytes of one answer."""
    max_age: float = 7 * 86_400.0
    """Seconds for which a kept answer is used again."""


class Client:
    """Asks sources, with one connection, pauses, retries and a cache; use it in a `with` block.

    `cache` is a folder, `contact` an e-mail address for the operators of the sources, `hosts` the
    base address to use instead of a host. Raises `BadSetting` for a contact that is none.
    """

    def __init__(
        self,
        cache: Path | None,
        contact: str | None,
        hosts: Mapping[str, str] | None = None,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._hosts = dict(hosts or {})
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._cache = Cache(cache, self._limits.max_age, self._clock) if cache else None
        self._pace = Pace(cache, self._clock)
        self._down: dict[str, SourceError] = {}
        self._agent = _agent(contact)

    def __enter__(self) -> Self:
        self._background = Background()
        self._http = httpx.AsyncClient(
            # Unpacking could turn a small answer into a huge one.
            headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(self._limits.read, connect=self._limits.connect),
            limits=httpx.Limits(max_connections=1),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._background.run(self._http.aclose())
        self._background.close()

    def read(
        self,
        site: Site,
        path: str,
        kind: Kind,
        parse: Callable[[Page], T],
        statuses: tuple[int, ...] = (200,),
    ) -> T:
        """Return what `parse` makes of the answer to `GET https://<host><path>`.

        Only an answer that could be parsed is kept in the cache. Raises `SourceError`, also what
        `parse` raises.
        """
        url = f"https://{site.host}{path}"
        key = f"{self._at(url)} {kind.accept}"
        if self._cache and (kept := self._cache.get(key)):
            try:
                return parse(kept)
            except SourceError:
                # What an older version kept may not please this one.
                pass
        page = self._get(site, url, kind, statuses)
        made = parse(page)
        if self._cache:
            self._cache.put(key, page)
        return made

    def _at(self, url: str) -> str:
        """The address that is really asked: another one only where `hosts` says so."""
        parts = urlsplit(url)
        base = self._hosts.get(parts.netloc, f"https://{parts.netloc}").rstrip("/")
        return base + url.removeprefix(f"https://{parts.netloc}")

    def _get(self, site: Site, url: str, kind: Kind, statuses: tuple[int, ...]) -> Page:
        """Attempt until it works or patience ends; a host that is down is asked only once."""
        if site.host in self._down:
            raise self._down[site.host]
        deadline = self._clock.monotonic() + self._limits.patience
        retrying = Retrying(
            retry=retry_if_exception_type(PASSING),
            wait=_wait,
            stop=lambda state: (
                state.attempt_number >= self._limits.attempts
                or self._clock.monotonic() + _wait(state) >= deadline
            ),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, site, url, kind, statuses, deadline)
        except (Unreachable, Busy) as error:
            self._down[site.host] = error
            raise

    def _attempt(
        self, site: Site, url: str, kind: Kind, statuses: tuple[int, ...], deadline: float
    ) -> Page:
        """Follow redirects, by hand and only inside the source, to an answer."""
        seen = [url]
        while True:
            left = deadline - self._clock.monotonic()
            self._pace.wait(site.host, site.pause, left)
            seconds = min(self._limits.attempt, deadline - self._clock.monotonic())
            answer = self._background.run(self._exchange(site, seen[-1], kind, statuses, seconds))
            if isinstance(answer, Page):
                return answer
            if answer in seen or len(seen) > self._limits.redirects:
                raise Malformed(f"{site.host} redirects without end ({answer[:100]})", LATER)
            seen.append(answer)

    async def _exchange(
        self, site: Site, url: str, kind: Kind, statuses: tuple[int, ...], seconds: float
    ) -> Page | str:
        """Send one request; return the answer, or the address it redirects to."""
        try:
            async with (
                asyncio.timeout(seconds),
                self._http.stream("GET", self._at(url), headers={"Accept": kind.accept}) as answer,
            ):
                if answer.status_code not in statuses and answer.has_redirect_location:
                    return redirect(site, url, answer.headers["location"])
                if answer.status_code not in statuses:
                    raise refusal(site, url, answer, self._clock.wall())
                check_head(site, answer, kind, self._limits.size)
                body = await self._body(site, answer)
                media = answer.headers.get("content-type", "")
                return Page(site.name, url, answer.status_code, media, body)
        except (httpx.TimeoutException, TimeoutError):
            raise Busy(f"{site.host} did not answer in time", NETWORK) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise failure(site, error) from None

    async def _body(self, site: Site, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > self._limits.size:
                raise too_large(site, self._limits.size)
        return bytes(body)


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the source asks for, else 1, 2, 4 ..."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, SourceError) else None
    return float(2 ** (state.attempt_number - 1)) if asked is None else float(asked)


def _agent(contact: str | None) -> str:
    name = "pruning-atlas/0.1"
    if contact is None:
        return name
    if not re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", contact, re.ASCII):
        raise BadSetting(
            f"the contact '{contact[:80]}' is not an e-mail address", "write it as name@example.org"
        )
    return f"{name} (mailto:{contact})"


def default_client(contact: str | None, environment: Mapping[str, str] = os.environ) -> Client:
    """Make the client that the tools use: the user's cache, and the hosts of `ATLAS_SOURCES`."""
    folder = platformdirs.user_cache_path("pruning-atlas") / "sources"
    return Client(folder, contact, read_hosts(environment.get(VARIABLE, "")))

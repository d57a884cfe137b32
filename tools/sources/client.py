"""The HTTP client of the sources, with pauses and retries."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic, sleep
from typing import NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
)

from tools.sources.errors import (
    CHECK,
    LATER,
    NETWORK,
    BadSetting,
    Busy,
    Malformed,
    NotFound,
    ServerError,
    SourceError,
    Unreachable,
)

T = TypeVar("T")

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
ATTEMPTS = 3
PATIENCE = 20.0
"""Seconds from the first attempt to the start of the last one."""
MAX_BYTES = 5_000_000
"""Maximum size of a body."""


class Site(NamedTuple):
    """The host of a source."""

    name: str
    host: str
    pause: float = 1.0
    """Seconds between two requests."""


class Page(NamedTuple):
    """The decoded body of an answer."""

    source: str
    """Name of the source."""
    url: str
    text: str


class Client:
    """Client of the sources, used as a context manager.

    `contact` is an e-mail address that is sent to the sources. Raises `BadSetting` if it is not an
    e-mail address.
    """

    def __init__(self, contact: str | None) -> None:
        headers = {"User-Agent": _agent(contact)}
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)
        self._down: dict[str, SourceError] = {}
        self._asked: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def read(self, site: Site, path: str, parse: Callable[[Page], T]) -> T:
        """Return the parsed answer to `GET https://<host><path>`.

        Raises `SourceError`, including the errors of `parse`.
        """
        url = f"https://{site.host}{path}"
        return parse(Page(site.name, url, self._get(site, url)))

    def _get(self, site: Site, url: str) -> str:
        """Send requests until one is answered; a host that is down is not queried again."""
        if site.host in self._down:
            raise self._down[site.host]
        retrying = Retrying(
            retry=retry_if_exception_type((Busy, ServerError)),
            wait=_wait,
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(PATIENCE),
            sleep=sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, site, url)
        except (Unreachable, Busy) as error:
            self._down[site.host] = error
            raise

    def _attempt(self, site: Site, url: str) -> str:
        """Send one request."""
        self._pause(site)
        try:
            with self._http.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise _refusal(site, url, answer)
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        size = f"{MAX_BYTES / 1e6:.0f} MB"
                        raise Malformed(f"{site.host} sent more than {size}", CHECK)
                return body.decode(answer.encoding or "utf-8", "replace")
        except httpx.TimeoutException:
            raise Busy(f"{site.host} did not answer in time", NETWORK) from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            reason = " ".join(str(error).split())[:120]
            raise Unreachable(f"{site.host} cannot be reached ({reason})", NETWORK) from None
        except httpx.HTTPError:
            raise Malformed(f"the answer of {site.host} is incomplete or not HTTP", LATER) from None

    def _pause(self, site: Site) -> None:
        """Wait until the pause after the last request to a host is over."""
        left = self._asked.get(site.host, -site.pause) + site.pause - monotonic()
        if left > 0:
            sleep(left)
        self._asked[site.host] = monotonic()


def _refusal(site: Site, url: str, answer: httpx.Response) -> SourceError:
    """Return the error for an unexpected status."""
    code, host = answer.status_code, site.host
    header = answer.headers.get("retry-after", "")
    wait = float(header) if header.isdecimal() else None
    if code in (404, 410):
        return NotFound(f"{host} has no {urlsplit(url).path[:120]} (HTTP {code})", CHECK)
    if code == 429:
        span = f"for {wait:.0f} s" if wait else "for a while"
        return Busy(f"{host} accepts no requests {span} (HTTP 429)", LATER, wait)
    if code >= 500:
        return ServerError(f"{host} reports a server error (HTTP {code})", LATER, wait)
    return NotFound(f"{host} rejects the request (HTTP {code})", CHECK)


def _wait(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: the time that the source gives, or 1, 2, 4, ..."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, SourceError) else None
    return float(2 ** (state.attempt_number - 1)) if asked is None else asked


def _agent(contact: str | None) -> str:
    name = "pruning-atlas/0.1"
    if contact is None:
        return name
    if not re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", contact, re.ASCII):
        raise BadSetting(
            f"the contact '{contact[:80]}' is not an e-mail address",
            "write it as name@example.org",
        )
    return f"{name} (mailto:{contact})"

"""The HTTP client of the sources, with pauses, retries and a cache."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import platformdirs
from hishel import SqliteStorage
from hishel.httpx import CacheTransport
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
)

from tools.sources.web.errors import (
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
from tools.sources.web.hosts import VARIABLE, Site, read_hosts
from tools.sources.web.page import Kind, Page
from tools.sources.web.transports import ClientTransport, MirrorTransport

T = TypeVar("T")

# hishel logs a traceback if the cache cannot be used, then continues without it.
logging.getLogger("hishel").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Limits:
    """Limits of the client; times in seconds."""

    connect: float = 5.0
    """Time to connect."""
    read: float = 10.0
    """Time until the next bytes."""
    attempt: float = 10.0
    """Time for one whole body."""
    patience: float = 20.0
    """Time from the first attempt to the start of the last one."""
    attempts: int = 3
    redirects: int = 4
    size: int = 5_000_000
    """Size of a body in bytes."""
    max_age: float = 7 * 86_400.0
    """Age of a cached answer."""


class Client:
    """Client of the sources, used as a context manager.

    `cache` is a folder for answers, `contact` an e-mail address that is sent to the sources, and
    `hosts` maps hosts to the base addresses of their mirrors. Raises `BadSetting` if `contact` is
    not an e-mail address.
    """

    def __init__(
        self,
        cache: Path | None,
        contact: str | None,
        hosts: Mapping[str, str] | None = None,
        *,
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._hosts = dict(hosts or {})
        self._limits = limits or Limits()
        self._sleep = sleep
        self._down: dict[str, SourceError] = {}
        self._asked: dict[str, float] = {}
        self._agent = _agent(contact)

    def __enter__(self) -> Self:
        limits, hosts = self._limits, self._hosts.items()
        with ExitStack() as stack:
            folder = _writable(self._cache)
            verify = httpx.create_ssl_context()
            network = httpx.Client(
                verify=verify,
                follow_redirects=True,
                max_redirects=limits.redirects,
                event_hooks={"request": [self._before]},
                mounts={f"https://{host}": MirrorTransport(base, verify) for host, base in hosts},
            )
            transport: httpx.BaseTransport = ClientTransport(network)
            self._storage = None
            if folder:
                answers = folder / "answers.db"
                self._storage = SqliteStorage(database_path=answers, default_ttl=limits.max_age)
                transport = CacheTransport(transport, self._storage)
            self._http = stack.enter_context(
                httpx.Client(
                    transport=transport,
                    headers={"User-Agent": self._agent},
                    timeout=httpx.Timeout(limits.read, connect=limits.connect),
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(
        self,
        site: Site,
        path: str,
        kind: Kind,
        parse: Callable[[Page], T],
        statuses: tuple[int, ...] = (200,),
    ) -> T:
        """Return the parsed answer to `GET https://<host><path>`.

        Answers that cannot be parsed are removed from the cache. Raises `SourceError`, including
        the errors of `parse`.
        """
        key = f"{self._hosts.get(site.host, site.host)}{path}"
        page = self._get(site, path, kind, statuses, key)
        try:
            return parse(page)
        except SourceError:
            if self._storage:
                for entry in self._storage.get_entries(key):
                    self._storage.remove_entry(entry.id)
            raise

    def _get(self, site: Site, path: str, kind: Kind, statuses: tuple[int, ...], key: str) -> Page:
        """Send requests until one is answered; a host that is down is not queried again."""
        if site.host in self._down:
            raise self._down[site.host]
        retrying = Retrying(
            retry=retry_if_exception_type((Busy, ServerError)),
            wait=_wait,
            stop=stop_after_attempt(self._limits.attempts)
            | stop_before_delay(self._limits.patience),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, site, path, kind, statuses, key)
        except (Unreachable, Busy) as error:
            self._down[site.host] = error
            raise

    def _attempt(
        self, site: Site, path: str, kind: Kind, statuses: tuple[int, ...], key: str
    ) -> Page:
        """Send one request."""
        url = f"https://{site.host}{path}"
        try:
            with self._http.stream(
                "GET",
                url,
                headers={"Accept": kind.accept},
                extensions={"site": site, "caching": {"key": key}},
            ) as answer:
                if answer.status_code not in statuses:
                    raise _refusal(site, path, answer)
                media = answer.headers.get("content-type", "")
                if not kind.fits(media.partition(";")[0].strip().lower()):
                    sent = media.partition(";")[0][:80] or "something without a content type"
                    raise Malformed(f"{site.host} sent {sent} instead of {kind.name}", LATER)
                return Page(site.name, url, answer.status_code, media, self._body(site, answer))
        except httpx.TimeoutException:
            raise _late(site) from None
        except httpx.TooManyRedirects:
            raise Malformed(f"{site.host} redirects too often", LATER) from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            reason = " ".join(str(error).split())[:120]
            raise Unreachable(f"{site.host} cannot be reached ({reason})", NETWORK) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Malformed(f"the answer of {site.host} is incomplete or not HTTP", LATER) from None

    def _body(self, site: Site, answer: httpx.Response) -> bytes:
        end = time.monotonic() + self._limits.attempt
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > self._limits.size:
                size = f"{self._limits.size / 1e6:.0f} MB"
                raise Malformed(f"{site.host} sent more than {size}", CHECK)
            if time.monotonic() > end:
                raise _late(site)
        return bytes(body)

    def _before(self, request: httpx.Request) -> None:
        """Reject redirects to other sites, then wait for the pause between two requests."""
        site: Site = request.extensions["site"]
        if request.url.scheme != "https" or request.url.host not in {site.host, *site.also}:
            raise Malformed(
                f"{site.host} redirects to '{str(request.url)[:100]}', which is not an https page "
                f"of {site.name}",
                CHECK,
            )
        left = self._asked.get(request.url.host, -site.pause) + site.pause - time.monotonic()
        if left > 0:
            self._sleep(left)
        self._asked[request.url.host] = time.monotonic()


def _writable(folder: Path | None) -> Path | None:
    """Create the folder if it is missing; return None if it is not writable."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _late(site: Site) -> Busy:
    return Busy(f"{site.host} did not answer in time", NETWORK)


def _refusal(site: Site, path: str, answer: httpx.Response) -> SourceError:
    """Return the error for an unexpected status."""
    code, host = answer.status_code, site.host
    wait = _retry_after(answer.headers.get("retry-after", ""))
    if code in (404, 410):
        return NotFound(f"{host} has no {urlsplit(path).path[:120]} (HTTP {code})", CHECK)
    if code == 429:
        span = f"for {wait:.0f} s" if wait else "for a while"
        return Busy(f"{host} accepts no requests {span} (HTTP 429)", LATER, wait)
    if code >= 500:
        return ServerError(f"{host} reports a server error (HTTP {code})", LATER, wait)
    return NotFound(f"{host} rejects the request (HTTP {code})", CHECK)


def _retry_after(header: str) -> float | None:
    """Parse a `Retry-After` header, seconds or a date; return seconds, or None if it is invalid."""
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


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


def default_client(contact: str | None, environment: Mapping[str, str] = os.environ) -> Client:
    """Return the client of the tools, with the user's cache and the mirrors in `ATLAS_SOURCES`."""
    folder = platformdirs.user_cache_path("pruning-atlas") / "sources"
    return Client(folder, contact, read_hosts(environment.get(VARIABLE, "")))

"""What is wrong with an answer before anybody reads it: its status, head, size or absence."""

from __future__ import annotations

import re
import socket
import ssl
from urllib.parse import urljoin, urlsplit

import httpx

from tools.sources.web.clock import retry_after
from tools.sources.web.errors import (
    CHECK,
    LATER,
    NETWORK,
    Busy,
    Malformed,
    NotFound,
    SourceError,
    Unreachable,
    Unwell,
)
from tools.sources.web.hosts import Site
from tools.sources.web.page import Kind


def refusal(site: Site, url: str, answer: httpx.Response, now: float) -> SourceError:
    """Return the error of a status that is not the one hoped for."""
    code, host = answer.status_code, site.host
    wait = retry_after(answer.headers.get("retry-after"), now)
    if code in (404, 410):
        return NotFound(f"{host} has no {urlsplit(url).path[:120]} (HTTP {code})", CHECK)
    if code == 429:
        span = f"for {wait:.0f} s" if wait else "for a while"
        return Busy(f"{host} asks to be left alone {span} (HTTP 429)", LATER, wait)
    if code >= 500:
        return Unwell(f"{host} has an error of its own (HTTP {code})", LATER, wait)
    return NotFound(f"{host} refuses the request (HTTP {code})", CHECK)


def check_head(site: Site, answer: httpx.Response, kind: Kind, size: int) -> None:
    """Raise `Malformed` where the head says that the body is of no use."""
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = answer.headers.get("content-encoding", "identity").lower()
    length = answer.headers.get("content-length", "0")
    if not kind.fits(media) or coding != "identity":
        sent = media[:80] or "something without a content type"
        packed = "" if coding == "identity" else f", packed as {coding[:20]},"
        raise Malformed(f"{site.host} sent {sent}{packed} instead of {kind.name}", LATER)
    if length.isdecimal() and int(length) > size:
        raise too_large(site, size)


def too_large(site: Site, size: int) -> Malformed:
    """Make the error of a body beyond `size` bytes."""
    return Malformed(
        f"{site.host} sent more than {size / 1e6:.0f} MB, which is no record of a paper", CHECK
    )


def redirect(site: Site, url: str, location: str) -> str:
    """Return where a redirect leads; raises `Malformed` unless to the same source, over https."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        httpx.URL(target)
    except (ValueError, httpx.InvalidURL):
        raise Malformed(
            f"{site.host} redirects to {location[:100]!r}, which is no address", CHECK
        ) from None
    if parts.scheme != "https" or parts.netloc.lower() not in {site.host, *site.also}:
        raise Malformed(
            f"{site.host} redirects to {target[:100]!r}, which is not a page of {site.name} "
            "over https",
            CHECK,
        )
    return target


def failure(site: Site, error: httpx.HTTPError | httpx.InvalidURL) -> SourceError:
    """Return the error of a connection that failed."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return Unreachable(
                f"the certificate of {site.host} is not valid ({each.verify_message})", NETWORK
            )
    if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
        return Unreachable(f"{site.host} cannot be reached ({_reason(causes)})", NETWORK)
    return Malformed(f"the answer of {site.host} broke off or is not HTTP", LATER)


def _reason(causes: list[BaseException]) -> str:
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return "connection refused"
    if any(isinstance(each, socket.gaierror) for each in causes):
        return "its name cannot be resolved"
    return re.sub(r"\s+", " ", str(causes[0]))[:100]

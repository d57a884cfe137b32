"""Errors of the sources, one class per way to continue."""

from __future__ import annotations

CHECK = "check the identifier"
LATER = "try again later"
NETWORK = "check the network"


class SourceError(Exception):
    """A source that could not be used: the problem and how to continue."""

    def __init__(self, problem: str, advice: str, wait: float | None = None) -> None:
        # The problem may quote the answer of a source.
        self.problem = "".join(c if c.isprintable() else "\ufffd" for c in problem)
        super().__init__(f"{self.problem}; {advice}")
        self.wait = wait
        """Seconds to wait before the next attempt, if the source gives a time."""


class BadSetting(SourceError):
    """An invalid e-mail address."""


class Unreachable(SourceError):
    """No connection, or an invalid certificate; the host is not queried again."""


class Busy(SourceError):
    """A timeout or HTTP 429; the request is repeated, then the host is not queried again."""


class ServerError(SourceError):
    """HTTP 5xx; the request is repeated."""


class NotFound(SourceError):
    """A paper that the source does not have or does not show."""


class AnotherPaper(SourceError):
    """An answer about another paper than the requested one."""

    def __init__(self, source: str, requested: str, answered: str) -> None:
        super().__init__(
            f"{source} was asked for {requested} and answered about {answered[:120]}",
            f"use that one if it is the paper, or {CHECK}",
        )


class Malformed(SourceError):
    """An answer that cannot be used: incomplete or malformed."""

"""How asking a source can fail: a class for each way to go on, a sentence for each case."""

from __future__ import annotations

CHECK = "check the identifier"
LATER = "try again later"
NETWORK = "check the network"


class SourceError(Exception):
    """A source that could not be used: what happened, and the way out, in one sentence."""

    def __init__(self, what: str, way_out: str, wait: float | None = None) -> None:
        # What a source sent may be quoted here, and must not steer a terminal.
        self.what = "".join(c if c.isprintable() else "\ufffd" for c in what)
        super().__init__(f"{self.what}; {way_out}")
        self.wait = wait
        """Seconds that the source asks for before another attempt, where it says so."""


class BadSetting(SourceError):
    """A contact that is no e-mail address, or a table of hosts that cannot be read."""


class Unreachable(SourceError):
    """No connection, or a certificate that does not prove who answers: a host not to ask again."""


class Busy(SourceError):
    """No whole answer in time, or none for a while (HTTP 429): worth a few attempts, then none."""


class Unwell(SourceError):
    """A source with an error of its own, HTTP 5xx: worth a few attempts."""


class NotFound(SourceError):
    """A paper that the source does not have or does not show: its identifier may be wrong."""


class AnotherPaper(SourceError):
    """An answer about a paper that was not asked for."""

    def __init__(self, who: str, asked: str, answered: str) -> None:
        super().__init__(
            f"{who} was asked for {asked} and answered about {answered[:120]}",
            f"use that one if it is the paper, or {CHECK}",
        )


class Malformed(SourceError):
    """An answer of no use: cut off, led astray, of another form, or unfit for an entry."""

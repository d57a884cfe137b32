"""How asking a source can fail: a class for each way, a sentence for each case."""

from __future__ import annotations

CHECK = "check the identifier, or enter the paper by hand with --manual"
LATER = "try again later, or enter the paper by hand with --manual"
NETWORK = "check the network, or enter the paper by hand with --manual"


class SourceError(Exception):
    """A source that could not be used: what happened, and the way out, in one sentence."""

    def __init__(self, what: str, way_out: str, wait: float | None = None) -> None:
        # What a source sent may be quoted here, and must not steer a terminal.
        self.what = "".join(c if c.isprintable() else "\ufffd" for c in what)
        super().__init__(f"{self.what}; {way_out}")
        self.wait = wait
        """Seconds that the source asks for before another attempt, where it says so."""


class BadContact(SourceError):
    """A contact that is no e-mail address, which sources would not accept."""


class BadHosts(SourceError):
    """A table of other hosts that cannot be read."""


class Unreachable(SourceError):
    """No connection: refused, no route, no such host."""


class Untrusted(SourceError):
    """A certificate that does not prove who answers."""


class TimedOut(SourceError):
    """No answer, or not all of it, in the time given."""


class Throttled(SourceError):
    """A source that asks for patience, longer than a person waits."""


class Unwell(SourceError):
    """A source with an error of its own, HTTP 5xx."""


class Denied(SourceError):
    """A request that the source refuses."""


class NotFound(SourceError):
    """A paper that the source does not have."""


class Broken(SourceError):
    """An answer that ended before it was whole, or is not HTTP."""


class TooLarge(SourceError):
    """An answer larger than any record of a paper."""


class Astray(SourceError):
    """A redirect to a place that is not the source's own."""


class Circular(SourceError):
    """Redirects without an end."""


class WrongKind(SourceError):
    """An answer of another kind than asked for, such as a page instead of data."""


class BadEncoding(SourceError):
    """An answer whose bytes are not the text they claim to be."""


class Malformed(SourceError):
    """An answer that is not in the form the source documents."""


class Unsafe(SourceError):
    """XML that defines entities, which no source needs."""


class AnotherPaper(SourceError):
    """An answer about a paper that was not asked for."""


class Unusable(SourceError):
    """A fact that no entry may hold, such as a title with markup in it."""


class Busy(SourceError):
    """Another process of this catalog is asking the same source."""

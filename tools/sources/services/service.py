"""What every source has: where it is, which papers it names, what to ask it, how to read it."""

from __future__ import annotations

from typing import Literal
from urllib.parse import SplitResult

from tools.sources.names.references import Reference
from tools.sources.services.facts import Facts
from tools.sources.web.hosts import Site
from tools.sources.web.page import Kind, Page

Find = Literal["titles", "preprints", "venues"]


class Service:
    """A source of facts about papers; a subclass sets and overrides what the source can do.

    It never touches the network: it says which path to ask for, and reads what came back. What
    `read` and `found` return is made fit for an entry by whoever asked (`lookup/normalization.py`),
    so they pass text on as the source writes it. They raise `SourceError`.
    """

    sites: tuple[Site, ...]
    """Where it lives; a further one is asked where the one before does not know a paper."""
    kind: Kind
    """Of its answers."""
    statuses: tuple[int, ...] = (200,)
    """Those of answers that can be read."""

    schemes: tuple[str, ...] = ()
    """Identifiers for which `path` and `read` answer."""
    hosts: str = ""
    """Pattern of the hosts (`www.` removed) whose addresses `from_page` reads."""
    hint: str = ""
    """What to paste instead of an address there that names no paper."""
    doi_prefix: str = ""
    """Prefix of DOIs whose rest is an identifier of the source."""
    finds: tuple[Find, ...] = ()
    """What `query` and `found` are good for: papers that a title may mean, the preprint of a paper,
    the venue of a paper."""

    registers_dois: bool = False
    """Whether what it says of a DOI can be relied on."""

    @property
    def name(self) -> str:
        """The source as readers see it."""
        return self.sites[0].name

    def from_text(self, text: str) -> Reference | None:
        """Return the paper that an identifier in a form of this source names."""
        return None

    def from_page(self, url: SplitResult) -> Reference | None:
        """Return the paper that an address on one of `hosts` names."""
        return None

    def path(self, reference: Reference) -> str:
        """Return what to ask for about one paper."""
        raise NotImplementedError

    def read(self, page: Page, reference: Reference) -> Facts:
        """Return what the answer about one paper says."""
        raise NotImplementedError

    def query(self, title: str) -> str:
        """Return what to ask for to find papers by title."""
        raise NotImplementedError

    def found(self, page: Page) -> list[Facts]:
        """Return what the answer to a search says, a paper each."""
        raise NotImplementedError

    def address(self, reference: Reference) -> str:
        """Return the address of what is asked for about one paper."""
        return f"https://{self.sites[0].host}{self.path(reference)}"

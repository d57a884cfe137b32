"""The base class of all sources."""

from __future__ import annotations

from typing import Literal
from urllib.parse import SplitResult

from tools.sources.client import Page, Site
from tools.sources.names.references import Reference
from tools.sources.services.facts import Facts

Find = Literal["titles", "preprints", "venues"]


class Service:
    """A source of facts about papers; subclasses override the parts that the source supports.

    A service does not use the network: it returns the path to request and parses the answer. `read`
    and `found` return texts as the source writes them, to be normalised by the caller
    (`lookup/normalization.py`). They raise `SourceError`.
    """

    sites: tuple[Site, ...]
    """The sites of the source; each is queried if the previous one does not know a paper."""

    schemes: tuple[str, ...] = ()
    """The identifier schemes that `path` and `read` support."""
    hosts: str = ""
    """Pattern of the hosts, without `www.`, whose addresses `from_page` parses."""
    hint: str = ""
    """Advice for an address of these hosts that contains no identifier."""
    doi_prefix: str = ""
    """Prefix of DOIs whose remainder is an identifier of the source."""
    finds: tuple[Find, ...] = ()
    """The purposes of a search by title: candidates for a title, the preprint or the venue of a
    paper."""

    registers_dois: bool = False
    """Whether its DOIs are reliable."""

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.sites[0].name

    def from_text(self, text: str) -> Reference | None:
        """Parse an identifier of this source."""
        return None

    def from_page(self, url: SplitResult) -> Reference | None:
        """Parse an address on one of `hosts`."""
        return None

    def path(self, reference: Reference) -> str:
        """Return the path of the request for one paper."""
        raise NotImplementedError

    def read(self, page: Page, reference: Reference) -> Facts:
        """Return the facts in the answer about one paper."""
        raise NotImplementedError

    def query(self, title: str) -> str:
        """Return the path of a search by title."""
        raise NotImplementedError

    def found(self, page: Page) -> list[Facts]:
        """Return the facts of each paper in the answer to a search."""
        raise NotImplementedError

    def address(self, reference: Reference) -> str:
        """Return the address of the request for one paper."""
        return f"https://{self.sites[0].host}{self.path(reference)}"

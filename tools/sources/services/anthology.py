"""ACL Anthology: venue, pages and DOI of papers at ACL conferences and journals."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote

from tools.catalog.schema.identifiers import SCHEMES
from tools.sources.client import Page, Site
from tools.sources.names.references import Reference
from tools.sources.services.bibtex import read_entry
from tools.sources.services.facts import Facts
from tools.sources.services.service import Service


class Anthology(Service):
    """Looked up by identifier; answers in BibTeX."""

    sites = (Site("ACL Anthology", "aclanthology.org"),)
    schemes = ("anthology",)
    hosts = r"aclanthology\.org|aclweb\.org"
    doi_prefix = "10.18653/v1/"
    registers_dois = True

    def from_text(self, text: str) -> Reference | None:
        """Parse `2024.findings-acl.178` or `P19-1001`, in lower case too, as in DOIs."""
        form = rf"({SCHEMES['anthology'].form})(v\d+)?(\.(pdf|bib|xml|endf))?"
        found = re.fullmatch(form, text[:1].upper() + text[1:])
        return Reference("anthology", found[1]) if found else None

    def from_page(self, url: SplitResult) -> Reference | None:
        """Parse the last part of the path."""
        return self.from_text(unquote(url.path).strip("/").rpartition("/")[2])

    def path(self, reference: Reference) -> str:
        """Request the entry of one paper."""
        return f"/{reference.value}.bib"

    def read(self, page: Page, reference: Reference) -> Facts:
        """Parse the entry."""
        return read_entry(page.text, self.name)

"""The ACL Anthology: venue, pages and DOI of the papers of ACL's conferences and journals."""

from __future__ import annotations

from tools.sources.lookup.identification import Reference
from tools.sources.services.bibtex import read_bibtex
from tools.sources.services.facts import Facts
from tools.sources.web.client import Client
from tools.sources.web.errors import CHECK, AnotherPaper
from tools.sources.web.hosts import Site
from tools.sources.web.page import BIBTEX, Page

SITE = Site("ACL Anthology", "aclanthology.org")


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the Anthology has under an identifier; raises `SourceError`."""

    def parse(page: Page) -> Facts:
        facts = read_bibtex(page.text, "ACL Anthology")
        answered = facts.ids.get("anthology")
        if answered != reference.value:
            raise AnotherPaper(
                f"the ACL Anthology was asked for {reference.value} and answered about "
                f"{answered or 'something else'}",
                CHECK,
            )
        return facts

    return client.read(SITE, f"/{reference.value}.bib", BIBTEX, parse)

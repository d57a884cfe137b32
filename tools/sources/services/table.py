"""All sources, those that count most first.

To add one: write a subclass of `Service` in a file here (a site of proceedings whose pages carry
`citation_...` tags is a row of `proceedings.py` instead), and put it into `SERVICES` at the place
that its word has among the others. Whoever identifies, looks up, searches, merges or verifies goes
through this table. An identifier that entries are to keep is also a field of the catalog: see
`tools/catalog/schema/identifiers.py` and `Ids`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tools.sources.services.anthology import Anthology
from tools.sources.services.arxiv import Arxiv
from tools.sources.services.crossref import Crossref
from tools.sources.services.dblp import Dblp
from tools.sources.services.openreview import OpenReview
from tools.sources.services.proceedings import PROCEEDINGS
from tools.sources.services.service import Service

SERVICES: tuple[Service, ...] = (
    Arxiv(),
    Anthology(),
    *PROCEEDINGS,
    OpenReview(),
    Crossref(),
    Dblp(),
)
"""The order is that of trust: of two sources that differ, the first is believed."""

BY_NAME: Mapping[str, Service] = {service.name: service for service in SERVICES}
BY_SCHEME: Mapping[str, Service] = {
    scheme: service for service in reversed(SERVICES) for scheme in service.schemes
}
"""Who answers for each scheme: the first of the table that can."""

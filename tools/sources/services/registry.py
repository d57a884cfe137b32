"""All sources in order of precedence.

To add one, write a subclass of `Service` in a file here and add it to `SERVICES` according to its
precedence. For a proceedings site whose pages have `citation_...` tags, add a row to
`proceedings.py` instead. If entries should store the identifier, also add it to
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
"""If two sources differ, the first one takes precedence."""

BY_NAME: Mapping[str, Service] = {service.name: service for service in SERVICES}
BY_SCHEME: Mapping[str, Service] = {
    scheme: service for service in reversed(SERVICES) for scheme in service.schemes
}
"""The first service that can look up each scheme."""

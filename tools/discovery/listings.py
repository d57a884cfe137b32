"""Listings of papers: searches at arXiv and OpenReview, and Awesome lists.

A listing yields every paper that it names; the topic is filtered later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.catalog.schema.identifiers import page
from tools.catalog.schema.vocabulary import vocabulary
from tools.discovery.list_parser import Item, Link, read_list
from tools.sources.client import MAX_BYTES, Client, Site
from tools.sources.errors import CHECK, LATER, Malformed
from tools.sources.lookup.normalization import normalize
from tools.sources.services.arxiv import Arxiv
from tools.sources.services.facts import Facts
from tools.sources.services.openreview import OpenReview

PRUNING_TERMS = (
    *("pruning", "prune", "pruned", "sparsity", "sparse", "sparsify", "sparsification"),
    *("lottery ticket", "layer skipping", "layer dropping", "layer removal", "redundant layers"),
)
MODEL_TERMS = (
    *("language model", "language models", "LLM", "LLMs", "transformer", "transformers"),
    *("mixture of experts", "MoE", "state space model", "BERT", "LLaMA"),
)
"""At arXiv, a paper is found if title or abstract contain a term of both tuples."""
VENUE_TERMS = ("pruning", "sparsity", "layer skipping")
"""At OpenReview, each of these words is searched for."""

VENUES = {
    "iclr": "ICLR.cc/{year}/Conference",
    "icml": "ICML.cc/{year}/Conference",
    "neurips": "NeurIPS.cc/{year}/Conference",
    "colm": "colmweb.org/COLM/{year}/Conference",
    "cpal": "CPAL.cc/{year}/Proceedings_Track",
    "mlsys": "MLSys.org/{year}/Conference",
    "uai": "auai.org/UAI/{year}/Conference",
    "tmlr": "TMLR",
}
"""Venue ids of OpenReview by the term of `vocabulary/venues.yaml`."""


class AwesomeList(NamedTuple):
    """A list on GitHub."""

    repository: str
    file: str
    about: str
    """Topic of all its papers, added to each title for the topic filter."""

    @property
    def name(self) -> str:
        """The name of the repository."""
        return self.repository.partition("/")[2]


LISTS = (
    AwesomeList("horseee/Awesome-Efficient-LLM", "pruning.md", "pruning of language models"),
    AwesomeList("HuangOwen/Awesome-LLM-Compression", "README.md", "language models"),
    AwesomeList("hrcheng1066/awesome-pruning", "README.md", "pruning"),
    AwesomeList("liyunqianggyn/Awesome-LLMs-Pruning", "README.md", "pruning of language models"),
    AwesomeList("pprp/Awesome-LLM-Prune", "README.md", "language models"),
    AwesomeList("yaolu-zjut/Awesome-LLM-Pruning", "README.md", "pruning of language models"),
)
GITHUB = Site("GitHub", "raw.githubusercontent.com")

PART = 100
"""Number of papers per request."""
MAX_PAPERS = 5_000
"""Maximum number of papers per search."""


@dataclass(frozen=True)
class Candidate:
    """A paper of a listing; unknown parts are empty."""

    title: str
    links: tuple[Link, ...]
    author: str = ""
    """The first author."""
    date: str = ""
    """Date or venue."""
    abstract: str = ""
    context: str = ""
    """What the listing says about all its papers."""


class Listing(NamedTuple):
    """A named listing; reading it raises `SourceError`, or `BadInput` for a local file."""

    group: str
    """The heading of its proposals."""
    name: str
    read: Callable[[Client], Iterator[Candidate]]
    filtered: bool = True
    """Whether only papers on topic are proposed."""


def local_list(path: Path) -> Listing:
    """Return the listing of a file in Markdown."""

    def read(client: Client) -> Iterator[Candidate]:
        items = read_list(read_text(path, MAX_BYTES))
        if not items:
            raise BadInput(f"{path} names no paper; give a list in Markdown with a paper per line")
        return _candidates(items, AwesomeList("", "", ""))

    return Listing(path.name, path.name, read, filtered=False)


def listings(since: date, today: date) -> Iterator[Listing]:
    """Yield all listings.

    arXiv is read back to `since`, OpenReview for the years from `since` to `today`.
    """
    yield Listing("arXiv", "arXiv", partial(_arxiv, since.isoformat()))
    labels = {term.word: term.label for term in vocabulary()["venues"].terms.values()}
    for year in range(today.year, since.year - 1, -1):
        for venue, group in VENUES.items():
            name = f"{labels[venue]} {year}"
            read = partial(_openreview, group.format(year=year), name, year)
            yield Listing("OpenReview", f"OpenReview ({name})", read)
    yield from (Listing(one.name, one.name, partial(_download, one)) for one in LISTS)


def _arxiv(since: str, client: Client) -> Iterator[Candidate]:
    service = Arxiv()
    query = f"({_any_of(PRUNING_TERMS)}) AND ({_any_of(MODEL_TERMS)})"
    for start in range(0, MAX_PAPERS, PART):
        path = service.newest(query, start, PART)
        found, total = client.read(
            service.sites[0], path, lambda page: (service.found(page), service.total(page))
        )
        for facts in found:
            if (facts.submitted or "") < since:
                return
            yield _candidate(facts, facts.submitted or "")
        if not found and start < total:
            raise Malformed(f"arXiv sent none of the papers from number {start + 1} on", LATER)
        if start + PART >= total:
            return
    raise Malformed(f"arXiv has more than {MAX_PAPERS:,} papers since {since}", "use a later date")


def _any_of(terms: Iterable[str]) -> str:
    return " OR ".join(f'{part}:"{term}"' for term in terms for part in ("ti", "abs"))


def _openreview(group: str, name: str, year: int, client: Client) -> Iterator[Candidate]:
    service = OpenReview()
    for words in VENUE_TERMS:
        for start in range(0, MAX_PAPERS, PART):
            path = service.at_venue(group, words, start, PART)
            found = client.read(service.sites[0], path, service.submissions)
            for facts, venue in found:
                # The id of a journal has no year.
                if venue == group and (str(year) in group or facts.year == year):
                    yield _candidate(facts, name)
            if len(found) < PART:
                break


def _candidate(facts: Facts, date: str) -> Candidate:
    """Return the paper of an answer, also if its title contains markup that cannot be removed."""
    with suppress(Malformed):
        facts = replace(normalize(replace(facts, abstract=None)), abstract=facts.abstract)
    return Candidate(
        title=" ".join((facts.title or "").split()),
        links=tuple(Link(facts.source, page(*identifier)) for identifier in facts.ids.items()),
        author=next(iter(facts.authors), ""),
        date=date,
        abstract=facts.abstract or "",
    )


def _download(source: AwesomeList, client: Client) -> Iterator[Candidate]:
    path = f"/{source.repository}/HEAD/{source.file}"
    items = client.read(GITHUB, path, lambda page: read_list(page.text))
    if not items:
        raise Malformed(f"{GITHUB.host}{path} has no line that names a paper", CHECK)
    yield from _candidates(items, source)


def _candidates(items: Iterable[Item], source: AwesomeList) -> Iterator[Candidate]:
    for item in items:
        heading = "" if item.group == source.name else item.group
        date = item.date or item.venue
        yield Candidate(item.title, item.links, date=date, context=f"{source.about} {heading}")

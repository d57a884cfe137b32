"""Papers to propose: on topic, not in the catalog, not declined, each of them once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from implementations.harness.errors import escape
from tools.catalog.entries.declined import DeclinedPaper
from tools.catalog.schema.paper import Paper
from tools.discovery.known_papers import Index, add_command, index_declined, index_papers
from tools.discovery.listings import Candidate, Listing
from tools.discovery.topic import on_topic
from tools.sources.client import Client
from tools.sources.errors import SourceError

MAX_TITLE = 300
"""Maximum length of a title in characters; longer texts are no titles."""
MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")
# GitHub would notify people, link issues and link addresses.
REFERENCES = re.compile(r"(@|#|://|www\.)(?=\S)")


@dataclass
class Proposals:
    """New papers by the heading of their listing, and failed listings."""

    new: dict[str, list[Candidate]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    """The names of the listings that failed, by the error."""


def find_new(
    listings: Iterable[Listing],
    client: Client,
    papers: Mapping[str, Paper],
    declined: Sequence[DeclinedPaper],
    progress: Callable[[str, int], None] = lambda name, count: None,
) -> Proposals:
    """Read all listings and return the new papers.

    A paper in several listings belongs to the first one. `progress` is called with the name of a
    listing and the number of its papers read so far.
    """
    found = Proposals()
    known = (index_papers(papers), index_declined(declined), proposed := Index())
    for listing in listings:
        try:
            for count, paper in enumerate(listing.read(client), start=1):
                progress(listing.name, count)
                if listing.filtered and not _is_on_topic(paper):
                    continue
                if any(index.find(paper.title, paper.links) for index in known):
                    continue
                proposed.add(paper.title, (paper.title,), (link.url for link in paper.links))
                found.new.setdefault(listing.group, []).append(paper)
        except SourceError as error:
            found.failures.setdefault(str(error), []).append(listing.name)
    return found


def _is_on_topic(paper: Candidate) -> bool:
    return len(paper.title) <= MAX_TITLE and on_topic(paper.title, paper.abstract, paper.context)


def checklist(found: Proposals) -> Iterator[str]:
    """Yield the lines of a Markdown checklist."""
    for group, papers in found.new.items():
        yield from (f"## {group}", "")
        yield from map(_line, papers)
        yield ""
    if found.failures:
        yield from ("## Not read", "")
        for error, names in found.failures.items():
            yield f"- {', '.join(names)}: {markdown(error)}"
        yield ""


def _line(paper: Candidate) -> str:
    parts = ", ".join(markdown(part) for part in (paper.title, paper.author, paper.date) if part)
    # A backtick would end the code.
    command = escape(add_command(paper.title, paper.links)).replace("`", "")
    return f"- [ ] {parts}: `{command}`"


def markdown(text: str) -> str:
    """Escape untrusted text for GitHub: no markup, links, mentions of people or issues."""
    shown = MARKUP.sub(r"\\\1", escape(" ".join(text.split())))
    return REFERENCES.sub("\\1\N{WORD JOINER}", shown)

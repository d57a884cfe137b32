"""Proposals for an entry from phrases in its title and abstract.

A person confirms a proposal, or the entry lists it as unverified.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tools.adding.draft import Draft
from tools.adding.fields import FIELDS
from tools.adding.phrases import PHRASES
from tools.catalog.schema.identifiers import SLUG

MAX_SLUG = 40
MAX_NAME = 25
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMON = frozenset(
    ("about", "from", "large", "language", "model", "models", "pruning", "towards", "with")
)


@dataclass(frozen=True)
class Proposal:
    """Terms for the field of one flag, each with the phrase that suggests it."""

    flag: str
    matches: tuple[tuple[str, str], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The proposed terms."""
        return tuple(word for word, _ in self.matches)

    def __str__(self) -> str:
        return ", ".join(f'{word} ("{phrase}")' for word, phrase in self.matches)


def propose(title: str, abstract: str) -> Iterator[Proposal]:
    """Yield a proposal for each field with a matching phrase."""
    text = f"{title}. {abstract}"
    for flag, phrases in PHRASES.items():
        matches = list(_kind(title, text) if flag == "kind" else _matches(phrases, text))
        if matches:
            yield Proposal(flag, tuple(matches if FIELDS[flag].many else matches[:1]))


def offer_proposals(
    draft: Draft, flags: Container[str], names: Mapping[str, str] = MappingProxyType({})
) -> list[Proposal]:
    """Return proposals for the missing facts of a draft; add those in `flags` as guesses.

    `names` maps the slugs of the catalog to the names of their methods.
    """
    title = draft.data.get("title", "")
    proposals = []
    for proposal in (*propose(title, draft.abstract), *propose_ancestors(title, names)):
        field = FIELDS[proposal.flag]
        if draft.get(field.loc) is not None or not draft.allows(field.loc):
            continue
        proposals.append(proposal)
        if proposal.flag in flags:
            value = list(proposal.words) if field.many else proposal.words[0]
            draft.guess(field.loc, value, "words of title and abstract")
    if draft.prunes and (name := propose_name(title)):
        draft.offer(FIELDS["name"].loc, name, "title")
    return proposals


def propose_ancestors(title: str, names: Mapping[str, str]) -> Iterator[Proposal]:
    """Yield the methods whose name occurs in a title: Wanda++ builds on Wanda."""
    matches = tuple(
        (slug, match[0])
        for slug, name in names.items()
        if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])[^\s:,;.)]*", title))
    )
    if matches:
        yield Proposal("builds-on", matches)


def _kind(title: str, text: str) -> Iterator[tuple[str, str]]:
    """Match all kinds in the title, but only methods in the abstract."""
    phrases = PHRASES["kind"]
    yield from _matches(phrases, title)
    yield from _matches({"method": phrases["method"]}, text)


def _matches(phrases: Mapping[str, Sequence[str]], text: str) -> Iterator[tuple[str, str]]:
    for word, patterns in phrases.items():
        whole = rf"(?<![\w-])({'|'.join(patterns)})(?![\w-])"
        if match := re.search(whole, text, re.IGNORECASE):
            yield word, " ".join(match[0].split())


def propose_name(title: str) -> str | None:
    """Return the name of the method in a title: `(OWL)`, or one or two words before a colon."""
    head, colon, _ = title.partition(":")
    head = head.strip()
    if short := re.search(r"\(([A-Z][\w.+-]{1,15})\)", head):
        return short[1]
    if colon and head and len(head) <= MAX_NAME and len(head.split()) <= 2:
        return head
    return None


def propose_slugs(title: str, authors: Sequence[str], year: int | None) -> Iterator[str]:
    """Yield slugs: the name of the method, then first author, year and a word of the title."""
    candidates = [letters(propose_name(title) or "")]
    words = (letters(word) for word in title.split())
    specific = [word for word in words if len(word) > 3 and word not in COMMON]
    family = letters(_family_name(authors[0])) if authors else ""
    if family and year and specific:
        candidates.append(f"{family}{year}{specific[0]}")
    for candidate in candidates:
        slug = re.sub(r"^\d", lambda digit: DIGITS[int(digit[0])], candidate)
        if re.fullmatch(SLUG, slug) and 1 < len(slug) <= MAX_SLUG:
            yield slug


def letters(text: str) -> str:
    """Reduce text to lower-case ASCII letters and digits, without accents."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def _family_name(author: str) -> str:
    suffixes = {"jr", "jr.", "sr", "sr.", "ii", "iii", "iv"}
    return next((word for word in reversed(author.split()) if word.lower() not in suffixes), "")

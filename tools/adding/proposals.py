"""What title and abstract suggest for an entry, with the words that led there.

A proposal is a guess from phrases: a person confirms it, or the entry lists it as unverified.
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

LONGEST_SLUG = 40
LONGEST_NAME = 25
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMON = frozenset(
    ("about", "from", "large", "language", "model", "models", "pruning", "towards", "with")
)


@dataclass(frozen=True)
class Proposal:
    """Words for the field of one flag, each with the phrase it was found by."""

    flag: str
    found: tuple[tuple[str, str], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The proposed words."""
        return tuple(word for word, _ in self.found)

    def __str__(self) -> str:
        return ", ".join(f'{word} ("{phrase}")' for word, phrase in self.found)


def propose(title: str, abstract: str) -> Iterator[Proposal]:
    """Yield a proposal for each field that title or abstract say something about."""
    text = f"{title}. {abstract}"
    for flag, phrases in PHRASES.items():
        found = list(_kind(title, text) if flag == "kind" else _found(phrases, text))
        if found:
            yield Proposal(flag, tuple(found if FIELDS[flag].many else found[:1]))


def offer_proposals(
    draft: Draft, take: Container[str], names: Mapping[str, str] = MappingProxyType({})
) -> list[Proposal]:
    """Guess what a draft does not know yet, for the flags in `take`; return all that was found.

    `names` are the methods of the catalog by slug.
    """
    title = draft.data.get("title", "")
    made = []
    for proposal in (*propose(title, draft.abstract), *propose_ancestors(title, names)):
        field = FIELDS[proposal.flag]
        if draft.get(field.loc) is not None or not draft.may_say(field.loc):
            continue
        made.append(proposal)
        if proposal.flag in take:
            value = list(proposal.words) if field.many else proposal.words[0]
            draft.guess(field.loc, value, "words of title and abstract")
    if draft.prunes and (name := propose_name(title)):
        draft.offer(FIELDS["name"].loc, name, "title")
    return made


def propose_ancestors(title: str, names: Mapping[str, str]) -> Iterator[Proposal]:
    """Yield the methods whose name stands in a title: Wanda++ builds on Wanda."""
    found = tuple(
        (slug, match[0])
        for slug, name in names.items()
        if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])[^\s:,;.)]*", title))
    )
    if found:
        yield Proposal("builds-on", found)


def _kind(title: str, text: str) -> Iterator[tuple[str, str]]:
    """Surveys, benchmarks and analyses say so in the title; abstracts of methods say it too."""
    phrases = PHRASES["kind"]
    yield from _found(phrases, title)
    yield from _found({"method": phrases["method"]}, text)


def _found(phrases: Mapping[str, Sequence[str]], text: str) -> Iterator[tuple[str, str]]:
    for word, patterns in phrases.items():
        whole = rf"(?<![\w-])({'|'.join(patterns)})(?![\w-])"
        if match := re.search(whole, text, re.IGNORECASE):
            yield word, " ".join(match[0].split())


def propose_name(title: str) -> str | None:
    """Return what a title calls its method: `(OWL)`, or the one or two words before a colon."""
    head, colon, _ = title.partition(":")
    head = head.strip()
    if short := re.search(r"\(([A-Z][\w.+-]{1,15})\)", head):
        return short[1]
    if colon and head and len(head) <= LONGEST_NAME and len(head.split()) <= 2:
        return head
    return None


def propose_slugs(title: str, authors: Sequence[str], year: int | None) -> Iterator[str]:
    """Yield slugs, the better first: the method's name; the first author, year and a word."""
    candidates = [letters(propose_name(title) or "")]
    words = (letters(word) for word in title.split())
    telling = [word for word in words if len(word) > 3 and word not in COMMON]
    family = letters(_family_name(authors[0])) if authors else ""
    if family and year and telling:
        candidates.append(f"{family}{year}{telling[0]}")
    for candidate in candidates:
        slug = re.sub(r"^\d", lambda digit: DIGITS[int(digit[0])], candidate)
        if re.fullmatch(SLUG, slug) and 1 < len(slug) <= LONGEST_SLUG:
            yield slug


def letters(text: str) -> str:
    """Reduce text to lower-case ASCII letters and digits, accents dropped."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def _family_name(author: str) -> str:
    suffixes = {"jr", "jr.", "sr", "sr.", "ii", "iii", "iv"}
    return next((word for word in reversed(author.split()) if word.lower() not in suffixes), "")

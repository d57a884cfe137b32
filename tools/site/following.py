"""Who followed whom: for each paper of the catalog, the others that build on it or compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper
from tools.site.lineage import DRAWN


@dataclass(frozen=True)
class Followers:
    """The papers that came of one, each in one of the first two sets only."""

    direct: frozenset[str] = frozenset()
    """They say that they build on it or extend it."""
    through: frozenset[str] = frozenset()
    """They build on one that does, or on one further along."""
    compared: frozenset[str] = frozenset()
    """They measure themselves against it."""

    @property
    def count(self) -> int:
        """How many build on it, directly or through others."""
        return len(self.direct) + len(self.through)

    def __str__(self) -> str:
        direct = len(self.direct)
        papers = "paper here builds" if self.count == 1 else "papers here build"
        said = f"{self.count} {papers} on it"
        if self.through:
            said += f", {direct or 'none'} of them directly"
        if self.compared:
            verb = "measures itself" if len(self.compared) == 1 else "measure themselves"
            said += f"; {len(self.compared)} {verb} against it"
        return f"{said}."


def followers(papers: Mapping[str, Paper]) -> dict[str, Followers]:
    """Count over the relations within the catalog; what has no paper follows nobody."""
    later: dict[str, set[str]] = defaultdict(set)
    compared: dict[str, set[str]] = defaultdict(set)
    for slug, paper in papers.items():
        for how, other in paper.relations:
            if isinstance(other, str) and other != slug and paper.has_paper:
                (later if how in DRAWN else compared)[other].add(slug)
    return {slug: _followers(slug, later, compared) for slug in papers}


def _followers(
    slug: str, later: Mapping[str, set[str]], compared: Mapping[str, set[str]]
) -> Followers:
    direct = frozenset(later.get(slug, ()))
    found, left = set(direct), list(direct)
    while left:
        for one in later.get(left.pop(), ()):
            if one not in found:
                found.add(one)
                left.append(one)
    return Followers(direct, frozenset(found - direct - {slug}), frozenset(compared.get(slug, ())))

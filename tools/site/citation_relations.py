"""Citation relations: for each paper, the catalogued papers that build on it or compare with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tools.catalog.schema.paper import Paper

BUILDS_ON = ("builds-on", "extends")
"""Relations that make a paper a successor of another one."""


@dataclass(frozen=True)
class CitingPapers:
    """The papers that build on one paper or compare with it."""

    direct: frozenset[str] = frozenset()
    """Papers that build on it or extend it."""
    indirect: frozenset[str] = frozenset()
    """Papers that build on one of the direct ones, or on a later one in turn."""
    comparing: frozenset[str] = frozenset()
    """Papers that compare with it."""

    @property
    def successors(self) -> int:
        """Number of papers that build on it, directly or indirectly."""
        return len(self.direct) + len(self.indirect)

    def __str__(self) -> str:
        parts = [f"{_papers(len(self.direct), 'builds', 'build')} on it"]
        if self.indirect:
            parts.append(f"{len(self.indirect)} more build on those")
        if self.comparing:
            parts.append(f"{_papers(len(self.comparing), 'compares', 'compare')} with it")
        return "; ".join(parts) + "."


def citing_papers(papers: Mapping[str, Paper]) -> dict[str, CitingPapers]:
    """Collect the citing papers of each paper; entries without a paper cite nobody."""
    direct: dict[str, set[str]] = defaultdict(set)
    comparing: dict[str, set[str]] = defaultdict(set)
    for slug, paper in papers.items():
        for relation, other in paper.relations:
            if isinstance(other, str) and other != slug and paper.has_paper:
                (direct if relation in BUILDS_ON else comparing)[other].add(slug)
    return {slug: _citing(slug, direct, comparing) for slug in papers}


def _citing(
    slug: str, direct: Mapping[str, set[str]], comparing: Mapping[str, set[str]]
) -> CitingPapers:
    first = frozenset(direct.get(slug, ()))
    successors, queue = set(first), list(first)
    while queue:
        for later in direct.get(queue.pop(), ()):
            if later not in successors:
                successors.add(later)
                queue.append(later)
    indirect = frozenset(successors - first - {slug})
    return CitingPapers(first, indirect, frozenset(comparing.get(slug, ())))


def _papers(count: int, singular: str, plural: str) -> str:
    return f"1 paper {singular}" if count == 1 else f"{count or 'No'} papers {plural}"

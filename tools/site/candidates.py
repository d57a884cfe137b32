"""The methods to choose from: what each gains, needs, works with and lost here."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import UNKNOWN
from tools.site.atlas import Atlas, Method
from tools.site.board_results import default_rows, first_board, ratio_to_dense
from tools.site.paper_facts import repository, words_of

SIZE, SPEED, KERNELS, OWN = "size", "speed", "2:4 kernels", "kernels of its own"
OF_THEIR_OWN = frozenset({"block-sparse", "activation"})
"""Granularities that gain only with kernels that a method brings along."""
ANEW = frozenset({"per-prompt", "per-token"})
"""When what goes is chosen again for each input, so that all of it has to stay in memory."""


@dataclass(frozen=True)
class Candidate:
    """A method with what the questions ask of it."""

    slug: str
    paper: Paper
    method: Method | None
    losses: dict[str, float | None] = field(default_factory=dict)
    """Perplexity over dense on the first board, by amount."""
    collapsed: frozenset[str] = frozenset()
    """The amounts at which it lost the language."""

    def word(self, name: str) -> str:
        """Its word of a field of the taxonomy that holds one, empty where it is not known."""
        return next((word for word in words_of(self.paper, name) if word != UNKNOWN), "")

    @property
    def granularity(self) -> tuple[str, ...]:
        """How regular is what it removes."""
        return words_of(self.paper, "granularity")

    @property
    def gains(self) -> list[str]:
        """What removing brings: size, speed, or speed where there are kernels for what is left."""
        found = []
        if "structured" in self.granularity:
            found = [SPEED] if self.anew else [SIZE, SPEED]
        if "semi-structured" in self.granularity:
            found.append(KERNELS)
        if not OF_THEIR_OWN.isdisjoint(self.granularity):
            found.append(OWN)
        return found

    @property
    def anew(self) -> bool:
        """Whether it chooses again for each input."""
        return self.word("when") in ANEW or self.granularity == ("activation",)

    @property
    def repository(self) -> Code | None:
        """Where its code is."""
        return repository(self.paper)

    def support(self, kind: str) -> dict[str, str]:
        """What the contract found, by family, attention or pattern."""
        return dict(self.method.support.get(kind) or {}) if self.method else {}


def candidates(atlas: Atlas, amounts: list[str]) -> list[Candidate]:
    """List all that prunes, implemented methods first, then by name.

    Baselines without a paper are there to be beaten, not to be chosen.
    """
    board = first_board(atlas)
    rows = default_rows(board) if board else {}
    made = []
    for slug, paper in atlas.papers.items():
        if not paper.is_method or not paper.has_paper:
            continue
        here = {share: row for share in amounts if (row := rows.get((slug, share)))}
        made.append(
            Candidate(
                slug,
                paper,
                atlas.methods.get(slug),
                {share: ratio_to_dense(row, board) for share, row in here.items() if board},
                frozenset(share for share, row in here.items() if row.collapsed),
            )
        )
    return sorted(made, key=lambda one: (not one.method, atlas.names[one.slug].casefold()))

"""The methods on the page Choose: their gains, requirements, families and measured loss."""

from __future__ import annotations

from dataclasses import dataclass, field

from implementations.harness.results.boards import Row
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import UNKNOWN
from tools.site.answers import Answer, Ranking, first_ranking
from tools.site.atlas import Atlas, Method
from tools.site.paper_facts import words_of
from tools.site.replication import NOISE
from tools.site.usage import only_per_input

SIZE, SPEED, KERNELS, OWN_KERNELS = "size", "speed", "2:4 kernels", "own kernels"
PATTERN = "2:4"
"""The pattern that GPUs have kernels for."""
PATTERNS = "semi-structured"
CUSTOM_KERNELS = frozenset({"block-sparse", "activation"})
"""Granularities that are faster only with kernels of the method."""
TYPICAL = 0.2
"""The sparsity whose measurement, or else the closest one, decides about size and speed."""


@dataclass(frozen=True)
class Candidate:
    """A method with the properties that the questions ask for."""

    slug: str
    paper: Paper
    method: Method | None
    results: dict[str, Answer] = field(default_factory=dict)
    """Results on the first board, by share or pattern."""
    typical: Row | None = None
    """The row of a structured method that decides about its gains, if it was measured."""

    def word(self, name: str) -> str:
        """Return the value of a field of the taxonomy; empty if unknown."""
        return next((word for word in words_of(self.paper, name) if word != UNKNOWN), "")

    @property
    def granularity(self) -> tuple[str, ...]:
        """The granularity of pruning; patterns only if our implementation, if any, has them."""
        words = words_of(self.paper, "granularity")
        if self.method and PATTERNS not in self.method.capabilities.get("granularity", ()):
            words = tuple(word for word in words if word != PATTERNS)
        return words

    @property
    def gains(self) -> list[str]:
        """What pruning gains: size, speed, or speed with special kernels.

        Size and speed follow from the measurement, if there is one, otherwise from the granularity.
        """
        result = []
        if "structured" in self.granularity:
            result = [SPEED] if self.per_input else [SIZE, SPEED]
            result = [gain for gain in result if self.measured.get(gain, 1) > NOISE]
        if PATTERNS in self.granularity:
            result.append(KERNELS)
        if not CUSTOM_KERNELS.isdisjoint(self.granularity):
            result.append(OWN_KERNELS)
        return result

    @property
    def measured(self) -> dict[str, float]:
        """The measured relative gains in size and speed; speed is the larger one of two rates."""
        if not self.typical:
            return {}
        size = self.typical.footprint.parameters / self.typical.first.dense.footprint.parameters
        rates = [rate for kind in ("prefill", "decode") if (rate := self.typical.rate(kind))]
        speed = {SPEED: max(rate.ratio for rate in rates) - 1} if rates else {}
        return {SIZE: 1 - size} | speed

    @property
    def per_input(self) -> bool:
        """Whether it only selects units for each input, and removes none before."""
        return only_per_input(self.paper) or self.granularity == ("activation",)

    @property
    def repository(self) -> Code | None:
        """The repository of its code."""
        return best_code(self.paper)

    @property
    def families(self) -> dict[str, str]:
        """The model families of its kind, each with the reason if it is refused, else empty."""
        return self.method.families if self.method else {}


def candidates(atlas: Atlas, amounts: list[str]) -> list[Candidate]:
    """List methods that have a paper, implemented ones first, then by name.

    `amounts` are shares and patterns such as `50` or `2:4`.
    """
    ranking = first_ranking(atlas)
    result = []
    for slug, paper in atlas.papers.items():
        if not paper.is_method or not paper.has_paper:
            continue
        here = {
            share: answer
            for share in amounts
            if ranking and (answer := ranking.answer(slug, share))
        }
        typical = _typical(slug, ranking) if ranking else None
        result.append(Candidate(slug, paper, atlas.methods.get(slug), here, typical))
    return sorted(result, key=lambda one: (not one.method, atlas.names[one.slug].casefold()))


def _typical(slug: str, ranking: Ranking) -> Row | None:
    """Return the structured row closest to `TYPICAL` among those that represent the method."""
    answers = ranking.by_row.values()
    rows = [one.row for one in answers if one.method == slug and one.row.first.structured]
    return min(rows, key=lambda row: abs(row.first.requested - TYPICAL), default=None)

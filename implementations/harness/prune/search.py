"""Search for the units to remove: evaluation of candidates, and random search as the baseline.

A candidate is a boolean mask of the removed units. Each distinct one is evaluated once, and their
number is the cost of a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import NumericsError
from implementations.harness.model.units import Kind
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.masked import masked
from implementations.harness.prune.prefixes import prefixes

DRAWS = 20  # attempts to draw a new mask


class Candidates:
    """The loss of a model without some of its units; each distinct mask is evaluated once.

        loss = Candidates(model, lambda: perplexity(model, probes).value, "blocks")
        loss(removed)                        # uses `masked`; infinity if logits are not finite

    `best` is the best mask, the first among equals.
    """

    def __init__(self, model: LanguageModel, measure: Callable[[], float], *kinds: Kind) -> None:
        self.model, self.measure, self.kinds = model, measure, kinds
        self.seen: dict[bytes, float] = {}
        self.best: Tensor | None = None
        self.least = math.inf
        """The loss of the best mask."""

    @property
    def evaluations(self) -> int:
        """Number of distinct masks that were evaluated."""
        return len(self.seen)

    def __call__(self, removed: Tensor) -> float:
        """Return the loss without the units marked in `removed [units]`, boolean."""
        key = removed.cpu().numpy().tobytes()
        if key not in self.seen:
            self.seen[key] = self._evaluate(removed)
        loss = self.seen[key]
        if self.best is None or loss < self.least:
            self.best, self.least = removed.clone(), loss
        return loss

    def by_block(self, tokens: Tokens, masks: Mapping[int, Tensor]) -> dict[int, float]:
        """Return the losses of `masks`, given by the first block that each changes.

        The blocks before that one run only once for all masks. `measure` must run the model on all
        of `tokens`, once.
        """
        losses, blocks = {}, len(self.model.blocks)
        for block, start_here in track(prefixes(self.model, tokens), "trying blocks", blocks):
            if block.index in masks:
                with start_here():
                    losses[block.index] = self(masks[block.index])
        return losses

    def _evaluate(self, removed: Tensor) -> float:
        with masked(self.model, removed, *self.kinds):
            try:
                return self.measure()
            except NumericsError:
                return math.inf


def random_search(loss: Candidates, draw: Callable[[], Tensor], evaluations: int) -> None:
    """Evaluate `evaluations` distinct masks returned by `draw`; `loss.best` is then the best.

    Evaluates fewer if `draw` rarely returns new masks. `draw` should use torch's generator, which
    `Method.apply` seeds.
    """
    for _ in track(range(evaluations), "drawing masks"):
        before = loss.evaluations
        for _ in range(DRAWS):
            loss(draw())
            if loss.evaluations > before:
                break

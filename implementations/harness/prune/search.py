"""Searching for the units to remove: what a candidate costs, and chance as the floor.

A candidate is a boolean mask of what goes. Each distinct one is evaluated once, and how many were
is what a search cost; a search is worth its name if it beats chance at equal cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Tensor

from implementations.harness.errors import NumericsError
from implementations.harness.model.units import Kind
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.journal import journal
from implementations.harness.prune.masked import masked

DRAWS = 20  # for a mask that was not seen before: where there are few, most were


class Candidates:
    """The loss of a model without some of its units; each distinct mask is evaluated once.

        loss = Candidates(model, lambda: perplexity(model, probes).value, "blocks")
        loss(gone)                           # by `masked`; infinity where the logits are not finite

    It remembers the best mask, the earlier one of equals. Where a journal is open, it goes on from
    what a killed run has paid for; see `remembered`.
    """

    def __init__(self, model: LanguageModel, measure: Callable[[], float], *kinds: Kind) -> None:
        self.model, self.measure, self.kinds = model, measure, kinds
        self.seen: dict[bytes, float] = {}
        self.journal = journal()
        self.number = self.journal.begin()
        self.best: Tensor | None = None
        self.least = math.inf
        """The loss of the best mask."""

    @property
    def evaluations(self) -> int:
        """How many distinct masks were evaluated."""
        return len(self.seen)

    def __call__(self, gone: Tensor) -> float:
        """Return the loss without the units marked in `gone [units]`, boolean."""
        key = gone.cpu().numpy().tobytes()
        if key not in self.seen:
            paid = self.journal.loss(self.number, key)
            self.seen[key] = self._evaluate(gone, key) if paid is None else paid
        loss = self.seen[key]
        if self.best is None or loss < self.least:
            self.best, self.least = gone.clone(), loss
        return loss

    def _evaluate(self, gone: Tensor, key: bytes) -> float:
        start = time.perf_counter()
        with masked(self.model, gone, *self.kinds):
            try:
                loss = self.measure()
            except NumericsError:
                loss = math.inf
        self.journal.write(self.number, key, loss, time.perf_counter() - start)
        return loss


def random_search(loss: Candidates, draw: Callable[[], Tensor], evaluations: int) -> None:
    """Evaluate as many distinct masks of those that `draw` returns; `loss` then knows the best.

    It evaluates fewer where hardly any draw is new. Draws should come from torch's generator,
    which `Method.apply` seeds.
    """
    for _ in track(range(evaluations), "drawing masks"):
        before = loss.evaluations
        for _ in range(DRAWS):
            loss(draw())
            if loss.evaluations > before:
                break

"""The mix of general text and text of a domain, which follows the losses on both.

Source: dynamic batch loading, Xia et al., arXiv:2310.06694, with the constants of the official
code, which are those of DoReMi (Xie et al., arXiv:2305.10429).
"""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    next_token_loss,
)

HELD_OUT = 2  # windows of each text on which its loss is measured
RATE = 1.0  # eta
SMOOTHING = 1e-4  # c


class Mixture:
    """Windows of two texts, general and of a domain, in proportions that change.

    Raises `BadInput` for a text that is too short to hold out windows.
    """

    def __init__(self, calibration: Calibration, general: float) -> None:
        texts = {"training": calibration.training, "domain": calibration.domain}
        parts = [split(name, text) for name, text in texts.items() if text is not None]
        self.streams = [rest for rest, _ in parts]
        self.held_out = [held for _, held in parts]
        self.shares = torch.tensor([general, 1 - general], dtype=torch.float64)
        """Probability of each text."""
        self.taken = torch.zeros((), dtype=torch.int64)
        """Number of windows of the domain that were used."""
        self.state = {"shares": self.shares, "taken": self.taken}

    def mixed(self, ids: Tensor) -> Tensor:
        """Replace some windows of `ids [windows, length]`, general text, by those of the domain."""
        drawn = torch.rand(len(ids), dtype=torch.float64) >= self.shares[0]
        rows = list(ids)
        for row in drawn.nonzero().flatten().tolist():
            rows[row] = next(self.streams[1].batches(1, start=int(self.taken)))[0]
            self.taken += 1
        return torch.stack(rows)

    def losses(self, model: LanguageModel) -> Tensor:
        """Return the loss of a model on the held-out windows of each text, `[texts]`."""
        with torch.no_grad():
            return torch.stack([next_token_loss(model, ids) for ids in self.held_out]).cpu()

    def update(self, losses: Tensor, references: Tensor) -> None:
        """Update the proportions by how much each loss exceeds its reference."""
        self.shares.copy_(updated(self.shares, losses - references))


def updated(shares: Tensor, gaps: Tensor) -> Tensor:
    """Return new proportions `[texts]`; texts with larger gaps to their reference get more.

    A loss below its reference counts as equal to it.
    """
    raised = torch.softmax(shares.double().log() + RATE * gaps.double().clamp(min=0), dim=0)
    mixed = (1 - SMOOTHING) * raised + SMOOTHING / len(shares)
    return mixed / mixed.sum()


def split(name: str, text: Stream) -> tuple[Stream, Tensor]:
    """Split a text into windows to train on and the ids of its last windows, held out."""
    count = len(text.windows.ids)
    if count <= HELD_OUT:
        raise BadInput(
            f"the text `{name}` has {count} windows, but needs at least {HELD_OUT + 1}, of which "
            f"{HELD_OUT} are held out; use a longer text"
        )
    windows = text.windows.pick(list(range(count - HELD_OUT)))
    return Stream(windows, text.seed), text.windows.ids[-HELD_OUT:]

"""TEAL's greedy search: how many of their inputs the layers of one block drop (Liu et al., 2025).

Every step drops the same number of weights more, at the layer where the block's output suffers
least. The block runs on its dense inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from implementations.harness.model.execution import replaced_forward
from implementations.harness.prune.activation_masks import Kept
from implementations.harness.prune.walk import WalkedBlock

# A layer changes the inputs of the layers with higher numbers.
STAGES = {"q": 0, "k": 0, "v": 0, "o": 1, "gate": 2, "up": 2, "down": 3}
LOOKED_BACK_AT = ("k", "v")
"""Layers whose outputs at earlier tokens matter for the compared ones."""


class Run(NamedTuple):
    """The outputs of a block at the compared tokens, and those inside it that were computed."""

    y: Tensor
    inside: dict[str, Any]
    """By the role of the layer, and of the attention as a whole."""


class Sample:
    """One sample that runs through a block again and again, with the inputs of one layer changed.

    A run computes only what the change affects, and only the compared tokens, the last quarter.
    """

    def __init__(self, block: WalkedBlock, x: Tensor) -> None:
        """Run the dense block on its input `x [1, tokens, hidden]`."""
        self.block, self.x = block, x
        self.tokens = x.shape[1]
        self.compared = max(1, self.tokens // 4)
        self.inside: dict[str, Any] = {}
        dense = self.run({})
        self.keep(dense)
        self.target = dense.y

    def keep(self, run: Run) -> None:
        """Let later runs start from `run`."""
        self.inside |= run.inside

    def error(self, run: Run) -> float:
        """Return the squared distance of a run from the dense outputs."""
        return float((run.y - self.target).detach().float().square().sum())

    def run(self, masks: Mapping[str, Kept], changed: str = "") -> Run:
        """Run the block with `masks` by role, of which that of `changed` differs from the last."""
        stage = STAGES.get(changed, -1)
        inside: dict[str, Any] = {}

        def compute(role: str, forward: Callable[..., Any], x: Tensor) -> Any:
            if role != changed and STAGES[role] <= stage:
                return self.inside[role]
            inside[role] = self.multiply(forward, x, masks.get(role), role in LOOKED_BACK_AT)
            return inside[role]

        def attend(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if stage > STAGES["o"]:
                return self.inside["attention"]
            inside["attention"] = forward(*args, **kwargs)
            return inside["attention"]

        with ExitStack() as changes:
            for role, linear in self.block.linears().items():
                new = partial(compute, role, linear.forward)
                changes.enter_context(replaced_forward(linear, new))
            attention = self.block.attention.module
            changes.enter_context(replaced_forward(attention, partial(attend, attention.forward)))
            y = self.block.boundary.through(self.block, self.x)
        return Run(y[:, -self.compared :], inside)

    def multiply(
        self, forward: Callable[[Tensor], Tensor], x: Tensor, kept: Kept | None, whole: bool
    ) -> Tensor:
        """Return a layer's output, of all tokens or else zero before the compared ones."""
        first = 0 if whole else self.tokens - self.compared
        rows = x.reshape(self.tokens, -1)[first:]
        if kept is not None:
            before = max(0, self.tokens // 2 - first)
            after = rows[before:]
            rows = torch.cat([rows[:before], after.masked_fill(~kept(after), 0)])
        y = forward(rows)
        if first:
            y = torch.cat([y.new_zeros(first, y.shape[-1]), y])
        return y.view(*x.shape[:-1], y.shape[-1])


def greedy_shares(
    block: WalkedBlock,
    inputs: Sequence[Tensor],
    target: float,
    step: float,
    kept: Callable[[str, float], Kept],
) -> dict[str, float]:
    """Return the share of inputs that each layer drops, by role, so that `target` is not read.

    `inputs` are dense inputs of the block, `[1, tokens, hidden]` each; their second halves are
    masked, and their last quarters are compared. `kept(role, share)` returns the mask of a layer
    that drops `share`. `target` is a share of the weights; each step adds `step` times the weights
    of a square matrix (a), and the last one adds what is missing.
    """
    sizes = {role: linear.weight.numel() for role, linear in block.linears().items()}
    samples = [Sample(block, x) for x in inputs]
    masks: dict[str, Kept] = {}
    shares = dict.fromkeys(sizes, 0.0)
    missing = target * sum(sizes.values())
    while missing >= 0.5:
        added = min(missing, step * inputs[0].shape[-1] ** 2)
        trials = {}
        for role, size in sizes.items():
            if size and shares[role] < 1:
                share = min(1.0, shares[role] + added / size)
                tried = masks | {role: kept(role, share)}
                runs = [sample.run(tried, role) for sample in samples]
                error = sum(s.error(run) for s, run in zip(samples, runs, strict=True))
                trials[role] = error, share, tried, runs
        best = min(trials, key=lambda role: trials[role][0])
        _, share, masks, runs = trials[best]
        missing -= (share - shares[best]) * sizes[best]
        shares[best] = share
        for sample, run in zip(samples, runs, strict=True):
            sample.keep(run)
    return shares

"""Deeper Layers: remove a run of blocks that turns the hidden state least (Gromov et al., 2025).

If blocks `l` to `l + n - 1` are removed, block `l + n` gets the input of block `l` instead of its
own. The angle between the two, for the last token of each text, tells how different they are. The
run with the smallest mean angle is removed.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    add_up,
    added_up,
    angle,
    remove_blocks,
    walk,
)


class DeeperLayers(UnitMethod):
    """Remove the run of consecutive decoder layers with the smallest angular distance.

    Source: Gromov et al., arXiv:2403.17887, Sections 3 and 4.4.
    """

    capabilities = Capabilities(granularity=("blocks",), calibration="forward", parallel=True)

    sparsity: Ratio = 0.25
    """Share of the weights in the decoder's linear layers to remove, rounded to whole
    decoder layers."""
    rule: Literal["similarity", "deepest"] = "similarity"
    """Run to remove: that of the smallest distance, or the one before the last decoder layer."""
    tokens: Literal["last", "all"] = "last"
    """Tokens whose angles are measured: the last of each text, or all, which varies less."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove a run of blocks; return the distance of every run and the removed blocks."""
        count = len(model.blocks)
        blocks = torch.arange(count)
        if self.rule == "deepest":  # backwards from the block before the last
            run, details = self.choose(model, (count - 2 - blocks) % count), {}
        else:
            wrapped = [self.choose(model, (blocks - start) % count) for start in range(count)]
            runs = [run for start, run in enumerate(wrapped) if not run[:start].any()]
            lengths = [int(run.sum()) for run in runs]
            angles = run_angles(model, calibration, lengths, self.tokens)
            distances, error = mean_angles(angles)
            # An empty run, before a large block, would always win with a distance of 0.
            possible = [start for start, length in enumerate(lengths) if length] or [0]
            nearest = min(possible, key=lambda start: float(distances[start]))
            run = runs[nearest]
            details = {"distances": distances.tolist(), "standard_error": float(error[nearest])}
        remove_blocks(model, run)
        return details | {"removed": run.nonzero().flatten().tolist()}


def run_angles(
    model: LanguageModel, calibration: Tokens, lengths: list[int], tokens: Literal["last", "all"]
) -> Tensor:
    """Return the angle across each run of blocks, fp64 `[runs, texts]`, in units of pi.

    Run `l` starts with block `l` and has `lengths[l]` blocks. The angle is the one between the
    hidden states before and after the run (Eq. 7), of the last token or averaged over all.
    """
    before: dict[int, Tensor] = {}  # x^(l) of the runs that have not ended, [texts, tokens, hidden]
    angles = [torch.empty(0)] * len(lengths)

    def enter(position: int, state: Tensor) -> None:
        if position < len(lengths):
            before[position] = state
        for start, length in enumerate(lengths):
            if start + length == position:
                pairs = zip(before.pop(start), state, strict=True)
                angles[start] = torch.stack([mean_angle(x, y) for x, y in pairs])

    def mean_angle(x: Tensor, y: Tensor) -> Tensor:
        return angle(x.to(model.accelerator), y.to(model.accelerator)).mean()

    read = slice(-1, None) if tokens == "last" else slice(None)
    for block in walk(model, calibration, edits=False):
        entering, leaving = [], []
        for x, y in block.run():
            if block.index == 0:
                entering.append(x[:, read].to("cpu", copy=True))
            leaving.append(y[:, read].to("cpu", copy=True))
        if block.index == 0:
            enter(0, torch.cat(entering))
        enter(block.index + 1, torch.cat(leaving))
    return torch.stack(angles)


def mean_angles(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard error over the texts of all processes, fp64 `[runs]` each."""
    sums = torch.stack([angles.sum(dim=1), angles.square().sum(dim=1)])
    add_up(sums)
    texts = added_up(angles.shape[1])
    mean, square = sums / texts
    variance = (square - mean.square()).clamp(min=0)
    return mean, (variance / max(texts - 1, 1)).sqrt()

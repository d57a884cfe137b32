"""BESA: learn the sparsity of each row or matrix, one block at a time (Xu et al., ICLR 2024).

Wanda's scores order the weights of each row once, so a mask is a number per row: how many of the
lowest are removed. BESA writes this number as a mean of candidate rates with learnable
coefficients. The forward pass uses the mask, and gradients reach the coefficients through the
probability that a weight is kept. The coefficients minimise the error of the block's outputs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from implementations.besa.prodigy import Prodigy
from implementations.harness import (
    BadInput,
    Capabilities,
    ColumnNorm,
    Count,
    LanguageModel,
    NonNegative,
    Positive,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    apportion,
    block_outputs,
    gradient_step,
    output_error,
    prune_by_solving,
    run_with_weights,
    walk,
)

HIGHEST = 1 / (1 + math.exp(-0.5))  # largest mean rate, if no probability exceeds e times another
STEEPEST = 1e4  # largest slope of the initial logits
ROUNDING = 1e-3  # weights; the rounding of a mean rate must not cost a whole one
LEAST = 1e-30  # smallest squared norm by which an error is divided


class BESA(WeightMethod):
    """Learn how many weights each row or matrix loses, and remove those with the lowest scores.

    Source: Xu et al., arXiv:2402.16880.
    """

    capabilities = Capabilities(granularity=("unstructured",), calibration="gradient")
    tiny_settings: ClassVar[dict[str, Any]] = {"intervals": 10}

    sparsity: Ratio = 0.5
    """Share of the weights of each decoder layer to zero."""
    rates: Literal["row", "matrix"] = "row"
    """Whether each row of a matrix learns a rate, or the whole matrix a single one."""
    base: Literal["wanda", "sparsegpt"] = "wanda"
    """Method that prunes to the learned rates; SparseGPT needs one rate per matrix."""
    intervals: Count = 100
    """Number of intervals between the candidate rates, which go from 0 to 1 (D)."""
    smooth: bool | None = None
    """Apply a sigmoid to the coefficients; by default, for sparsities that it can reach."""
    inputs: Literal["pruned", "dense"] = "pruned"
    """Source of the inputs that give the target outputs: the pruned or the dense model."""
    epochs: Count = 1
    """Passes over the calibration set, with one step per sample."""
    penalty: NonNegative = 5.0
    """Weight of the penalty that holds a decoder layer at the requested sparsity (lambda, beta)."""
    optimiser: Literal["prodigy", "adamw"] = "prodigy"
    """Optimiser of the coefficients; Prodigy estimates its step size."""
    step_factor: Positive | None = None
    """Prodigy only: factor of the step size (d_coef); by default 5, or 0.1 without the sigmoid."""
    learning_rate: Positive = 0.01
    """AdamW only: learning rate."""
    block_size: Count = 128
    """SparseGPT only: number of columns whose mask is chosen together."""
    damping: NonNegative = 0.01
    """SparseGPT only: damping of the Hessian's diagonal, as a fraction of its mean."""

    @property
    def smoothed(self) -> bool:
        """Whether a sigmoid is applied to the coefficients."""
        return self.reachable if self.smooth is None else self.smooth

    @property
    def reachable(self) -> bool:
        """Whether rates with a sigmoid can have the requested mean."""
        return 1 - HIGHEST < self.sparsity < HIGHEST

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        if self.base == "sparsegpt" and self.rates == "row":
            raise BadInput("`base` sparsegpt needs one rate per matrix; set rates=matrix")
        if self.smooth and not self.reachable:
            raise BadInput(
                f"`smooth` reaches only rates from {1 - HIGHEST:.4f} to {HIGHEST:.4f}, got "
                f"sparsity {self.sparsity:g}; set smooth=false"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Learn the rates of each block and prune it; return rates and errors by block.

        `learned` is the mean rate of the block before it is corrected to the requested sparsity.
        `error_before` is the error of Wanda at equal rates, also if the base is SparseGPT.
        """
        totals = [sum(lost.values()) for lost in self.counts(model, torch.ones(len(model.blocks)))]
        details: dict[str, list[Any]] = {"rates": [], "learned": []}
        details |= {"error_before": [], "error_after": []}
        samples = replace(calibration, batch_size=1)  # one per step
        for block in walk(model, samples, beside=self.inputs == "dense"):
            layers = block.linears()
            if self.inputs == "dense":
                seen, targets = block.observe(ColumnNorm), block_outputs(block.beside)
            else:
                with block.watching(ColumnNorm) as seen:  # layers still dense
                    targets = block_outputs(block)
            scores = {r: layer.weight.abs().float() * seen[r].norms for r, layer in layers.items()}
            uniform = {
                role: layer.weight.masked_fill(self.choose(scores[role]), 0)
                for role, layer in layers.items()
            }
            details["error_before"].append(output_error(block, targets, uniform))
            rates = {role: self.start(each) for role, each in scores.items()}
            if 0 < self.sparsity < 1:
                self.learn(block, rates, targets)
            details["learned"].append(float(block_rate(rates).detach()))
            counts = self.prune_block(block, scores, rates, totals[block.index])
            details["rates"].append({r: n / max(scores[r].numel(), 1) for r, n in counts.items()})
            details["error_after"].append(output_error(block, targets, {}))
        return details

    def start(self, scores: Tensor) -> Rates:
        """Return the initial rates of a matrix with `scores [out, in]`."""
        logits = initial_logits(self.sparsity, self.intervals, self.smoothed)
        return Rates(scores, logits, self.smoothed, by_row=self.rates == "row")

    def learn(self, block: WalkedBlock, rates: dict[str, Rates], targets: list[Tensor]) -> None:
        """Train the coefficients of all matrices of a block together."""
        weights = {role: layer.weight.detach() for role, layer in block.linears().items()}
        coefficients = [each.coefficients for each in rates.values()]
        optimiser: torch.optim.Optimizer
        if self.optimiser == "prodigy":
            # Without a sigmoid, rates have no limits, and larger steps empty rows and matrices.
            optimiser = Prodigy(coefficients, self.step_factor or (5.0 if self.smoothed else 0.1))
        else:
            optimiser = torch.optim.AdamW(coefficients, self.learning_rate, weight_decay=0.0)
        for _ in range(self.epochs):
            for i, target in enumerate(targets):
                with torch.enable_grad():
                    masked = {role: weights[role] * rates[role].mask() for role in weights}
                    y = run_with_weights(block, i, masked)
                    excess = block_rate(rates) / self.sparsity - 1
                    loss = channel_error(y, target.to(y.device)) + self.penalty * excess.square()
                    gradient_step(optimiser, loss, f"block {block.index}")

    def prune_block(
        self, block: WalkedBlock, scores: dict[str, Tensor], rates: dict[str, Rates], total: int
    ) -> dict[str, int]:
        """Remove `total` weights by the learned rates; return the number of each layer."""
        shares = torch.cat([each.rate().detach().cpu() for each in rates.values()])
        sizes = torch.tensor([n for each in rates.values() for n in each.sizes])
        # Scaled rates, unlike scaled kept shares, could empty rows that keep only a few weights.
        kept = apportion(1 - shares, sizes, int(sizes.sum()) - total)
        lost = (sizes - kept).split([len(each.sizes) for each in rates.values()])
        by_role = dict(zip(rates, lost, strict=True))
        counts = {role: int(each.sum()) for role, each in by_role.items()}
        if self.base == "sparsegpt":
            prune_by_solving(block, counts, self.block_size, self.damping)
            return counts
        for role, layer in block.linears().items():
            if self.rates == "row":
                removed = rates[role].lowest(by_role[role].to(layer.weight.device))
            else:
                removed = self.choose(scores[role], count=counts[role])
            layer.weight.masked_fill_(removed, 0)
        return counts


class Rates:
    """The rates of one matrix, as coefficients of candidate rates, and the masks they give."""

    def __init__(self, scores: Tensor, logits: Tensor, smooth: bool, *, by_row: bool) -> None:
        rows, width = scores.shape  # [out, in]
        intervals, device = len(logits) - 1, scores.device
        self.smooth = smooth
        self.sizes = [width] * rows if by_row else [rows * width]  # weights per rate
        self.candidates = torch.arange(intervals + 1, device=device) / intervals  # alpha, [D + 1]
        self.coefficients = logits.to(device).repeat(len(self.sizes), 1).requires_grad_()  # theta
        self.ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)  # k, 0 is the lowest
        removed = torch.arange(intervals + 1, device=device) * width // intervals
        # The largest candidate that keeps the weight, [out, in]
        self.last = torch.searchsorted(removed, self.ranks, right=True) - 1

    def probabilities(self) -> Tensor:
        """Return the weights of the candidate rates in each mean, `[rates, D + 1]` (p)."""
        logits = self.coefficients.sigmoid() if self.smooth else self.coefficients
        return logits.softmax(dim=-1)

    def rate(self) -> Tensor:
        """Return the mean rates, `[rates]` (s)."""
        return self.probabilities() @ self.candidates

    def kept(self) -> Tensor:
        """Return the probability of keeping each weight, `[out, in]` (q).

        That is the total weight of all candidates that keep it.
        """
        total = self.probabilities().cumsum(dim=-1)
        return total.expand(len(self.last), -1).gather(1, self.last)

    def lowest(self, counts: Tensor) -> Tensor:
        """Mark the `counts [rates]` lowest weights of each row, boolean `[out, in]`."""
        return self.ranks < counts[:, None]

    def mask(self) -> Tensor:
        """Return the hard mask `[out, in]`, with the gradient of the probabilities."""
        q, width = self.kept(), self.ranks.shape[1]
        counts = (self.rate().detach() * width + ROUNDING).floor()  # to remove from each row
        return ~self.lowest(counts) + (q - q.detach())


def block_rate(rates: dict[str, Rates]) -> Tensor:
    """Return the share of a block's weights that its rates remove, before rounding."""
    total = sum(sum(each.sizes) for each in rates.values())
    parts = [each.rate().mean() * (sum(each.sizes) / max(total, 1)) for each in rates.values()]
    return torch.stack(parts).nansum()  # the mean over no rows is NaN


def channel_error(y: Tensor, target: Tensor) -> Tensor:
    """Return the relative squared error of each channel of `[batch, length, hidden]`, averaged."""
    target = target.float()
    error = (y.float() - target).square().sum(dim=(0, 1))  # [hidden]
    return (error / target.square().sum(dim=(0, 1)).clamp(min=LEAST)).mean()


def initial_logits(sparsity: float, intervals: int, smooth: bool) -> Tensor:
    """Return logits of the candidates, fp32 `[intervals + 1]`.

    With a sigmoid they are zero. Otherwise they rise in proportion to the candidate, so that the
    mean rate is `sparsity`.
    """
    candidates = torch.arange(intervals + 1, dtype=torch.float64) / intervals
    low, high = (0.0, 0.0) if smooth else (-STEEPEST, STEEPEST)
    for _ in range(64):  # bisection
        slope = (low + high) / 2
        below = float((slope * candidates).softmax(dim=0) @ candidates) < sparsity
        low, high = (slope, high) if below else (low, slope)
    return ((low + high) / 2 * candidates).float()

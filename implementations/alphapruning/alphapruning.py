"""AlphaPruning: prune blocks with heavy-tailed spectra less (Lu et al., NeurIPS 2024).

The largest eigenvalues of `W^T W` follow a power law. A small exponent is a heavy tail, the mark of
a well-trained matrix. The mean exponent of its matrices sets the sparsity of a block, and another
method prunes the block to it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Capabilities,
    Count,
    LanguageModel,
    NonNegative,
    NumericsError,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    block_weights,
    capped,
    prune_by_input_norms,
    prune_by_magnitude,
    prune_by_solving,
    track,
    walk,
)

ZERO = 1e-12  # eigenvalues up to this multiple of the largest one count as zero
EQUAL = 1e-6  # mean log of the eigenvalues over the smallest one up to which they count as equal
BINS = 100  # of the histogram of log10(eigenvalue)
AROUND_PEAK = (0.95, 1.5)  # candidates for the cut, as multiples of the peak


class AlphaPruning(WeightMethod):
    """Set the sparsity of decoder layers by their spectra; prune by Wanda, SparseGPT or magnitude.

    Source: Lu et al., arXiv:2410.10912.
    """

    capabilities = Capabilities(granularity=("unstructured",), calibration="forward", parallel=True)

    sparsity: Ratio = 0.7
    """Share of all decoder layers' weights to set to zero (S)."""
    base: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """Base method that prunes each decoder layer to its share; only it needs a calibration set."""
    spread: Ratio = 0.2
    """Shares are proportional to factors from 1 - spread to 1 + spread (epsilon, tau)."""
    cut: Literal["peak", "middle"] = "peak"
    """Start of the tail: the best fit near the peak of the spectrum, or the median eigenvalue."""
    block_size: Count = 128
    """SparseGPT only: number of columns whose mask is chosen together (B)."""
    damping: NonNegative = 0.01
    """SparseGPT only: damping of the Hessian's diagonal, as a fraction of its mean."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Fit the exponents of the dense blocks, then prune; return exponents and shares."""
        exponents = self.block_exponents(model)
        sizes = torch.tensor([block_weights(block) for block in model.blocks])  # [blocks]
        shares = layer_shares(exponents, sizes, self.sparsity, self.spread)
        counts = self.counts(model, shares)
        for block in walk(model, calibration):
            self.prune_block(block, counts[block.index])
        return {"exponents": exponents.tolist(), "shares": shares.tolist()}

    def block_exponents(self, model: LanguageModel) -> Tensor:
        """Return the mean exponent of every block's linear layers, fp64 `[blocks]`.

        Raises `NumericsError` for a layer without a power law.
        """
        means = []
        for block in track(model.visit(), "fitting the spectra", len(model.blocks)):
            alphas = []
            for role, linear in block.linears().items():
                eigenvalues = spectrum(linear.weight.to(model.accelerator)).cpu()
                alphas.append(tail_exponent(eigenvalues, self.cut))
                if not math.isfinite(alphas[-1]):
                    raise NumericsError(
                        f"block {block.index}, {role}: no power law fits the eigenvalues of the "
                        "weight, because the largest are equal or fewer than three are not zero; "
                        f"use {self.base} with equal shares instead"
                    )
            means.append(sum(alphas) / len(alphas))  # all layers count alike
        return torch.tensor(means, dtype=torch.float64)

    def prune_block(self, block: WalkedBlock, counts: dict[str, int]) -> None:
        """Remove `counts` weights from each layer, by role, with the base method."""
        if self.base == "sparsegpt":
            prune_by_solving(block, counts, self.block_size, self.damping)
        elif self.base == "wanda":
            prune_by_input_norms(block, counts)
        else:
            prune_by_magnitude(block, counts)


def spectrum(weight: Tensor) -> Tensor:
    """Return the eigenvalues of `W^T W` for `W [out, in]`, or those of `W W^T` if these are fewer.

    They differ only in zeros. The result is fp64 `[min(out, in)]`, in ascending order.
    """
    W = weight.double()
    gram = W @ W.T if W.shape[0] < W.shape[1] else W.T @ W
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    return eigenvalues


def tail_exponent(eigenvalues: Tensor, cut: Literal["peak", "middle"] = "peak") -> float:
    """Return the exponent of the power law in the tail of ascending `eigenvalues [n]` (alpha).

    It is the maximum-likelihood estimate for the eigenvalues from the cut on. It is infinite if
    these are all equal, and NaN if fewer than three of all are not zero.
    """
    values = eigenvalues.double()
    largest = values[-1:]  # empty for a matrix without rows
    values = values[values > ZERO * largest] / largest
    n = len(values)
    if n < 3:
        return math.nan
    logs = values.log()
    tail = torch.arange(n, 0, -1)  # number of eigenvalues from i on
    tail_sums = logs.flip(0).cumsum(0).flip(0)  # sum of ln(lambda_j) over j >= i
    excess = tail_sums - tail * logs  # sum of ln(lambda_j / lambda_i)
    excess = excess.masked_fill(excess <= EQUAL * tail, 0)
    alphas = 1 + tail / excess  # one for each cut i, [n]
    if cut == "middle":
        return float(alphas[n // 2])
    decades = values.log10()
    fullest = torch.histc(decades, BINS).argmax()  # the first one of equals
    peak = 10 ** (decades[0] * (1 - fullest / BINS))  # its left edge; decades end at 0
    low, high = (times * peak for times in AROUND_PEAK)
    cuts = ((values >= low) & (values <= high) & alphas.isfinite()).nonzero().flatten()
    if not len(cuts):
        return math.inf
    return float(alphas[cuts[distances(logs, alphas, cuts).argmin()]])


def distances(logs: Tensor, alphas: Tensor, cuts: Tensor) -> Tensor:
    """Return the Kolmogorov-Smirnov distance between tail and power law for each cut, `[cuts]`.

    `logs [n]` are ascending logarithms of eigenvalues, `alphas [n]` the exponents for all cuts, and
    `cuts` are indices.
    """
    ranks = torch.arange(len(logs)) - cuts[:, None]  # k, negative before the cut, [cuts, n]
    law = 1 - ((1 - alphas[cuts])[:, None] * (logs - logs[cuts][:, None])).exp()
    gaps = (law - ranks / (len(logs) - cuts)[:, None]).abs()
    return gaps.masked_fill(ranks < 0, 0).amax(dim=1)


def layer_shares(exponents: Tensor, sizes: Tensor, sparsity: float, spread: float) -> Tensor:
    """Return the share of weights to remove from each block, fp64 `[blocks]`.

    Blocks with larger `exponents [blocks]` get larger shares, and the mean weighted by `sizes
    [blocks]` is `sparsity`. The largest share is `(1 + spread) / (1 - spread)` times the smallest;
    a share above 1 becomes 1, and the other blocks take the rest.
    """
    width = exponents.max() - exponents.min()
    if width == 0:
        return torch.full_like(exponents, sparsity)
    factors = (exponents - exponents.min()) / width * 2 * spread + 1 - spread  # r
    return capped(factors * sizes, sparsity * float(sizes.sum()), sizes.double()) / sizes

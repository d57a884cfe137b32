"""GBLM-Pruner: add gradients over calibration samples to Wanda's score (Das et al., 2023)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    LanguageModel,
    NonNegative,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
    gradient_norms,
    norms_on_host,
    walk,
)


class GBLMPruner(WeightMethod):
    """Zero the weights with the smallest `|W| ||X|| + alpha |W| ||g||` in each output row.

    `||g||` is the norm of a weight's gradients over the samples. Source: Das et al.,
    arXiv:2311.04902.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="gradient"
    )

    sparsity: Ratio = 0.5
    """Share of the weights of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    alpha: NonNegative = 100.0
    """Weight of the gradient term; with 0, the method is Wanda."""
    norm: Literal["l1", "l2"] = "l1"
    """Norm of the gradients over the samples (p)."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        """Compute all gradients of the dense model, then prune the blocks in order."""
        gradients = norms_on_host(gradient_norms(model, calibration, self.norm, edits=False))
        samples = len(calibration.ids)
        for block in walk(model, calibration):
            seen = block.observe(ColumnNorm)  # layers still dense, earlier blocks pruned
            for role, linear in block.linears().items():
                norms = seen[role].norms / samples**0.5  # x, [in]
                G = self.alpha * gradients[block.index][role].to(norms.device)  # [out, in]
                linear.weight.masked_fill_(self.choose(scores(linear.weight, norms, G)), 0)


def scores(weight: Tensor, norms: Tensor, gradients: Tensor) -> Tensor:
    """Return `|W_ij| x_j + |W_ij| G_ij`, fp32 or wider `[out, in]`.

    `norms [in]` are those of the inputs, `gradients [out, in]` include the factor alpha.
    """
    size = weight.abs().float()
    return size * norms + size * gradients

"""Pruner-Zero: prune by a formula that genetic programming has found (Dong et al., ICML 2024).

The formula is an expression tree over the weights of a layer, their gradients and the norms of its
inputs. The default is the released one, `W^2` times the gradient scaled to between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from implementations.harness import (
    Block,
    Capabilities,
    ColumnNorm,
    LanguageModel,
    NumericsError,
    Pattern,
    Ratio,
    Tokens,
    WeightMethod,
    gradient_norms,
    norms_on_host,
    walk,
)
from implementations.prunerzero.formula import Formula, parse_formula

RELEASED = "mul(abs(mul(W, W)), mms(G))"


class PrunerZero(WeightMethod):
    """Zero the weights with the smallest `W^2 mms(G)`, or another formula, in each output row.

    `mms` scales the gradient norms `G` of a layer to between 0 and 1. Source: Dong et al.,
    arXiv:2406.02924. The search for formulas is not implemented.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="gradient"
    )

    sparsity: Ratio = 0.5
    """Share of the weights of each output row to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    formula: str = RELEASED
    """Score of the weights, a formula of `W`, `G` and `X`."""
    norm: Literal["l1", "l2"] = "l2"
    """Norm of the gradients over the samples (`G`)."""

    def model_post_init(self, context: Any) -> None:
        """Refuse a formula that cannot be parsed."""
        parse_formula(self.formula)

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        """Prune during the backward walk, or in a walk after it if the formula reads inputs."""
        formula = parse_formula(self.formula)
        at_once = "X" not in formula
        gradients = gradient_norms(model, calibration, self.norm, edits=at_once)  # dense model
        if at_once:
            for block, G in gradients:
                self.prune_block(block, formula, G, {})
            return
        stored = norms_on_host(gradients)
        for walked in walk(model, calibration):
            seen = walked.observe(ColumnNorm)  # layers still dense, earlier blocks pruned
            X = {role: norm.sums[None] / len(calibration.ids) for role, norm in seen.items()}
            self.prune_block(walked, formula, stored[walked.index], X)

    def prune_block(
        self, block: Block, formula: Formula, G: Mapping[str, Tensor], X: Mapping[str, Tensor]
    ) -> None:
        """Prune the layers of a block, given gradients `[out, in]` and inputs `[1, in]` by role."""
        for role, linear in block.linears().items():
            W = linear.weight.abs().float()
            if not W.numel():
                continue  # the part was removed before
            values = {"W": W, "G": G[role].to(W.device)} | ({"X": X[role]} if X else {})
            scores = formula(values).expand_as(W)
            if scores.isnan().any():
                raise NumericsError(
                    f"block {block.index}, {role}: the scores of the formula contain NaN; choose "
                    "another formula"
                )
            linear.weight.masked_fill_(self.choose(scores), 0)

"""OSSCAR: choose heads and channels by an exact quadratic problem (Meng et al., ICML 2024).

The outputs of `o` and `down` should stay the same with fewer inputs. The refitted weights of any
set of inputs are known in closed form, so only the set is searched: a few units at a time, those
whose removal increases the error least after the others are refitted. A local search can then swap
units.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from implementations.harness import (
    Block,
    Capabilities,
    Count,
    Gram,
    Kind,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    Whole,
    cuts,
    damped_factor,
    damped_inverse,
    eliminate,
    keep_units,
    smallest,
    walk,
    widths_left,
)

READERS: dict[Kind, str] = {"kv-groups": "o", "channels": "down"}  # the layer that reads a unit
IMPROVED = 1 + 1e-9  # a swap must lower the error by more than rounding


class OSSCAR(UnitMethod):
    """Remove KV groups and MLP channels by their exact error after a refit, and refit the others.

    Source: Meng et al., arXiv:2403.12983, and the official code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="forward", parallel=True
    )
    least = 1

    sparsity: Ratio = 0.5
    """Share of the weights in the decoder's linear layers to remove."""
    channels_at_once: Count = 10
    """Minimum number of channels removed per step; the search swaps this many per iteration."""
    groups_at_once: Count = 2
    """Minimum number of KV groups removed per step."""
    swaps: Whole = 0
    """Maximum number of iterations of the local search in each layer; 0 leaves it out."""
    groups_swapped: Count = 5
    """Number of KV groups swapped per iteration of the search, at most those that remain."""
    outputs: Literal["layer", "dense"] = "layer"
    """Outputs to rebuild: the dense layer's on the pruned model's inputs, or the dense model's."""
    damping: NonNegative = 0.01
    """Pull towards the dense weights, as a fraction of the Gram matrix's mean diagonal (lambda)."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Prune block by block; return the remaining widths."""
        equal = torch.ones(len(model.blocks))
        lost = self.widths(model, equal, {"kv-groups": self.group_costs(model, calibration)})
        if not any(map(any, lost)):
            return widths_left(model)
        for block in walk(model, calibration, beside=self.outputs == "dense"):
            products: dict[str, Tensor] = {}
            if self.outputs == "dense":
                grams, products = block.observe_beside("o", "down")
            else:
                grams = block.observe(Gram, "o", "down")  # both before either is pruned
            for kind, count in zip(self.kinds, lost[block.index], strict=True):
                role = READERS[kind]
                if count or products:
                    self.cut(block, kind, count, grams[role].matrix, products.get(role))
        return widths_left(model)

    def group_costs(self, model: LanguageModel, calibration: Tokens) -> list[Tensor]:
        """Return the costs of the KV groups of every block of the dense model, `[kv groups]`."""
        scores = []
        for dense in walk(model, calibration, edits=False):
            gram, units = dense.observe(Gram, "o")["o"].matrix, columns(dense, "kv-groups")
            inverse = damped_inverse(gram, self.damping, f"block {dense.index}, o")
            weight = without_silent_inputs(dense.attention.o.weight, gram)
            scores.append(removal_costs(weight, inverse, units))
        return scores

    def cut(
        self, block: WalkedBlock, kind: Kind, count: int, gram: Tensor, products: Tensor | None
    ) -> None:
        """Remove `count` units of one kind and refit the layer that reads them.

        `gram [in, in]` is `X X^T` of its inputs, and `products [out, in]` is `Y X^T` with the
        outputs `Y` of the dense model, or None for those of the layer itself.
        """
        role, units = READERS[kind], columns(block, kind)
        linear, gram = block.linears()[role], gram.double()
        W = without_silent_inputs(linear.weight, gram)
        H, lower = damped_factor(gram, self.damping, f"block {block.index}, {role}")
        G = W @ H if products is None else products + W @ (H - gram)  # damped towards W, [out, in]
        groups = kind == "kv-groups"
        at_once = self.groups_at_once if groups else self.channels_at_once
        kept = remove(W.clone(), torch.cholesky_inverse(lower), units, count, at_once)
        if self.swaps:
            swapped = self.groups_swapped if groups else at_once
            kept = swap(H, G, units, kept, swapped, self.swaps)
        linear.weight.copy_(fit(H, G, units[kept])[0])
        keep_units(block, kind, kept)


def columns(block: Block, kind: Kind) -> Tensor:
    """Return the columns of each unit in the layer that reads it, `[units, width]`."""
    part = next(part for part in cuts(block, kind) if part.dim == 1)
    return part.places.to(part.linear.weight.device)


def without_silent_inputs(weight: Tensor, gram: Tensor) -> Tensor:
    """Return `weight [out, in]` in fp64, with zeros for inputs that are always zero."""
    return weight.double().masked_fill(gram.diagonal() == 0, 0)


def steps(count: int, at_once: int) -> list[int]:
    """Split `count` removals into `count // at_once` steps of equal size, the larger ones first."""
    number = max(count // at_once, 1)
    return [count // number + (step < count % number) for step in range(number)]


def removal_costs(values: Tensor, matrix: Tensor, units: Tensor) -> Tensor:
    """Return `tr(V_j M_jj^-1 V_j^T) / 2` of every unit, `[units]`.

    `values [out, in]` and `matrix [in, in]` are fp64, and `units [units, width]` holds columns.
    With the weights and the inverse Hessian of the remaining inputs, it is the increase of the
    error when the unit is removed and all others are refitted.
    """
    own = matrix[units[:, :, None], units[:, None, :]]  # M_jj, [units, width, width]
    parts = values[:, units].permute(1, 2, 0)  # V_j^T, [units, width, out]
    traces: Tensor = (parts * torch.linalg.solve(own, parts)).sum(dim=(1, 2))
    return traces / 2


def remove(weight: Tensor, inverse: Tensor, units: Tensor, count: int, at_once: int) -> Tensor:
    """Remove `count` units, a few per step; return a mask of the kept ones, `[units]`.

    `weight [out, in]` and `inverse [in, in]` of the damped Hessian are fp64 and edited in place.
    Units that cost nothing go before the first step.
    """
    kept = torch.ones(len(units), dtype=torch.bool, device=weight.device)
    free = min(int((removal_costs(weight, inverse, units) == 0).sum()), count)
    for removed in [free, *steps(count - free, at_once)]:
        drop(weight, inverse, units, kept, removed)
    return kept


def drop(weight: Tensor, inverse: Tensor, units: Tensor, kept: Tensor, count: int) -> None:
    """Remove the `count` kept units of the lowest costs together, and correct the others."""
    left = kept.nonzero().flatten()
    removed = left[smallest(removal_costs(weight, inverse, units[left]), count)]
    eliminate(weight, inverse, units[removed].flatten())
    kept[removed] = False


def fit(hessian: Tensor, target: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best weights on the columns of `units`, and the inverse of their Hessian.

    These are `V_K = G_K (H_KK)^-1` `[out, in]` and `(H_KK)^-1` `[in, in]`, with zeros elsewhere.
    """
    K = units.flatten()
    inverse = torch.zeros_like(hessian)
    inverse[K[:, None], K] = torch.cholesky_inverse(torch.linalg.cholesky(hessian[K][:, K]))
    return target @ inverse, inverse


def swap(
    hessian: Tensor, target: Tensor, units: Tensor, kept: Tensor, at_once: int, iterations: int
) -> Tensor:
    """Swap units while the error falls; return the new mask of the kept ones, `[units]`.

    Each iteration drops the kept units of the lowest costs, at most `at_once`, and adds as many of
    the removed ones, those whose return lowers the error most.
    """
    count = min(at_once, int(kept.sum()))
    weight, inverse = fit(hessian, target, units[kept])
    for _ in range(iterations):
        explained = (weight * target).sum()  # the error of a fit is a constant minus half of this
        trial = kept.clone()
        drop(weight, inverse, units, trial, count)
        outside = (~trial).nonzero().flatten()
        residual = target - weight @ hessian  # R, [out, in]
        schur = hessian - hessian @ inverse @ hessian  # C, [in, in]
        gains = removal_costs(residual, schur, units[outside])
        trial[outside[smallest(-gains, count)]] = True
        weight, inverse = fit(hessian, target, units[trial])
        if (weight * target).sum() <= explained * IMPROVED:
            break
        kept = trial
    return kept

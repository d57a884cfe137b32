"""Bonsai: structured pruning with forward passes only (Kolawole et al., 2024).

Bonsai estimates the importance of KV groups and MLP channels without gradients. It evaluates many
sub-models with randomly removed units and regresses their perplexity on the masks. Only units with
small activations are candidates. Each round removes a few per cent of the model, and the next round
starts from the smaller model.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from implementations.harness import (
    AtlasWarning,
    Candidates,
    Capabilities,
    Count,
    Kind,
    LanguageModel,
    Positive,
    Ratio,
    SampleNorm,
    Tokens,
    UnitMethod,
    cheapest,
    perplexity,
    remove_units,
    smallest,
    track,
    walk,
    widths_left,
)

WORST = 1e8  # largest perplexity used, also if a perplexity is not finite
RIDGES = (1e-3, 1e-1, 1e1)  # as shares of the mean diagonal of the Gram matrix
FOLDS = 5


class Bonsai(UnitMethod):
    """Prune KV groups and MLP channels by regressing perplexity on random sub-model masks.

    Source: Kolawole et al., arXiv:2402.05406, and the official code; forward passes only.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {"step": 0.5, "pairs": 2, "samples": 2}

    sparsity: Ratio = 0.5
    """Share of the weights in the decoder's linear layers to remove."""
    step: Positive = 0.05
    """Share of the original weights to remove per round (p)."""
    pairs: Count = 100
    """Sub-models evaluated per round, each together with its complement."""
    samples: Count = 32
    """Calibration windows drawn for each round; all of them if there are fewer."""
    perturb: bool = True
    """Evaluate sub-models; if false, the prior alone decides, at one sparsity for all parts."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Remove units round by round until the budget is met."""
        start = int(self.costs(model).sum())
        asked, near = self.rate(model) * start, self.largest_unit(model) / 2  # in weights
        goal, rounds = 0.0, []
        while (missing := asked - start + int(self.costs(model).sum())) > near:
            goal = min(goal + self.step * start, asked)
            budget = missing - (asked - goal)
            if budget > 0:  # the previous round may have removed more than its share
                text = calibration.draw(self.samples)
                rounds.append(self.round(model, text, budget, budget / start))
        return widths_left(model) | {
            "evaluations": sum(fit["evaluations"] for fit in rounds),
            "rounds": rounds,
        }

    def round(
        self, model: LanguageModel, text: Tokens, budget: float, share: float
    ) -> dict[str, Any]:
        """Remove units with about `budget` weights, a share `share` of the original weights."""
        prior, costs = priors(model, text), self.costs(model)
        details: dict[str, Any] = {"evaluations": 0}
        if self.perturb:
            weak = torch.cat([weakest(rho, share) for rho in prior])
            loss = Candidates(model, lambda: perplexity(model, text).value, *self.kinds)
            off = perturbed(prior, share, self.pairs)  # [masks, units]
            values = [min(loss(mask), WORST) for mask in track(off, "trying sub-models")]
            if min(values) == WORST:
                warnings.warn(
                    f"the perplexity of every sub-model is {WORST:g} or more, so that the units of "
                    "this round are not compared; use a smaller `step` or a lower sparsity",
                    AtlasWarning,
                    stacklevel=2,
                )
            y = -torch.tensor(values, dtype=torch.float64)
            scores, tau = regressed((~off[:, weak]).double(), y)
            details = {"evaluations": loss.evaluations, "tau": tau}
            removed = torch.zeros_like(weak)
            removed[weak] = cheapest(scores, costs[weak], budget / int(costs[weak].sum()))
        else:
            groups: dict[Kind, list[Tensor]] = {"kv-groups": prior[::2]}
            lost = self.widths(model, torch.ones(len(model.blocks)), groups, budget)
            counts = [count for of_block in lost for count in of_block]
            removed = torch.cat([smallest(rho, n) for rho, n in zip(prior, counts, strict=True)])
        remove_units(model, removed)
        return details | {"removed": int(costs[removed].sum())}


def priors(model: LanguageModel, text: Tokens) -> list[Tensor]:
    """Score the units of every attention and MLP, block by block, `[units]` each."""
    scores = []
    for block in walk(model, text, edits=False):
        attention, seen = block.attention, block.observe(SampleNorm, "o", "down")
        columns = activity(attention.o, seen["o"].norms)
        groups = columns.view(attention.kv_heads, attention.group * attention.head_size)
        scores += [groups.mean(dim=1), activity(block.feed_forward.down, seen["down"].norms)]
    return scores


def activity(linear: nn.Linear, norms: Tensor) -> Tensor:
    """Score the inputs of a layer, `mean_r |W_rj| * norm_j`, fp64 `[in]` on the CPU.

    `norms [in]` are the norms over a sample's tokens, averaged over the samples. Up to a constant
    factor, each is a root mean square.
    """
    return (linear.weight.double().abs().mean(dim=0) * norms).cpu()


def weakest(rho: Tensor, share: float) -> Tensor:
    """Mark the candidates of one part, `[units]`: all but the int(N (1 - 2p)) largest scores."""
    fixed = max(int(len(rho) * (1 - 2 * share)), 0)
    return smallest(rho, len(rho) - fixed)


def perturbed(prior: list[Tensor], share: float, count: int) -> Tensor:
    """Draw the removed units of `count` sub-models and complements, boolean `[2 * count, units]`.

    Each sub-model is followed by its complement. A sub-model lacks int(p N) + 1 candidates of every
    part; weaker ones are more likely to be drawn. The complement lacks the other candidates.
    """
    masks = []
    for _ in range(count):
        pairs = [pair(rho, share) for rho in prior]  # [2, units] each
        masks.append(torch.cat(pairs, dim=1))
    return torch.cat(masks)


def pair(rho: Tensor, share: float) -> Tensor:
    """Draw the units of one part that a sub-model and its complement lack, boolean `[2, units]`."""
    weak = weakest(rho, share)
    off = torch.zeros_like(weak)
    if len(rho):
        # Only fixed units get probability zero; in a small part the strongest may be a candidate.
        q = (rho.max() - rho).clamp(min=1e-12 * float(rho.max()) + 1e-30) * weak
        count = min(int(share * len(rho)) + 1, int(weak.sum()))
        off[torch.multinomial(q, count)] = True
    return torch.stack([off, weak & ~off])


def regressed(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Fit `y ~ x beta + c`; return beta `[units]` and the tau by which its ridge was chosen.

    `x [masks, units]` marks the units that were on, and `y [masks]` is the result. The chosen ridge
    is the one whose fits to four fifths of the masks rank the other fifth best, by Kendall's tau. A
    mask and its complement, which follow each other, are always in the same fold.
    """
    everything = torch.arange(len(y))
    folds = everything.view(-1, 2).tensor_split(min(FOLDS, len(y) // 2))
    if len(folds) == 1:  # nothing can be held out
        return ridge(x, y, RIDGES[0]), 0.0
    taus = []
    for damping in RIDGES:
        total = 0.0
        for fold in folds:
            test = fold.flatten()
            rest = everything[~torch.isin(everything, test)]
            total += kendall(x[test] @ ridge(x[rest], y[rest], damping), y[test])
        taus.append(total / len(folds))
    best = max(taus)
    return ridge(x, y, RIDGES[taus.index(best)]), best


def ridge(x: Tensor, y: Tensor, damping: float) -> Tensor:
    """Return the ridge regression of `y [masks]` on `x [masks, units]`, both centred, `[units]`.

    Uses the dual form, `X^T (X X^T + gamma I)^-1 y`, because there are more units than masks;
    gamma is `damping` times the mean of the diagonal.
    """
    x, y = x - x.mean(dim=0), y - y.mean()
    gram = x @ x.T
    gamma = damping * gram.diagonal().mean()
    weights: Tensor = torch.linalg.solve(gram + gamma * torch.eye(len(y), dtype=x.dtype), y)
    return (x * weights[:, None]).sum(dim=0)  # units that were always on together get equal values


def kendall(a: Tensor, b: Tensor) -> float:
    """Return Kendall's tau of two rankings `[n]`: (concordant - discordant) / all pairs.

    Ties count as neither. The result is 0 for fewer than two elements.
    """
    agree = (a[:, None] - a).sign() * (b[:, None] - b).sign()
    return float(agree.sum()) / max(len(a) * (len(a) - 1), 1)

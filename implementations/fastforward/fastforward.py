"""FastForward: learn how much each part keeps, in episodes of one step (Yuan et al., arXiv 2025).

A small policy network sees the requested sparsity and proposes one score for every attention and
every MLP at once. A fixed projection turns any scores into whole numbers of units that meet the
budget, so the policy never has to learn the budget. The reward is the quality of the model without
the other units. The search starts cheaply, at low sparsity and on little text. At the end, ridge
regression compensates for the removed units.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from implementations.fastforward.policy import Policy
from implementations.harness import (
    BadInput,
    Candidates,
    Capabilities,
    ColumnNorm,
    Count,
    Gram,
    Kind,
    LanguageModel,
    NonNegative,
    NumericsError,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    cuts,
    keep_refitted,
    perplexity,
    random_search,
    remove_units,
    smallest,
    track,
    walk,
    widths_left,
)

START = 0.05  # initial sparsity, and initial share of the text, of the search
MaskFunction = Callable[[Tensor, float], Tensor]  # (proposal, sparsity) -> removed units
ENTERED: tuple[tuple[Kind, str], ...] = (("kv-groups", "o"), ("channels", "down"))


class FastForward(UnitMethod):
    """Remove the lowest-scoring KV groups and MLP channels; PPO learns how many per part.

    Source: Yuan et al., arXiv:2511.18977, and the authors' repository.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {"episodes": 12, "collect": 4, "samples": 2}

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    episodes: Count = 2000
    """Number of proposals to evaluate."""
    collect: Count = 15
    """Number of episodes per update of the policy."""
    epochs: Count = 10
    """Optimiser steps per update."""
    learning_rate: Positive = 5e-4
    """Learning rate of Adam."""
    clip: Positive = 0.2
    """PPO clip range, for probability ratios and for the rewards predicted by the critic."""
    entropy: NonNegative = 0.01
    """Weight of the policy's entropy in the loss."""
    curriculum: Ratio = 0.5
    """Share of the episodes over which sparsity and text grow; the last update uses full values."""
    samples: Count | None = None
    """Number of calibration windows for the final rewards, from the first; None uses all."""
    floor: Ratio = 0.1
    """Minimum share that each part keeps (p_min), rounded and never less than one unit."""
    symmetric: bool = False
    """Shrink proposals that keep too much in all parts instead of in the last ones."""
    warm: tuple[Ratio, ...] = ()
    """Lower sparsities for which the policy is trained first, one after the other."""
    restore: bool = True
    """Refit the remaining columns of `o` and `down` to their outputs before the removal."""
    ridge: NonNegative = 0.9
    """Ridge of the refit (alpha), added to the diagonal of the calibration set's Gram matrix."""
    random: Count | None = None
    """Number of random proposals to evaluate instead of training a policy, as a baseline."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject sparsities that do not increase."""
        super().check(model, calibration)
        if any(lower >= higher for lower, higher in pairwise((*self.warm, self.sparsity))):
            raise BadInput(
                f"`warm` must be increasing and below `sparsity`, got {list(self.warm)} and "
                f"sparsity={self.sparsity:g}"
            )

    @property
    def updates(self) -> range:
        """The first episode of each update."""
        return range(0, self.episodes, self.collect)

    @property
    def end(self) -> float:
        """The episode at which sparsity and text stop growing (T_s)."""
        return min(self.curriculum * self.episodes, self.updates[-1])

    def grown(self, episode: float) -> float:
        """Return the progress of the curriculum at an episode, from 0 to 1 (q)."""
        return min(episode / self.end, 1) if self.end else 1

    def parts(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return the units of every part and the weights per unit, `[parts]`, block by block."""
        counts, costs = self.counts_and_costs(model)  # [kinds, blocks]
        return counts.T.flatten(), costs.T.flatten()

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the largest possible sparsity, with every part at its minimum."""
        counts, costs = self.parts(model)
        least = fewest(counts, self.floor) * costs
        return 1 - int(least.sum()) / max(int((counts * costs).sum()), 1)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score the units, search for the best number per part, remove the others and refit."""
        scores = importance(model, calibration)
        counts, costs = self.parts(model)
        text = calibration.pick(range(len(calibration.ids))[: self.samples])

        def mask(proposal: Tensor, sparsity: float) -> Tensor:
            kept = project(proposal, counts, costs, sparsity, self.floor, self.symmetric)
            lost = (counts - kept).tolist()
            return torch.cat([smallest(s, n) for s, n in zip(scores, lost, strict=True)])

        if self.random:
            loss = losses(model, text)
            random_search(loss, lambda: mask(torch.randn(len(counts)), self.sparsity), self.random)
            details: dict[str, Any] = {"evaluations": loss.evaluations}
        else:
            policy = Policy(len(counts), self.epochs, self.learning_rate, self.clip, self.entropy)
            loss, details = self.search(model, text, mask, policy)
        if loss.best is None or loss.least == torch.inf:
            raise NumericsError(
                "no proposed model has finite logits; use --dtype float32 or a lower sparsity"
            )
        self.cut(model, calibration, loss.best)
        return widths_left(model) | details | {"perplexity": loss.least}

    def search(
        self, model: LanguageModel, text: Tokens, mask: MaskFunction, policy: Policy
    ) -> tuple[Candidates, dict[str, Any]]:
        """Train the policy; return the candidates evaluated at full sparsity on all the text."""
        windows, evaluations, means = len(text.ids), 0, []
        targets = (*self.warm, self.sparsity)
        for first, last in pairwise((min(START, targets[0]), *targets)):
            updates = track(self.updates, "searching")
            for since, starts in groupby(updates, lambda start: min(start, self.end)):
                share = START + (1 - START) * self.grown(since) ** 3  # f_t
                some = text.draw(max(round(share * windows), 1))
                loss, dense = losses(model, some), perplexity(model, some).value
                for start in starts:
                    times = range(self.episodes)[start : start + self.collect]
                    sparsities = [last - (last - first) * (1 - self.grown(t)) ** 3 for t in times]
                    states = torch.tensor(sparsities)  # [episodes]
                    actions = policy(states).sample()  # [episodes, parts]
                    rewards = torch.tensor(
                        [dense / loss(mask(*a)) for a in zip(actions, sparsities, strict=True)]
                    )
                    policy.learn(states, actions, rewards)
                    means.append(float(rewards.mean()))
                evaluations += loss.evaluations
        return loss, {"evaluations": evaluations, "rewards": means}

    def cut(self, model: LanguageModel, calibration: Tokens, removed: Tensor) -> None:
        """Remove the units marked in `removed [units]`; refit `o` and `down`, first block first."""
        if not self.restore:
            remove_units(model, removed)
            return
        counts, _ = self.parts(model)
        parts = (~removed).split(counts.tolist())
        for block in walk(model, calibration):
            for number, (kind, role) in enumerate(ENTERED):
                keep = parts[len(ENTERED) * block.index + number]
                if not bool(keep.all()):
                    gram = block.observe(Gram, role)[role].matrix
                    mean = float(gram.diagonal().mean())
                    keep_refitted(block, kind, keep, gram, self.ridge / max(mean, 1e-30))


def importance(model: LanguageModel, calibration: Tokens) -> list[Tensor]:
    """Score the units of every part of the dense model, `[units]` each, block by block, fp64.

    The scores are Wanda's, averaged over each column of `o` and `down`:
    `mean_i |W_ij| * ||X_j||_2`. The score of a KV group is the sum over its columns.
    """
    scores = []
    for block in walk(model, calibration, edits=False):
        seen = block.observe(ColumnNorm, "o", "down")
        for kind, role in ENTERED:
            columns = block.linears()[role].weight.double().abs().mean(dim=0) * seen[role].norms
            places = next(part.places for part in cuts(block, kind) if part.dim == 1)
            scores.append(columns.cpu()[places].sum(dim=1))
    return scores


def fewest(counts: Tensor, floor: float) -> Tensor:
    """Return the minimum number of units that each part keeps for any proposal, `[parts]`."""
    return torch.minimum((floor * counts.double()).round().long().clamp(min=1), counts)


def project(
    proposal: Tensor,
    counts: Tensor,
    costs: Tensor,
    sparsity: float,
    floor: float = 0.1,
    symmetric: bool = False,
) -> Tensor:
    """Turn any scores `[parts]` into the numbers of units to keep, `[parts]`, within the budget.

    There are `counts [parts]` units of `costs [parts]` weights each. The result misses the budget
    by at most half of the cheapest unit, as long as the numbers of those units can still change.
    Raises `NumericsError` for scores that are not finite.
    """
    if not bool(proposal.isfinite().all()):
        raise NumericsError("the policy proposed NaN or infinity; lower its learning rate")
    weights = (counts * costs).double()  # c
    target = (1 - sparsity) * weights.sum()  # T
    kept = proposal.double().abs().clamp(floor, 1)  # r
    missing = target - (kept * weights).sum()
    if missing > 0 or symmetric:
        room = 1 - kept if missing > 0 else kept - floor
        kept += missing * room / (room * weights).sum().clamp(min=1)
    else:  # serve the proposals in order from the budget beyond the floor
        left = target - floor * weights.sum()
        given = ((kept - floor) * weights).cumsum(dim=0).clamp(max=left.clamp(min=0))
        kept = floor + given.diff(prepend=given.new_zeros(1)) / weights.clamp(min=1)
    least = fewest(counts, floor)
    units = (kept * counts).round().long().clamp(least, counts)
    # The cheapest units correct the rounding error, the last part first.
    for part in sorted(range(len(counts)), key=lambda part: (int(costs[part]), -part)):
        more = ((target - (units * costs).sum()) / max(int(costs[part]), 1)).round().long()
        units[part] = (units[part] + more).clamp(least[part], counts[part])
    return units


def losses(model: LanguageModel, text: Tokens) -> Candidates:
    """Return candidates whose loss is the perplexity on `text` without the masked units."""
    return Candidates(model, lambda: perplexity(model, text).value, "kv-groups", "channels")

"""FastForward: learn how much each part keeps, in episodes of one step (Yuan et al., arXiv 2025).

A small policy sees the sparsity that is asked for and proposes at once a score for every attention
and every feed-forward part. A fixed projection turns any scores into whole numbers of units that
meet the budget, so that the policy never has to learn it. The reward is how well the model does
without the other units. Search is cheap at first, at low sparsity and on little text, and what
goes in the end is made up for by ridge regression.
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

START = 0.05  # sparsity, and share of the text, that the search begins with
Masks = Callable[[Tensor, float], Tensor]  # from a proposal and a sparsity to the units that go
ENTERED: tuple[tuple[Kind, str], ...] = (("kv-groups", "o"), ("channels", "down"))


class FastForward(UnitMethod):
    """Remove the KV groups and channels that score lowest, of each part as many as PPO learns.

    Source: Yuan et al., arXiv:2511.18977, and the authors' repository.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    small: ClassVar[dict[str, Any]] = {"episodes": 12, "collect": 4, "epochs": 2, "samples": 2}

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    episodes: Count = 2000
    """Proposals that are evaluated."""
    collect: Count = 15
    """Episodes between two updates of the policy."""
    epochs: Count = 10
    """Steps of the optimiser in an update."""
    learning_rate: Positive = 5e-4
    """Learning rate of Adam."""
    clip: Positive = 0.2
    """How far an update moves probabilities, as ratios, and the rewards that are expected."""
    entropy: NonNegative = 0.01
    """Weight of the policy's entropy in what is learnt."""
    curriculum: Ratio = 0.5
    """Share of the episodes over which sparsity and text grow; the last update sees all of both."""
    samples: Count | None = None
    """Calibration windows that rewards are measured on in the end, the first ones; none: all."""
    floor: Ratio = 0.1
    """Share that each part keeps at least (p_min), rounded and never less than one unit."""
    symmetric: bool = False
    """Shrink proposals that keep too much in all parts alike, not in the last ones."""
    warm: tuple[Ratio, ...] = ()
    """Lower sparsities that the policy is trained for before, one after the other."""
    restore: bool = True
    """Fit what stays of `o` and `down` to what they put out before."""
    ridge: NonNegative = 0.9
    """Added to the diagonal of the Gram matrix of all calibration tokens in that fit."""
    random: Count | None = None
    """Evaluate that many proposals of a policy that learns nothing: what search has to beat."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also sparsities that do not rise."""
        super().check(model, calibration)
        if any(lower >= higher for lower, higher in pairwise((*self.warm, self.sparsity))):
            raise BadInput(
                f"warm={list(self.warm)} and then sparsity={self.sparsity:g} do not rise; "
                "a policy is warmed up at lower sparsities, the lowest first"
            )

    @property
    def updates(self) -> range:
        """The episodes that updates begin with."""
        return range(0, self.episodes, self.collect)

    @property
    def end(self) -> float:
        """The episode from which on sparsity and text grow no more (T_s)."""
        return min(self.curriculum * self.episodes, self.updates[-1])

    def grown(self, episode: float) -> float:
        """Return how far sparsity and text have come, 0 to 1 (q)."""
        return min(episode / self.end, 1) if self.end else 1

    def parts(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Count the units of every part and the weights of one, `[parts]`, block by block."""
        counts, costs = self._counted(model)  # [kinds, blocks]
        return counts.T.flatten(), costs.T.flatten()

    def reach(self, model: LanguageModel) -> float:
        """Return the share that goes where every part keeps its least."""
        counts, costs = self.parts(model)
        least = fewest(counts, self.floor) * costs
        return 1 - int(least.sum()) / max(int((counts * costs).sum()), 1)

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Score the units, search how many of each part are missed least, cut and restore."""
        scores = importance(model, calibration)
        counts, costs = self.parts(model)
        text = calibration.pick(range(len(calibration.ids))[: self.samples])

        def gone(proposal: Tensor, sparsity: float) -> Tensor:
            kept = project(proposal, counts, costs, sparsity, self.floor, self.symmetric)
            lost = (counts - kept).tolist()
            return torch.cat([smallest(s, n) for s, n in zip(scores, lost, strict=True)])

        if self.random:
            loss = losses(model, text)
            random_search(loss, lambda: gone(torch.randn(len(counts)), self.sparsity), self.random)
            told: dict[str, Any] = {"evaluations": loss.evaluations}
        else:
            policy = Policy(len(counts), self.epochs, self.learning_rate, self.clip, self.entropy)
            loss, told = self.search(model, text, gone, policy)
        assert loss.best is not None
        self.cut(model, calibration, loss.best)
        return widths_left(model) | told | {"perplexity": loss.least}

    def search(
        self, model: LanguageModel, text: Tokens, gone: Masks, policy: Policy
    ) -> tuple[Candidates, dict[str, Any]]:
        """Train the policy; return what was tried in the end, at full sparsity on all the text."""
        windows, evaluations, means = len(text.ids), 0, []
        targets = (*self.warm, self.sparsity)
        for first, last in pairwise((min(START, targets[0]), *targets)):
            updates = track(self.updates, "searching")
            for since, starts in groupby(updates, lambda start: min(start, self.end)):
                share = START + (1 - START) * self.grown(since) ** 3  # f_t
                drawn = torch.randperm(windows)[: max(round(share * windows), 1)].sort().values
                some = text.pick(drawn.tolist())
                loss, dense = losses(model, some), perplexity(model, some).value
                for start in starts:
                    times = range(self.episodes)[start : start + self.collect]
                    sparsities = [last - (last - first) * (1 - self.grown(t)) ** 3 for t in times]
                    states = torch.tensor(sparsities)  # [episodes]
                    actions = policy(states).sample()  # [episodes, parts]
                    rewards = torch.tensor(
                        [dense / loss(gone(*a)) for a in zip(actions, sparsities, strict=True)]
                    )
                    policy.learn(states, actions, rewards)
                    means.append(float(rewards.mean()))
                evaluations += loss.evaluations
        return loss, {"evaluations": evaluations, "rewards": means}

    def cut(self, model: LanguageModel, calibration: Tokens, gone: Tensor) -> None:
        """Remove the units marked in `gone [units]` and fit, front to back, what they fed."""
        if not self.restore:
            remove_units(model, gone)
            return
        counts, _ = self.parts(model)
        parts = iter((~gone).split(counts.tolist()))
        for block in walk(model, calibration):
            for kind, role in ENTERED:
                keep = next(parts)
                if not bool(keep.all()):
                    gram = block.observe(Gram, role)[role].matrix
                    mean = float(gram.diagonal().mean())
                    keep_refitted(block, kind, keep, gram, self.ridge / max(mean, 1e-30))


def importance(model: LanguageModel, calibration: Tokens) -> list[Tensor]:
    """Score the units of every part of the dense model, `[units]` each, block by block, fp64.

    Wanda's scores of the columns of `o` and `down`, `mean_i |W_ij| * ||X_j||_2`; those of a KV
    group are summed.
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
    """Count the units that stay in every part whatever is proposed, `[parts]`."""
    return torch.minimum((floor * counts.double()).round().long().clamp(min=1), counts)


def project(
    proposal: Tensor,
    counts: Tensor,
    costs: Tensor,
    sparsity: float,
    floor: float = 0.1,
    symmetric: bool = False,
) -> Tensor:
    """Turn any scores `[parts]` into the numbers of units that stay, `[parts]`, within the budget.

    There are `counts [parts]` units of `costs [parts]` weights each. The budget is missed by half
    of the cheapest unit at most, wherever those have room. Raises `NumericsError` for scores that
    are not finite.
    """
    if not bool(proposal.isfinite().all()):
        raise NumericsError("the policy proposes NaN or infinity; lower its learning rate")
    weights = (counts * costs).double()  # c
    target = (1 - sparsity) * weights.sum()  # T
    kept = proposal.double().abs().clamp(floor, 1)  # r
    missing = target - (kept * weights).sum()
    if missing > 0 or symmetric:
        room = 1 - kept if missing > 0 else kept - floor
        kept += missing * room / (room * weights).sum().clamp(min=1)
    else:  # what is left beyond the floor goes to the first parts as they ask
        left = target - floor * weights.sum()
        given = ((kept - floor) * weights).cumsum(dim=0).clamp(max=left.clamp(min=0))
        kept = floor + given.diff(prepend=given.new_zeros(1)) / weights.clamp(min=1)
    least = fewest(counts, floor)
    units = (kept * counts).round().long().clamp(least, counts)
    # Rounding is made good by the cheapest units, the last part first.
    for part in sorted(range(len(counts)), key=lambda part: (int(costs[part]), -part)):
        more = ((target - (units * costs).sum()) / max(int(costs[part]), 1)).round().long()
        units[part] = (units[part] + more).clamp(least[part], counts[part])
    return units


def losses(model: LanguageModel, text: Tokens) -> Candidates:
    """Measure the perplexity on `text` without some of the units."""
    return Candidates(model, lambda: perplexity(model, text).value, "kv-groups", "channels")

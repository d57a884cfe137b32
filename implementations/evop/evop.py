"""EvoP: depth pruning with a genetic algorithm (Wu et al., NLPCC 2025).

The value of two blocks is not the sum of their individual values, so removing one block after
another misses good combinations. EvoP evolves a population of masks, each with the same number of
blocks off, by the loss of the model without them. The loss is measured on a few texts from
different clusters, so that the masks do not fit only one kind of text.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Candidates,
    Capabilities,
    Count,
    LanguageModel,
    Ratio,
    Tokens,
    UnitMethod,
    perplexity,
    random_search,
    remove_blocks,
    track,
)

TOURNAMENT = 3  # masks drawn for each place in the next generation; the best one wins
STEPS = 50  # k-means iterations at most; stops earlier if no window changes its cluster


class EvoP(UnitMethod):
    """Remove decoder layers by evolutionary search over masks, on clustered calibration text.

    Source: Wu et al., arXiv:2502.14910, and the official code.
    """

    capabilities = Capabilities(granularity=("blocks",), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {
        "population": 6,
        "generations": 3,
        "samples": 2,
        "clusters": 2,
    }

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, as whole decoder layers."""
    population: Count = 50
    """Number of masks in a generation, must be even (P)."""
    generations: Count = 100
    """Number of generations (G)."""
    mutation: Ratio = 0.001
    """Probability of flipping each bit of a mask (p_m)."""
    samples: Count = 5
    """Number of calibration windows on which the loss is measured (N)."""
    clusters: Count = 5
    """Number of clusters from which these windows are picked (K)."""
    mode: Literal["stratified", "mixed"] = "stratified"
    """Pick the same number of windows per cluster, or a random cluster for each window."""
    random: Count | None = None
    """Evaluate this many random masks instead of evolution, as a baseline."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that the population is even, the text suffices and blocks have equal size."""
        super().check(model, calibration)
        if self.population % 2:
            raise BadInput(
                f"population must be even so that masks can be paired, got {self.population}"
            )
        if calibration is not None and len(calibration.ids) < self.samples:
            raise BadInput(
                f"evop picks {self.samples} windows from the calibration set, which has only "
                f"{len(calibration.ids)}; set samples lower, or use more text"
            )
        if len(set(self.costs(model).tolist())) > 1:
            raise BadInput(
                "evop needs blocks of equal size, but the blocks of this model differ in size; "
                "prune the dense model instead"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Pick the text, search for the mask with the lowest loss and remove its blocks."""
        blocks = len(model.blocks)
        count = int(self.choose(model, torch.zeros(blocks)).sum())  # k, the same in every mask
        labels = kmeans(embeddings(model, calibration), min(self.clusters, len(calibration.ids)))
        picked = pick(labels, self.samples, self.mode)
        text = calibration.pick(picked)
        loss = Candidates(model, lambda: perplexity(model, text).loss, "blocks")
        details: dict[str, Any] = {"windows": picked, "clusters": labels[picked].tolist()}
        if self.random:
            random_search(loss, lambda: drawn(1, blocks, count)[0], self.random)
        else:
            start = drawn(self.population, blocks, count)
            details["least"] = evolve(loss, start, self.generations, self.mutation)
        assert loss.best is not None
        removed = loss.best.nonzero().flatten().tolist()
        remove_blocks(model, removed)
        return details | {"removed": removed, "loss": loss.least, "evaluations": loss.evaluations}


def evolve(loss: Candidates, masks: Tensor, generations: int, mutation: float) -> list[float]:
    """Evolve `masks [population, blocks]`; return the lowest loss so far for each generation.

    `loss` remembers the best mask, even if it does not survive.
    """
    count, least = int(masks[0].sum()), []
    for _ in track(range(generations), "evolving"):
        losses = torch.tensor([loss(mask) for mask in masks], dtype=torch.float64)
        least.append(loss.least)
        masks = crossed(selected(masks, losses))
        masks = repaired(masks ^ (torch.rand(masks.shape) < mutation), count)
    return least


def drawn(population: int, blocks: int, count: int) -> Tensor:
    """Draw random masks with `count` blocks off, `[population, blocks]`."""
    return repaired(torch.rand(population, blocks) < 0.5, count)


def selected(masks: Tensor, losses: Tensor) -> Tensor:
    """Return the winners of one tournament per mask; members are drawn with replacement."""
    entrants = torch.randint(len(masks), (len(masks), TOURNAMENT))
    return masks[entrants.gather(1, losses[entrants].argmin(dim=1, keepdim=True)).flatten()]


def crossed(masks: Tensor) -> Tensor:
    """Swap the bits between two points, `[a, b)`, of the masks i and i + P/2."""
    first, second = masks.chunk(2)  # [P/2, blocks] each
    blocks = masks.shape[1]
    a, b = torch.randint(blocks, (len(first), 2)).sort(dim=1).values[:, :, None].unbind(dim=1)
    places = torch.arange(blocks)
    swap = (a <= places) & (places < b)  # [P/2, blocks]
    return torch.cat([torch.where(swap, second, first), torch.where(swap, first, second)])


def repaired(masks: Tensor, count: int) -> Tensor:
    """Flip random bits of the masks so that each has exactly `count` ones."""
    ranks = masks + torch.rand(masks.shape, dtype=torch.float64)  # ones rank before zeros
    kept = ranks.topk(count, dim=1).indices
    return torch.zeros_like(masks).scatter(1, kept, True)


def embeddings(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Return the mean of the token embeddings of each window, `[windows, hidden]`, fp64."""
    ids = tokens.ids.to(model.device)
    return torch.stack([model.embedding[row].double().mean(dim=0) for row in ids]).cpu()


def kmeans(points: Tensor, count: int) -> Tensor:
    """Return the cluster of each of `points [points, features]`, int64 `[points]`.

    Lloyd's iterations, seeded by k-means++ (Arthur and Vassilvitskii, 2007).
    """
    centres = points[torch.randint(len(points), (1,))]
    while len(centres) < count:
        far = torch.cdist(points, centres).min(dim=1).values.square()
        weights = far if bool(far.any()) else torch.ones_like(far)  # every point is a centre
        centres = torch.cat([centres, points[torch.multinomial(weights, 1)]])
    labels = torch.full((len(points),), -1)
    for _ in range(STEPS):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        if torch.equal(nearest, labels):
            break
        labels = nearest
        for cluster in labels.unique():
            centres[cluster] = points[labels == cluster].mean(dim=0)
    return labels


def pick(labels: Tensor, samples: int, mode: Literal["stratified", "mixed"]) -> list[int]:
    """Pick `samples` different windows from clusters `labels [windows]`, at random within each.

    With `stratified`, the clusters take turns; with `mixed`, each window comes from a randomly
    drawn cluster. Empty clusters are skipped.
    """
    members = [(labels == cluster).nonzero().flatten() for cluster in labels.unique()]
    queues = [group[torch.randperm(len(group))].tolist() for group in members]
    picked: list[int] = []
    turn = 0
    while len(picked) < samples:
        turn = turn % len(queues) if mode == "stratified" else int(torch.randint(len(queues), ()))
        picked.append(queues[turn].pop())
        if queues[turn]:
            turn += 1
        else:
            queues.pop(turn)
    return picked

"""EvoP: operators, search with known optima, clustering, real blocks."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from implementations.evop import EvoP
from implementations.evop.evop import crossed, drawn, evolve, kmeans, pick, repaired, selected
from implementations.harness import (
    BadInput,
    Candidates,
    LanguageModel,
    Tokens,
    keep_channels,
    masked,
    perplexity,
    remove_blocks,
)
from implementations.harness.contract.helpers import fingerprint, same
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")


class Known(Candidates):
    """Candidates with a known loss, which record all evaluations."""

    def __init__(self, blocks: int, loss: Callable[[list[int]], float]) -> None:
        super().__init__(tiny_model(blocks=blocks), lambda: loss(self.asked[-1]), "blocks")
        self.asked: list[list[int]] = []

    def __call__(self, removed: Tensor) -> float:
        self.asked.append(removed.nonzero().flatten().tolist())
        return super().__call__(removed)


def bits(*rows: str) -> Tensor:
    return torch.tensor([[bit == "1" for bit in row] for row in rows])


# The operators


def test_repair_flips_the_fewest_bits():
    torch.manual_seed(0)
    masks = torch.rand(200, 9) < 0.5
    fixed = repaired(masks, 4)
    assert fixed.sum(dim=1).tolist() == [4] * 200
    off_by = masks.sum(dim=1) - 4
    assert (masks ^ fixed).sum(dim=1).tolist() == off_by.abs().tolist()
    assert not (fixed & ~masks)[off_by >= 0].any()
    assert not (~fixed & masks)[off_by <= 0].any()
    assert set(off_by.tolist()) > {-2, -1, 0, 1, 2}


def test_repair_chooses_bits_at_random():
    torch.manual_seed(0)
    for row, chosen in (("111100", [4000 / 2] * 4 + [0, 0]), ("000011", [2000 / 4] * 4)):
        fixed = repaired(bits(row).expand(4000, -1), 2 if row[0] == "1" else 3)
        counts = fixed.sum(dim=0).tolist()
        expected = chosen if row[0] == "1" else [4000 / 4] * 4 + [4000, 4000]
        assert counts == pytest.approx(expected, abs=150)


def test_initial_population_has_the_right_count():
    torch.manual_seed(0)
    masks = drawn(400, 8, 3)
    assert masks.sum(dim=1).tolist() == [3] * 400
    assert masks.sum(dim=0).tolist() == pytest.approx([150] * 8, abs=40)


def test_tournament_selects_the_lowest_loss_of_three():
    torch.manual_seed(0)
    members = torch.eye(50, dtype=torch.bool)
    losses = torch.arange(50, dtype=torch.float64)
    won = torch.stack([selected(members, losses).int().argmax(dim=1) for _ in range(200)])
    # The least of three numbers drawn from 0 .. 49 with replacement.
    expected = sum(((50 - i) / 50) ** 3 for i in range(1, 50))
    assert float(won.double().mean()) == pytest.approx(expected, abs=0.3)
    shares = (won == 0).double().mean()
    assert float(shares) == pytest.approx(1 - (49 / 50) ** 3, abs=0.006)


def test_crossover_swaps_a_segment_without_the_last_bit():
    torch.manual_seed(0)
    blocks, half = 7, 3000
    parents = torch.cat([torch.zeros(half, blocks), torch.ones(half, blocks)]).bool()
    first, second = crossed(parents).chunk(2)
    assert torch.equal(first, ~second)  # i with i + P/2, and nothing is lost
    edges = first.int().diff(dim=1, prepend=torch.zeros(half, 1), append=torch.zeros(half, 1))
    assert int((edges == 1).sum(dim=1).max()) == 1  # one segment at most
    assert not first[:, -1].any()
    assert first[:, 0].any()
    lengths = first.sum(dim=1).double()
    assert float(lengths.mean()) == pytest.approx((blocks**2 - 1) / (3 * blocks), abs=0.1)


def test_best_is_remembered_but_not_reinserted():
    loss = Known(4, lambda removed: 1.0 if removed == [0, 1] else 2.0)
    least = evolve(loss, bits("1100", "1100"), 3, mutation=1)  # every bit flips each time
    assert loss.asked == [[0, 1]] * 2 + [[2, 3]] * 2 + [[0, 1]] * 2
    assert least == [1.0] * 3
    assert loss.best.tolist() == bits("1100")[0].tolist()
    assert loss.evaluations == 2


def test_mutations_are_repaired():
    torch.manual_seed(0)
    loss = Known(8, lambda removed: float(sum(removed)))
    evolve(loss, drawn(10, 8, 3), 20, mutation=0.3)
    assert {len(removed) for removed in loss.asked} == {3}
    assert loss.evaluations > 30
    same_again = Known(8, lambda removed: float(sum(removed)))
    evolve(same_again, bits("11100000").expand(10, -1), 20, mutation=0)
    assert same_again.evaluations == 1


# The search


def test_finds_the_cheapest_blocks_for_additive_losses():
    torch.manual_seed(0)
    harms = torch.rand(12)
    defaults = EvoP()
    loss = Known(12, lambda removed: float(harms[removed].sum()))
    evolve(loss, drawn(defaults.population, 12, 3), defaults.generations, defaults.mutation)
    assert loss.best.nonzero().flatten().tolist() == sorted(harms.argsort()[:3].tolist())
    assert loss.evaluations < 0.75 * math.comb(12, 3)  # a few bits in a thousand mutate


def test_escapes_the_trap_of_a_greedy_search():
    losses = {(0,): 1.0, (1,): 2.0, (2,): 2.0, (0, 1): 10.0, (0, 2): 10.0, (1, 2): 3.0}
    first = min(range(3), key=lambda block: losses[block,])  # no pair with this block is good
    assert {losses[pair] for pair in losses if len(pair) == 2 and first in pair} == {10}
    torch.manual_seed(0)
    loss = Known(3, lambda removed: losses[tuple(removed)])
    evolve(loss, bits("110", "101").repeat(5, 1), 20, mutation=0)  # starts in the trap
    assert loss.best.tolist() == bits("011")[0].tolist()
    assert loss.least == 3


def test_removes_the_best_of_all_pairs():
    model, tokens = tiny_model(blocks=8), random_tokens()
    dense = copy.deepcopy(model)
    outcome = EvoP(sparsity=0.25, samples=6, clusters=1).apply(model, tokens)
    losses = {}
    for pair in itertools.combinations(range(8), 2):
        with masked(dense, torch.isin(torch.arange(8), torch.tensor(pair)), "blocks"):
            losses[pair] = perplexity(dense, tokens).loss
    details = outcome.details
    assert tuple(details["removed"]) == min(losses, key=losses.__getitem__)
    assert details["loss"] == pytest.approx(min(losses.values()), rel=1e-12)
    assert details["least"] == sorted(details["least"], reverse=True)
    assert details["least"][-1] == details["loss"]
    assert details["evaluations"] <= len(losses)
    remove_blocks(dense, details["removed"])
    assert same(fingerprint(model), fingerprint(dense))  # what stays is untouched


def test_random_search_uses_its_evaluations():
    model, tokens = tiny_model(blocks=6), random_tokens()
    details = EvoP(sparsity=0.5, random=7, **EvoP.tiny_settings).apply(model, tokens).details
    assert details["evaluations"] == 7
    assert "least" not in details


# The text


def planted(topics: int, each: int, length: int = 64, words: int = 4) -> Tokens:
    """Return windows of alternating topics without common words."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(words, (each * topics, length), generator=generator)
    return Tokens.from_ids(3 + ids + words * (torch.arange(len(ids)) % topics)[:, None])


@pytest.mark.parametrize("mode", ["stratified", "mixed"])
def test_windows_are_picked_once(mode: str):
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    for seed in range(20):
        torch.manual_seed(seed)
        picked = pick(labels, 5, mode)
        assert len(set(picked)) == 5
        assert sorted(pick(labels, 6, mode)) == list(range(6))


def test_stratified_sampling_takes_equally_from_all_clusters():
    labels = torch.tensor([0] * 10 + [1] * 2 + [2] * 3)
    for seed in range(20):
        torch.manual_seed(seed)
        assert labels[pick(labels, 6, "stratified")].bincount().tolist() == [2, 2, 2]
        assert labels[pick(labels, 9, "stratified")].bincount().tolist() == [4, 2, 3]


def test_mixed_sampling_ignores_the_size_of_clusters():
    labels = torch.tensor([0] * 30 + [1] * 3)
    torch.manual_seed(0)
    first = [int(labels[pick(labels, 1, "mixed")[0]]) for _ in range(1000)]
    assert sum(first) == pytest.approx(500, abs=60)
    counts = {int(labels[pick(labels, 4, "mixed")].sum()) for _ in range(200)}
    assert counts == {0, 1, 2, 3}  # no quota


@pytest.mark.parametrize("seed", range(2))
def test_every_topic_is_measured_on(seed: int):
    tokens = planted(topics=4, each=5)
    settings = EvoP.tiny_settings | {"samples": 4, "clusters": 4}
    details = EvoP(**settings).apply(tiny_model(), tokens, seed=seed).details
    assert sorted(window % 4 for window in details["windows"]) == [0, 1, 2, 3]
    assert sorted(details["clusters"]) == [0, 1, 2, 3]


def test_mode_decides_whether_clusters_take_turns():
    tokens = planted(topics=2, each=6)
    counts = {}
    for mode in ("stratified", "mixed"):
        method = EvoP(random=1, samples=4, clusters=2, mode=mode)
        runs = [method.apply(tiny_model(), tokens, seed=seed).details for seed in range(4)]
        counts[mode] = [run["clusters"].count(0) for run in runs]
    assert counts["stratified"] == [2] * 4
    assert counts["mixed"] != [2] * 4


def test_loss_is_measured_on_the_picked_windows():
    model, tokens = tiny_model(), planted(topics=3, each=4)
    dense = copy.deepcopy(model)
    settings = EvoP.tiny_settings | {"samples": 3, "clusters": 3}
    details = EvoP(sparsity=0, **settings).apply(model, tokens).details
    picked = Tokens.from_ids(tokens.ids[details["windows"]])
    assert details["loss"] == pytest.approx(perplexity(dense, picked).loss, rel=1e-9)


def test_kmeans_assigns_points_to_the_nearest_mean():
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).double()
    for seed in range(5):
        torch.manual_seed(seed)
        labels = kmeans(points, 4)
        means = torch.stack([points[labels == cluster].mean(dim=0) for cluster in range(4)])
        assert torch.equal(torch.cdist(points, means).argmin(dim=1), labels)


def test_kmeans_of_fewer_distinct_points_than_clusters():
    points = torch.tensor([[0.0], [0.0], [5.0], [5.0]]).double()
    for seed in range(10):
        torch.manual_seed(seed)
        labels = kmeans(points, 3).tolist()
        assert labels[0] == labels[1] != labels[2] == labels[3]


# Invalid input


def test_refuses_invalid_input_before_any_work():
    model, tokens = tiny_model(blocks=3), random_tokens(4)
    with pytest.raises(BadInput, match=r"population must be even .* got 5"):
        EvoP(population=5, samples=2).check(model, tokens)
    with pytest.raises(BadInput, match=r"picks 5 windows .* has only 4; set samples lower"):
        EvoP().check(model, tokens)
    keep_channels(model.blocks[1].feed_forward, range(40))
    with pytest.raises(BadInput, match="differ in size"):
        EvoP(samples=2).check(model, tokens)


def error_of(model: LanguageModel, tokens: Tokens, *removed: int) -> float:
    mask = torch.isin(torch.arange(len(model.blocks)), torch.tensor(removed))
    with masked(model, mask, "blocks"):
        return perplexity(model, tokens).loss


@pytest.mark.model
def test_on_real_blocks_it_finds_the_least_important_block(four_blocks):
    model = copy.deepcopy(four_blocks.dense)
    text = Tokens.from_ids(four_blocks.calibration.ids[:2, :128])
    details = EvoP(sparsity=0.25, samples=2, population=10).apply(model, text).details
    losses = [error_of(four_blocks.dense, text, block) for block in range(4)]
    assert details["removed"] == [losses.index(min(losses))]
    assert details["evaluations"] == 4
    assert min(losses) < max(losses) - 0.1

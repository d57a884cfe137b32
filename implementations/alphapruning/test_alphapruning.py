"""AlphaPruning: exponents of spectra, layer shares, and their effect on the base method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from implementations.alphapruning import AlphaPruning
from implementations.alphapruning.alphapruning import layer_shares, tail_exponent
from implementations.harness import NumericsError, get_method, keep_channels
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.units import block_weights

pytestmark = pytest.mark.usefixtures("without_gradients")

BASES = ("wanda", "sparsegpt", "magnitude")

# Mean exponents of the blocks of LLaMA-7B, from the official repository.
LLAMA = [2.622, 2.890, 2.969, 2.964, 3.090, 3.064, 2.961, 2.746, 2.775, 2.609, 2.717]
LLAMA += [2.730, 2.784, 2.852, 2.897, 3.177, 3.123, 3.446, 3.872, 3.606, 3.894, 4.066]
LLAMA += [3.755, 3.715, 3.994, 4.220, 4.102, 4.160, 3.851, 4.093, 4.160, 3.537]


def shares_of(exponents: list[float], sparsity: float, spread: float, sizes=None) -> Tensor:
    exponents = torch.tensor(exponents, dtype=torch.float64)
    sizes = torch.full((len(exponents),), 100) if sizes is None else torch.tensor(sizes)
    return layer_shares(exponents, sizes, sparsity, spread)


def random_spectrum(rows: int, columns: int, seed: int, *, heavy: bool = False) -> Tensor:
    """Return the squared singular values of a random matrix, ascending, fp64."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    if heavy:
        W *= torch.rand(rows, columns, generator=generator, dtype=torch.float64) ** -0.4
    return torch.linalg.svdvals(W).square().flip(0)


def exponent_by_loops(eigenvalues: Tensor) -> float:
    """Return the exponent for the cut near the peak, from the definition."""
    values = eigenvalues.tolist()
    low, high = math.log10(values[0]), math.log10(values[-1])
    bins = [0] * 100
    for value in values:
        bins[min(int((math.log10(value) - low) / (high - low) * 100), 99)] += 1
    peak = 10 ** (low + (high - low) * bins.index(max(bins)) / 100)
    fits = []
    for i, start in enumerate(values[:-1]):
        if 0.95 * peak <= start <= 1.5 * peak:
            tail = values[i:]
            alpha = 1 + len(tail) / sum(math.log(value / start) for value in tail)
            gaps = [
                abs(1 - (value / start) ** (1 - alpha) - k / len(tail))
                for k, value in enumerate(tail)
            ]
            fits.append((max(gaps), alpha))
    return min(fits)[1]


def test_exponents_by_hand():
    powers = torch.tensor([1.0, 4, 16, 64])
    # The two largest values; ln(64 / 16) = ln 4.
    assert tail_exponent(powers, "middle") == pytest.approx(1 + 2 / math.log(4))
    # All four bins have one value, so the peak is at 1; 1 + 2 + 3 times ln 4.
    assert tail_exponent(powers, "peak") == pytest.approx(1 + 4 / (6 * math.log(4)))


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("shape", [(60, 150), (120, 120), (200, 80)])
def test_equals_plain_loops_over_cuts(shape, heavy):
    eigenvalues = random_spectrum(*shape, seed=1, heavy=heavy)
    expected = exponent_by_loops(eigenvalues)
    for scale in (0.01, 1, 100):
        assert tail_exponent(scale * eigenvalues) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cut", ["peak", "middle"])
@pytest.mark.parametrize("exponent", [1.5, 2.5, 4.0, 8.0])
def test_recovers_the_exponent_of_a_power_law(cut, exponent):
    above = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000  # share of larger values
    eigenvalues = (above ** (1 / (1 - exponent))).flip(0)
    assert tail_exponent(eigenvalues, cut) == pytest.approx(exponent, rel=0.05)


@pytest.mark.parametrize("cut", ["peak", "middle"])
def test_eigenvalues_of_zero_are_left_out(cut):
    eigenvalues = random_spectrum(40, 40, seed=2)
    zeros = torch.tensor([0.0, 1e-13]) * eigenvalues.max()
    padded = torch.cat([zeros, eigenvalues])
    assert tail_exponent(padded, cut) == tail_exponent(eigenvalues, cut)


def test_shares_of_llama_7b():
    shares = shares_of(LLAMA, 0.7, 0.2)
    assert shares[[9, 0, 31, 25]].tolist() == pytest.approx([0.5680, 0.5704, 0.7317, 0.8521], 1e-3)
    assert float(shares.mean()) == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_shares_are_proportional_to_factors_and_rise_with_exponents(sparsity):
    exponents, sizes = [3.0, 2.0, 7.0, 2.5], [10, 400, 30, 60]
    shares = shares_of(exponents, sparsity, 0.25, sizes)
    factors = torch.tensor([0.85, 0.75, 1.25, 0.8], dtype=torch.float64)
    torch.testing.assert_close(shares / shares[0], factors / factors[0])
    removed = float((shares * torch.tensor(sizes)).sum())
    assert removed == pytest.approx(sparsity * 500, abs=1e-9)


def test_shares_above_1_are_cut_and_the_other_blocks_take_the_rest():
    shares = shares_of(LLAMA, 0.8, 0.3)
    assert float(shares.max()) == 1  # without the cap 1.0625
    assert float(shares.mean()) == pytest.approx(0.8, abs=1e-12)
    below = shares < 1
    assert 1 < (~below).sum() < 16
    assert shares[9] / shares[0] == pytest.approx(0.7 / 0.7048, rel=1e-3)  # still proportional


def test_equal_blocks_have_equal_shares():
    assert shares_of([2.5] * 4, 0.7, 0.2).tolist() == [0.7] * 4
    assert shares_of([2.5], 0.7, 0.2).tolist() == [0.7]


@pytest.mark.parametrize("cut", ["peak", "middle"])
def test_exponent_of_a_block_is_the_mean_over_its_layers(cut):
    model = tiny_model(blocks=2)
    expected = []
    for block in model.blocks:
        singular = [torch.linalg.svdvals(x.weight.double()) for x in block.linears().values()]
        exponents = [tail_exponent(values.square().flip(0), cut) for values in singular]
        assert len(exponents) == 7
        expected.append(sum(exponents) / 7)
    outcome = AlphaPruning(cut=cut).apply(model, random_tokens())
    assert outcome.details["exponents"] == pytest.approx(expected, rel=1e-9)


def test_shares_do_not_depend_on_calibration_and_base():
    shares = [
        AlphaPruning(base=base).apply(tiny_model(blocks=3), tokens).details["shares"]
        for base in BASES
        for tokens in (random_tokens(seed=0), random_tokens(seed=1))
    ]
    assert all(each == shares[0] for each in shares)
    assert max(shares[0]) / min(shares[0]) == pytest.approx(1.5)


@pytest.mark.parametrize("base", BASES)
def test_without_spread_it_is_the_base_method(base):
    mine, theirs = tiny_model(), tiny_model()
    solver = {"damping": 0.1, "block_size": 16} if base == "sparsegpt" else {}
    AlphaPruning(sparsity=0.5, base=base, spread=0, **solver).apply(mine, random_tokens())
    get_method(base).configure(sparsity=0.5, **solver).apply(theirs, random_tokens())
    for (_, _, a), (_, _, b) in zip(mine.linears(), theirs.linears(), strict=True):
        assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("base", BASES)
def test_every_layer_of_a_block_loses_the_share_of_the_block(base):
    model = tiny_model(blocks=3)
    keep_channels(model.blocks[1].feed_forward, range(10))
    outcome = AlphaPruning(sparsity=0.6, base=base).apply(model, random_tokens())
    shares, sizes = outcome.details["shares"], [block_weights(block) for block in model.blocks]
    assert sizes[1] < sizes[0]
    mean = sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)
    assert mean == pytest.approx(0.6, abs=1e-12)
    lost = {
        (block.index, role): (int((linear.weight == 0).sum()), linear.weight.numel())
        for block, role, linear in model.linears()
    }
    for (index, _), (count, size) in lost.items():
        assert abs(count - shares[index] * size) <= 1
    assert sum(count for count, _ in lost.values()) == int(0.6 * sum(sizes) + 1e-9)


@pytest.mark.parametrize("cut", ["peak", "middle"])
@pytest.mark.parametrize(
    "weight",
    [torch.eye(32), torch.linalg.qr(torch.arange(1024.0).sin().view(32, 32)).Q, torch.ones(32, 32)],
    ids=["equal", "equal but for rounding", "rank 1"],
)
def test_layer_without_a_power_law_is_refused(weight, cut):
    model = tiny_model()
    model.blocks[1].linears()["o"].weight.copy_(weight)
    before = model.blocks[0].linears()["q"].weight.clone()
    with pytest.raises(NumericsError, match=r"block 1, o: no power law.* use wanda"):
        AlphaPruning(cut=cut).apply(model, random_tokens())
    assert torch.equal(model.blocks[0].linears()["q"].weight, before)


@pytest.mark.model
def test_on_real_blocks_exponents_are_those_of_the_corrected_official_code(four_blocks):
    for cut, expected in (
        ("peak", [2.5192, 3.8631, 4.1865, 4.5346]),
        ("middle", [2.1846, 2.5000, 2.4731, 2.4669]),
    ):
        exponents = AlphaPruning(cut=cut).block_exponents(four_blocks.dense)
        assert exponents.tolist() == pytest.approx(expected, rel=1e-3)
    model = four_blocks.pruned("alphapruning", sparsity=0.7)
    weights = [list(block.linears().values()) for block in model.blocks]
    lost = [sum(int((x.weight == 0).sum()) for x in each) for each in weights]
    assert lost == sorted(lost)
    assert lost[3] / lost[0] == pytest.approx(1.5, abs=1e-4)
    size = block_weights(model.blocks[0])
    assert sum(lost) / (4 * size) == pytest.approx(0.7, abs=1e-6)

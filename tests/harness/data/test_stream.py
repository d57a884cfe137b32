"""Training streams: every window once per epoch, in an order determined by the seed alone."""

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch

from implementations.harness import BadInput, Stream
from implementations.harness.data.tokens import Tokens


def stream(windows: int = 10, seed: int = 0) -> Stream:
    """Return a stream whose windows contain their own index."""
    return Stream(Tokens.from_ids(torch.arange(windows)[:, None].repeat(1, 3)), seed)


def numbers(text: Stream, size: int, batches: int, start: int = 0) -> list[list[int]]:
    return [batch[:, 0].tolist() for batch in islice(text.batches(size, start), batches)]


@pytest.mark.parametrize("size", [1, 3, 10, 25])
def test_every_epoch_has_each_window_once(size):
    batches = numbers(stream(), size, 150 // size)
    assert {len(batch) for batch in batches} == {size}
    read = [number for batch in batches for number in batch]
    epochs = [read[start : start + 10] for start in range(0, len(read) - 9, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1  # reshuffled


@pytest.mark.parametrize("start", [1, 3, 4, 40])
def test_order_does_not_depend_on_the_start(start):
    assert numbers(stream(), 3, 5, start) == numbers(stream(), 3, start + 5)[start:]


def test_repeated_reads_agree_and_leave_the_global_generator_alone():
    text = stream()
    torch.manual_seed(1)
    first = numbers(text, 4, 8)
    torch.rand(7)
    before = torch.get_rng_state()
    assert numbers(text, 4, 8) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_order_does_not_depend_on_the_batch_size():
    small, large = numbers(stream(), 2, 12), numbers(stream(), 8, 3)
    assert list(chain.from_iterable(small)) == list(chain.from_iterable(large))


def test_order_depends_on_the_seed():
    assert numbers(stream(seed=5), 4, 5) == numbers(stream(seed=5), 4, 5)
    assert numbers(stream(seed=5), 4, 5) != numbers(stream(seed=6), 4, 5)


def test_epochs_are_counted_in_windows():
    assert stream().epochs(25) == 2.5


@pytest.mark.parametrize("size", [0, -1])
def test_refuses_batch_size_below_one(size):
    with pytest.raises(BadInput, match=f"batch size must be at least 1, got {size}"):
        next(stream().batches(size))

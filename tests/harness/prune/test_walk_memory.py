"""Memory of the walk, in bytes of live tensors, because RSS is too inaccurate."""

import weakref
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from implementations.harness import Gram, walk
from implementations.harness.contract.tiny import random_tokens, tiny_model

LENGTH = 64
HIDDEN = 64


class LiveBytes(TorchDispatchMode):
    """Count the bytes of storages created inside the mode that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.owners: Counter[int] = Counter()
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        }
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                address = storage.data_ptr()
                if address in given and address not in self.sizes:
                    continue  # a view of something older, such as a weight
                self.sizes[address] = storage.nbytes()
                self.owners[address] += 1
                weakref.finalize(leaf, self.release, address)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return out

    def release(self, address: int) -> None:
        self.owners[address] -= 1
        if self.owners[address] == 0:
            self.sizes.pop(address, None)


def peak(samples: int, blocks: int, batch_size: int = 2, beside: bool = False) -> int:
    model = tiny_model(
        "llama", blocks=blocks, hidden_size=HIDDEN, intermediate_size=128, head_dim=16
    )
    tokens = random_tokens(samples, LENGTH, batch_size=batch_size)
    with LiveBytes() as live:
        for block in walk(model, tokens, beside=beside):
            block.observe(Gram)
    return live.peak


def test_memory_does_not_depend_on_depth():
    assert peak(8, blocks=12) <= peak(8, blocks=3) * 1.02


def test_a_sample_needs_one_boundary():
    boundary = 8 * LENGTH * HIDDEN * 4  # bytes of eight more samples between two blocks, fp32
    grown = peak(24, blocks=3) - peak(16, blocks=3)
    ids = 8 * LENGTH * 8  # the token ids themselves may be copied
    assert boundary <= grown <= boundary + ids


def test_a_sample_with_beside_needs_two_boundaries():
    boundary = 8 * LENGTH * HIDDEN * 4
    grown = peak(24, blocks=3, beside=True) - peak(16, blocks=3, beside=True)
    assert 2 * boundary <= grown <= 2 * boundary + 8 * LENGTH * 8
    assert peak(8, blocks=12, beside=True) <= peak(8, blocks=3, beside=True) * 1.02


def test_working_memory_depends_on_the_micro_batch_only():
    small, large = peak(16, 3, batch_size=2), peak(16, 3, batch_size=4)
    assert small < large
    assert peak(16, 12, batch_size=4) <= large * 1.02

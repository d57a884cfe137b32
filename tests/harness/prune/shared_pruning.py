"""Run by torchrun: each method prunes alone and then with the other processes, to the same result.

torchrun --nproc-per-node 2 -m tests.harness.prune.shared_pruning wanda flap
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from implementations.harness import ColumnNorm, ColumnSum, Gram, Moments, SampleNorm, get_method
from implementations.harness.contract.helpers import calibration_for, fingerprint, within_reach
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.prune.parallel import joined, own_part
from implementations.slimllm.covariance import Covariance

RESULTS = {
    Gram: ("matrix",),
    ColumnNorm: ("norms",),
    ColumnSum: ("sums",),
    SampleNorm: ("norms",),
    Moments: ("mean", "variance"),
    Covariance: ("mean", "matrix"),
}


def pruned(slug: str) -> dict[str, torch.Tensor]:
    """Prune a tiny model with 7 samples, so that two processes have unequal parts."""
    method, model = get_method(slug), tiny_model("llama", blocks=3)
    within_reach(method, model).apply(model, calibration_for(method, samples=7))
    return fingerprint(model)


def check_parts() -> None:
    """Check that the processes have different samples and together all of them."""
    parts = [torch.empty(0, dtype=torch.int64)] * dist.get_world_size()
    dist.all_gather_object(parts, own_part(random_tokens(7)).ids)
    assert [len(part) for part in parts] == [4, 3]
    assert sorted(torch.cat(parts).tolist()) == sorted(random_tokens(7).ids.tolist())


def check_statistics(rank: int) -> None:
    """Compare each statistic of parts of very different size and mean with that of the whole."""
    x = torch.randn(40, 5, 6, generator=torch.Generator().manual_seed(0)) + 1000
    x[:3] -= 2000  # what the first process gets
    for statistic, names in RESULTS.items():
        whole, part = statistic(6), statistic(6)
        whole.update(x)
        part.update(x[:3] if rank == 0 else x[3:])
        part.reduce()
        assert part.count == whole.count, statistic
        for name in names:
            torch.testing.assert_close(getattr(part, name), getattr(whole, name), rtol=1e-6, atol=0)


def main(slugs: list[str]) -> None:
    """Check the parts, the statistics and the methods `slugs`; raises if any differs."""
    alone = {slug: pruned(slug) for slug in slugs}
    with joined() as rank:
        check_parts()
        check_statistics(rank)
        for slug, expected in alone.items():
            found = pruned(slug)
            assert found.keys() == expected.keys(), slug
            for name, tensor in found.items():
                where = f"{slug}: {name}"
                assert tensor.shape == expected[name].shape, where
                assert torch.equal(tensor == 0, expected[name] == 0), where  # the same mask
                torch.testing.assert_close(tensor, expected[name], msg=where, rtol=1e-3, atol=1e-4)
                first = tensor.clone()
                dist.broadcast(first, src=0)
                assert torch.equal(first, tensor), where  # the same bits in all processes
            print(slug, "agrees", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])

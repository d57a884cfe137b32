"""Errors of MLPs of SmolLM2-135M at 70 % after each round, on two texts; `make bench`.

The other blocks stay dense.
"""

from __future__ import annotations

import copy

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.harness import load_model, remove_blocks, walk
from implementations.harness.data.samples import Sampler
from implementations.harness.results.protocol import get_protocol
from implementations.sparsellm import SparseLLM
from implementations.sparsellm.mlp import MLP, Inputs, Variables

BLOCKS = (2, 11)
ROUNDS = 4


class EveryStep(SparseLLM):
    """SparseLLM with the steps of the official code, which may raise the objective."""

    def moved_S(self, mlp: MLP, v: Variables) -> Tensor | None:
        S, M = v.S, mlp.output("gate", v.X)
        if S is None:
            return None
        for _ in range(self.steps):
            G, slope = torch.func.jvp(mlp.activation, (S,), (torch.ones_like(S),))[:2]
            pull = self.alpha * (S - M) - self.gamma * (v.P - G * v.Z) * v.Z * slope
            S = S - 2 * self.rate * pull
        return S


METHODS = (("checked", SparseLLM, 8), ("every step", EveryStep, 8), ("checked", SparseLLM, 32))


@torch.no_grad()
def main() -> None:
    """Print `||Y - MLP(X)||^2 / ||Y||^2` in percent, on calibration and on evaluation text."""
    model, protocol = load_model("smollm2-135m"), get_protocol("quick")
    remove_blocks(model, range(max(BLOCKS) + 1, len(model.blocks)))
    sampler = Sampler(protocol, model)
    unseen = sampler.evaluation(protocol.evaluations[0])
    titles = [f"round {number + 1}" for number in range(ROUNDS)]
    table = Table("block", "steps", "tokens", *titles, title="percent: calibration, other text")
    for name, kind, samples in METHODS:
        settings = protocol.calibration.model_copy(update={"samples": samples})
        text, method = sampler.calibration(settings, 0), kind(sparsity=0.7, rounds=ROUNDS)
        for block, other in zip(walk(model, text), walk(model, unseen), strict=True):
            if block.index not in BLOCKS:
                continue
            dense = copy.deepcopy(block.module.state_dict())
            seen = other.observe(Inputs, "up", "down")
            held_out = MLP(other, seen["up"].batches, seen["down"].batches)
            mlp, errors = method.first_round(block), []
            for number in range(ROUNDS):
                if number:
                    method.next_round(mlp)
                errors.append(f"{100 * mlp.error():.3g}, {100 * held_out.error():.3g}")
            block.module.load_state_dict(dense)
            table.add_row(str(block.index), name, f"{text.ids.numel():,}", *errors)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

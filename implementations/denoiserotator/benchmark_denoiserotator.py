"""Errors of the layers of one real block at 2:4, with and without rotations; run by `make bench`.

For each layer it prints the relative error of the output, the share of the score that Wanda
removes, and the sum of all scores over the squared norm of the output, which is 1 if the inputs are
uncorrelated.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.denoiserotator.denoiserotator import DenoiseRotator
from implementations.denoiserotator.rotation import READERS, Rotation, fold_gains
from implementations.harness import Gram, Tokens, load_model, walk
from implementations.harness.data.samples import Sampler
from implementations.harness.prune.weight_method import NM, smallest_per_group
from implementations.harness.results.protocol import get_protocol

BLOCK, WINDOWS = 10, 4
STEPS = (0, 5, 20, 60)


def rotated_gram(rotation: Rotation, role: str, gram: Tensor) -> Tensor:
    """Return the Gram matrix of a layer's inputs in the rotated basis, `[in, in]`."""
    if role in READERS:
        return rotation.stream.T @ gram @ rotation.stream
    return rotation.values(rotation.values(gram).T) if role == "o" else gram


def figures(weight: Tensor, gram: Tensor) -> list[str]:
    """Return the three figures of a rotated layer, `weight [out, in]` and `gram [in, in]`."""
    scores = weight.square() * gram.diagonal()
    removed = smallest_per_group(scores, NM(2, 4))
    error, norm = (((part @ gram) * part).sum() for part in (weight * removed, weight))
    values = (error / norm, scores[removed].sum() / scores.sum(), scores.sum() / norm)
    return [f"{float(value):.3f}" for value in values]


def main() -> None:
    """Print a row per layer and number of steps."""
    model = load_model("smollm2-135m")
    samples = Sampler(get_protocol("quick"), model).samples(0)
    calibration = Tokens.from_ids(samples.calibration.ids[:WINDOWS])
    table = Table("layer", "steps", "error", "score removed", "sum of scores / norm")
    with torch.no_grad():
        block = next(block for block in walk(model, calibration) if block.index == BLOCK)
        weights = fold_gains(block)
        grams = {role: gram.matrix.double() for role, gram in block.observe(Gram).items()}
        single = {role: gram.float() for role, gram in grams.items()}
        for steps in STEPS:
            rotation, _ = DenoiseRotator(steps=steps).train(block, weights, single)
            for role, weight in weights.items():
                gram = rotated_gram(rotation, role, grams[role])
                row = figures(rotation.weight(role, weight), gram)
                table.add_row(role, str(steps), *row)
    Console().print(table)


if __name__ == "__main__":
    main()

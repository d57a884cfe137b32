"""How far ties change what methods remove from SmolLM2-135M; run by `make bench`.

The weights of this model come from four bits, so many of them have the same absolute value. Every
method prunes twice under the protocol `quick`: of tied scores, the earlier or the later positions
are removed. Prints the perplexities on Wikipedia, and how many of the removed weights differ.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from torch import Tensor

from implementations.harness import LanguageModel, get_method, load_model, perplexity
from implementations.harness.data.samples import Samples, prepare_samples
from implementations.harness.prune.weight_method import smallest

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("magnitude", {"sparsity": 0.5}),
    ("magnitude", {"pattern": "2:4"}),
    ("wanda", {"sparsity": 0.5}),
    ("wanda", {"pattern": "2:4"}),
    ("sparsegpt", {"sparsity": 0.5}),
    ("sparsegpt", {"pattern": "2:4"}),
    ("admmpruning", {"sparsity": 0.5}),
    ("admmpruning", {"sparsity": 0.7}),
    ("alps", {"sparsity": 0.7}),
    ("sparsellm", {"pattern": "2:4"}),
)

USED = (  # where the function is looked up
    "implementations.harness.prune.weight_method.smallest",
    "implementations.admmpruning.admmpruning.smallest",
)


def smallest_last(scores: Tensor, count: int) -> Tensor:
    """Mark the same as `smallest`, except that ties go to the later position."""
    return smallest(scores.flip(-1), count).flip(-1)


def prune(
    dense: LanguageModel, samples: Samples, slug: str, settings: dict[str, Any], *, later: bool
) -> tuple[float, list[Tensor]]:
    """Return the perplexity of a pruned copy, and its zeros in every linear layer."""
    model = copy.deepcopy(dense)
    with ExitStack() as stack:
        if later:
            for name in USED:
                stack.enter_context(patch(name, smallest_last))
        get_method(slug).configure(**settings).apply(model, samples.calibration)
    value = perplexity(model, samples.evaluations["ppl/wikipedia/512"]).value
    return value, [linear.weight == 0 for _, _, linear in model.linears()]


@torch.no_grad()
def main() -> None:
    """Print one line for each method and sparsity."""
    dense = load_model("smollm2-135m")
    samples, console = prepare_samples("quick", dense), Console()
    for slug, settings in CASES:
        first, zeros = prune(dense, samples, slug, settings, later=False)
        last, others = prune(dense, samples, slug, settings, later=True)
        moved = sum(int((a & ~b).sum()) for a, b in zip(zeros, others, strict=True))
        share = 100 * moved / sum(int(a.sum()) for a in zeros)
        case = ", ".join(f"{key}={value}" for key, value in settings.items())
        console.print(
            f"{slug}, {case}: perplexity {first:,.1f} if earlier weights are removed, {last:,.1f} "
            f"if later ones; {share:.4f} % of the removed weights differ",
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()

"""Loss of the real model under soft 2:4 masks at several points of a training (`make bench`).

The logits are those before training, with Wanda's masks as the prior.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from implementations.harness import NM, load_model, next_token_loss
from implementations.harness.data.samples import Sampler
from implementations.harness.results.protocol import STREAMS, get_protocol
from implementations.maskllm.maskllm import Choice
from implementations.maskllm.masks import all_masks, masked_weights, one_shot

WINDOWS, LENGTH = 2, 256
POINTS = {  # deviation and strength: scales and temperatures
    (0.01, 3.0): ((100, 4), (300, 2), (500, 0.05)),
    (0.001, 30.0): ((100, 4), (200, 1), (300, 1), (500, 0.5)),
}


def main() -> None:
    """Print a row per point, and the losses under the hard masks."""
    torch.set_grad_enabled(False)
    model, masks = load_model("smollm2-135m"), all_masks(NM(2, 4))
    calibration = Sampler(get_protocol("quick"), model).samples(0, STREAMS).calibration
    assert calibration.training is not None
    ids = calibration.training.windows.ids[:WINDOWS, :LENGTH]
    priors = one_shot(model, calibration, "wanda", NM(2, 4))
    table = Table("deviation", "strength", "masks", "scale", "temperature", "loss")

    def add(*row: str) -> None:
        table.add_row(*row, f"{float(next_token_loss(model, ids)):.2f}")

    add("", "", "none", "", "")
    with masked_weights({linear: Fixed(keep) for linear, keep in priors.items()}):
        add("", "", "Wanda", "", "")
    for (deviation, strength), points in POINTS.items():
        torch.manual_seed(0)
        choices = {linear: Choice(linear.weight, masks, deviation) for linear in priors}
        for linear, choice in choices.items():
            choice.prefer(priors[linear], deviation * strength)
        with masked_weights(choices):
            for scale, temperature in points:
                for choice in choices.values():
                    choice.scale, choice.temperature = scale, temperature
                add(str(deviation), f"{strength:g}", "soft", str(scale), str(temperature))
        with masked_weights({linear: Fixed(choice.likely()) for linear, choice in choices.items()}):
            add(str(deviation), f"{strength:g}", "most likely", "", "")
    Console().print(table)


class Fixed(nn.Module):
    """A mask of a weight `[out, in]`."""

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, weight: Tensor) -> Tensor:
        """Return the masked weight."""
        return weight * self.keep.view_as(weight)


if __name__ == "__main__":
    main()

"""What the rotation and the weights of WINA do to SmolLM2-135M; run by `make bench`.

Prints, for each way to choose half of the inputs of every layer, the perplexity of two windows of
Wikipedia after a dense prompt, and the share of the squared inputs of q and o that it drops from
the whole windows.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import Any

import torch

from implementations.harness import LanguageModel, Tokens, halves, load_model, split_perplexity
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.samples import prepare_samples
from implementations.wina.wina import WINA

FOLDED = "gains folded, size"
WAYS: dict[str, dict[str, Any]] = {
    "size": {"rotate": False, "score": "size"},
    FOLDED: {"rotate": False, "score": "size"},
    "rotated, size": {"score": "size"},
    "rotated, weighted": {},
}


def fold_gains(model: LanguageModel) -> None:
    """Multiply the gain of every norm into the layers that read it, as the rotation also does."""
    for block in model.blocks:
        for half in halves(block):
            gain = half.norm.get_parameter("weight")
            for linear in half.readers:
                linear.weight.mul_(gain)
            gain.fill_(1)


def dropped(method: WINA, model: LanguageModel, tokens: Tokens, role: str) -> float:
    """Return the share of the squared inputs of a layer that is dropped, over all blocks."""
    lost = total = 0.0

    def add(linear: Any, args: Any) -> None:
        nonlocal lost, total
        squares = args[0].float().square()
        kept = masks[linear](args[0])
        lost, total = lost + float(squares[~kept].sum()), total + float(squares.sum())

    drops = model.calibrated.drops
    linears = {block.linears()[role]: block for block in model.blocks}
    masks = {
        linear: method.kept(block, role, drops[block.index][role])
        for linear, block in linears.items()
    }
    with ExitStack() as hooks:
        for linear in linears:
            hooks.callback(linear.register_forward_pre_hook(add).remove)
        model.hf(input_ids=tokens.ids, use_cache=False)
    return lost / total


@torch.no_grad()
def main() -> None:
    """Measure and print every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="use a tiny model, as a test")
    small = parser.parse_args().small
    for name, settings in WAYS.items():
        model = tiny_model() if small else load_model("smollm2-135m")
        text = (
            random_tokens(2)
            if small
            else prepare_samples("quick", model).evaluations["ppl/wikipedia/512"]
        )
        text = Tokens.from_ids(text.ids[:2].clone())
        if name == FOLDED:
            fold_gains(model)
        method = WINA(allocation="uniform", **settings)
        method.apply(model, text)  # without the search, nothing depends on the calibration set
        prompt = text.ids.shape[1] // 2
        shares = [f"{role} {dropped(method, model, text, role):.3f}" for role in ("q", "o")]
        with method.active(model, prompt):
            value = split_perplexity(model, text, prompt).value
        sys.stdout.write(f"{name}: perplexity {value:.1f}, dropped {', '.join(shares)}\n")


if __name__ == "__main__":
    main()

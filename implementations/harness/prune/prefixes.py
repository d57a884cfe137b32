"""Evaluate a model with changes in one block, for each block, without running those before it.

for block, start_here in prefixes(model, probes):
    with start_here(), masked(model, without(block), "blocks"):
        perplexity(model, probes)        # runs `block` and those after it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import cycle
from typing import Any

from torch import Tensor, nn

from implementations.harness.data.tokens import Tokens
from implementations.harness.model.execution import Boundary, bypass, replaced_forward
from implementations.harness.model.view import Block, LanguageModel, preserved


def prefixes(
    model: LanguageModel, tokens: Tokens
) -> Iterator[tuple[Block, Callable[[], AbstractContextManager[None]]]]:
    """Yield each block, and a function that makes the model begin there on `tokens`.

    Inside `with start_here():`, the earlier blocks are skipped and `block` gets their stored
    outputs. Run the model there only on all of `tokens`, with the same batch size. Call
    `start_here` again for each evaluation. The host stores the activations of one block boundary.
    Raises `NumericsError` if they contain NaN or infinity.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, tokens.batches())
        blocks = model.blocks
        for block in blocks:
            yield block, partial(_beginning_at, model.layers[: block.index + 1], boundary.hidden)
            if block is not blocks[-1]:
                boundary.pass_through(model, block)


@contextmanager
def _beginning_at(layers: nn.ModuleList, hidden: list[Tensor]) -> Iterator[None]:
    """Make the last of `layers` read `hidden`, one per micro-batch, and the others do nothing."""
    entering = cycle(hidden)  # a `Boundary` reads them once more, when it captures its arguments

    def replaced(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return next(entering).to(args[0].device), *args[1:]

    *before, begin = layers
    with ExitStack() as changes:
        for module in before:
            changes.enter_context(replaced_forward(module, bypass))
        if before:
            changes.callback(begin.register_forward_pre_hook(replaced).remove)
        yield

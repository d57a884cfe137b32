"""Trying an edit of one block: it holds for a while, then every weight is back to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from implementations.harness.model.view import Block, LanguageModel


@contextmanager
def on_trial(
    model: LanguageModel, block: Block, edit: Callable[[Block], None], *roles: str
) -> Iterator[None]:
    """Let an edit of the layers `roles` of a block hold inside the `with` block and no longer.

    `edit` may change values of those layers' weights and biases, not their shapes, and nothing
    else. However the `with` block ends, they are what they were; held meanwhile is a copy of them.
    """
    with model.opened(block):
        linears = block.linears()
        held = {
            (role, name): parameter.detach().clone()
            for role in roles
            for name, parameter in linears[role].named_parameters()
        }
    try:
        with model.opened(block):
            edit(block)
        yield
    finally:
        with model.opened(block):
            linears = block.linears()  # a block that was away may have come back as other tensors
            for (role, name), values in held.items():
                linears[role].get_parameter(name).data.copy_(values)

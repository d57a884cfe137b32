"""Activations of token samples at one block boundary, moved forward block by block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import NumericsError
from implementations.harness.model.devices import to_device
from implementations.harness.model.view import Block, LanguageModel

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Boundary:
    """The activations that enter one block, and the other arguments of every block.

    `hidden` has one tensor `[batch, length, hidden]` per micro-batch. In some families the other
    arguments (masks, positions, rotary embeddings) differ between blocks. Without padding they
    otherwise depend only on the shape of a micro-batch, so they are captured once per shape.
    """

    tuples = False
    """Whether blocks return tuples, as in older releases; set when a block first runs."""

    def __init__(self, model: LanguageModel, tokens: Tokens, batch_size: int) -> None:
        self.accelerator = model.accelerator
        self.hidden: list[Tensor] = []
        self.arguments: list[dict[torch.Size, Arguments]] = [{} for _ in model.layers]
        self.output_width = model.config.hidden_size  # width of the final norm's input
        with ExitStack() as patches, torch.no_grad():
            for index, module in enumerate(model.layers):
                patches.enter_context(replaced_forward(module, self._recorder(index)))
            for ids in tokens.batches(batch_size):  # [batch, length]
                hidden = model.hf.base_model(input_ids=ids.to(model.device), use_cache=False)
                del hidden  # meaningless, because the blocks were skipped
        del self.entering

    def _recorder(self, index: int) -> Callable[..., Tensor]:
        def record(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if index == 0:
                self.entering = hidden_states
                self.hidden.append(hidden_states.to("cpu", copy=True))
            self.arguments[index].setdefault(self.entering.shape[:2], (args, kwargs))
            # Return the full input again: where blocks return tuples, the model takes item 0 of
            # this, and the batch would shrink with every block.
            if index < len(self.arguments) - 1:
                return self.entering
            return self.entering.new_zeros(*self.entering.shape[:2], self.output_width)

        return record

    def run(self, block: Block, skip: Container[int] = ()) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield index, input and output `[batch, length, hidden]` of the micro-batches to run."""
        for i, host in enumerate(self.hidden):
            if i in skip:
                continue
            x = host.to(self.accelerator)
            with torch.no_grad():
                y = self.through(block, x)
            yield i, x, y

    def through(self, block: Block, x: Tensor) -> Tensor:
        """Return the output of `block` for the micro-batch `x`, both `[batch, length, hidden]`."""
        args, kwargs = to_device(self.arguments[block.index][x.shape[:2]], self.accelerator)
        y = block.module(x, *args, **kwargs)
        self.tuples = isinstance(y, tuple)
        return cast(Tensor, y[0] if self.tuples else y)

    def block_output(self, y: Tensor) -> Tensor | tuple[Tensor]:
        """Return the output `y` in the form a block returns it: a tensor or a tuple."""
        return (y,) if self.tuples else y

    def advance(self, i: int, block: Block, y: Tensor) -> None:
        """Use the output `y` of `block` as the next block's input for micro-batch `i`.

        Raises `NumericsError` if `y` contains NaN or infinity.
        """
        if not bool(y.isfinite().all()):
            raise NumericsError(
                f"the output of block {block.index} contains NaN or infinity; load the model in a "
                "wider dtype (--dtype float32) or prune less"
            )
        if y.shape == self.hidden[i].shape:
            self.hidden[i].copy_(y)
        else:  # the last block of a model whose stream is narrower inside
            self.hidden[i] = y.to("cpu", copy=True)

    def copy(self) -> Boundary:
        """Return an independent copy with the same activations."""
        duplicate = copy.copy(self)
        duplicate.hidden = [host.clone() for host in self.hidden]
        return duplicate


@contextmanager
def fixed_output(output: Any, *modules: nn.Module) -> Iterator[None]:
    """Make each of `modules` return `output` inside the `with` block, whatever its arguments."""
    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(replaced_forward(module, lambda *_, **__: output))
        yield


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the forward function of a module inside the `with` block."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own

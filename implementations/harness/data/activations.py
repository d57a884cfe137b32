"""Token samples on their way through a model: the activations that enter one block at a time."""

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
    """The activations entering one block, and how the model would call every block.

    `hidden` holds a tensor `[batch, length, hidden]` a micro-batch. The other arguments (masks,
    positions, rotary embeddings) differ from block to block in some families but, without
    padding, only with the shape of a micro-batch: they are captured once a shape.
    """

    tuples = False
    """Whether blocks return tuples, as in older releases; known once one has run."""

    def __init__(self, model: LanguageModel, tokens: Tokens, batch_size: int) -> None:
        self.accelerator = model.accelerator
        self.hidden: list[Tensor] = []
        self.arguments: list[dict[torch.Size, Arguments]] = [{} for _ in model.layers]
        self.leaving = model.config.hidden_size  # width of what the final norm reads
        with ExitStack() as patches, torch.no_grad():
            for index, module in enumerate(model.layers):
                patches.enter_context(replaced_forward(module, self._recorder(index)))
            for ids in tokens.batches(batch_size):  # [batch, length]
                hidden = model.hf.base_model(input_ids=ids.to(model.device), use_cache=False)
                del hidden  # the blocks were skipped: it means nothing
        del self.entering

    def _recorder(self, index: int) -> Callable[..., Tensor]:
        def record(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if index == 0:
                self.entering = hidden_states
                self.hidden.append(hidden_states.to("cpu", copy=True))
            self.arguments[index].setdefault(self.entering.shape[:2], (args, kwargs))
            # Where blocks return tuples the model takes item 0 of this: that must not add up.
            if index < len(self.arguments) - 1:
                return self.entering
            return self.entering.new_zeros(*self.entering.shape[:2], self.leaving)

        return record

    def run(self, block: Block, but: Container[int] = ()) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield number, input and output `[batch, length, hidden]` of micro-batches, `but` some."""
        for i, host in enumerate(self.hidden):
            if i in but:
                continue
            x = host.to(self.accelerator)
            with torch.no_grad():
                y = self.through(block, x)
            yield i, x, y

    def through(self, block: Block, x: Tensor) -> Tensor:
        """Return what `block` makes of the micro-batch `x`, both `[batch, length, hidden]`."""
        args, kwargs = to_device(self.arguments[block.index][x.shape[:2]], self.accelerator)
        y = block.module(x, *args, **kwargs)
        self.tuples = isinstance(y, tuple)
        return cast(Tensor, y[0] if self.tuples else y)

    def answer(self, y: Tensor) -> Tensor | tuple[Tensor]:
        """Return the output `y` of a block as the block itself would, for the model to go on."""
        return (y,) if self.tuples else y

    def advance(self, i: int, block: Block, y: Tensor) -> None:
        """Let the output `y` of `block` be the next block's input for micro-batch `i`.

        Raises `NumericsError` when it holds NaN or infinity.
        """
        if not bool(y.isfinite().all()):
            raise NumericsError(
                f"block {block.index} puts out NaN or infinity; load the model in a wider dtype "
                "(--dtype float32) or prune less"
            )
        if y.shape == self.hidden[i].shape:
            self.hidden[i].copy_(y)
        else:  # the last block of a model whose stream is narrower inside
            self.hidden[i] = y.to("cpu", copy=True)

    def copy(self) -> Boundary:
        """Return a boundary with the same activations that goes on by itself."""
        twin = copy.copy(self)
        twin.hidden = [host.clone() for host in self.hidden]
        return twin


@contextmanager
def answering(answer: Any, *modules: nn.Module) -> Iterator[None]:
    """Let each of `modules` return `answer` inside the `with` block, whatever it is called with."""
    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(replaced_forward(module, lambda *_, **__: answer))
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

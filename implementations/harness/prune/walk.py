"""The walk: block by block through a model, each block seeing what the pruned ones before it say.

    for block in walk(model, calibration):
        grams = block.observe(Gram)          # one pass: the inputs of every linear layer
        ...                                  # edit the block's weights in place
                                             # the walk re-runs it for the next block's inputs

Held at any time: the activations of one block boundary, on the host and in the model's dtype, and
on the accelerator one block, one micro-batch and the statistics of that block.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.data.text import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.devices import lent, resident, tensors, to_device
from implementations.harness.model.view import Block, LanguageModel, preserved
from implementations.harness.progress import track

# Layers that read the same activations share one statistic: role -> the role that collects it.
COLLECTS = {"k": "q", "v": "q", "up": "gate"}

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Boundary:
    """The activations entering one block, and how the model would call every block.

    `hidden` holds a tensor `[batch, length, hidden]` a micro-batch. The other arguments (masks,
    positions, rotary embeddings) differ from block to block in some families but, without
    padding, only with the shape of a micro-batch: they are captured once a shape.
    """

    def __init__(self, model: LanguageModel, tokens: Tokens, batch_size: int) -> None:
        self.accelerator = model.accelerator
        self.hidden: list[Tensor] = []
        self.arguments: list[dict[torch.Size, Arguments]] = [{} for _ in model.layers]
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
            self.arguments[index].setdefault(self.entering.shape, (args, kwargs))
            # Where blocks return tuples the model takes item 0 of this: that must not add up.
            return self.entering

        return record

    def run(self, block: Block, but: Container[int] = ()) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield number, input and output `[batch, length, hidden]` of micro-batches, `but` some."""
        for i, host in enumerate(self.hidden):
            if i in but:
                continue
            args, kwargs = to_device(self.arguments[block.index][host.shape], self.accelerator)
            x = host.to(self.accelerator)
            with torch.no_grad():
                y = block.module(x, *args, **kwargs)
            yield i, x, y[0] if isinstance(y, tuple) else y  # a tuple in older releases

    def advance(self, i: int, block: Block, y: Tensor) -> None:
        """Let the output `y` of `block` be the next block's input for micro-batch `i`.

        Raises `NumericsError` when it holds NaN or infinity.
        """
        if not bool(y.isfinite().all()):
            raise NumericsError(
                f"block {block.index} puts out NaN or infinity; load the model in a wider dtype "
                "(--dtype float32) or prune less"
            )
        self.hidden[i].copy_(y)


@dataclass(frozen=True)
class WalkedBlock(Block):
    """A block on the accelerator, with the calibration activations that enter it."""

    boundary: Boundary
    edits: bool
    carried: set[int] = field(default_factory=set)  # micro-batches carried on

    def run(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield input and output of every micro-batch, `[batch, length, hidden]` each.

        In a walk with `edits=False` this also carries the activations on, so that it can be
        done only once a block, to the end; raises `BadInput` on a second try.
        """
        if self.carried:
            raise BadInput("a walk with edits=False runs each block once: observe it in one call")
        for i, x, y in self.boundary.run(self):
            yield x, y
            if not self.edits:
                self.carry(i, y)

    def carry(self, i: int, y: Tensor) -> None:
        """Let the output `y` be the next block's input for micro-batch `i`."""
        self.boundary.advance(i, self, y)
        self.carried.add(i)

    def observe(self, statistic: Callable[..., Any] | None = None, **places: Any) -> dict[str, Any]:
        """Run the calibration once through the block and return the statistics by place.

        `observe(Gram)` feeds every linear layer's inputs; `observe(o=Moments, block=Influence)`
        only those named, where the place `block` calls `update(x, y)` with the block's input and
        output `[tokens, hidden]`. A statistic is made as `statistic(features, device=...)`.
        Layers with the same input share one object. Raises `NumericsError` naming block and
        layer when a statistic is not finite.
        """
        linears = self.linears()
        if statistic is not None:
            places = dict.fromkeys(linears, statistic) | places
        made = self._make(places, linears)
        with ExitStack() as hooks:
            for role, accumulator in made.items():
                if role != "block":
                    hooks.enter_context(watched(linears[role], accumulator))
            try:
                for x, y in self.run():
                    if "block" in made:
                        made["block"].update(x.flatten(0, 1), y.flatten(0, 1))
            except NumericsError:
                self._refuse_infinite(made)  # names the layer as well, where one was watched
                raise
        self._refuse_infinite(made)
        return {role: made.get(role, made.get(COLLECTS.get(role, role))) for role in places}

    def sharing(self, statistics: dict[str, Any]) -> Iterator[tuple[Any, dict[str, nn.Linear]]]:
        """Yield each distinct statistic of `observe` with the linear layers that read its input."""
        readers: dict[int, dict[str, nn.Linear]] = {}
        for role, linear in self.linears().items():
            if role in statistics:
                readers.setdefault(id(statistics[role]), {})[role] = linear
        for linears in readers.values():
            yield statistics[next(iter(linears))], linears

    def _make(self, places: dict[str, Any], linears: dict[str, nn.Linear]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for role, statistic in places.items():
            if role != "block" and role not in linears:
                known = ", ".join(["block", *linears])
                raise BadInput(f"no place {role!r} in a block; there are {known}")
            collector = COLLECTS.get(role)
            if collector and places.get(collector) is statistic:
                continue
            features = self.hidden_size if role == "block" else linears[role].in_features
            made[role] = statistic(features, device=self.boundary.accelerator)
        return made

    def _refuse_infinite(self, made: dict[str, Any]) -> None:
        for role, accumulator in made.items():
            if not accumulator.finite():
                raise NumericsError(
                    f"block {self.index}, {role}: calibration activations contain NaN or infinity; "
                    "load the model in a wider dtype (--dtype float32) or check its weights"
                )

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self.boundary.hidden[0].shape[-1]


def walk(
    model: LanguageModel,
    calibration: Tokens,
    *,
    edits: bool = True,
    batch_size: int | None = None,
) -> Iterator[WalkedBlock]:
    """Yield the decoder blocks in order, each seeing the activations of those before it as edited.

    With `edits=False` the model is only looked at: the pass that observes a block also carries
    the activations on, one pass a block instead of two. Hooks, flags and devices are as before
    once the walk ends, also by an exception.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, calibration, batch_size or calibration.batch_size)
        blocks = model.blocks
        for block in track(blocks, "walking the blocks"):
            walked = WalkedBlock(block.index, block.module, block.family, boundary, edits)
            module, accelerator = block.module, model.accelerator
            there = resident(module, accelerator) if edits else lent(tensors(module), accelerator)
            with there:
                yield walked
                if block is not blocks[-1]:
                    for i, _, y in boundary.run(block, but=walked.carried):
                        walked.carry(i, y)


@contextmanager
def watched(linear: nn.Linear, statistic: Any) -> Iterator[None]:
    """Feed the inputs of `linear` to `statistic`, as `[tokens, in]`, inside the `with` block."""

    def update(_: nn.Module, args: tuple[Any, ...]) -> None:
        statistic.update(args[0].flatten(end_dim=-2))

    handle = linear.register_forward_pre_hook(update)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let `forward` answer for `module` inside the `with` block."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own

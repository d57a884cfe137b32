"""The walk: iterate over the blocks of a model with their inputs from the pruned earlier blocks.

    for block in walk(model, calibration):
        grams = block.observe(Gram)          # one pass: the inputs of every linear layer
        ...                                  # edit the block's weights in place; the walk
                                             # runs it again for the next block's inputs

Memory on the host: the activations of one block boundary in the model's dtype. Memory on the
accelerator: one block, one micro-batch and the statistics of the block. With `beside=True`, also
the boundary of the original model and a copy of the block.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.execution import (
    Boundary,
    on_device,
    on_device_read_only,
    trim_memory,
    way_out,
)
from implementations.harness.model.modeling_pruned import held_inputs
from implementations.harness.model.view import Block, LanguageModel, preserved
from implementations.harness.progress import track
from implementations.harness.prune.parallel import add_up, added_up, own_part, processes
from implementations.harness.prune.statistics import Gram, Latest, Statistic

S = TypeVar("S", bound=Statistic)

# Layers that read the same activations share one statistic: role -> the role that collects it.
COLLECTS = {"k": "q", "v": "q", "up": "gate"}


@dataclass(frozen=True)
class WalkedBlock(Block):
    """A block on the accelerator, with the calibration activations that enter it."""

    boundary: Boundary
    edits: bool
    carried: set[int] = field(default_factory=set)  # micro-batches advanced to the next block
    twin: WalkedBlock | None = None

    @property
    def beside(self) -> WalkedBlock:
        """The original block, with its inputs from the original model.

        It can be run and observed like the block itself, before or after the block is edited, with
        the same tokens in the same order. Raises `BadInput` in a walk without `beside=True`.
        """
        if self.twin is None:
            raise BadInput("`beside` is not available in this walk; use walk(..., beside=True)")
        return self.twin

    def run(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield input and output of every micro-batch, `[batch, length, hidden]` each.

        Use both before requesting the next pair. In a walk with `edits=False`, this also advances
        the activations to the next block, in the memory of the input. In such a walk, call it once
        per block and consume it completely; a second call raises `BadInput`.
        """
        if self.carried:
            raise BadInput(
                f"the activations of block {self.index} were already advanced to the next block; "
                "run or observe the block once, before that"
            )
        for i, x, y in self.boundary.run(self):
            yield x, y
            if not self.edits:
                self.carry(i, y)

    def carry(self, i: int, y: Tensor) -> None:
        """Use the output `y` as the next block's input for micro-batch `i`."""
        self.boundary.advance(i, self, y)
        self.carried.add(i)

    def observe(self, statistic: Callable[..., S], *roles: str) -> dict[str, S]:
        """Run the calibration set through the block and return statistics of its layers' inputs.

        `observe(Gram)` covers every linear layer, `observe(Gram, "o", "down")` only the given
        roles. Statistics are constructed as `statistic(features, device=...)`, where the features
        are the columns of the weight; layers with the same input share one object. Raises
        `BadInput` for a role that the block does not have and `NumericsError` for a statistic that
        is not finite.
        """
        with self.watching(statistic, *roles) as seen:
            for _ in self.run():
                pass
        return seen

    def observe_beside(self, *roles: str) -> tuple[dict[str, Gram], dict[str, Tensor]]:
        """Return `X X^T [in, in]` and `Y X^T [out, in]` of some layers.

        `X` are the inputs of a layer in this block, and `Y` are the outputs of the same layer in
        the original model, without the bias. Both models run once.
        """
        dense = {role: self.beside.linears()[role].weight.float() for role in roles}
        products = {role: torch.zeros_like(weight) for role, weight in dense.items()}
        with (
            self.watching(Gram, *roles) as grams,
            self.watching(Latest, *roles) as now,
            self.beside.watching(Latest, *roles) as was,
        ):
            for _ in zip(self.run(), self.beside.run(), strict=True):
                for role, weight in dense.items():
                    products[role].addmm_(weight @ was[role].x.T, now[role].x)
        for product in products.values():
            add_up(product)
        return grams, products

    def token_mean(self, function: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Run the block and return the mean over all tokens of a function of input and output.

        `function` gets both, `[batch, length, hidden]` each, and returns `[batch, length]`, fp64.
        """
        values = torch.cat([function(x, y).flatten() for x, y in self.run()])  # [tokens]
        total = values.sum()
        add_up(total)
        return float(total / added_up(len(values)))

    @contextmanager
    def watching(self, statistic: Callable[..., S], *roles: str) -> Iterator[dict[str, S]]:
        """Collect statistics, as `observe` does, from all passes inside the `with` block.

        This collects several statistics in one pass: put
        `with block.watching(ColumnNorm, "down") as norms:` around `observe` or a loop over `run`.
        """
        linears = self.linears()
        requested = roles or tuple(linears)
        for role in requested:
            if role not in linears:
                raise BadInput(f"blocks have no layer {role!r}; use {', '.join(linears)}")
        collector = {
            role: COLLECTS[role] if COLLECTS.get(role) in requested else role for role in requested
        }

        collected = {
            role: statistic(linears[role].weight.shape[1], device=self.boundary.accelerator)
            for role in dict.fromkeys(collector.values())
        }
        length = self.boundary.hidden[0].shape[1]
        with ExitStack() as hooks:
            for role, accumulator in collected.items():
                hooks.enter_context(watched(linears[role], accumulator, length))
            try:
                yield {role: collected[collector[role]] for role in requested}
            except NumericsError:
                self._check_finite(collected)  # names the layer, if one is watched
                raise

        for accumulator in collected.values() if processes() > 1 else ():
            accumulator.reduce()
        self._check_finite(collected)

    def sharing(self, statistics: Mapping[str, S]) -> Iterator[tuple[S, dict[str, nn.Linear]]]:
        """Yield each distinct statistic of `observe` with the linear layers of its input."""
        readers: dict[int, dict[str, nn.Linear]] = {}
        for role, linear in self.linears().items():
            if role in statistics:
                readers.setdefault(id(statistics[role]), {})[role] = linear
        for linears in readers.values():
            yield statistics[next(iter(linears))], linears

    def _check_finite(self, collected: Mapping[str, Statistic]) -> None:
        for role, accumulator in collected.items():
            if not accumulator.finite():
                raise NumericsError(
                    f"block {self.index}, {role}: calibration activations contain NaN or infinity; "
                    + way_out(self.boundary.hidden[0].dtype)
                )


def walk(
    model: LanguageModel,
    calibration: Tokens,
    *,
    edits: bool = True,
    beside: bool = False,
) -> Iterator[WalkedBlock]:
    """Yield the decoder layers in order, each with its inputs from the edited earlier blocks.

    With `edits=False` the model must not be edited; observing a block then also advances the
    activations, which takes one pass per block instead of two. With `beside=True` the original
    model is available block by block, see `WalkedBlock.beside`. Hooks, flags and devices are
    restored at the end, also after an exception.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, own_part(calibration).batches())
        dense = boundary.copy() if beside else None
        blocks = model.blocks
        for block in track(blocks, "walking the blocks"):
            trim_memory()
            index, module, accelerator = block.index, block.module, model.accelerator
            placed = (
                on_device(module, accelerator)
                if edits
                else on_device_read_only(module, accelerator)
            )
            with model.opened(block, walked=edits), placed:
                twin = None
                if dense is not None:
                    was = copy.deepcopy(module)
                    twin = WalkedBlock(index, was, block.family, dense, edits=True)
                walked = WalkedBlock(index, module, block.family, boundary, edits, twin=twin)
                yield walked
                if block is not blocks[-1]:
                    for stream in (walked, twin) if twin else (walked,):
                        for i, _, y in stream.boundary.run(stream, skip=stream.carried):
                            stream.carry(i, y)


@contextmanager
def watched(module: nn.Module, statistic: Statistic, length: int | None = None) -> Iterator[None]:
    """Collect the inputs `[samples, tokens, in]` of a layer or a norm inside the `with` block.

    For an `IndexedLinear`, `in` are the held columns. OPT joins the tokens of all samples before
    its MLP; with the `length` of the samples they are separated again.
    """

    def update(_: nn.Module, args: tuple[Any, ...]) -> None:
        x = held_inputs(module, args[0])
        statistic.update(x.unflatten(0, (-1, length)) if length and x.ndim == 2 else x)

    handle = module.register_forward_pre_hook(update)
    try:
        yield
    finally:
        handle.remove()

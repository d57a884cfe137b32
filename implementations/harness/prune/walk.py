"""The walk: block by block through a model, each block seeing what the pruned ones before it say.

    for block in walk(model, calibration):
        grams = block.observe(Gram)          # one pass: the inputs of every linear layer
        ...                                  # edit the block's weights in place
                                             # the walk re-runs it for the next block's inputs

Held at any time: the activations of one block boundary, on the host and in the model's dtype, and
on the accelerator one block, one micro-batch and the statistics of that block. With `beside=True`
also the boundary of the model as it was, and a copy of that one block.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from implementations.harness.data.activations import Boundary
from implementations.harness.data.text import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.devices import give_back_freed, lent, moved, tensors
from implementations.harness.model.modeling_pruned import read_by
from implementations.harness.model.view import Block, LanguageModel, preserved
from implementations.harness.progress import track
from implementations.harness.prune.statistics import Statistic

S = TypeVar("S", bound=Statistic)

# Layers that read the same activations share one statistic: role -> the role that collects it.
COLLECTS = {"k": "q", "v": "q", "up": "gate"}


@dataclass(frozen=True)
class WalkedBlock(Block):
    """A block on the accelerator, with the calibration activations that enter it."""

    boundary: Boundary
    edits: bool
    carried: set[int] = field(default_factory=set)  # micro-batches carried on
    twin: WalkedBlock | None = None

    @property
    def beside(self) -> WalkedBlock:
        """The block as it was, with the activations that entered it in the model as it was.

        To be run and observed as the block itself, before or after that is edited; micro-batches
        are the same tokens in the same order. Raises `BadInput` in a walk without `beside=True`.
        """
        if self.twin is None:
            raise BadInput("nothing goes beside this walk: ask for it by walk(..., beside=True)")
        return self.twin

    def run(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield input and output of every micro-batch, `[batch, length, hidden]` each.

        Both are to be used before the next pair is asked for. In a walk with `edits=False` this
        also carries the activations on, in the memory of the input, so that it can be done only
        once a block, to the end; raises `BadInput` on a second try.
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

    def observe(self, statistic: Callable[..., S], *roles: str) -> dict[str, S]:
        """Run the calibration once through the block and return the statistics of its layers.

        `observe(Gram)` feeds the inputs of every linear layer, `observe(Gram, "o", "down")` only
        those of the roles named. A statistic is made as `statistic(features, device=...)`, where
        the features are the columns of the weight; layers with the same input share one object.
        Raises `BadInput` for a role that the block does not have and `NumericsError` naming block
        and layer when a statistic is not finite.
        """
        with self.watching(statistic, *roles) as seen:
            for _ in self.run():
                pass
        return seen

    @contextmanager
    def watching(self, statistic: Callable[..., S], *roles: str) -> Iterator[dict[str, S]]:
        """Feed statistics, as `observe` does, from whatever runs inside the `with` block.

        So one pass serves several: `with block.watching(ColumnNorm, "down") as norms:` around a
        loop over `block.run()`, or around `observe`.
        """
        linears = self.linears()
        asked = roles or tuple(linears)
        for role in asked:
            if role not in linears:
                raise BadInput(f"no layer {role!r} in a block; there are {', '.join(linears)}")
        collector = {
            role: COLLECTS[role] if COLLECTS.get(role) in asked else role for role in asked
        }
        made = {
            role: statistic(linears[role].weight.shape[1], device=self.boundary.accelerator)
            for role in dict.fromkeys(collector.values())
        }
        with ExitStack() as hooks:
            for role, accumulator in made.items():
                hooks.enter_context(watched(linears[role], accumulator))
            try:
                yield {role: made[collector[role]] for role in asked}
            except NumericsError:
                self._refuse_infinite(made)  # names the layer as well, where one was watched
                raise
        self._refuse_infinite(made)

    def sharing(self, statistics: Mapping[str, S]) -> Iterator[tuple[S, dict[str, nn.Linear]]]:
        """Yield each distinct statistic of `observe` with the linear layers that read its input."""
        readers: dict[int, dict[str, nn.Linear]] = {}
        for role, linear in self.linears().items():
            if role in statistics:
                readers.setdefault(id(statistics[role]), {})[role] = linear
        for linears in readers.values():
            yield statistics[next(iter(linears))], linears

    def _refuse_infinite(self, made: Mapping[str, Statistic]) -> None:
        for role, accumulator in made.items():
            if not accumulator.finite():
                raise NumericsError(
                    f"block {self.index}, {role}: calibration activations contain NaN or infinity; "
                    "load the model in a wider dtype (--dtype float32) or check its weights"
                )


def walk(
    model: LanguageModel,
    calibration: Tokens,
    *,
    edits: bool = True,
    beside: bool = False,
    batch_size: int | None = None,
) -> Iterator[WalkedBlock]:
    """Yield the decoder blocks in order, each seeing the activations of those before it as edited.

    With `edits=False` the model is only looked at: the pass that observes a block also carries
    the activations on, one pass a block instead of two. With `beside=True` the model as it was goes
    along, block by block: see `WalkedBlock.beside`. Hooks, flags and devices are as before once the
    walk ends, also by an exception.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, calibration, batch_size or calibration.batch_size)
        dense = boundary.copy() if beside else None
        blocks = model.blocks
        for block in track(blocks, "walking the blocks"):
            give_back_freed()
            index, module, accelerator = block.index, block.module, model.accelerator
            there = moved(module, accelerator) if edits else lent(tensors(module), accelerator)
            with model.opened(block), there:
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
def watched(module: nn.Module, statistic: Statistic) -> Iterator[None]:
    """Feed what a layer or a norm reads to `statistic`, `[samples, tokens, in]`, inside the `with`.

    Of an indexed linear `in` are the columns held, as in its weight.
    """

    def update(_: nn.Module, args: tuple[Any, ...]) -> None:
        statistic.update(read_by(module, args[0]))

    handle = module.register_forward_pre_hook(update)
    try:
        yield
    finally:
        handle.remove()

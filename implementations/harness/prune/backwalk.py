"""The backward walk: exact gradients of the loss, one block at a time, starting with the last.

    for block in backwalk(model, calibration, masks=("o", "down")):
        block.masks["down"]                  # [samples, channels], by factors on the inputs
        ...                                  # editing it does not affect later gradients

The loss of a sample is the mean of `-log p` over its predictions, that of the calibration set the
mean over its samples. A forward pass stores the input of every block. Then the gradient is
propagated from the head, and each block is run again with autograd, one micro-batch at a time.

Memory on the host: the inputs of all blocks and two gradients, `blocks + 2` tensors
`[samples, length, hidden]` in the model's dtype; use `calibration.chunks(...)` to limit it. Memory
on the accelerator: one block, its activations for one micro-batch, and the requested gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.execution import (
    Boundary,
    fixed_output,
    on_device,
    on_device_read_only,
    trim_memory,
    way_out,
)
from implementations.harness.model.modeling_pruned import held_indices, held_inputs
from implementations.harness.model.view import Block, LanguageModel, preserved
from implementations.harness.progress import track

PIECE = 2**22  # logits at a time: 16 MB in fp32, and the same for each step of the loss


@dataclass(frozen=True)
class BackwalkedBlock(Block):
    """A block on the accelerator, with the requested gradients by role, in fp32 or wider."""

    gradients: dict[str, Tensor]
    """Gradients of the weights, averaged over the samples, `[out, in]`."""
    squares: dict[str, Tensor]
    """Mean squares of the samples' gradients: the diagonal of the empirical Fisher information."""
    absolutes: dict[str, Tensor]
    """Mean absolute values of the samples' gradients."""
    masks: dict[str, Tensor]
    """Gradients of factors (with value 1) on a layer's inputs, of every sample, `[samples, in]`."""
    rerun: Callable[[], Iterator[dict[str, Tensor]]] = field(repr=False)

    def by_sample(self) -> Iterator[dict[str, Tensor]]:
        """Yield the gradients of the weights of each sample, in order, `[out, in]` by role.

        The block is run and differentiated once more and must not have been edited. Only one
        sample's gradients are in memory at a time.
        """
        return self.rerun()


def backwalk(
    model: LanguageModel,
    calibration: Tokens,
    *,
    gradients: Collection[str] = (),
    squares: bool = False,
    absolutes: bool = False,
    masks: Collection[str] = (),
    edits: bool = True,
) -> Iterator[BackwalkedBlock]:
    """Yield the decoder layers from the last to the first, with gradients of some layers.

    `gradients` (with `squares` and `absolutes`) and `masks` list roles of linear layers; nothing
    else is computed. All gradients are those of the original model, even if yielded blocks are
    edited; with `edits=False` they must not be, and nothing is moved back from the accelerator or
    written to disk. Works inside `torch.no_grad()`; hooks, flags and devices are restored at the
    end, also after an exception. Raises `BadInput` for a role that a block does not have and for
    samples of one token, `NumericsError` for a gradient that is not finite.
    """
    _check(model, calibration, *gradients, *masks)
    samples, length = calibration.ids.shape
    predictions = length - 1
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, calibration.batches())
        entering = _forward(model, boundary)
        _head_back(model, calibration, boundary)
        for block in track(model.blocks[::-1], "walking back"):
            trim_memory()
            placed = on_device if edits else on_device_read_only
            with model.opened(block), placed(block.module, model.accelerator):
                linears = block.linears()
                inputs, back = entering.pop(), [host.clone() for host in boundary.hidden]
                of_weights = {
                    role: _WeightGradient(linears[role], squares, absolutes) for role in gradients
                }
                of_masks = {role: _MaskGradient(linears[role], samples) for role in masks}
                with _watched(linears, length, of_weights, of_masks):
                    for host, x, behind in zip(boundary.hidden, inputs, back, strict=True):
                        _put(host, _block_back(block, boundary, x, behind), f"block {block.index}")
                only = [
                    BackwalkedBlock(
                        block.index,
                        block.module,
                        block.family,
                        {role: w.sum.div_(samples * predictions) for role, w in of_weights.items()},
                        {
                            role: w.squares.div_(samples * predictions**2)
                            for role, w in of_weights.items()
                            if w.squares is not None
                        },
                        {
                            role: w.absolutes.div_(samples * predictions)
                            for role, w in of_weights.items()
                            if w.absolutes is not None
                        },
                        {role: m.by_sample / predictions for role, m in of_masks.items()},
                        partial(_sample_gradients, block, boundary, inputs, back, gradients),
                    )
                ]
                del of_weights, of_masks
                yield only.pop()  # the caller alone keeps the gradients


@contextmanager
def _watched(
    linears: Mapping[str, nn.Linear],
    length: int,
    weights: Mapping[str, _WeightGradient],
    masks: Mapping[str, _MaskGradient],
) -> Iterator[None]:
    """Collect the gradients of weights and masks, by role, inside the `with` block."""
    with ExitStack() as hooks:
        for role, weight in weights.items():
            hooks.enter_context(_outputs_watched(linears[role], length, weight.update))
        for role, mask in masks.items():
            hooks.enter_context(_inputs_watched(linears[role], length, mask.update))
        yield


class _WeightGradient:
    """Sums the gradients of a layer's weight and, if requested, functions of each sample's."""

    def __init__(self, linear: nn.Linear, squares: bool, absolutes: bool) -> None:
        weight = linear.weight.detach()
        self.sum = torch.zeros_like(weight, dtype=_wide(weight))
        self.squares = torch.zeros_like(self.sum) if squares else None
        self.absolutes = torch.zeros_like(self.sum) if absolutes else None

    def update(self, x: Tensor, back: Tensor) -> None:
        """Add inputs `[samples, tokens, in]` and output gradients `[samples, tokens, out]`."""
        if self.squares is None and self.absolutes is None:
            self.sum.addmm_(back.flatten(end_dim=1).T, x.flatten(end_dim=1))
            return
        for inputs, outputs in zip(x, back, strict=True):
            gradient = outputs.T @ inputs
            self.sum += gradient
            if self.squares is not None:
                self.squares += gradient.square()
            if self.absolutes is not None:
                self.absolutes += gradient.abs()


class _Pass:
    """Stores a layer's inputs and output gradients for one micro-batch."""

    def __init__(self, linear: nn.Linear) -> None:
        self.weight = linear.weight.detach()
        self.seen: tuple[Tensor, Tensor] | None = None  # stays None without heads

    def update(self, x: Tensor, back: Tensor) -> None:
        """Store inputs `[samples, tokens, in]` and output gradients `[samples, tokens, out]`."""
        self.seen = x, back

    def gradient(self, sample: int) -> Tensor:
        """Return the gradient of the weight for one sample, `[out, in]`."""
        if self.seen is None:
            return torch.zeros_like(self.weight, dtype=_wide(self.weight))
        x, back = self.seen
        return back[sample].T @ x[sample]


class _MaskGradient:
    """Collects the gradients of factors on a layer's inputs, sample by sample."""

    def __init__(self, linear: nn.Linear, samples: int) -> None:
        weight = linear.weight.detach()
        self.by_sample = weight.new_zeros(samples, weight.shape[1], dtype=_wide(weight))
        self.done = 0

    def update(self, x: Tensor, back: Tensor) -> None:
        """Add samples: inputs and their gradients, `[samples, tokens, in]` each."""
        self.by_sample[self.done : self.done + len(x)] = (x * back).sum(dim=1)
        self.done += len(x)


def _check(model: LanguageModel, calibration: Tokens, *roles: str) -> None:
    if calibration.ids.shape[1] < 2:
        raise BadInput("calibration samples must have at least 2 tokens to compute a loss, got 1")
    for block in model.blocks:
        linears = block.linears()
        for role in roles:
            if role not in linears:
                raise BadInput(f"blocks have no layer {role!r}; use {', '.join(linears)}")


def _forward(model: LanguageModel, boundary: Boundary) -> list[list[Tensor]]:
    """Advance the boundary to the end; return the inputs of all blocks, by micro-batches."""
    entering = []
    for block in track(model.blocks, "reading the calibration"):
        entering.append([host.clone() for host in boundary.hidden])
        boundary.pass_through(model, block)
    return entering


def _head_back(model: LanguageModel, calibration: Tokens, boundary: Boundary) -> None:
    """Replace the outputs of the last block by their gradients, one sample at a time.

    These are the gradients of the summed loss; those of the mean would lose precision in fp16.
    """
    leaving = (row[None] for host in boundary.hidden for row in host)  # [1, length, hidden]
    with (
        on_device_read_only(model.hf, model.accelerator, without=model.layers),
        _frozen(model.outside().values()),
    ):
        for row, host in zip(calibration.batches(1), leaving, strict=True):
            ids = row.to(model.accelerator)  # [1, length]
            leaf = host.to(model.accelerator).detach().requires_grad_()
            with fixed_output(leaf, *model.layers), torch.enable_grad():
                output = model.decoder(input_ids=ids, use_cache=False)
            back = _loss_back(model, ids, output)
            (back,) = torch.autograd.grad(output.last_hidden_state, leaf, back)
            _put(host, back, "the head")


def _loss_back(model: LanguageModel, ids: Tensor, output: Any) -> Tensor:
    """Return the gradient of the summed loss for the head's input, `[1, length, hidden]`."""
    hidden = output.last_hidden_state
    back = torch.zeros_like(hidden)
    positions = torch.arange(ids.shape[1] - 1, device=ids.device)  # the last has no target
    for kept in positions.split(max(1, PIECE // model.vocabulary_size)):
        with fixed_output(output, model.decoder), torch.enable_grad():
            logits = model.hf(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[0]
            loss = cross_entropy(logits.to(_wide(logits)), ids[0, kept + 1], reduction="sum")
        back += torch.autograd.grad(loss, hidden)[0]
    return back


def _block_back(block: Block, boundary: Boundary, inputs: Tensor, back: Tensor) -> Tensor:
    """Return the gradient of a block's `inputs` from that of its output, for one micro-batch."""
    with _frozen(block.module.parameters()):
        x = inputs.to(boundary.accelerator).detach().requires_grad_()
        with torch.enable_grad():
            y = boundary.through(block, x)
        return torch.autograd.grad(y, x, back.to(boundary.accelerator))[0]


def _sample_gradients(
    block: Block,
    boundary: Boundary,
    inputs: list[Tensor],
    back: list[Tensor],
    roles: Collection[str],
) -> Iterator[dict[str, Tensor]]:
    """Differentiate a block again and yield the gradients of its weights, sample by sample."""
    linears = block.linears()
    for x, behind in zip(inputs, back, strict=True):
        samples, length, _ = x.shape
        passes = {role: _Pass(linears[role]) for role in roles}
        with ExitStack() as hooks:
            for role, seen in passes.items():
                hooks.enter_context(_outputs_watched(linears[role], length, seen.update))
            _block_back(block, boundary, x, behind)
        for sample in range(samples):
            yield {role: seen.gradient(sample) / (length - 1) for role, seen in passes.items()}


def _put(host: Tensor, back: Tensor, where: str) -> None:
    if not bool(back.isfinite().all()):
        raise NumericsError(
            f"{where}: the gradients contain NaN or infinity; {way_out(host.dtype)}"
        )
    host.copy_(back)


def _wide(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


Update = Callable[[Tensor, Tensor], None]


@contextmanager
def _outputs_watched(linear: nn.Linear, length: int, update: Update) -> Iterator[None]:
    """Pass a layer's inputs and output gradients (of held columns and rows) to `update`.

    The weight's gradient is computed from them, so that autograd need not track the weight.
    """
    rows = held_indices(linear, 0)

    def run(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        x = held_inputs(linear, args[0].detach())

        def on_gradient(back: Tensor) -> None:
            held = back if rows is None else back.index_select(-1, rows)
            update(_by_sample(x, length), _by_sample(held, length))

        output.register_hook(on_gradient)

    handle = linear.register_forward_hook(run)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _inputs_watched(linear: nn.Linear, length: int, update: Update) -> Iterator[None]:
    """Pass a layer's inputs and their gradients, of the held columns, to `update`."""

    def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0].detach()

        def on_gradient(back: Tensor) -> None:
            update(*(_by_sample(held_inputs(linear, both), length) for both in (x, back)))

        own = args[0].view_as(args[0])  # a view, because other layers may read the same input
        own.register_hook(on_gradient)
        return (own, *args[1:])

    handle = linear.register_forward_pre_hook(enter)
    try:
        yield
    finally:
        handle.remove()


def _by_sample(values: Tensor, length: int) -> Tensor:
    """Return fp32 or wider `[samples, length, features]`; OPT flattens the samples of a batch."""
    samples: Tensor = values.flatten(end_dim=-2).unflatten(0, (-1, length))
    return samples.to(_wide(values))


@contextmanager
def _frozen(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Disable gradients of `tensors` inside the `with` block."""
    asking = [tensor for tensor in tensors if tensor.requires_grad]
    try:
        for tensor in asking:
            tensor.requires_grad_(False)
        yield
    finally:
        for tensor in asking:
            tensor.requires_grad_()

"""How a model runs: devices, dtypes, random seeds, and the activations between its blocks."""

from __future__ import annotations

import copy
import ctypes
import random
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.func import functional_call

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.view import Block, LanguageModel

DTYPES = ("float32", "bfloat16", "float16")
LARGEST = 1e19
"""Its square still fits fp32."""


def parse_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the dtype named `name`, such as `bfloat16` or `bf16`.

    Raises `BadInput` for one that models cannot be loaded in.
    """
    known: dict[str, torch.dtype] = {dtype: getattr(torch, dtype) for dtype in DTYPES}
    short = str(name).removeprefix("torch.")
    short = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(short, short)
    if short not in known:
        raise BadInput(f"unknown dtype {short!r}; use {', '.join(known)}")
    return known[short]


def parse_device(name: str | torch.device) -> torch.device:
    """Return the device named `name`; "auto" is the accelerator of this machine or else the CPU.

    Raises `BadInput` for a device that this machine does not have, or that has no float64.
    """
    available = {"cpu": 1}
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is not None and accelerator.type != "mps":
            available[accelerator.type] = torch.accelerator.device_count()
    if name == "auto":
        return torch.device([*available][-1])
    listed = ", ".join(
        f"{kind} (x{count})" if count > 1 else kind for kind, count in available.items()
    )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}; use auto, {listed}") from error
    if device.type == "mps":
        raise BadInput("Apple's GPUs (mps) have no float64, which the atlas needs; use cpu")
    if (device.index or 0) >= available.get(device.type, 0):
        raise BadInput(f"this machine has no device {str(name)!r}; use auto, {listed}")
    return device


@contextmanager
def on_device_read_only(
    module: nn.Module, device: torch.device, *, without: Iterable[nn.Module] = ()
) -> Iterator[None]:
    """Use copies on `device` of a module's parameters and buffers inside the `with` block.

    Those of the modules in `without` are not replaced. Tied tensors share one copy. Afterwards the
    module has its own tensors again: nothing is copied back.
    """
    # `tensor.data = copy` would be shorter, but works only on devices built into PyTorch, and
    # `torch.utils.swap_tensors` refuses to swap back while a graph uses a parameter.
    kept = {part for excluded in without for part in excluded.modules()}
    copies: dict[int, Tensor] = {}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for part in module.modules():
            tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
            for entries in () if part in kept else tables:
                for name, tensor in entries.items():
                    if tensor is None or tensor.device == device:
                        continue
                    if id(tensor) not in copies:
                        copies[id(tensor)] = _copied(tensor, device)
                    replaced.append((entries, name, tensor))
                    entries[name] = copies[id(tensor)]
        yield
    finally:
        for entries, name, tensor in replaced:
            entries[name] = tensor


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    copied = tensor.detach().to(device)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, requires_grad=tensor.requires_grad)
    return copied


@contextmanager
def on_device(module: nn.Module, accelerator: torch.device) -> Iterator[None]:
    """Move `module` to the accelerator for the `with` block, and move it back with its edits."""
    first = next(module.parameters(), None)
    home = first.device if first is not None else accelerator
    try:
        if home != accelerator:
            module.to(accelerator)
        yield
    finally:
        if home != accelerator:
            module.to(home)


def trim_memory() -> None:
    """Return freed main memory to the system.

    Between two blocks, glibc's allocator would keep more than a block needs.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def seeded(seed: int, *, python: int | None = None) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and restore them afterwards.

    `python` is a separate seed for Python's generator, as lm-eval uses.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    kind = getattr(torch.accelerator.current_accelerator(), "type", "cuda")
    if kind == "mps":
        kind = "cuda"  # `fork_rng` passes a device, which the functions of MPS do not accept
    # Without `devices`, `fork_rng` warns on a machine with several.
    devices = range(torch.get_device_module(kind).device_count())
    try:
        with torch.random.fork_rng(devices, device_type=kind):
            random.seed(seed if python is None else python)
            np.random.seed(seed % 2**32)  # NumPy accepts no larger seed
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Boundary:
    """The activations that enter one block, and the other arguments of every block.

    `hidden` has one tensor `[batch, length, hidden]` per micro-batch. In some families the other
    arguments (masks, positions, rotary embeddings) differ between blocks. Without padding they
    otherwise depend only on the shape of a micro-batch, so they are captured once per shape.
    """

    def __init__(self, model: LanguageModel, batches: Iterable[Tensor]) -> None:
        """Capture what enters the first block for `batches` of ids, `[batch, length]` each."""
        self.accelerator = model.accelerator
        self.hidden: list[Tensor] = []
        self.arguments: list[dict[torch.Size, Arguments]] = [{} for _ in model.layers]
        self.output_width = model.config.hidden_size  # width of the final norm's input
        with ExitStack() as patches, torch.no_grad():
            for index, module in enumerate(model.layers):
                patches.enter_context(replaced_forward(module, self._recorder(index)))
            for ids in batches:
                model.hf.base_model(input_ids=ids.to(model.device), use_cache=False)
        del self.entering

    def _recorder(self, index: int) -> Callable[..., Tensor]:
        def record(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if index == 0:
                self.entering = hidden_states
                self.hidden.append(hidden_states.to("cpu", copy=True))
            self.arguments[index].setdefault(self.entering.shape[:2], (args, kwargs))
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

    def through(
        self, block: Block, x: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the output of `block` for the micro-batch `x`, both `[batch, length, hidden]`.

        Tensors in `weights` replace parameters of the block in this pass, by name.
        """
        args, kwargs = send_to_device(self.arguments[block.index][x.shape[:2]], self.accelerator)
        if weights:
            y = functional_call(block.module, dict(weights), (x, *args), kwargs)
        else:
            y = block.module(x, *args, **kwargs)
        return cast(Tensor, y)

    def advance(self, i: int, block: Block, y: Tensor) -> None:
        """Use the output `y` of `block` as the next block's input for micro-batch `i`.

        Raises `NumericsError` as `check_output`.
        """
        check_output(y, block.index)
        if y.shape == self.hidden[i].shape:
            self.hidden[i].copy_(y)
        else:  # the last block of a model whose stream is narrower inside
            self.hidden[i] = y.to("cpu", copy=True)

    def pass_through(self, model: LanguageModel, block: Block) -> None:
        """Open a block, run it once on the accelerator, and enter the next one with its outputs.

        The block is not edited. Raises the same errors as `advance`.
        """
        with ExitStack() as opened:
            if block.module.forward is not bypass:  # a bypassed block needs no weights
                opened.enter_context(model.opened(block))
                opened.enter_context(on_device_read_only(block.module, self.accelerator))
            for i, _, y in self.run(block):
                self.advance(i, block, y)

    def copy(self) -> Boundary:
        """Return an independent copy with the same activations."""
        duplicate = copy.copy(self)
        duplicate.hidden = [host.clone() for host in self.hidden]
        return duplicate


def check_output(y: Tensor, block: int) -> None:
    """Raise `NumericsError` if the output of a block has NaN, or values that a norm cannot square.

    A norm computes in fp32; if a square overflows, it returns zeros, which look like a result.
    """
    if y.numel() and not float(torch.stack(y.aminmax()).abs().amax()) < LARGEST:
        raise NumericsError(
            f"the output of block {block} contains NaN, infinity or values above {LARGEST:g}; "
            f"{way_out(y.dtype)}"
        )


def way_out(dtype: torch.dtype) -> str:
    """Return what to do if numbers in a model of `dtype` are not finite, the end of a message."""
    wider = "load the model in a wider dtype (--dtype float32)"
    return f"{wider if torch.finfo(dtype).bits < 32 else 'check the weights'} or prune less"


@contextmanager
def fixed_output(output: Any, *modules: nn.Module) -> Iterator[None]:
    """Make each of `modules` return `output` inside the `with` block, whatever its arguments."""
    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(replaced_forward(module, lambda *_, **__: output))
        yield


def bypass(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """Return the input, as the forward function of a block that does nothing."""
    return hidden_states


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

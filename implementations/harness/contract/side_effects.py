"""Clauses about side effects: pruning must not have any."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from torch import nn
from torch.nn.modules import module as global_hooks
from transformers import PreTrainedTokenizerFast

from implementations.harness.contract.clause import clause
from implementations.harness.contract.helpers import apply, calibration_for, reads_text, shares
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.data.tokens import Tokens
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Method

NO_GRADIENT = [0, True]
"""Entry of `state` for a model without gradients."""


FINAL = ("active", "counted", "execute")
"""What methods that set weights once leave to `Method`, so that they are measured as they are."""


@clause()
def measured_as_pruned(method: type[Method], family: str) -> None:
    """The saved weights are what is measured: the method leaves measuring to `Method`."""
    overridden = [name for name in FINAL if getattr(method, name) is not getattr(Method, name)]
    assert not overridden, f"the method overrides `{'`, `'.join(overridden)}`"


@clause()
def state_is_restored(method: type[Method], family: str) -> None:
    """Hooks, modes, flags, gradients, dtypes, devices, generators, and everything global."""
    for training in (False, True):
        model = _prepared(family, training)
        before, shape = state(model), bystander(model).shape
        calibration = calibration_for(method)
        read = texts(calibration)
        apply(method, model, calibration, sparsity=shares(method, model, 0.5)[0])
        assert texts(calibration) == read, "the ids of the calibration set changed"
        if bystander(model).shape != shape:  # a method that removes hidden dimensions
            before["gradients"] = NO_GRADIENT
        assert state(model) == before, left_changed(before, state(model))


@clause("methods that read calibration text", when=reads_text)
def state_is_restored_after_an_exception(method: type[Method], family: str) -> None:
    """They are also restored if a forward pass through the last block is interrupted."""
    model = _prepared(family, training=True)
    before = state(model)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # On the attention, because the block itself is also called to capture its arguments.
    handle = model.blocks[-1].attention.module.register_forward_pre_hook(interrupt)
    try:
        apply(method, model, sparsity=shares(method, model, 0.5)[0])
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the method never ran the last block")
    finally:
        handle.remove()
    assert state(model) == before, left_changed(before, state(model))


def _prepared(family: str, training: bool) -> LanguageModel:
    """Return a tiny model in one mode, with frozen layers and one gradient outside the blocks."""
    model = tiny_model(family)
    model.hf.train(training)
    for block in model.blocks:
        block.attention.o.requires_grad_(False)
    bystander(model).grad = torch.ones_like(bystander(model))
    words = Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    return model


def texts(calibration: Tokens | None) -> list[Any]:
    """Return the ids of the calibration set and of the training texts."""
    streams = (getattr(calibration, name, None) for name in ("training", "domain"))
    windows = [calibration, *(stream.windows for stream in streams if stream)]
    return [one.ids.tolist() for one in windows if one]


def left_changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Name the parts of the state that were not restored."""
    parts = [name for name in before if before[name] != after[name]]
    counts = [
        f"{name} ({before[name]} before, {after[name]} after)"
        if isinstance(before[name], int)
        else name
        for name in parts
    ]
    return f"not restored: {', '.join(counts)}"


def bystander(model: LanguageModel) -> nn.Parameter:
    """Return a parameter of the final norm, which has one entry per hidden dimension."""
    outside = model.outside().values()  # includes the buffers of rotary embeddings
    return [p for p in outside if isinstance(p, nn.Parameter) and p.ndim == 1][-1]


def state(model: LanguageModel) -> dict[str, Any]:
    """Return the state that pruning must restore."""
    modules, parameters = list(model.hf.modules()), list(model.hf.parameters())
    layers = {(role, p) for _, role, linear in model.linears() for p in linear.parameters()}
    others = set(parameters) - {p for _, p in layers}
    grad = bystander(model).grad
    drawn: Any = np.random.get_state()
    return {
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules),
        "backward hooks": sum(bool(part._backward_hooks) for part in (*modules, *parameters)),
        "patched": [name for name, m in model.hf.named_modules() if "forward" in vars(m)],
        "training": {m.training for m in modules},
        "use_cache": model.config.use_cache,
        "dtypes": {p.dtype for p in parameters},
        "devices": {p.device for p in parameters},
        "gradients": [sum(p.grad is not None for p in parameters), grad is None or grad.tolist()],
        "frozen": {(role, p.requires_grad) for role, p in layers},
        "frozen elsewhere": {p.requires_grad for p in others},
        "gradients are on": torch.is_grad_enabled(),
        "generation config": str(model.hf.generation_config),
        "tokenizer": str(model.tokenizer),
        "global hooks": sum(
            len(hooks) for name, hooks in vars(global_hooks).items() if name.endswith("_hooks")
        ),
        "linear layers of torch": (nn.functional.linear, nn.Linear, nn.Linear.forward),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "working directory": Path.cwd(),
        "generators": [
            torch.get_rng_state().tolist(),
            random.getstate(),
            drawn[1].tolist(),
            drawn[2],
        ],
    }

"""Recovery: fine-tune a pruned model on text, in the same way for all methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from implementations.harness.data.tokens import Stream
from implementations.harness.errors import AtlasWarning, BadInput
from implementations.harness.model.view import (
    LanguageModel,
    preserved,
    require_precise_weights,
    require_whole_model,
)
from implementations.harness.results.protocol import Recovery
from implementations.harness.train.loop import optimise
from implementations.harness.train.losses import distillation_loss, logits_of, next_token_loss
from implementations.harness.train.low_rank import check_low_rank, low_rank
from implementations.harness.train.schedule import Plan

WARMUP = 0.1  # fraction of the steps


def recover(
    model: LanguageModel,
    recovery: Recovery,
    stream: Stream,
    masked: bool = False,
    teacher: LanguageModel | None = None,
) -> list[float]:
    """Train a model on the windows of `stream`, and return the loss of each step in nats per token.

    With `masked`, zero weights in the blocks' linear layers stay zero. Distillation needs the dense
    model as `teacher`; its loss is the KL divergence of the model from the teacher. Uses the global
    random generators, which should be seeded. Warns if training in whole steps reads more tokens
    than requested. Raises `BadInput` for a model that is moved to the accelerator block by block,
    `NumericsError` for a loss that is not finite, `Unavailable` without `peft`.
    """
    check(model, recovery)
    length = stream.windows.ids.shape[1]
    if recovery.read(length) != recovery.tokens:
        step = recovery.windows(length) * length
        warnings.warn(
            f"--tokens {recovery.tokens}: recovery reads {recovery.read(length):,} tokens, because "
            f"it trains in whole steps of {step:,} tokens",
            AtlasWarning,
            stacklevel=2,
        )
    plan = Plan(
        recovery.steps(length), recovery.rate, batch=recovery.windows(length), warmup=WARMUP
    )
    with preserved(model):
        model.hf.train()
        if recovery.how == "lora":
            assert recovery.rank is not None  # validated
            assert recovery.scale is not None
            with low_rank(model, recovery.rank, recovery.scale, masked) as factors:
                return optimise(factors, lambda ids: next_token_loss(model, ids), stream, plan)
        return _train_all(model, _loss(model, recovery, teacher), stream, plan, masked)


def check(model: LanguageModel, recovery: Recovery) -> None:
    """Check that a model can be trained.

    Raises `BadInput` for a mixture of experts, for a model that is moved to the accelerator block
    by block, and for training all weights of a 16-bit model; `Unavailable` if `peft` is missing.
    """
    if model.family.experts:
        raise BadInput(
            f"--recover does not support {model.family.name}: training of experts is "
            "untested; leave the option out"
        )
    if recovery.how == "lora":
        check_low_rank("--recover lora")
    else:
        require_precise_weights(model, f"--recover {recovery.how}", ", or --recover lora")
    require_whole_model(model, "--recover")


def _loss(
    model: LanguageModel, recovery: Recovery, teacher: LanguageModel | None
) -> Callable[[Tensor], Tensor]:
    """Return the loss of ids `[windows, length]` that training all weights minimises."""
    if not recovery.has_teacher:
        return lambda ids: next_token_loss(model, ids)
    if teacher is None:
        raise BadInput("distillation needs a teacher; give the dense model")

    def divergence(ids: Tensor) -> Tensor:
        with torch.no_grad():
            target = logits_of(teacher, ids)
        return distillation_loss(logits_of(model, ids), target)

    return divergence


def _train_all(
    model: LanguageModel,
    loss: Callable[[Tensor], Tensor],
    stream: Stream,
    plan: Plan,
    masked: bool,
) -> list[float]:
    model.hf.requires_grad_(True)
    linears = [linear for _, _, linear in model.linears()] if masked else []
    zeros = [linear.weight == 0 for linear in linears]

    def keep_zeros(_: int) -> None:
        for linear, zero in zip(linears, zeros, strict=True):
            linear.weight.masked_fill_(zero, 0)

    parameters = [p for p in model.hf.parameters() if p.numel()]
    return optimise(
        parameters,
        loss,
        stream,
        plan,
        after=keep_zeros if masked else None,
    )

"""Recovery: the pruned model is trained a little on running text, all methods in the same way."""

from __future__ import annotations

import warnings

from implementations.harness.data.stream import Stream
from implementations.harness.errors import AtlasWarning
from implementations.harness.model.view import LanguageModel, preserved, refuse_block_by_block
from implementations.harness.results.recovery import Recovery
from implementations.harness.train.loop import optimise
from implementations.harness.train.losses import next_token_loss
from implementations.harness.train.low_rank import check_low_rank, low_rank
from implementations.harness.train.plan import Plan

WARMUP = 0.1  # share of the steps


def recover(
    model: LanguageModel, recovery: Recovery, stream: Stream, masked: bool = False
) -> list[float]:
    """Train a model on the windows of `stream`, and return the loss of every step, in nats a token.

    With `masked`, weights of the blocks' linear layers that are zero stay zero. Draws from the
    global generators, which should be seeded. Warns where whole steps read more tokens than asked
    for. Raises `BadInput` for a model that is worked on block by block, `NumericsError` for a loss
    that is not finite, `Unavailable` without `peft`.
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
            assert recovery.rank is not None  # its validator saw to it
            assert recovery.scale is not None
            with low_rank(model, recovery.rank, recovery.scale, masked) as factors:
                return optimise(factors, lambda ids: next_token_loss(model, ids), stream, plan)
        return _train_all(model, stream, plan, masked)


def check(model: LanguageModel, recovery: Recovery) -> None:
    """Refuse what cannot be trained: `BadInput` for a model that is not whole where it computes.

    Raises `Unavailable` where `peft` is missing.
    """
    if recovery.how == "lora":
        check_low_rank("--recover lora")
    refuse_block_by_block(model, "--recover")


def _train_all(model: LanguageModel, stream: Stream, plan: Plan, masked: bool) -> list[float]:
    model.hf.requires_grad_(True)
    linears = [linear for _, _, linear in model.linears()] if masked else []
    zeros = [linear.weight == 0 for linear in linears]

    def keep_zeros(_: int) -> None:
        for linear, zero in zip(linears, zeros, strict=True):
            linear.weight.masked_fill_(zero, 0)

    parameters = [p for p in model.hf.parameters() if p.numel()]
    return optimise(
        parameters,
        lambda ids: next_token_loss(model, ids),
        stream,
        plan,
        after=keep_zeros if masked else None,
    )

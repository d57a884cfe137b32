"""CATS: zero small outputs of the MLP's gate, token by token (Lee et al., COLM 2024).

The gate of an MLP channel is computed first. If it is small after the activation function, the
channel contributes little, and its row of `up` and its column of `down` need not be read. CATS
gives every decoder layer a threshold, a quantile of the size of the gates on general text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from implementations.harness import (
    ActivationMethod,
    Block,
    Capabilities,
    Drop,
    Kept,
    LanguageModel,
    MaskedLinear,
    Masker,
    Quantiles,
    Ratio,
    WalkedBlock,
    total_weights,
)

SKIPPED = ("up", "down")
"""Layers of which channels are skipped; the gate is computed for all channels."""


class CATS(ActivationMethod):
    """Zero the gates of MLP channels whose size is at most the threshold of the decoder layer.

    Source: Lee et al., COLM 2024, arXiv:2404.08763, and the authors' code.
    """

    capabilities = Capabilities(
        granularity=("activations",),
        calibration="forward",
        when="input-dependent",
        prompted=True,
        changes=(),
        refuses={"opt": "its MLP has no gate"},
    )

    sparsity: Ratio = 0.25
    """Share of the decoder's weights not needed by a token: at most that of `up` and `down`."""

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the share of `up` and `down` in the weights of the decoder."""
        return skippable(model)

    def layer_share(self, model: LanguageModel) -> float:
        """Return the share of the channels that a token skips (p)."""
        return min(1.0, self.sparsity / skippable(model)) if self.sparsity else 0.0

    def calibrate(self, block: WalkedBlock, share: float) -> dict[str, Drop]:
        """Return the threshold of the gates, and the share of channels below it."""
        gates = Quantiles(block.feed_forward.channels, block.boundary.accelerator)
        hook = activation(block).register_forward_hook(lambda _, __, g: gates.update(g))
        try:
            for _ in block.run():  # dense
                pass
        finally:
            hook.remove()
        return dict.fromkeys(SKIPPED, Drop(*gates.threshold(share)))

    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        """Mark the gates above the threshold in size."""
        return lambda g: g.float().abs() > drop.limit  # fp16 would round the limit

    def forwards(
        self, block: Block, drops: Mapping[str, Drop], masker: Masker
    ) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        """Yield the activation function, which zeroes gates, and `down`, which skips columns."""
        function, kept = activation(block), self.kept(block, "up", drops["up"])
        dense = function.forward
        yield function, lambda z: masker.masked(kept, dense(z), *SKIPPED)
        down = block.feed_forward.down
        yield down, MaskedLinear(down, lambda inner: inner != 0, masker)


def activation(block: Block) -> nn.Module:
    """Return the activation function between the gate and its product with `up`."""
    path = (block.family.gate or "").rpartition(".")[0]
    return block.module.get_submodule(f"{path}.act_fn")


def skippable(model: LanguageModel) -> float:
    """Return the share of `up` and `down` in the weights of the decoder's linear layers."""
    skipped = sum(x.weight.numel() for _, role, x in model.linears() if role in SKIPPED)
    return skipped / max(total_weights(model), 1)

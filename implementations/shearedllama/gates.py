"""Gates on a whole model, and folding them into its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor

from implementations.harness import Gates, LanguageModel, gated, gated_hidden, multiply_gain


@contextmanager
def all_gates(model: LanguageModel) -> Iterator[dict[str, Gates]]:
    """Gate query heads and channels (`units`), hidden dimensions and decoder layers of a model."""
    layers = Gates([len(model.blocks)])

    def multiplied(output: Tensor, index: int) -> Tensor:
        gate = layers.of(0)
        return output if gate is None else output * gate[index].to(output)

    with (
        gated(model, "query-heads", "channels") as units,
        gated_hidden(model) as hidden,
        ExitStack() as changes,
    ):
        for block in model.blocks:
            for linear in block.writers:
                hook = linear.register_forward_hook(
                    lambda _, __, output, index=block.index: multiplied(output, index)
                )
                changes.callback(hook.remove)
        yield {"units": units, "hidden": hidden, "blocks": layers}


def fold(model: LanguageModel, gates: dict[str, Tensor]) -> None:
    """Multiply the gates of the whole model into its weights, each factor once.

    Gates of heads and channels go into the columns of `o` and `down`, those of layers and hidden
    dimensions into their rows, and those of hidden dimensions also into the gains of the norms.
    """
    hidden = gates["hidden"]
    for block in model.visit():
        for norm in block.stream_norms:
            multiply_gain(model, norm, hidden)
        heads = gates["query-heads"][block.index].repeat_interleave(block.attention.head_size)
        rows = gates["blocks"][block.index] * hidden  # [hidden]
        columns = (heads, gates["channels"][block.index])
        for linear, entering in zip(block.writers, columns, strict=True):
            like = linear.weight
            like.data.mul_(rows.to(like)[:, None]).mul_(entering.to(like))
            if linear.bias is not None:
                linear.bias.data.mul_(rows.to(like))
    multiply_gain(model, model.final_norm, hidden)

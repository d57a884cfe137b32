"""Gates on a whole model and their removal; the mix of two texts; shares of a shape.

The mix is the dynamic batch loading of Xia et al., arXiv:2310.06694, with the constants of the
official code, which are those of DoReMi (Xie et al., arXiv:2305.10429).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Calibration,
    Gates,
    LanguageModel,
    Stream,
    UniformShape,
    cut_to_shape,
    gated,
    gated_hidden,
    multiply_gain,
    next_token_loss,
    remove_blocks,
)

HELD_OUT = 2  # windows of each text on which its loss is measured
RATE = 1.0  # eta
SMOOTHING = 1e-4  # c


class AllGates:
    """The gates of a whole model."""

    def __init__(self, units: Gates, hidden: Gates, layers: Gates) -> None:
        self.units, self.hidden, self.layers = units, hidden, layers

    def set(self, values: dict[str, Tensor]) -> None:
        """Give every gate a value, `[gates]` or `[blocks, gates]` for each kind."""
        self.units.values = torch.cat([values["query-heads"], values["channels"]], dim=1).flatten()
        self.hidden.values, self.layers.values = values["hidden"], values["blocks"]


@contextmanager
def all_gates(model: LanguageModel) -> Iterator[AllGates]:
    """Gate the query heads, channels, hidden dimensions and decoder layers of a model."""
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
        yield AllGates(units, hidden, layers)


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


def cut(model: LanguageModel, gates: dict[str, Tensor]) -> None:
    """Multiply the gates into the weights, and remove everything whose gate is 0."""
    fold(model, gates)
    layers = gates["blocks"] > 0
    remove_blocks(model, ~layers)
    heads, channels = (gates[kind][layers] > 0 for kind in ("query-heads", "channels"))
    cut_to_shape(model, gates["hidden"] > 0, list(heads), list(channels))


class Mixture:
    """Windows of two texts, general and of a domain, in proportions that change.

    Raises `BadInput` for a text that is too short to hold out windows, and for windows of different
    lengths.
    """

    def __init__(self, calibration: Calibration, general: float) -> None:
        texts = {"training": calibration.training, "domain": calibration.domain}
        parts = [split(name, text) for name, text in texts.items() if text is not None]
        self.streams = [rest for rest, _ in parts]
        self.held_out = [held for _, held in parts]
        lengths = [held.shape[1] for held in self.held_out]
        if len(set(lengths)) > 1:
            raise BadInput(
                f"the windows of `training` have {lengths[0]} tokens and those of `domain` "
                f"{lengths[1]}, but a batch holds both; use the same length in the protocol"
            )
        self.shares = torch.tensor([general, 1 - general], dtype=torch.float64)
        """Probability of each text."""
        self.taken = 0
        """Number of windows of the domain that were used."""

    def mixed(self, ids: Tensor) -> Tensor:
        """Replace some windows of `ids [windows, length]`, general text, by those of the domain."""
        drawn = torch.rand(len(ids), dtype=torch.float64) >= self.shares[0]
        rows = list(ids)
        for row in drawn.nonzero().flatten().tolist():
            rows[row] = next(self.streams[1].batches(1, start=self.taken))[0]
            self.taken += 1
        return torch.stack(rows)

    def losses(self, model: LanguageModel) -> Tensor:
        """Return the loss of a model on the held-out windows of each text, `[texts]`."""
        with torch.no_grad():
            return torch.stack([next_token_loss(model, ids) for ids in self.held_out]).cpu()

    def update(self, losses: Tensor, references: Tensor) -> None:
        """Update the proportions by how much each loss exceeds its reference."""
        self.shares.copy_(new_proportions(self.shares, losses - references))


def new_proportions(shares: Tensor, gaps: Tensor) -> Tensor:
    """Return new proportions `[texts]`; texts with larger gaps to their reference get more.

    A loss below its reference counts as equal to it.
    """
    raised = torch.softmax(shares.double().log() + RATE * gaps.double().clamp(min=0), dim=0)
    mixed = (1 - SMOOTHING) * raised + SMOOTHING / len(shares)
    return mixed / mixed.sum()


def split(name: str, text: Stream) -> tuple[Stream, Tensor]:
    """Split a text into windows to train on and the ids of its last windows, held out."""
    count = len(text.windows.ids)
    if count <= HELD_OUT:
        raise BadInput(
            f"the text `{name}` has {count} windows, but needs at least {HELD_OUT + 1}, of which "
            f"{HELD_OUT} are held out; use a longer text"
        )
    rest, held = text.split(range(count - HELD_OUT, count))
    return rest, held.windows.ids


def spread(shape: UniformShape, dense: UniformShape) -> float:
    """Return the difference between the largest and the smallest share of a width that is kept."""
    shares = (
        shape.hidden / dense.hidden,
        shape.group / dense.group,
        shape.channels / dense.channels,
    )
    return max(shares) - min(shares)


def gate_counts(dense: UniformShape) -> dict[str, tuple[int, ...]]:
    """Return the numbers of gates of each kind: `[gates]`, or `[blocks, gates]` inside layers."""
    return {
        "blocks": (dense.blocks,),
        "hidden": (dense.hidden,),
        "query-heads": (dense.blocks, dense.heads),
        "channels": (dense.blocks, dense.channels),
    }


def shares_to_close(dense: UniformShape, shape: UniformShape) -> dict[str, float]:
    """Return the share of the gates of each kind that a shape does not have."""
    return {
        "blocks": 1 - shape.blocks / dense.blocks,
        "hidden": 1 - shape.hidden / dense.hidden,
        "query-heads": 1 - shape.group / dense.group,
        "channels": 1 - shape.channels / dense.channels,
    }

"""Pruned language models whose blocks differ in width, which no stock configuration can express.

This file lies beside the weights of such a checkpoint and needs only torch and transformers, from
4.55 on:

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

The configuration is that of the dense model with one entry a block in `config.pruned_shapes`:

    {"heads": 6, "kv_heads": 2, "channels": 40, "biases": ["o_proj", "down_proj"]}

Made by the Pruning Atlas, Apache-2.0.
"""

from __future__ import annotations

import functools
from typing import Any

import transformers
from torch import Tensor, nn

# What the rows (outputs) and the columns (inputs) of each linear layer of a block count.
ROWS = {
    "q_proj": "heads",
    "k_proj": "kv_heads",
    "v_proj": "kv_heads",
    "gate_proj": "channels",
    "up_proj": "channels",
    "fc1": "channels",
}
COLUMNS = {"o_proj": "heads", "out_proj": "heads", "down_proj": "channels", "fc2": "channels"}


class Headless:
    """Mixin for a stock attention that has lost its heads: it puts out the bias of its output
    projection, or zero.

    Where the others return attention weights (`eager`, asked for by `output_attentions`), so does
    it: none, `[batch, 0, length, keys]`, so that there is one entry a block.
    """

    config: Any
    layer_idx: int

    def forward(
        self, hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output, `[batch, length, hidden]`, and attention weights of no head."""
        nothing = hidden_states.new_zeros(*hidden_states.shape[:-1], 1).unsqueeze(1)
        keys = nothing
        for argument in (*args, *kwargs.values()):  # the cache, whose name differs between releases
            if hasattr(argument, "get_seq_length"):
                # The model reads the number of past tokens off the cache of its first block, so
                # even this one has to store something for each token: one zero.
                keys, _ = argument.update(nothing, nothing, self.layer_idx)
        output: Any = self.o_proj if hasattr(self, "o_proj") else self.out_proj  # type: ignore[attr-defined]
        weights = None
        if self.config._attn_implementation == "eager":
            batch, _, length, _ = nothing.shape
            weights = nothing.new_zeros(batch, 0, length, keys.shape[2])
        return output(hidden_states[..., :0]), weights

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle by the stock class, because that of the mixin has no name to import."""
        return _unfilled, (type(self).__mro__[2],), vars(self)


@functools.cache
def headless_class(stock: Any) -> Any:
    """Return the class of a stock attention without heads, `Headless` + its name."""
    return type(f"Headless{stock.__name__}", (Headless, stock), {"__module__": __name__})


def _unfilled(stock: Any) -> Any:
    made = headless_class(stock)
    return made.__new__(made)


def take_heads(attention: Any) -> None:
    """Make a headless attention of one, in place, whose projections have no heads left."""
    if not isinstance(attention, Headless):
        stock: Any = type(attention)
        attention.__class__ = headless_class(stock)


def shrink(linear: nn.Linear, dim: int, keep: Tensor | slice) -> None:
    """Keep only the rows (dim 0, with their biases) or the columns (dim 1) `keep`, in place.

    The parameters stay the same objects, with their dtype, device and `requires_grad`.
    """
    weight = linear.weight.data[keep] if dim == 0 else linear.weight.data[:, keep]
    linear.weight.data = weight.clone()  # a view would hold on to the whole old weight
    linear.weight.grad = None
    if dim == 0 and linear.bias is not None:
        linear.bias.data = linear.bias.data[keep].clone()
        linear.bias.grad = None
    linear.out_features, linear.in_features = weight.shape


def count_heads(attention: Any, heads: int, kv_heads: int) -> None:
    """Write the head counts where the forward pass of an attention reads them."""
    if hasattr(attention, "num_heads"):
        attention.num_heads = heads
    if hasattr(attention, "num_key_value_groups") and kv_heads:
        attention.num_key_value_groups = heads // kv_heads


def reshape(block: Any, shape: dict[str, Any]) -> None:
    """Give a dense block the widths and the biases of one entry of `config.pruned_shapes`."""
    attention = block.self_attn
    width = {
        "heads": shape["heads"] * attention.head_dim,
        "kv_heads": shape["kv_heads"] * attention.head_dim,
        "channels": shape["channels"],
    }
    for path, linear in block.named_modules():
        name = path.rpartition(".")[2]
        if name in ROWS:
            shrink(linear, 0, slice(width[ROWS[name]]))
        elif name in COLUMNS:
            shrink(linear, 1, slice(width[COLUMNS[name]]))
        else:
            continue
        if name in shape["biases"] and linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
    count_heads(attention, shape["heads"], shape["kv_heads"])
    if shape["heads"] == 0:
        take_heads(attention)


class Pruned:
    """Mixin for a stock model class: every block takes its shape from `config.pruned_shapes`."""

    model: Any
    # `save_pretrained` then puts this file beside the weights and names it in the configuration.
    _auto_class: str | None = "AutoModelForCausalLM"

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        decoder = getattr(self.model, "decoder", self.model)
        for block, shape in zip(decoder.layers, config.pruned_shapes, strict=True):
            reshape(block, shape)


def pruned_class(stock: type) -> Any:
    """Return the class of a stock model with blocks of different widths, `Pruned` + its name."""
    name = f"Pruned{stock.__name__}"
    if name not in globals():
        about = f"{stock.__name__} with blocks of different widths."
        globals()[name] = type(name, (Pruned, stock), {"__module__": __name__, "__doc__": about})
    return globals()[name]


def __getattr__(name: str) -> Any:
    """Make the class that a configuration names, such as `PrunedLlamaForCausalLM`."""
    stock = getattr(transformers, name.removeprefix("Pruned"), None)
    if name.startswith("Pruned") and isinstance(stock, type):
        return pruned_class(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

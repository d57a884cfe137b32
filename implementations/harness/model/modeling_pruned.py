"""Pruned language models whose blocks have shapes that no stock configuration can express.

This file lies beside the weights of such a checkpoint and needs only torch and transformers, from
4.55 on:

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

The configuration is that of the dense model with one entry a block in `config.pruned_shapes`:

    {"heads": 6, "kv_heads": 2, "channels": 40, "biases": ["o_proj", "down_proj"]}

Where single rows or columns were cut inside those widths, `"indexed": {"o_proj": {"columns": 40}}`
says how many a layer holds, and the weights say which (`o_proj.columns`).

Where the residual stream was rotated and narrowed, `"residual": [448, 448, 576]` says how wide it
is before the block, between its halves and behind it.

Made by the Pruning Atlas, Apache-2.0.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
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
# Whose columns, and whose rows, are dimensions of the residual stream.
READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "fc1")
WRITERS = ("o_proj", "out_proj", "down_proj", "fc2")
INDICES = ("rows", "columns")  # what says which ones an indexed linear holds, by dimension
FEATURES = ("out_features", "in_features")


class IndexedLinear(nn.Linear):
    """A linear layer that shows its dense width and holds only some of its rows and columns.

    `weight [rows held, columns held]` and `bias [rows held]`; `rows` and `columns` say which of the
    `out_features` and `in_features` those are, ascending, and are None where all are held. It
    computes what the dense layer does with everything else set to zero.
    """

    rows: Tensor | None
    columns: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        """Return the output, `[..., out_features]`, zero at the rows that are not held."""
        output = nn.functional.linear(read_by(self, input), self.weight, self.bias)
        if self.rows is None:
            return output
        dense = output.new_zeros(*output.shape[:-1], self.out_features)
        return dense.index_copy(-1, self.rows, output)

    def extra_repr(self) -> str:
        """Say how much of the dense layer is held."""
        rows, columns = self.weight.shape
        return f"{super().extra_repr()}, rows={rows}, columns={columns}"


def places_held(linear: nn.Module, dim: int) -> Tensor | None:
    """Return which rows (dim 0) or columns (dim 1) a layer holds; None where it holds all."""
    # By name, because the file of a checkpoint has a class of its own.
    return getattr(linear, INDICES[dim], None)


def read_by(linear: nn.Module, inputs: Tensor) -> Tensor:
    """Return those of `inputs [..., in_features]` that the columns held multiply."""
    columns = places_held(linear, 1)
    return inputs if columns is None else inputs.index_select(-1, columns)


def found(linear: nn.Linear, dim: int, places: Tensor) -> Tensor:
    """Return where the weight has the rows or columns at `places`, without those it lacks."""
    places, held = places.to(linear.weight.device), places_held(linear, dim)
    return places if held is None else torch.isin(held, places).nonzero().flatten()


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


class Rotated:
    """Mixin for a stock decoder block whose residual stream changes its basis on the way.

    Each half reads it through its norm and adds to what its shortcut makes of it:
    `x <- attn_shortcut(x) + self_attn(norm(x))`, then `x <- mlp_shortcut(x) + mlp(norm(x))`. Where
    the basis stays, a shortcut is the identity.
    """

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        """Return the output, `[batch, length, after]`, of the input `[batch, length, before]`."""
        parts: Any = self
        normed = parts.input_layernorm(hidden_states)
        attended, _ = parts.self_attn(hidden_states=normed, **arguments)
        hidden_states = parts.attn_shortcut(hidden_states) + attended
        fed = parts.mlp(parts.post_attention_layernorm(hidden_states))
        return parts.mlp_shortcut(hidden_states) + fed  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle by the stock class, because that of the mixin has no name to import."""
        return _unfilled_block, (type(self).__mro__[2],), vars(self)


@functools.cache
def rotated_class(stock: Any) -> Any:
    """Return the class of a stock block with shortcuts, by the stock name.

    By its name a block is known as what must not be split over devices.
    """
    return type(stock.__name__, (Rotated, stock), {"__module__": __name__})


def _unfilled_block(stock: Any) -> Any:
    made = rotated_class(stock)
    return made.__new__(made)


def take_shortcuts(block: Any) -> None:
    """Make a block of one, in place, whose residual connections have shortcuts: the identity."""
    if not isinstance(block, Rotated):
        stock: Any = type(block)
        block.__class__ = rotated_class(stock)
        block.attn_shortcut, block.mlp_shortcut = nn.Identity(), nn.Identity()


def narrow_norm(norm: Any, width: int) -> None:
    """Let an RMS norm read a residual that was narrowed to `width`, in place, its gain 1.

    It divides by the root of the mean over `width` dimensions and not over the dense ones, so what
    it puts out is smaller by `sqrt(width / dense)` at the same epsilon; its readers make up for it.
    """
    dense = len(norm.weight)
    norm.weight.data = norm.weight.data.new_ones(width)
    norm.weight.grad = None
    norm.variance_epsilon *= dense / width


def narrow_embedding(embedding: Any, width: int) -> None:
    """Keep the first `width` columns of an embedding, in place."""
    embedding.weight.data = embedding.weight.data[:, :width].clone()
    embedding.weight.grad = None
    embedding.embedding_dim = width


def shrink(linear: nn.Linear, dim: int, keep: Tensor | slice) -> None:
    """Keep only the rows (dim 0, with their biases) or the columns (dim 1) `keep`, in place.

    The layer becomes as narrow as that. The parameters stay the same objects, with their dtype,
    device and `requires_grad`.
    """
    kept = torch.arange(getattr(linear, FEATURES[dim]), device=linear.weight.device)[keep]
    held = places_held(linear, dim)
    taken = found(linear, dim, kept)
    _take(linear, dim, taken)
    setattr(linear, FEATURES[dim], len(kept))
    if held is not None:
        _index(linear, dim, torch.searchsorted(kept, held[taken]))


def hold(linear: nn.Linear, dim: int, places: Tensor) -> None:
    """Hold only the rows (dim 0, with their biases) or the columns (dim 1) at `places`, in place.

    The layer shows the width it had, and puts out zero for the other rows. `places` are `int64`,
    each once, in any order; those that were given up before stay so. The parameters stay the same
    objects, as in `shrink`.
    """
    places = places.sort().values
    held = places_held(linear, dim)
    taken = found(linear, dim, places)
    _take(linear, dim, taken)
    _index(linear, dim, places if held is None else held[taken])


def _take(linear: nn.Linear, dim: int, keep: Tensor) -> None:
    keep = keep.to(linear.weight.device)
    linear.weight.data = linear.weight.data.index_select(dim, keep)
    linear.weight.grad = None
    if dim == 0 and linear.bias is not None:
        linear.bias.data = linear.bias.data.index_select(0, keep)
        linear.bias.grad = None


def _index(linear: nn.Linear, dim: int, places: Tensor) -> None:
    """Make an indexed linear of one whose weight has the rows or columns at `places`.

    One that holds everything is a plain one again.
    """
    indices = {name: getattr(linear, name, None) for name in INDICES}
    everything = len(places) == getattr(linear, FEATURES[dim])
    # A copy: layers that share an index could not be saved.
    indices[INDICES[dim]] = None if everything else places.to(linear.weight.device, copy=True)
    for name in INDICES:
        linear._buffers.pop(name, None)
    if all(index is None for index in indices.values()):
        linear.__class__ = nn.Linear
        return
    linear.__class__ = IndexedLinear
    for name, index in indices.items():
        linear.register_buffer(name, index)


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
        for dim, index in enumerate(INDICES):
            # As many of the first as there will be of those that the weights name.
            count = shape.get("indexed", {}).get(name, {}).get(index)
            if count is not None:
                hold(linear, dim, torch.arange(count, device=linear.weight.device))
        if name in shape["biases"] and linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(len(linear.weight)))
    count_heads(attention, shape["heads"], shape["kv_heads"])
    if shape["heads"] == 0:
        take_heads(attention)
    if "residual" in shape:
        narrow_residual(block, *shape["residual"])


def narrow_residual(block: Any, before: int, between: int, after: int) -> None:
    """Give a dense block the widths that a rotated residual has before, between and behind."""
    take_shortcuts(block)
    halves = (
        (block.self_attn, block.input_layernorm, before, between),
        (block.mlp, block.post_attention_layernorm, between, after),
    )
    for half, norm, entering, leaving in halves:
        narrow_norm(norm, entering)
        for name, linear in half.named_children():
            if name in READERS:
                shrink(linear, 1, slice(entering))
            elif name in WRITERS:
                shrink(linear, 0, slice(leaving))
    like = {"device": block.mlp.down_proj.weight.device, "dtype": block.mlp.down_proj.weight.dtype}
    block.attn_shortcut = nn.Linear(before, between, bias=False, **like)
    block.mlp_shortcut = nn.Linear(between, after, bias=False, **like)


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
        if "residual" in config.pruned_shapes[0]:
            narrow_embedding(decoder.embed_tokens, config.pruned_shapes[0]["residual"][0])


def pruned_class(stock: type) -> Any:
    """Return the class of a stock model with pruned blocks, `Pruned` + its name."""
    name = f"Pruned{stock.__name__}"
    if name not in globals():
        about = f"{stock.__name__} with pruned blocks."
        globals()[name] = type(name, (Pruned, stock), {"__module__": __name__, "__doc__": about})
    return globals()[name]


def __getattr__(name: str) -> Any:
    """Make the class that a configuration names, such as `PrunedLlamaForCausalLM`."""
    if name.startswith("Pruned"):
        import transformers  # slow, and only a checkpoint that is loaded needs it

        stock = getattr(transformers, name.removeprefix("Pruned"), None)
        if isinstance(stock, type):
            return pruned_class(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Pruned language models whose block shapes the stock configuration cannot express.

A copy of this file is saved with the weights of such a checkpoint. It needs only torch and
transformers >= 4.55:

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

The configuration is that of the dense model, with one entry per block in `config.pruned_shapes`:

    {"heads": 6, "kv_heads": 2, "channels": 40, "biases": ["o_proj", "down_proj"]}

If single rows or columns were removed within these widths, `"indexed": {"o_proj": {"columns": 40}}`
has the number that a layer still holds, and the weights have their indices (`o_proj.columns`).

If the residual stream was rotated and narrowed, `"residual": [448, 448, 576]` has its width before
the block, between its halves and after it. If a matrix rotates the whole stream at the entry or the
exit of the block, `"rotations": ["entry_rotation"]` names it.

Made by the Pruning Atlas, Apache-2.0.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

# The meaning of the rows (outputs) and columns (inputs) of each linear layer of a block.
ROWS = {
    "q_proj": "heads",
    "k_proj": "kv_heads",
    "v_proj": "kv_heads",
    "gate_proj": "channels",
    "up_proj": "channels",
    "fc1": "channels",
}
COLUMNS = {"o_proj": "heads", "out_proj": "heads", "down_proj": "channels", "fc2": "channels"}
INDICES = ("rows", "columns")  # the index buffers of an IndexedLinear, by dimension
FEATURES = ("out_features", "in_features")
# Matrices on the residual stream of a block: of its two halves, and around the whole block.
SHORTCUTS = ("attn_shortcut", "mlp_shortcut")
ROTATIONS = ("entry_rotation", "exit_rotation")


class IndexedLinear(nn.Linear):
    """A linear layer with its dense width that holds only some of its rows and columns.

    Has `weight [rows held, columns held]` and `bias [rows held]`. `rows` and `columns` are the
    ascending indices of those among `out_features` and `in_features`, or None if all are held. The
    output equals that of the dense layer with everything else set to zero.
    """

    rows: Tensor | None
    columns: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        """Return the output `[..., out_features]`, which is zero for rows that are not held."""
        output = nn.functional.linear(held_inputs(self, input), self.weight, self.bias)
        if self.rows is None:
            return output
        dense = output.new_zeros(*output.shape[:-1], self.out_features)
        return dense.index_copy(-1, self.rows, output)

    def extra_repr(self) -> str:
        """Return the arguments for `repr`, with the number of rows and columns held."""
        rows, columns = self.weight.shape
        return f"{super().extra_repr()}, rows={rows}, columns={columns}"


def held_indices(linear: nn.Module, dim: int) -> Tensor | None:
    """Return the indices of the rows (dim 0) or columns (dim 1) held, or None for all."""
    # Looked up by name, because the code file of a checkpoint defines its own class.
    return getattr(linear, INDICES[dim], None)


def held_inputs(linear: nn.Module, inputs: Tensor) -> Tensor:
    """Return `inputs [..., columns held]`, those of `[..., in_features]` that the layer uses."""
    columns = held_indices(linear, 1)
    return inputs if columns is None else inputs.index_select(-1, columns)


def held_positions(linear: nn.Linear, dim: int, places: Tensor) -> Tensor:
    """Return the positions in the weight of the rows or columns `places`, skipping removed ones."""
    places, held = places.to(linear.weight.device), held_indices(linear, dim)
    return places if held is None else torch.isin(held, places).nonzero().flatten()


class Headless:
    """Mixin for a stock attention without heads, which outputs the bias of o, or zero.

    With `eager` attention it returns empty attention weights, `[batch, 0, length, keys]`, so that
    `output_attentions` has one entry per block.
    """

    config: Any
    layer_idx: int

    def forward(
        self, hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output `[batch, length, hidden]` and empty attention weights."""
        zeros = hidden_states.new_zeros(*hidden_states.shape[:-1], 1).unsqueeze(1)
        keys = zeros
        for argument in (*args, *kwargs.values()):  # the cache, whose name differs between releases
            if hasattr(argument, "get_seq_length"):
                # The model reads the number of past tokens from the cache of its first block, so
                # this block must store something for each token: one zero.
                keys, _ = argument.update(zeros, zeros, self.layer_idx)
        output: Any = self.o_proj if hasattr(self, "o_proj") else self.out_proj  # type: ignore[attr-defined]
        weights = None
        if self.config._attn_implementation == "eager":
            batch, _, length, _ = zeros.shape
            weights = zeros.new_zeros(batch, 0, length, keys.shape[2])
        return output(hidden_states[..., :0]), weights

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle via the stock class, because the mixed class cannot be imported."""
        return _empty_headless, (type(self).__mro__[2],), vars(self)


@functools.cache
def headless_class(stock: Any) -> Any:
    """Return a stock attention class with `Headless` mixed in, named `Headless` + its name."""
    return type(f"Headless{stock.__name__}", (Headless, stock), {"__module__": __name__})


def _empty_headless(stock: Any) -> Any:
    mixed = headless_class(stock)
    return mixed.__new__(mixed)


def make_headless(attention: Any) -> None:
    """Turn an attention whose projections have no heads into a `Headless` one, in place."""
    if not isinstance(attention, Headless):
        stock: Any = type(attention)
        attention.__class__ = headless_class(stock)


class Rotated:
    """Mixin for a stock decoder layer in which the residual stream changes its basis.

    It computes `x <- entry_rotation(x)`, `x <- attn_shortcut(x) + self_attn(norm(x))`,
    `x <- mlp_shortcut(x) + mlp(norm(x))` and `x <- exit_rotation(x)`. Each of the four is a matrix
    if the basis changes there, and otherwise the identity.
    """

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        """Return the output `[batch, length, after]` for the input `[batch, length, before]`."""
        parts: Any = self
        hidden_states = parts.entry_rotation(hidden_states)
        normed = parts.input_layernorm(hidden_states)
        attended, _ = parts.self_attn(hidden_states=normed, **arguments)
        hidden_states = parts.attn_shortcut(hidden_states) + attended
        fed = parts.mlp(parts.post_attention_layernorm(hidden_states))
        hidden_states = parts.mlp_shortcut(hidden_states) + fed
        return parts.exit_rotation(hidden_states)  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle via the stock class, because the mixed class cannot be imported."""
        return _empty_rotated, (type(self).__mro__[2],), vars(self)


@functools.cache
def rotated_class(stock: Any) -> Any:
    """Return a stock block class with `Rotated` mixed in.

    It keeps the stock name, by which transformers knows that a block must stay on one device.
    """
    return type(stock.__name__, (Rotated, stock), {"__module__": __name__})


def _empty_rotated(stock: Any) -> Any:
    mixed = rotated_class(stock)
    return mixed.__new__(mixed)


def set_stream_matrix(block: Any, place: str, matrix: Tensor) -> None:
    """Put `matrix [out, in]` on the residual stream of a block, in place.

    `place` is one of `SHORTCUTS` or `ROTATIONS`; see `Rotated`.
    """
    if not isinstance(block, Rotated):
        stock: Any = type(block)
        block.__class__ = rotated_class(stock)
        for name in SHORTCUTS + ROTATIONS:
            setattr(block, name, nn.Identity())
    like = block.input_layernorm.weight
    out, inner = matrix.shape
    linear = nn.Linear(inner, out, bias=False, device=like.device, dtype=like.dtype)
    linear.weight.requires_grad_(like.requires_grad).data.copy_(matrix)
    setattr(block, place, linear)


def narrow_norm(norm: Any, width: int) -> None:
    """Narrow an RMS norm to a residual of `width` dimensions, in place, with gain 1.

    The norm averages over `width` dimensions instead of the dense number, and its epsilon is scaled
    to match. Its output is smaller by `sqrt(width / dense)`; the layers that read it must
    compensate.
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

    The width of the layer changes. The parameters stay the same objects, with their dtype, device
    and `requires_grad`.
    """
    kept = torch.arange(getattr(linear, FEATURES[dim]), device=linear.weight.device)[keep]
    held = held_indices(linear, dim)
    taken = held_positions(linear, dim, kept)
    _take(linear, dim, taken)
    setattr(linear, FEATURES[dim], len(kept))
    if held is not None:
        _index(linear, dim, torch.searchsorted(kept, held[taken]))


def hold(linear: nn.Linear, dim: int, places: Tensor) -> None:
    """Hold only the rows (dim 0, with their biases) or the columns (dim 1) at `places`, in place.

    The width of the layer does not change, and the output of other rows is zero. `places` are
    distinct `int64` indices in any order; those removed before are ignored. The parameters stay the
    same objects, as in `shrink`.
    """
    places = places.sort().values
    held = held_indices(linear, dim)
    taken = held_positions(linear, dim, places)
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
    """Set the indices of the rows or columns that a layer holds.

    The layer becomes an `IndexedLinear`, or a plain `nn.Linear` if it holds everything.
    """
    indices = {name: getattr(linear, name, None) for name in INDICES}
    everything = len(places) == getattr(linear, FEATURES[dim])
    # A copy, because layers that share an index cannot be saved.
    indices[INDICES[dim]] = None if everything else places.to(linear.weight.device, copy=True)
    for name in INDICES:
        linear._buffers.pop(name, None)
    if all(index is None for index in indices.values()):
        linear.__class__ = nn.Linear
        return
    linear.__class__ = IndexedLinear
    for name, index in indices.items():
        linear.register_buffer(name, index)


def set_head_counts(attention: Any, heads: int, kv_heads: int) -> None:
    """Set the head counts that the forward pass of an attention uses."""
    if hasattr(attention, "num_heads"):
        attention.num_heads = heads
    if hasattr(attention, "num_key_value_groups") and kv_heads:
        attention.num_key_value_groups = heads // kv_heads


def reshape(block: Any, shape: dict[str, Any]) -> None:
    """Give a dense block the shape described by one entry of `config.pruned_shapes`."""
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
            # Placeholder indices; loading the weights replaces them.
            count = shape.get("indexed", {}).get(name, {}).get(index)
            if count is not None:
                hold(linear, dim, torch.arange(count, device=linear.weight.device))
        if name in shape["biases"] and linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(len(linear.weight)))
    set_head_counts(attention, shape["heads"], shape["kv_heads"])
    if shape["heads"] == 0:
        make_headless(attention)
    if "residual" in shape:
        narrow_residual(block, *shape["residual"])
    for place in shape.get("rotations", ()):  # placeholders, as above
        gain = block.input_layernorm.weight
        set_stream_matrix(block, place, gain.new_empty(len(gain), len(gain)))


def narrow_residual(block: Any, before: int, between: int, after: int) -> None:
    """Give a dense block the residual widths before it, between its halves and after it."""
    halves = (
        (block.self_attn, block.input_layernorm, before, between),
        (block.mlp, block.post_attention_layernorm, between, after),
    )
    for half, norm, entering, leaving in halves:
        narrow_norm(norm, entering)
        for name, linear in half.named_children():
            if name in ROWS:  # its columns are dimensions of the residual stream
                shrink(linear, 1, slice(entering))
            elif name in COLUMNS:  # its rows are
                shrink(linear, 0, slice(leaving))
    for place, out, inner in zip(SHORTCUTS, (between, after), (before, between), strict=True):
        set_stream_matrix(block, place, block.input_layernorm.weight.new_empty(out, inner))


class Pruned:
    """Mixin for a stock model class whose block shapes come from `config.pruned_shapes`."""

    model: Any
    # Makes `save_pretrained` copy this file and name it in the configuration.
    _auto_class: str | None = "AutoModelForCausalLM"

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        decoder = getattr(self.model, "decoder", self.model)
        for block, shape in zip(decoder.layers, config.pruned_shapes, strict=True):
            reshape(block, shape)
        if "residual" in config.pruned_shapes[0]:
            narrow_embedding(decoder.embed_tokens, config.pruned_shapes[0]["residual"][0])


def pruned_class(stock: type) -> Any:
    """Return a stock model class with `Pruned` mixed in, named `Pruned` + its name."""
    name = f"Pruned{stock.__name__}"
    if name not in globals():
        about = f"{stock.__name__} with pruned blocks."
        globals()[name] = type(name, (Pruned, stock), {"__module__": __name__, "__doc__": about})
    return globals()[name]


def __getattr__(name: str) -> Any:
    """Create the class that a configuration names, such as `PrunedLlamaForCausalLM`."""
    if name.startswith("Pruned"):
        import transformers  # slow, and only needed when a checkpoint is loaded

        stock = getattr(transformers, name.removeprefix("Pruned"), None)
        if isinstance(stock, type):
            return pruned_class(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

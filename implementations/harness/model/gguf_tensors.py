"""Tensors of a GGUF file: the widths of its blocks, and the weights with llama.cpp's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from implementations.harness.model.view import ROLES, Block, LanguageModel

GROUP = 32
"""Number of values in a row that share one scale in Q8_0."""
NAMES = dict(
    zip(
        ROLES,
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        strict=True,
    )
)


class Widths(NamedTuple):
    """Number of heads, KV heads and channels that a block has in the file."""

    heads: int
    kv_heads: int
    channels: int


def block_widths(model: LanguageModel, *, padded: bool) -> dict[Block, Widths]:
    """Return the blocks to write with their widths in the file.

    Blocks that only pass on their input are left out. llama.cpp reads the size of all heads from
    the first block, drops the bias of an attention without heads, and drops the attention of a
    block without channels. In these cases the block gets one head or `GROUP` channels of zeros.
    """
    written: dict[Block, Widths] = {}
    for block in model.blocks:
        o, down = block.attention.o, block.feed_forward.down
        if not any(len(part.weight[0]) or part.bias is not None for part in (o, down)):
            continue
        heads, kv_heads = block.attention.heads, block.attention.kv_heads
        if heads == 0 and (not written or o.bias is not None):
            heads = kv_heads = 1
        channels = block.feed_forward.channels or GROUP
        if padded:
            channels += -channels % GROUP
        written[block] = Widths(heads, kv_heads, channels)
    return written


def tensors(model: LanguageModel, *, padded: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in the order of the file, each with its name."""
    head = cast(nn.Linear, model.hf.get_output_embeddings()).weight
    yield "token_embd.weight", model.embedding
    if head.data_ptr() != model.embedding.data_ptr():
        yield "output.weight", head
    decoder: Any = model.decoder
    yield "output_norm.weight", decoder.norm.weight
    size = model.blocks[0].attention.head_size
    exponents = torch.arange(0, size, 2).float() / size
    frequencies = model.config.rope_parameters["rope_theta"] ** -exponents
    factors = frequencies / decoder.rotary_emb.inv_freq.float().cpu()
    if not torch.allclose(factors, torch.ones(())):
        yield "rope_freqs.weight", factors
    for index, (block, widths) in enumerate(block_widths(model, padded=padded).items()):
        for name, tensor in _block_tensors(block, widths):
            yield f"blk.{index}.{name}", tensor


def _block_tensors(block: Block, widths: Widths) -> Iterator[tuple[str, Tensor]]:
    size = block.attention.head_size
    rows = {"q": widths.heads * size, "k": widths.kv_heads * size, "v": widths.kv_heads * size}
    rows |= {"gate": widths.channels, "up": widths.channels}
    columns = {"o": widths.heads * size, "down": widths.channels}
    before_attention, before_feed_forward = (
        cast(Tensor, norm.weight) for norm in block.norms.values()
    )
    if widths.heads:
        yield "attn_norm.weight", before_attention
    yield "ffn_norm.weight", before_feed_forward
    for role, linear in block.linears().items():
        if role in "qkvo" and not widths.heads:
            continue
        for name, parameter in linear.named_parameters():
            tensor: Tensor = parameter
            if role in rows:
                tensor = _lengthened(tensor, 0, rows[role])
            elif name == "weight":
                tensor = _lengthened(tensor, 1, columns[role])
            if role in "qk":
                # llama.cpp rotates neighbouring rows, transformers those of the two halves.
                tensor = tensor.unflatten(0, (-1, 2, size // 2)).transpose(1, 2).flatten(0, 2)
            yield f"{NAMES[role]}.{name}", tensor


def _lengthened(tensor: Tensor, dim: int, length: int) -> Tensor:
    """Return a tensor with zeros appended to dimension `dim` up to `length`."""
    if tensor.shape[dim] == length:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = length - shape[dim]
    return torch.cat((tensor, tensor.new_zeros(shape)), dim)

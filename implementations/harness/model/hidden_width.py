"""Remove hidden dimensions: the same dimensions of the residual stream in the whole model.

A hidden dimension is a column of the embedding and of the head, an entry of every norm over the
stream, a column of every layer that reads the stream and a row of every layer that writes it. The
pruned model is an ordinary one with a smaller `hidden_size`. Its norms take the mean square over
the remaining dimensions.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput
from implementations.harness.model.modeling_pruned import shrink
from implementations.harness.model.surgery import Units, chosen
from implementations.harness.model.view import LanguageModel
from implementations.harness.results.families import FIXED_WIDTH


def check_hidden_width(model: LanguageModel) -> None:
    """Raise `BadInput`, with the reason, if the hidden size of the family cannot change."""
    family = model.family.name
    if family in FIXED_WIDTH:
        raise BadInput(f"hidden dimensions of {family} cannot be removed: {FIXED_WIDTH[family]}")


def keep_hidden(model: LanguageModel, keep: Units) -> None:
    """Remove all hidden dimensions except `keep` from the whole model.

    `keep` has indices or is a boolean mask `[hidden]`; the order does not change. Tied weights stay
    tied. Configurations of Llama and Gemma 3 require that the number of query heads divides the
    hidden size; other sizes cannot be saved. Raises `BadInput` for a dimension that does not exist,
    if none is kept, and for a family whose hidden size cannot change.
    """
    check_hidden_width(model)
    dense = model.embedding.shape[1]
    kept = chosen(keep, dense, "hidden dimension")
    if not len(kept):
        raise BadInput("this would empty the model: keep at least one hidden dimension")
    if len(kept) == dense:
        return
    for block in model.visit():
        for norm in block.stream_norms:
            _narrow(norm, kept)
        for linear in block.readers:
            shrink(linear, 1, kept.to(linear.weight.device))
        for linear in block.writers:
            shrink(linear, 0, kept.to(linear.weight.device))
    _narrow(model.final_norm, kept)
    embedding: Any = model.hf.get_input_embeddings()
    head = cast(nn.Linear, model.hf.get_output_embeddings())
    if head.weight is embedding.weight:
        head.in_features = len(kept)
    else:
        shrink(head, 1, kept.to(head.weight.device))
    _narrow(embedding, kept)
    embedding.embedding_dim = len(kept)
    if hasattr(embedding, "embed_scale"):
        _rescale_embedding(model, dense)
    model.config.hidden_size = len(kept)


def multiply_gain(model: LanguageModel, norm: nn.Module, factor: Tensor | float) -> None:
    """Multiply the gain of an RMS norm by `factor`, a number or `[hidden]`, in place."""
    weight, added = cast(nn.Parameter, norm.weight), model.family.added_to_gain
    if isinstance(factor, Tensor):
        factor = factor.to(weight.device)
    weight.data.copy_((weight.data.float() + added) * factor - added)


def _narrow(module: nn.Module, kept: Tensor) -> None:
    """Keep the entries of a norm's weight, or the columns of an embedding."""
    weight = cast(nn.Parameter, module.weight)
    weight.data = weight.data.index_select(-1, kept.to(weight.device))
    weight.grad = None


def _rescale_embedding(model: LanguageModel, dense: int) -> None:
    """Give a narrowed Gemma embedding the factor `sqrt(hidden)` of its new size.

    The weights compensate for the new factor, so that the embedded tokens stay the same. The final
    norm compensates where the head shares these weights.
    """
    embedding: Any = model.hf.get_input_embeddings()
    width = model.embedding.shape[1]
    factor = (dense / width) ** 0.5
    embedding.weight.data.mul_(factor)
    if cast(nn.Linear, model.hf.get_output_embeddings()).weight is embedding.weight:
        multiply_gain(model, model.final_norm, 1 / factor)
    embedding.embed_scale = torch.full_like(embedding.embed_scale, width**0.5)
    embedding.scalar_embed_scale = width**0.5

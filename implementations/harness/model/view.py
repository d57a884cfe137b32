"""A Hugging Face causal language model and one uniform view of its decoder blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from implementations.harness.errors import BadInput

ROLES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Family:
    """Where a model family keeps its parts: dotted paths from the base model and from a block."""

    name: str
    blocks: str = "layers"
    attention: str = "self_attn"
    feed_forward: str = "mlp"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    o: str = "self_attn.o_proj"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")


QUERY_KEY_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
AROUND_FEED_FORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")

# The key is `config.model_type`.
FAMILIES = {
    "llama": Family("llama"),
    "mistral": Family("mistral"),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", norms=Family.norms + QUERY_KEY_NORMS),
    "gemma3_text": Family("gemma3", norms=Family.norms + AROUND_FEED_FORWARD + QUERY_KEY_NORMS),
    "opt": Family(
        "opt",
        blocks="decoder.layers",
        feed_forward="",  # OPT keeps fc1 and fc2 in the block itself
        o="self_attn.out_proj",
        gate=None,
        up="fc1",
        down="fc2",
        norms=("self_attn_layer_norm", "final_layer_norm"),
    ),
}


def family_of(model: PreTrainedModel) -> Family:
    """Return the adapter of a model; raises `BadInput` naming the supported families."""
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BadInput(
            f"model family {model_type!r} is not supported; supported are {known}. "
            "A new one needs an entry in FAMILIES of implementations/harness/model/view.py."
        )
    return FAMILIES[model_type]


@dataclass(frozen=True)
class Attention:
    """The attention of one block; every number is read from the live weights."""

    block: nn.Module
    family: Family

    @property
    def module(self) -> nn.Module:
        """The attention module itself."""
        return self.block.get_submodule(self.family.attention)

    @property
    def q(self) -> nn.Linear:
        """Query projection, weight `[heads * head_size, hidden]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.q))

    @property
    def k(self) -> nn.Linear:
        """Key projection, weight `[kv_heads * head_size, hidden]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.k))

    @property
    def v(self) -> nn.Linear:
        """Value projection, weight `[kv_heads * head_size, hidden]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.v))

    @property
    def o(self) -> nn.Linear:
        """Output projection, weight `[hidden, heads * head_size]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.o))

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return int(cast(int, self.module.head_dim))

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.q.out_features // self.head_size

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads, which is the number of KV groups."""
        return self.k.out_features // self.head_size

    @property
    def group(self) -> int:
        """Query heads served by one key/value head (1: multi-head attention); 0 when emptied."""
        return self.heads // self.kv_heads if self.kv_heads else 0


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward part of one block."""

    block: nn.Module
    family: Family

    @property
    def gate(self) -> nn.Linear | None:
        """Gate projection, weight `[channels, hidden]`; None in families without a gate."""
        if self.family.gate is None:
            return None
        return cast(nn.Linear, self.block.get_submodule(self.family.gate))

    @property
    def up(self) -> nn.Linear:
        """Up projection, weight `[channels, hidden]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.up))

    @property
    def down(self) -> nn.Linear:
        """Down projection, weight `[hidden, channels]`."""
        return cast(nn.Linear, self.block.get_submodule(self.family.down))

    @property
    def channels(self) -> int:
        """Intermediate channels that are left."""
        return self.up.out_features


@dataclass(frozen=True)
class Block:
    """One decoder block: its place in the model, its module and the view of its parts."""

    index: int
    module: nn.Module
    family: Family

    @property
    def attention(self) -> Attention:
        """The block's attention."""
        return Attention(self.module, self.family)

    @property
    def feed_forward(self) -> FeedForward:
        """The block's feed-forward part."""
        return FeedForward(self.module, self.family)

    @property
    def norms(self) -> dict[str, nn.Module]:
        """The block's normalisation layers by their path."""
        return {path: self.module.get_submodule(path) for path in self.family.norms}

    def linears(self) -> dict[str, nn.Linear]:
        """Return the linear layers by role, in order: q, k, v, o, gate (if any), up, down."""
        paths = {role: getattr(self.family, role) for role in ROLES}
        return {
            role: cast(nn.Linear, self.module.get_submodule(path))
            for role, path in paths.items()
            if path is not None
        }


class LanguageModel:
    """A causal language model in evaluation mode, seen as a list of decoder blocks.

    `accelerator` is where the walk works on one block at a time; it equals `device` unless the
    model is too big for it. Raises `BadInput` for a family without an adapter.
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        name: str = "model",
        sha256: str | None = None,
        accelerator: torch.device | str | None = None,
    ) -> None:
        self.hf = hf.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.sha256 = sha256
        self.family = family_of(hf)
        # The device of a tensor made there carries the index that a bare name leaves open.
        self.accelerator = torch.empty(0, device=accelerator or self.device).device

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.embedding.dtype

    @property
    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration."""
        return cast(PreTrainedConfig, self.hf.config)

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding: token ids must lie below."""
        return len(self.embedding)

    @property
    def embedding(self) -> Tensor:
        """The weight of the token embedding, `[vocabulary, hidden]`."""
        return cast(nn.Embedding, self.hf.get_input_embeddings()).weight

    @property
    def layers(self) -> nn.ModuleList:
        """The module list that holds the decoder blocks."""
        return cast(nn.ModuleList, self.hf.base_model.get_submodule(self.family.blocks))

    @property
    def blocks(self) -> list[Block]:
        """The decoder blocks in order, as they are now."""
        return [Block(i, module, self.family) for i, module in enumerate(self.layers)]

    def linears(self) -> Iterator[tuple[Block, str, nn.Linear]]:
        """Yield every prunable linear layer: its block, its role and the layer."""
        for block in self.blocks:
            for role, linear in block.linears().items():
                yield block, role, linear


@contextmanager
def preserved(model: LanguageModel) -> Iterator[None]:
    """Put training mode, `use_cache` and `requires_grad` back as they were, whatever happens.

    Modules and parameters that surgery adds inside the `with` block keep their own state.
    """
    hf = model.hf
    training = [(module, module.training) for module in hf.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in hf.parameters()]
    use_cache = getattr(hf.config, "use_cache", None)
    try:
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, needed in gradients:
            parameter.requires_grad_(needed)
        if use_cache is not None:
            hf.config.use_cache = use_cache

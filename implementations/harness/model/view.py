"""A uniform view of the supported model families and of the decoder layers of a model.

To support another family, add an entry to `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from implementations.harness.errors import BadInput
from implementations.harness.model.experts import Experts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Identity(NamedTuple):
    """Hashes of the files that determine a model's output for a text."""

    weights: str
    """SHA-256 of the weights files, or the revision on the hub."""
    configuration: str
    """SHA-256 of the configuration, independent of its formatting."""
    tokenizer: str | None
    """SHA-256 of the tokenizer's files, or None if there are none."""


ROLES = ("q", "k", "v", "o", "gate", "up", "down")
"""Names of the linear layers of a block, the same for every family. A block with experts has no
`gate`, `up` and `down`."""
PARTS = {"attention": ("q", "k", "v", "o"), "feed-forward": ("gate", "up", "down")}
"""Names of the linear layers of each part of a block."""


@dataclass(frozen=True)
class Family:
    """The dotted paths of a family's modules, from the base model and from a block."""

    name: str
    tiny: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Changes to the common tiny configuration; None removes an entry."""
    blocks: str = "layers"
    attention: str = "self_attn"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    o: str = "self_attn.o_proj"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    experts: str | None = None
    """The module with the weights of all routed experts, in blocks that have some."""
    router: str = "mlp.gate"
    """The module that chooses the experts of each token."""
    channels: str = "intermediate_size"
    """Name of the number of feed-forward channels, or channels of an expert, in the
    configuration."""
    final_norm: str = "norm"
    """Path of the norm before the head, from the decoder."""
    added_to_gain: float = 0.0
    """Number that norms add to their weight to obtain the gain."""
    rotary: bool = True
    """Whether it uses rotary embeddings, which pair dimension `c` with `c + head_size / 2`."""


QUERY_KEY_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
AROUND_FEED_FORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")

MIXTURE: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2}

# The key is `config.model_type`. The tiny configurations together cover grouped-query, multi-head
# (mistral) and multi-query (qwen3) attention, tied embeddings, biases (qwen2: q, k, v; opt: all),
# sliding windows, heads wider than hidden / heads, no gate, and of mixtures: gates that sum to one
# (mixtral, qwen3moe) or not, a block without experts (qwen3moe) and a shared expert (qwen2moe).
FAMILIES = {
    "llama": Family("llama", {"tie_word_embeddings": True}),
    "mistral": Family("mistral", {"sliding_window": 8, "num_key_value_heads": 4}),
    "qwen2": Family("qwen2"),
    "qwen3": Family(
        "qwen3",
        {"head_dim": 16, "num_key_value_heads": 1},
        norms=Family.norms + QUERY_KEY_NORMS,
    ),
    "gemma3_text": Family(
        "gemma3",
        {
            "head_dim": 16,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 16,
        },
        norms=Family.norms + AROUND_FEED_FORWARD + QUERY_KEY_NORMS,
        added_to_gain=1.0,
    ),
    "opt": Family(
        "opt",
        {"num_key_value_heads": None},
        blocks="decoder.layers",
        o="self_attn.out_proj",
        gate=None,
        up="fc1",
        down="fc2",
        norms=("self_attn_layer_norm", "final_layer_norm"),
        channels="ffn_dim",
        final_norm="final_layer_norm",
        rotary=False,
    ),
    "mixtral": Family("mixtral", MIXTURE, experts="mlp.experts"),
    "olmoe": Family("olmoe", MIXTURE, norms=Family.norms + QUERY_KEY_NORMS, experts="mlp.experts"),
    "qwen3_moe": Family(
        "qwen3moe",
        MIXTURE
        | {
            "head_dim": 16,
            "num_key_value_heads": 1,
            "norm_topk_prob": True,
            "mlp_only_layers": [0],
        },
        norms=Family.norms + QUERY_KEY_NORMS,
        experts="mlp.experts",
        channels="moe_intermediate_size",
    ),
    "qwen2_moe": Family(
        "qwen2moe",
        MIXTURE | {"shared_expert_intermediate_size": 24},
        experts="mlp.experts",
        channels="moe_intermediate_size",
    ),
}


def family_of(model: PreTrainedModel) -> Family:
    """Return the family of a model; raises `BadInput` if it is not supported."""
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BadInput(
            f"model family {model_type!r} is not supported; use one of {known}, or add an entry "
            "to implementations/harness/model/view.py"
        )
    return FAMILIES[model_type]


@dataclass(frozen=True)
class Attention:
    """The attention of one block; all sizes are read from the current weights."""

    block: nn.Module
    family: Family

    @property
    def module(self) -> nn.Module:
        """The attention module."""
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
        """Number of query heads, including those removed inside an `IndexedLinear`."""
        return self.q.out_features // self.head_size

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads, which is the number of KV groups."""
        return self.k.out_features // self.head_size

    @property
    def group(self) -> int:
        """Query heads per key/value head (1: multi-head attention); 0 if there are none."""
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
    def inner(self) -> list[nn.Linear]:
        """The layers that compute the channels: gate (if any) and up."""
        return [linear for linear in (self.gate, self.up) if linear is not None]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.up.out_features


@dataclass(frozen=True)
class Block:
    """One decoder layer: its index, its module and the view of its parts."""

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
    def experts(self) -> Experts | None:
        """The block's routed experts; None if it has a single feed-forward part."""
        path = self.family.experts
        if path is None:
            return None
        parent, _, name = path.rpartition(".")
        module = getattr(self.module.get_submodule(parent), name, None)
        if module is None:
            return None
        return Experts(self.module.get_submodule(self.family.router), module)

    @property
    def norms(self) -> dict[str, nn.Module]:
        """The block's normalisation layers by path."""
        return {path: self.module.get_submodule(path) for path in self.family.norms}

    @property
    def stream_norms(self) -> list[nn.Module]:
        """The norms over the residual stream or over what is added to it."""
        return [norm for path, norm in self.norms.items() if path not in QUERY_KEY_NORMS]

    @property
    def readers(self) -> list[nn.Linear]:
        """The layers whose columns are dimensions of the residual stream: q, k, v, gate and up."""
        return [self.attention.q, self.attention.k, self.attention.v, *self.feed_forward.inner]

    @property
    def writers(self) -> list[nn.Linear]:
        """The layers whose rows are dimensions of the residual stream: o and down."""
        return [self.attention.o, self.feed_forward.down]

    def linears(self) -> dict[str, nn.Linear]:
        """Return the linear layers by role, in order: q, k, v, o, gate (if any), up, down.

        A block with experts has only the first four, because its experts are no linear layers.
        """
        roles = PARTS["attention"] if self.experts else ROLES
        paths = {role: getattr(self.family, role) for role in roles}
        return {
            role: cast(nn.Linear, self.module.get_submodule(path))
            for role, path in paths.items()
            if path is not None
        }


class LanguageModel:
    """A causal language model in evaluation mode, viewed as a list of decoder layers.

    `accelerator` is the device that computes. If the model does not fit on it, `device` is another
    one, and one block at a time is moved. Raises `BadInput` for an unsupported family.
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        name: str = "model",
        identity: Identity | None = None,
        accelerator: torch.device | str | None = None,
    ) -> None:
        self.hf = hf.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.identity = identity
        self.family = family_of(hf)
        self.active_method = ""
        """Name of the active method, if one acts while the model runs, or empty."""
        self.active_prompt = 0
        """Number of tokens at the start of every text that it treats as the prompt."""
        self.calibrated: Any = None
        """Calibration results of the last method that acts while the model runs."""
        # The device of a tensor has an index, which a bare name such as "cuda" does not.
        self.accelerator = torch.empty(0, device=accelerator or self.device).device

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.embedding.dtype

    @property
    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration."""
        return cast("PreTrainedConfig", self.hf.config)

    @property
    def vocabulary_size(self) -> int:
        """Number of rows of the embedding; token ids must be smaller."""
        return len(self.embedding)

    @property
    def embedding(self) -> Tensor:
        """The weight of the token embedding, `[vocabulary, hidden]`."""
        return cast(nn.Embedding, self.hf.get_input_embeddings()).weight

    @property
    def decoder(self) -> nn.Module:
        """The module that computes the head's input from token ids."""
        return cast(
            nn.Module, self.hf.base_model.get_submodule(self.family.blocks.rpartition(".")[0])
        )

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the head."""
        return self.decoder.get_submodule(self.family.final_norm)

    @property
    def layers(self) -> nn.ModuleList:
        """The module list of the decoder layers."""
        return cast(nn.ModuleList, self.hf.base_model.get_submodule(self.family.blocks))

    @property
    def blocks(self) -> list[Block]:
        """The current decoder layers in order."""
        return [Block(i, module, self.family) for i, module in enumerate(self.layers)]

    @property
    def whole(self) -> bool:
        """Whether all weights are on the device that computes; otherwise blocks are moved there."""
        return self.accelerator == self.device

    @contextmanager
    def opened(self, block: Block, *, walked: bool = False) -> Iterator[Block]:
        """Make the weights of a block available inside the `with` block, for reading and editing.

        Weights must not be used elsewhere. Here they are in memory, so there is nothing to do.
        `walked` states that a walk with edits opens the block.
        """
        yield block

    def visit(self) -> Iterator[Block]:
        """Open and yield the decoder layers in order, one at a time."""
        for block in self.blocks:
            with self.opened(block):
                yield block

    def linears(self) -> Iterator[tuple[Block, str, nn.Linear]]:
        """Visit the blocks and yield block, role and layer of every prunable linear layer."""
        for block in self.visit():
            for role, linear in block.linears().items():
                yield block, role, linear

    def outside(self) -> dict[str, Tensor]:
        """Return the parameters and buffers outside the decoder layers, by name.

        Tied tensors are listed under each of their names.
        """
        inside = {id(tensor) for tensor in chain(self.layers.parameters(), self.layers.buffers())}
        named = chain(
            self.hf.named_parameters(remove_duplicate=False),
            self.hf.named_buffers(remove_duplicate=False),
        )
        return {name: tensor for name, tensor in named if id(tensor) not in inside}


def require_whole_model(model: LanguageModel, user: str) -> None:
    """Raise `BadInput` unless all weights are on the device that computes, as `user` needs."""
    if not model.whole:
        raise BadInput(
            f"{user} needs the whole model on the device that computes, but {model.name} is moved "
            "there block by block; leave out --accelerator and --stream"
        )


def require_precise_weights(model: LanguageModel, user: str, otherwise: str = "") -> None:
    """Raise `BadInput` for a 16-bit model, because `user` trains its weights.

    `otherwise` adds another way out to the message.
    """
    if torch.finfo(model.dtype).bits < 32:
        raise BadInput(
            f"{user} trains the weights themselves, and {model.dtype} would round most steps away; "
            f"use --dtype float32{otherwise}"
        )


def require_whole_layers(model: LanguageModel, user: str) -> None:
    """Raise `BadInput` if a layer holds only some of its rows or columns (`IndexedLinear`)."""
    for block in model.blocks:
        for role, linear in block.linears().items():
            if linear.weight.shape != (linear.out_features, linear.in_features):
                raise BadInput(
                    f"{user} needs whole layers, but block {block.index}, {role} holds only some "
                    "of its rows or columns; prune the dense model instead"
                )


@contextmanager
def preserved(model: LanguageModel) -> Iterator[None]:
    """Restore modes, `use_cache`, `requires_grad` and gradients after the `with` block.

    Modules created inside the `with` block get the mode of their parent. Their parameters, and
    those whose shape or dtype has changed, have no gradient afterwards.
    """
    hf = model.hf
    modes = {module: module.training for module in hf.modules()}
    parameters = [  # by module and name, because parameters may be replaced
        (module, name, parameter.requires_grad, parameter.grad)
        for module in modes
        for name, parameter in module.named_parameters(recurse=False)
    ]
    use_cache = getattr(hf.config, "use_cache", None)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parent in hf.modules():  # from the top down
            for child in parent.children():
                if child not in modes:
                    child.training = parent.training
        hf.zero_grad()
        for module, name, needed, grad in parameters:
            parameter = module._parameters.get(name)
            if parameter is not None:
                parameter.requires_grad_(needed)
                kind = parameter.shape, parameter.dtype
                fits = grad is not None and (grad.shape, grad.dtype) == kind
                parameter.grad = grad if fits else None
        if use_cache is not None:
            hf.config.use_cache = use_cache

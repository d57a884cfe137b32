"""The supported model families: paths of their modules, and tiny configurations for tests.

To support another family, add an entry to `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from implementations.harness.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
"""Names of the linear layers of a block, the same for every family."""


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
    channels: str = "intermediate_size"
    """Name of the number of feed-forward channels in the configuration."""
    rotary: bool = True
    """Whether it uses rotary embeddings, which pair dimension `c` with `c + head_size / 2`."""


QUERY_KEY_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
AROUND_FEED_FORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")

# The key is `config.model_type`. The tiny configurations together cover grouped-query, multi-head
# (mistral) and multi-query (qwen3) attention, tied embeddings, biases (qwen2: q, k, v; opt: all),
# sliding windows, heads wider than hidden / heads, and no gate.
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
        rotary=False,
    ),
}


def family_of(model: PreTrainedModel) -> Family:
    """Return the family of a model; raises `BadInput` if it is not supported."""
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BadInput(
            f"model family {model_type!r} is not supported; use one of {known}, or add an entry "
            "to implementations/harness/model/families.py"
        )
    return FAMILIES[model_type]

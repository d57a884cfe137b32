"""The model families: where each keeps its parts, and a tiny configuration of it for tests.

A new family is one entry of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from implementations.harness.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
"""The linear layers of a block, by the names they have in every family."""


@dataclass(frozen=True)
class Family:
    """Where a family keeps its parts: dotted paths from the base model and from a block."""

    name: str
    tiny: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What sets its tiny configuration apart from the common one; None leaves an entry out."""
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
    """What the configuration calls the number of feed-forward channels."""
    rotary: bool = True
    """Whether positions rotate queries and keys, dimension `c` with `c + head_size / 2`."""


QUERY_KEY_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
AROUND_FEED_FORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")

# The key is `config.model_type`. Together the tiny ones have every layout of attention: grouped,
# one key/value head a query head (mistral) and one for all of them (qwen3); tied embeddings, biases
# (qwen2: q, k, v; opt: all), sliding windows, heads wider than hidden / heads, and no gate.
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
    """Return the adapter of a model; raises `BadInput` naming the supported families."""
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BadInput(
            f"model family {model_type!r} is not supported; supported are {known}. "
            "A new one needs an entry in implementations/harness/model/families.py."
        )
    return FAMILIES[model_type]

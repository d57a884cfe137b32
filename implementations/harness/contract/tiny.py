"""Tiny random models and token samples for tests: every family, in milliseconds, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from implementations.harness.data.text import Tokens
from implementations.harness.model.view import LanguageModel

VOCABULARY = 96

# Widths divide by 8 so that 2:4 and 4:8 fit; two query heads a KV head where a family allows it.
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

CONFIGS: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, {"tie_word_embeddings": True}),
    "mistral": (MistralConfig, {"sliding_window": 8, "num_key_value_heads": 4}),  # MHA
    "qwen2": (Qwen2Config, {}),  # biased q, k and v
    "qwen3": (Qwen3Config, {"head_dim": 16, "num_key_value_heads": 1}),  # MQA, wide heads
    "gemma3": (
        Gemma3TextConfig,
        {
            "head_dim": 16,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 16,
        },
    ),
    "opt": (OPTConfig, {}),
}


def tiny_config(family: str, **overrides: Any) -> PreTrainedConfig:
    """Return the configuration of a two-block random model of `family`, changed by `overrides`."""
    config_class, special = CONFIGS[family]
    shape = SHAPE | special | overrides
    if family == "gemma3" and shape["num_hidden_layers"] != len(shape["layer_types"]):
        kinds = ["sliding_attention", "full_attention"]
        shape["layer_types"] = [kinds[i % 2] for i in range(shape["num_hidden_layers"])]
    if family == "opt":
        shape["ffn_dim"] = shape.pop("intermediate_size")
        shape.setdefault("word_embed_proj_dim", shape["hidden_size"])
        del shape["num_key_value_heads"]
    return config_class(**shape)


def tiny_model(
    family: str = "llama",
    *,
    blocks: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **overrides: Any,
) -> LanguageModel:
    """Return a random model of `family` with weights large enough that blocks matter."""
    config = tiny_config(family, num_hidden_layers=blocks, **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hf: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in hf.parameters():  # the default initialisation is almost zero
                if parameter.ndim == 2:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(noise / parameter.shape[1] ** 0.5)
                else:  # norms and biases
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for parameter in hf.parameters():  # not the rotary buffers, which stay fp32 in any model
            parameter.data = parameter.data.to(dtype)
    return LanguageModel(hf, name=f"tiny-{family}")


def random_tokens(
    samples: int = 6,
    length: int = 24,
    *,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    batch_size: int = 2,
) -> Tokens:
    """Return `samples` random sequences of `length` token ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (samples, length), generator=generator)
    return Tokens.from_ids(ids, f"random-{seed}", batch_size)

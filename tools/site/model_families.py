"""Families of models, from the names of the models in the entries."""

from __future__ import annotations

import re

LLAMA = re.compile(r"LLaMA(?:-(\d+)(?:\.\d+)?)?")
"""The generations of Llama are families of their own, because most papers use one of them."""
RELATIVES = {
    "ChatGLM": "GLM",
    "OLMoE": "OLMo",
    "Mixtral": "Mistral",
    "DeepSeek-R1-Distill-Llama": "Llama derivatives",
    "DeepSeek-R1-Distill-Qwen": "Qwen",
    "s1.1": "Qwen",
    **dict.fromkeys(
        ("TinyLlama", "Sheared-LLaMA", "ReluLLaMA", "OpenLLaMA", "Vicuna", "Alpaca", "Tulu-2"),
        "Llama derivatives",
    ),
    **dict.fromkeys(("RoBERTa", "DistilBERT", "DeBERTa-v3"), "BERT"),
    **dict.fromkeys(("Flan-T5", "Switch"), "T5"),
    **dict.fromkeys(("DeiT", "V-MoE", "E3-MoE"), "ViT"),
}
"""Models whose family has another name."""


def family(model: str) -> str:
    """Return the family of a model: `Llama 3` for LLaMA-3.1, `Qwen` for Qwen1.5-MoE."""
    if model in RELATIVES:
        return RELATIVES[model]
    if llama := LLAMA.fullmatch(model):
        return f"Llama {llama[1] or 1}"
    start = re.match("T5|[A-Za-z]+", model)
    return start[0] if start else model

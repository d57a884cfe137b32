"""The names of the model families, and why some methods refuse some of them; needs no torch."""

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma3", "opt")
"""Families without experts."""
MIXTURES = ("mixtral", "olmoe", "qwen3moe", "qwen2moe")
"""Families of mixtures of experts."""

ONE_BASIS = {
    "gemma3": "it normalises the outputs of attention and MLP with a gain for each dimension",
    "opt": "its LayerNorms subtract the mean, which depends on the basis",
}
"""The families whose residual stream cannot change its basis, each with the reason."""
FIXED_WIDTH = {
    "opt": "its head size is the hidden size divided by the number of heads, so the hidden size "
    "cannot change alone",
}
"""The families whose hidden size cannot change, each with the reason."""

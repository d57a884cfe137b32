"""SlimLLM: see `README.md` and `slimllm.py` beside this file."""

from implementations.slimllm.slimllm import SlimLLM

__all__ = ["SlimLLM"]

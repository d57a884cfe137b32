"""MaskLLM: see `README.md` and `maskllm.py` beside this file."""

from implementations.maskllm.maskllm import MaskLLM

__all__ = ["MaskLLM"]

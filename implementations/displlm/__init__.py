"""DISP-LLM: see `README.md` and `displlm.py` beside this file."""

from implementations.displlm.displlm import DispLLM

__all__ = ["DispLLM"]

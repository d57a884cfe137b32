"""ShortGPT: see `README.md` and `shortgpt.py` beside this file."""

from implementations.shortgpt.shortgpt import ShortGPT

__all__ = ["ShortGPT"]

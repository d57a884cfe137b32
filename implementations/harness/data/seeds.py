"""Temporarily seeded random number generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, *, python: int | None = None) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and restore them afterwards.

    `python` is a separate seed for Python's generator, as lm-eval uses.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed if python is None else python)
            np.random.seed(seed % 2**32)  # NumPy accepts no larger seed
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)

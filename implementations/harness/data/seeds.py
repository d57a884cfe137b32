"""Random numbers that a seed decides, and that leave no trace in the program around them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, *, python: int | None = None) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and put each back afterwards.

    `python` is another seed for Python's own, which lm-eval has.
    """
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed if python is None else python)
            np.random.seed(seed % 2**32)  # NumPy's takes no larger one
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)

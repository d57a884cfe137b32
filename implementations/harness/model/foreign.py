"""Errors that libraries raise over the files of a user, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from implementations.harness.errors import BadInput, in_short


@contextmanager
def refused(problem: str, advice: str) -> Iterator[None]:
    """Raise `BadInput` with the `problem`, its reason and the `advice` for any error inside."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # transformers and tokenizers raise many types: KeyError, bare ones
        raise BadInput(f"{problem}: {type(error).__name__}: {in_short(error)}; {advice}") from error

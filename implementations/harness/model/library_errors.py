"""Turn errors that libraries raise for a user's files into `BadInput`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from implementations.harness.errors import BadInput, in_short


@contextmanager
def errors_as_bad_input(problem: str, advice: str) -> Iterator[None]:
    """Raise `BadInput` with `problem`, the reason and `advice` for any error inside."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # transformers and tokenizers raise many unrelated types
        raise BadInput(f"{problem}: {type(error).__name__}: {in_short(error)}; {advice}") from error

"""Where what a library says of the files of others becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from implementations.harness.errors import BadInput, in_short

PANICS = "pyo3_runtime"
"""Whence Python has the class of a panic in Rust, which is no `Exception` and in no library."""


@contextmanager
def refused(what: str, way_out: str) -> Iterator[None]:
    """Turn whatever a library raises inside the `with` block over foreign content into `BadInput`.

    The message says `what` is wrong, why, and the `way_out`.
    """
    try:
        yield
    except BadInput:
        raise
    # transformers checks some values and computes with the others: KeyError, AssertionError,
    # ZeroDivisionError, AttributeError ... are all ways to say no; tokenizers raises bare ones.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != PANICS:
            raise
        said = in_short(error)
        if " " not in said:  # KeyError and the like only name what they stumbled over
            said = f"{type(error).__name__} {said}".strip()
        raise BadInput(f"{what}: {said}; {way_out}") from error

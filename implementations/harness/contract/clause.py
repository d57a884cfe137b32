"""A clause of the contract: one promise about methods, checked on a tiny model.

    @clause("methods that remove whole units", when=lambda method: method.capabilities.structured)
    def slicing_equals_masking(method, family): ...

The decorated function raises `AssertionError` if the promise is broken. The first argument
describes which methods the clause covers; `when` and `kinds` select them. With `every`, it is
checked on every family, else on the first. Methods that prune for a prompt do not change the model,
so they have separate clauses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from implementations.harness.prune.method import Method

Check = Callable[[type[Method], str], None]
When = Callable[[type[Method]], bool]
Families = Literal["supported", "refused", "unknown"]
Kinds = Literal["static", "input-dependent", "all"]

CLAUSES: list[Clause] = []


@dataclass(frozen=True)
class Clause:
    """One promise and the methods that it covers."""

    check: Check
    covers: str
    when: When
    families: Families
    """Whether it is checked on families that the method supports, refuses, or that are unknown."""
    kinds: Kinds
    """Whether it covers methods that prune the model, for a prompt, or both."""
    every: bool
    """Whether its result may depend on the family; otherwise one family is enough."""

    def of(self, method: type[Method]) -> bool:
        """Return whether the clause covers the method."""
        return self.kinds in ("all", method.capabilities.when) and self.when(method)

    @property
    def name(self) -> str:
        """The name of its function."""
        return self.check.__name__


def clause(
    covers: str = "methods that prune the model",
    *,
    when: When = lambda method: True,
    families: Families = "supported",
    kinds: Kinds = "static",
    every: bool = False,
) -> Callable[[Check], Check]:
    """Register a function as a clause of the contract."""

    def register(check: Check) -> Check:
        CLAUSES.append(Clause(check, covers, when, families, kinds, every))
        return check

    return register

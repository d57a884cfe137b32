"""What a clause of the contract is: one promise, checked on one tiny model, for whom it holds.

    @clause("methods that remove whole units", when=lambda method: method.capabilities.structured)
    def slicing_equals_masking(method, family): ...

The decorated function raises `AssertionError` where the promise is broken. The first argument says
in words whom the clause covers, `when` and `kinds` decide it: a method that follows prompts leaves
the model alone, and so has clauses of its own.
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
    """One promise and whom it covers."""

    check: Check
    covers: str
    when: When
    families: Families
    """Whether it is checked on families the method serves, refuses, or that nobody knows."""
    kinds: Kinds
    """Whether it is for methods that prune a model, that follow each prompt, or for both."""

    def of(self, method: type[Method]) -> bool:
        """Say whether the clause covers the method."""
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
) -> Callable[[Check], Check]:
    """Make a function a clause of the contract."""

    def register(check: Check) -> Check:
        CLAUSES.append(Clause(check, covers, when, families, kinds))
        return check

    return register

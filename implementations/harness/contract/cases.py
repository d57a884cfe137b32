"""The contract every method must keep: which clauses cover it, and what it was seen to support.

`cases(method)` is turned into tests of the method's folder by `implementations/conftest.py`;
`support(slug)` is what `atlas support` writes down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from implementations.harness.contract import clauses
from implementations.harness.contract.tiny import CONFIGS, tiny_model
from implementations.harness.errors import AtlasError
from implementations.harness.prune.method import Method, get

HEADS = {"MHA": 4, "GQA": 2, "MQA": 1}  # KV heads under the four query heads of the tiny models


@dataclass(frozen=True)
class Case:
    """One clause for one method and one family."""

    clause: clauses.Check
    method: type[Method]
    family: str

    @property
    def name(self) -> str:
        """The clause in words and the family, as a test shows it."""
        return f"{self.clause.__name__}[{self.family}]"

    def check(self) -> None:
        """Run the clause; raises `AssertionError` where it does not hold."""
        self.clause(self.method, self.family)


def cases(method: type[Method]) -> Iterator[Case]:
    """Yield every case that the method's declared capabilities cover."""
    for clause in clauses.CLAUSES:
        if clause.when(method):
            for family in clause.families(method):
                yield Case(clause.check, method, family)


def support(slug: str) -> dict[str, Any]:
    """Run the method on every family, KV layout and pattern and return what was seen, JSON-able.

    Each value is "supported" or the reason of the refusal. Raises `BadInput` for a method that is
    not written yet.
    """
    method = get(slug)
    method.configure()
    families = {family: seen(method, family) for family in CONFIGS}
    layouts = {
        name: seen(method, "llama", num_key_value_heads=heads) for name, heads in HEADS.items()
    }
    patterns = {
        text: seen(method, "llama", settings={"pattern": text})
        for text in clauses.PATTERNS
        if clauses.takes_patterns(method)
    }
    return {
        "method": slug,
        "granularity": list(method.capabilities.granularity),
        "calibration": method.capabilities.calibration,
        "families": families,
        "attention": layouts,
        "patterns": patterns,
    }


def seen(
    method: type[Method], family: str, settings: dict[str, Any] | None = None, **shape: Any
) -> str:
    """Prune one tiny model and say "supported", or why not."""
    model = tiny_model(family, **shape)
    try:
        method.configure(**(settings or {})).apply(model, clauses.calibration_for(method))
    except AtlasError as error:
        return str(error)
    return (
        "supported" if bool(clauses.logits(model).isfinite().all()) else "puts out NaN or infinity"
    )

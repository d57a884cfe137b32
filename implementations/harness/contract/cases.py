"""The contract as cases: which clauses cover a method, and what it was seen to support.

`cases(method)` is turned into tests of the method's folder by `implementations/conftest.py`;
`support(slug)` is what `atlas support` writes down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from implementations.harness.contract import budgets, effects, prompts, refusals, traces
from implementations.harness.contract.clause import CLAUSES, Clause
from implementations.harness.contract.probes import PATTERNS, afterwards, takes_patterns
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.errors import AtlasError
from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get

GROUPS = (budgets, effects, traces, prompts, refusals)
"""The modules whose clauses make up the contract."""
HEADS = {"MHA": 4, "GQA": 2, "MQA": 1}  # KV heads under the four query heads of the tiny models
UNKNOWN = "gpt2"


@dataclass(frozen=True)
class Case:
    """One clause for one method and one family."""

    clause: Clause
    method: type[Method]
    family: str

    @property
    def name(self) -> str:
        """The clause in words and the family, as a test shows it."""
        return f"{self.clause.name}[{self.family}]"

    def check(self) -> None:
        """Run the clause; raises `AssertionError` where it does not hold."""
        self.clause.check(self.method, self.family)


def cases(method: type[Method]) -> Iterator[Case]:
    """Yield every case that the method's declared capabilities cover."""
    refused = set(method.capabilities.refuses)
    families = {
        "supported": [family for family in MODEL_TYPES if family not in refused],
        "refused": [family for family in MODEL_TYPES if family in refused],
        "unknown": [UNKNOWN],
    }
    for clause in CLAUSES:
        if clause.of(method):
            for family in families[clause.families]:
                yield Case(clause, method, family)


def support(slug: str) -> dict[str, Any]:
    """Run the method on every family, KV layout and pattern and return what was seen, JSON-able.

    Each value is "supported" or the reason of the refusal. Raises `BadInput` for a method that is
    not written yet.
    """
    method = get(slug)
    method.configure()
    families = {family: seen(method, family) for family in MODEL_TYPES}
    layouts = {
        name: seen(method, "llama", num_key_value_heads=heads) for name, heads in HEADS.items()
    }
    patterns = {
        text: seen(method, "llama", settings={"pattern": text})
        for text in PATTERNS
        if takes_patterns(method)
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
        written = afterwards(method, model, **(settings or {}))
    except AtlasError as error:
        return str(error)
    return "supported" if bool(written.isfinite().all()) else "puts out NaN or infinity"

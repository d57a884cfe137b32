"""The cases of the contract: the clauses that cover a method, and what a method supports.

`implementations/conftest.py` turns `cases(method)` into tests of the method's folder;
`atlas support` saves `support(slug)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from implementations.harness.contract import budgets, prompts, pruned_model, refusals, side_effects
from implementations.harness.contract.clause import CLAUSES, Clause
from implementations.harness.contract.helpers import (
    PATTERNS,
    families_of,
    first_family,
    pruned_logits,
    takes_patterns,
)
from implementations.harness.contract.tiny import MIXTURE_TYPES, MODEL_TYPES, tiny_model
from implementations.harness.errors import AtlasError
from implementations.harness.model.view import FAMILIES
from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get_method

GROUPS = (budgets, pruned_model, side_effects, prompts, refusals)
"""The modules whose clauses make up the contract."""
HEADS = {"MHA": 4, "GQA": 2, "MQA": 1}  # KV heads of tiny models with four query heads
UNKNOWN = "gpt2"


@dataclass(frozen=True)
class Case:
    """One clause for one method and one family."""

    clause: Clause
    method: type[Method]
    family: str

    @property
    def name(self) -> str:
        """The name of the test: clause and family."""
        return f"{self.clause.name}[{self.family}]"

    def check(self) -> None:
        """Check the clause; raises `AssertionError` if it does not hold."""
        self.clause.check(self.method, self.family)


def cases(method: type[Method]) -> Iterator[Case]:
    """Yield the cases that cover the method according to its capabilities."""
    families: dict[str, list[str]] = {"supported": [], "refused": [], "unknown": [UNKNOWN]}
    for family, model_type in (MODEL_TYPES | MIXTURE_TYPES).items():
        refused = method.capabilities.refusal(FAMILIES[model_type])
        families["refused" if refused else "supported"].append(family)
    for clause in CLAUSES:
        if clause.of(method):
            found = families[clause.families]
            for family in found if clause.every else found[:1]:
                yield Case(clause, method, family)


def support(slug: str) -> dict[str, Any]:
    """Run the method on every family, KV layout and pattern and return the results, as for JSON.

    The families are mixtures of experts for a method that removes experts, and else the others.
    Each value is "supported" or the error message. Raises `BadInput` for a method that is not
    written yet.
    """
    method = get_method(slug)
    method.configure()
    families = {family: outcome_of(method, family) for family in families_of(method)}
    first = first_family(method)
    layouts = {
        name: outcome_of(method, first, num_key_value_heads=heads) for name, heads in HEADS.items()
    }
    patterns = {
        text: outcome_of(method, first, settings={"pattern": text})
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


def outcome_of(
    method: type[Method], family: str, settings: dict[str, Any] | None = None, **shape: Any
) -> str:
    """Prune one tiny model and return "supported" or the reason why not."""
    model = tiny_model(family, **shape)
    try:
        logits = pruned_logits(method, model, **(settings or {}))
    except AtlasError as error:
        return str(error)
    return "supported" if bool(logits.isfinite().all()) else "returns NaN or infinity"

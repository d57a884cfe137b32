"""The cases of the contract: the clauses that cover a method.

`implementations/conftest.py` turns `cases(method)` into tests of the method's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from implementations.harness.contract import budgets, prompts, pruned_model, refusals, side_effects
from implementations.harness.contract.clause import CLAUSES, Clause
from implementations.harness.contract.tiny import MIXTURE_TYPES, MODEL_TYPES
from implementations.harness.model.view import FAMILIES
from implementations.harness.prune.method import Method

GROUPS = (budgets, pruned_model, side_effects, prompts, refusals)
"""The modules whose clauses make up the contract."""
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

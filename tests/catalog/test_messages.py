"""Messages for common mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import changed
from tools.catalog.entries.loader import read_catalog


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("from: [arXiv, paper text]", "from: []", "sources.from: is empty; add it, for example"),
        ("models: [LLaMA, OPT]", "models: []", "models: is empty; remove the field instead"),
        ("sparsity: 0.2", 'sparsity: "50"', "must be a share between 0 and 1, got '50'; write 0.5"),
        (
            "sparsity: 0.2",
            "sparsity: 50 %",
            "must be a share between 0 and 1, got '50 %'; write 0.5",
        ),
        (
            "sparsity: 0.2",
            "sparsity: 0.7 %",
            "must be a share between 0 and 1, got '0.7 %'; write 0.007",
        ),
        ("sparsity: 0.2", "sparsity: half", "claims[0].sparsity: is not a number"),
    ],
)
def test_common_mistakes_get_advice(papers: Path, old: str, new: str, message: str) -> None:
    changed(papers / "river.yaml", (old, new))
    (problem,) = read_catalog(papers).problems
    assert message in str(problem)

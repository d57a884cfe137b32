"""What an author is told of slips that are common and whose first message would mislead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import changed
from tools.catalog.entries.loader import read_catalog


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("from: [arXiv, paper text]", "from: []", "sources.from: is empty; add it, for example"),
        ("models: [LLaMA, OPT]", "models: []", "models: is empty; leave the field out instead"),
        ("sparsity: 0.2", 'sparsity: "50"', "'50' is in per cent; a share is wanted; write 0.5"),
        ("sparsity: 0.2", "sparsity: 50 %", "'50 %' is in per cent; a share is wanted; write 0.5"),
        ("sparsity: 0.2", "sparsity: 0.7 %", "is in per cent; a share is wanted; write 0.007"),
        ("sparsity: 0.2", "sparsity: half", "claims[0].sparsity: is not a number"),
        ("year: 2024\n", "<<<<<<< ours\nyear: 2024\n", "16: holds a mark of an unfinished merge"),
        ("year: 2024\n", "=======\nyear: 2024\n", "unfinished merge, '======='; finish the merge"),
    ],
)
def test_a_common_slip_is_told_with_its_way_out(
    papers: Path, old: str, new: str, message: str
) -> None:
    changed(papers / "river.yaml", (old, new))
    (problem,) = read_catalog(papers).problems
    assert message in str(problem)

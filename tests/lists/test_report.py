"""Reports of a comparison."""

from __future__ import annotations

from tools.lists.comparison import Comparison
from tools.lists.report import as_json, as_text


def test_text_and_json_agree(seed: list[Comparison]) -> None:
    data = as_json(seed)
    assert data["counts"] == {"contradicts": 17, "known": 11, "new": 0}
    assert len(data["lines"]) == 28
    text = list(as_text(seed))
    assert text[0] == "17 in the catalog, but the line differs:"
    assert "0 not in the catalog." in text
    assert any(
        "'NIPS': the venue is written NeurIPS; the catalog has 'NeurIPS 2024'" in row
        for row in text
    )

"""A comparison is told as text and as data."""

from __future__ import annotations

from tools.lists.comparison import Compared
from tools.lists.report import as_json, as_text


def test_the_report_says_what_the_data_say(seed: list[Compared]) -> None:
    data = as_json(seed)
    assert data["counts"] == {"contradicts": 17, "known": 11, "new": 0}
    assert len(data["lines"]) == 28
    text = list(as_text(seed))
    assert text[0] == "17 in the catalog, and the line has something otherwise:"
    assert "0 not in the catalog." in text
    assert any("'NIPS': is written NeurIPS; the catalog has 'NeurIPS 2024'" in row for row in text)

"""References."""

from __future__ import annotations

from tools.sources.lookup.identification import identify


def test_reference_as_text() -> None:
    assert str(identify("2301.00774")) == "arXiv 2301.00774"
    assert str(identify("P19-1001")) == "ACL Anthology P19-1001"
    assert str(identify("A title of words")) == "the title A title of words"

"""References for queries."""

from __future__ import annotations

from tools.sources.lookup.queries import references
from tools.sources.names.references import Reference

CVF = "https://openaccess.thecvf.com/content/CVPR2023/html/Fang_X_paper.html"


def test_arxiv_comes_first_and_pages_last() -> None:
    ids = {"ieee": "12345678", "pmlr": "v202/frantar23a", "openreview": "PxoFut3dWW"}
    pages = (None, "https://example.org/paper", CVF)
    assert list(references({**ids, "arxiv": "2301.00774"}, *pages)) == [
        Reference("arxiv", "2301.00774"),
        Reference("openreview", "PxoFut3dWW"),
        Reference("pmlr", "v202/frantar23a"),
        Reference("cvf", "content/CVPR2023/html/Fang_X_paper.html"),
    ]

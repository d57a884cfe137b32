"""The search index: keywords of papers, addresses of sections, no drawings."""

from __future__ import annotations

import gzip
import html
import json
import re
from pathlib import Path

import pytest

from tools.site.atlas import Atlas
from tools.site.keywords import keywords, names

Sections = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def sections(site: Path) -> Sections:
    """The sections of the index, by address."""
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    return {section["location"]: section for section in found}


def test_keywords_include_identifiers_and_vocabulary_words(real: Atlas) -> None:
    found = keywords(real.papers["wanda"])
    assert {"2306.11695", "PxoFut3dWW", "semi-structured", "forward", "LLaMA-2", "ICLR"} <= {*found}
    assert {"2:4", "one-shot"} <= {*found}  # synonyms
    assert "International Conference on Learning Representations" in found
    assert not {"unknown", "abstract"} & {*found}
    renamed = real.papers["wanda"].model_copy(update={"aliases": ("oldwanda",)})
    assert "oldwanda" in names(renamed)


def test_every_paper_is_in_the_index_with_authors_and_keywords(
    real: Atlas, sections: Sections
) -> None:
    for slug, paper in real.papers.items():
        text = html.unescape(sections[f"papers/{slug}.html"]["text"])
        for word in (*(paper.authors or ()), *names(paper)):
            assert word in text, f"{slug}: {word}"


def test_addresses_of_sections_exist(site: Path, sections: Sections) -> None:
    assert len(sections) > 300
    for location in sections:
        path, _, anchor = location.partition("#")
        assert not anchor or f'id="{anchor}"' in (site / path).read_text(), location
    assert sections["leaderboard.html"]["title"] == "Leaderboard"
    assert "papers/sparsegpt.html#differences-from-the-paper" in sections


def test_lists_code_and_drawings_are_not_indexed(sections: Sections) -> None:
    assert not [location for location in sections if location.startswith("catalog.html")]
    assert not [location for location in sections if location.endswith("#in-the-code")]
    assert "2:4" not in sections["index.html"]["text"]  # labels of the chart are not indexed
    text = " ".join(section["text"] for section in sections.values())
    assert "<math" not in text
    assert not re.search(r"\\\(|\\frac", text)


def test_the_index_stays_small(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_bytes()
    assert len(gzip.compress(index, 6)) < 400_000  # it is loaded by the first search

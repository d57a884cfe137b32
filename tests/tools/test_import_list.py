"""`import_list.py` on the seed list and on unusable files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.conftest import Ended, invoke
from tools.import_list import app

ROOT = Path(__file__).resolve().parents[2]


SEED = ROOT / "tests" / "data" / "seed-list.md"


def import_list(*arguments: object) -> Ended:
    return invoke(app, *arguments)


def test_lists_lines_by_status() -> None:
    done = import_list(SEED)
    assert done.code == 0, done.err
    assert "line 28: zhu2024survey: Large Language Models in Operations Research" in done.out
    assert done.out.startswith("17 in the catalog, but the line differs:")
    assert "11 in the catalog:" in done.out
    assert "0 not in the catalog." in done.out


def test_shows_why_papers_were_declined(papers: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.md"
    file.write_text("- An Invented Title [pdf](https://arxiv.org/abs/2601.00001)\n")
    paper = "{title: A Pruner of Tokens, ids: {arxiv: '2601.00001'}, reason: Prunes tokens.}"
    declined = papers.parent / "declined.yaml"
    declined.write_text(f"about: x\npapers:\n- {paper}\n", encoding="utf-8")
    done = import_list(file, "--papers", papers)
    assert "1 declined:\n  line 1: An Invented Title\n    Prunes tokens.\n" in done.out
    assert "0 not in the catalog." in done.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "list.md: No such file or directory"),
        (b"# A list\n", "has no line that names a paper"),
        (b"- caf\xe9", "is not UTF-8 (byte 5): convert it to UTF-8"),
        pytest.param(b"x" * 5_000_001, "it has 5,000,001 bytes, more than 5,000,000", id="large"),
    ],
)
def test_rejects_files_without_list(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "list.md"
    if content is not None:
        file.write_bytes(content)
    done = import_list(file)
    assert done.code == 1
    assert message in done.err

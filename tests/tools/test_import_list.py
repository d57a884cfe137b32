"""`import_list.py` on the seed list and on unusable files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools.conftest import Ended, invoke
from tools.import_list import app
from tools.lists.parser import Item

ROOT = Path(__file__).resolve().parents[2]


SEED = ROOT / "tests" / "data" / "seed-list.md"


def import_list(*arguments: object) -> Ended:
    return invoke(app, *arguments)


def test_prints_text_or_json() -> None:
    plain, data = import_list(SEED), import_list(SEED, "--json")
    assert plain.code == data.code == 0, plain.err + data.err
    assert "line 28: zhu2024survey: Large Language Models in Operations Research" in plain.out
    assert plain.out.startswith("17 in the catalog, but the line differs:")
    assert "0 not in the catalog." in plain.out
    assert json.loads(data.out)["counts"] == {"contradicts": 17, "known": 11, "new": 0}
    lines = json.loads(data.out)["lines"]
    assert lines[0]["slug"] == "zhu2024survey"
    assert Item(**{k: v for k, v in lines[0].items() if k in Item.__annotations__}).line == 28


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

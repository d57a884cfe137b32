"""Reading lists of records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from implementations.harness.errors import BadInput
from tools.importing.record_list import MAX_BYTES, InvalidItem, Item, read_list
from tools.repository import REPOSITORY


def reading(tmp_path: Path, text: str) -> list[Item | InvalidItem]:
    file = tmp_path / "list.yaml"
    file.write_text(text, encoding="utf-8")
    return read_list(file)


GOOD = """\
- slug: one
  title: A Paper about One Thing
  year: 2024
  venue: ICML 2024
  arxiv: 2401.00010
  code_official: true
  sources: [Awesome-LLM-Pruning]
"""


def test_reads_record(tmp_path: Path) -> None:
    (item,) = reading(tmp_path, f"# gathered by hand\n{GOOD}")
    assert isinstance(item, Item)
    assert item.name == "one"
    assert item.record.year == 2024
    assert item.record.code_official is True
    assert item.facts.ids == {"arxiv": "2401.00010"}  # and no number that lost its zero
    assert item.document.line(("arxiv",)) == 6


def test_example_in_contributing_is_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"(?s)```yaml\n(- slug: .*?)```", text)
    (item,) = reading(tmp_path, example)
    assert isinstance(item, Item)


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("- slug: two\n", "two", ":8: the field title is missing; add it, for example title: Spa"),
        ("- title: A Title\n", "record 2", ":8: the field slug is missing; add it, for example"),
        ("- slug: Two!\n  title: T\n", "Two!", ":8: slug: 'Two!' is not a slug; write it as"),
        (
            "- slug: two\n  title: T\n  autors: [A B]\n",
            "two",
            ":10: autors: is not a field of a record; did you mean authors?",
        ),
        (
            "- slug: two\n  title: T\n  arxiv: 2401.1\n",
            "two",
            ":10: arxiv: '2401.1' is not an arXiv identifier; write it as 2301.00774",
        ),
        ("- A Title\n", "record 2", ":8: is not a mapping of fields; write its fields indented"),
        (
            "- slug: one\n  title: Another Title\n",
            "one",
            ":8: slug: one is already used in line 1; use another slug",
        ),
    ],
)
def test_invalid_record_does_not_affect_others(
    tmp_path: Path, text: str, name: str, problem: str
) -> None:
    first, second, third = reading(tmp_path, f"{GOOD}{text}- slug: three\n  title: T\n")
    assert isinstance(first, Item)
    assert isinstance(third, Item)
    assert isinstance(second, InvalidItem)
    assert second.name == name
    assert problem in str(second.problems[0])


def test_rejects_missing_and_large_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.yaml: No such file"):
        read_list(tmp_path / "none.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(BadInput, match="more than 5,000,000"):
        read_list(tmp_path / "large.yaml")

"""Reading YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from implementations.harness.results.reading import DEEPEST
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.documents.yaml_reader import (
    Document,
    field_path,
    parse,
    parse_list,
    read,
)

FILE = Path("entry.yaml")


def only(document: Document) -> str:
    """The only problem of a document."""
    assert len(document.problems) == 1, document.problems
    return str(document.problems[0])


@pytest.mark.parametrize(
    "written",
    [
        *("2026-11-25", "2026-11-25 10:00:00", "yes", "OFF", "true", "0123", "0x1F", "1:30"),
        *("2301.10", "1e5", "1_000", ".inf", "=", "<<"),
    ],
)
def test_scalars_stay_as_written(written: str) -> None:
    for text in (f"a: {written}", f"a: '{written}'", f'a: "{written}"', f"a: >-\n  {written}\n"):
        assert parse(text, FILE).data == {"a": written}
    assert parse(f"a: [{written}, {{b: {written}}}]", FILE).data == {"a": [written, {"b": written}]}


def test_records_the_line_of_every_field() -> None:
    code = "code:\n  - url: b\n    note: >-\n      c\n      d\n"
    text = f"# one\ntitle: a\n{code}ids: {{doi: e,\n  x: f}}\n"
    document = parse(text, FILE)
    lines = {field_path(loc): line for loc, line in document.lines.items() if loc}
    assert lines == {
        "title": 2,
        "code": 3,
        "code[0]": 4,
        "code[0].url": 4,
        "code[0].note": 5,
        "ids": 8,
        "ids.doi": 8,
        "ids.x": 9,
    }
    assert document.line(("code", 0, "absent")) == 4
    assert document.line(("absent",)) == 2  # where the fields begin


@pytest.mark.parametrize("value", ["", "~", "null"])
def test_rejects_null_but_accepts_quoted_null(value: str) -> None:
    assert only(parse(f"b: 1\na: {value}\n", FILE)) == (
        "entry.yaml:2: a: has no value; add one, or remove the field"
    )
    assert parse(f"a: '{value}'", FILE).data == {"a": value}
    assert parse(f"a: '{value}'", FILE).problems == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [b]\nc: *x", "entry.yaml:2: c: uses an alias; repeat the value"),
        ("a: b\nc: *x", "entry.yaml:2: is not valid YAML: found undefined alias"),
        ("a: 1\nb: 2\na: 3", "entry.yaml:3: a: is repeated, first in line 1; keep one of them"),
        ("a: {b: 1,\n b: 2}", "entry.yaml:2: a.b: is repeated, first in line 1; keep one of them"),
        ("[a]: b", "entry.yaml:1: has a key that is not a text; use the name of the field"),
        ("a: b\n---\na: c", "but found another document; write one document, without anchors"),
        ("- a", "entry.yaml:1: is not a mapping of fields; begin with `title: ...`"),
        ("# a\n", "entry.yaml:1: is empty; begin with `title: ...`"),
        ("a: b: c", "mapping values are not allowed in this context; quote texts that contain"),
        ("a: [b", "entry.yaml:1: is not valid YAML"),
        ("a:\n\tb: c", "cannot start any token; indent with spaces instead of tabs"),
        ("a: b\nc: \x1b[31m", "entry.yaml:2: contains a control character, which YAML forbids"),
    ],
)
def test_rejects_ambiguous_yaml(text: str, message: str) -> None:
    assert message in "\n".join(map(str, parse(text, FILE).problems))


def test_tags_run_no_code() -> None:
    assert parse("a: !!python/object/apply:os.system [ls]", FILE).data == {"a": ["ls"]}


def test_alias_bombs_end_quickly() -> None:
    laughs = "a: &a [x, x, x, x, x, x, x, x]\n"
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{other}: &{other} [{', '.join([f'*{one}'] * 8)}]\n"
    assert "uses an alias" in str(parse(laughs, FILE).problems[0])
    assert parse(f"a: {'[' * 9000}{']' * 9000}", FILE).problems
    assert "is nested too deeply" in str(parse(f"a: {'[' * 900}{']' * 900}", FILE).problems[0])


def test_the_nesting_has_a_limit() -> None:
    most, more = (parse(f"a: {'[' * n}{']' * n}", FILE) for n in (DEEPEST, DEEPEST + 1))
    assert not most.problems
    assert "entry.yaml:1: a: is nested too deeply" in str(more.problems[0])


def test_reports_all_problems_of_a_file() -> None:
    problems = parse("a: &x [1]\nb: ~\na: 2\nc: *x\n? [d]\n: e\n", FILE).problems
    assert [problem.line for problem in problems] == [2, 3, 4, 5]


def test_ignores_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "entry.yaml"
    path.write_bytes(b"\xef\xbb\xbftitle: a\r\nnotes: >-\r\n  b\r\n  c\r\n")
    document = read(path)
    assert document.problems == []
    assert document.data == {"title": "a", "notes": "b c"}
    assert document.line(("notes",)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xe9\n", "entry.yaml:2: is not UTF-8 text; save it as UTF-8"),
        (b"a: " + b"x" * 1_000_000, "entry.yaml:1: cannot be read: it has 1,000,003 bytes, more"),
    ],
)
def test_rejects_binary_and_large_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "entry.yaml"
    path.write_bytes(content)
    assert only(read(path, FILE)).startswith(message)


def test_reports_missing_files(tmp_path: Path) -> None:
    assert only(read(tmp_path / "x.yaml", FILE)).startswith("entry.yaml:1: cannot be read: No such")


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("a: b\n", {}),
        ("# yaml-language-server: $schema=x\na: b\n", {}),
        ("a: b  # c \n", {1: "# c"}),
        ("# c\n\na: b\n#\n", {1: "# c", 4: "#"}),
        ("a:  # c\n  - b  # 'd'\n  # e\n", {1: "# c", 2: "# 'd'", 3: "# e"}),
        ("a: [b,  # c\n  d]  # e\n", {1: "# c", 2: "# e"}),
        ("a: >-  # b\n  c # d\n  # e\nf: g  # h\n", {1: "# b", 4: "# h"}),
        ("a: b#c\nd: '# e'\nf: \"#\"\n'#g': |\n  #h\n", {}),
        ("a: é中🐙  # 🐙\nb: é  # c\n", {1: "# 🐙", 2: "# c"}),
    ],
)
def test_records_the_line_of_every_comment(text: str, comments: dict[int, str]) -> None:
    document = parse(text, FILE)
    assert document.problems == []
    assert document.comments == comments


def test_list_items_have_their_own_lines_and_problems() -> None:
    text = "# a list\n- a: 1\n  b: [x,\n    y]\n- a:\n  a: 2\n- word\n"
    first, second, third = parse_list(text, FILE)
    assert first.data == {"a": "1", "b": ["x", "y"]}
    assert [first.line(loc) for loc in ((), ("a",), ("b", 1))] == [2, 2, 4]
    assert first.problems == third.problems == []
    assert third.data == "word"
    assert [str(problem) for problem in second.problems] == [
        "entry.yaml:5: a: has no value; add one, or remove the field",
        "entry.yaml:6: a: is repeated, first in line 5; keep one of them",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", r"entry.yaml:1: is not a list; begin each item with a dash: `- slug: ...`"),
        ("# nothing\n", r"entry.yaml:1: is empty"),
        ("- a: 1\n- b: [1\n", r"entry.yaml:2: is not valid YAML"),
    ],
)
def test_rejects_files_without_list(text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        parse_list(text, FILE)

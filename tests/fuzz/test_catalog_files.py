"""Any files in the folder of entries become entries or problems with a line and advice."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.foreign import fuzz, value_or_refusal
from tools.catalog.checks import check
from tools.catalog.checks.layout import fix
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.files import WriteError
from tools.catalog.entries.loader import PAPERS, read_catalog
from tools.catalog.entries.writer import canonical
from tools.check_catalog import as_annotations, as_text

LETTERS = st.text(
    alphabet="{}[]:,&*!|>-'\"#%@ \n\tab1.~?=<\\é\u0301\u202e\x00\x1b\ufeff", max_size=60
)
WORDS = st.sampled_from(
    [
        *("&a [*a]", "!!python/object:os.system x", "<<: *x", "9" * 5000, "2026-02-31", "\ttab"),
        "[" * 40,
        *("- - - -", "? a", "{a: b", "'", '"\\e[2J"', "null", "a: b: c", "# comment", "...", "---"),
    ]
)
ENTRIES = [path.read_text(encoding="utf-8") for path in sorted(PAPERS.glob("*.yaml"))[:6]]


@st.composite
def entries(draw):
    """A real entry with a part removed or replaced."""
    text = draw(st.sampled_from(ENTRIES))
    lines = text.split("\n")
    place = draw(st.integers(0, len(lines)))
    new = draw(st.lists(LETTERS | WORDS, max_size=3))
    if draw(st.booleans()):
        return "\n".join([*lines[:place], *new, *lines[place + draw(st.integers(0, 2)) :]])
    start = draw(st.integers(0, len(text)))
    return text[:start] + " ".join(new) + text[start + draw(st.integers(0, 9)) :]


def judged(folder):
    """Run all checks of the catalog on a folder."""
    catalog = read_catalog(folder)
    problems = [*catalog.problems, *check(catalog, folder)]
    assert all(str(problem).strip() and problem.line > 0 for problem in problems)
    shown = as_text(problems) + as_annotations(problems)
    assert all(c.isprintable() or c == "\n" for line in shown for c in line)
    for document in catalog.documents:
        path = folder / document.path.name
        if path.is_file():
            value_or_refusal(lambda at=document, path=path: fix(at, path), WriteError)
    return catalog


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "papers"
    made.mkdir()
    return made


@fuzz
@given(content=entries().map(lambda text: text.encode(errors="replace")) | st.binary(max_size=99))
def test_any_entry(folder, content):
    (folder / "paper.yaml").write_bytes(content)
    judged(folder)


@fuzz
@given(text=entries() | LETTERS)
def test_layout_is_stable(text):
    document = parse(text, Path("paper.yaml"))
    if not document.problems and not document.comments:
        written = canonical(document.data)
        assert canonical(parse(written, Path("paper.yaml")).data) == written


def test_reports_special_files_without_waiting(folder):
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    (folder / "gone.yaml").symlink_to(folder / "nowhere")
    (folder / "round.yaml").symlink_to(folder / "round.yaml")
    (folder / "zero.yaml").symlink_to("/dev/zero")
    (folder / ("x" * 240 + ".yaml")).write_text("title: a")
    (folder / "Not a slug.yaml").write_text("title: a")
    (folder / os.fsdecode(b"\xff.yaml")).write_text("title: a")
    catalog = judged(folder)
    assert catalog.entries == {}
    messages = {problem.file.name: problem.message for problem in catalog.problems}
    assert messages["folder.yaml"] == "cannot be read: it is a folder"
    assert (
        messages["pipe.yaml"] == messages["zero.yaml"] == "cannot be read: it is not a regular file"
    )
    assert messages["gone.yaml"] == "cannot be read: No such file or directory"
    assert "symbolic links" in messages["round.yaml"]
    assert len({problem.file for problem in catalog.problems}) == 8

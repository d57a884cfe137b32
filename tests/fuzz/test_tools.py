"""Any arguments and files end the tools with a message, and no file is written elsewhere."""

import os
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.fuzz.foreign import ODD, fuzz
from tools import (
    add_paper,
    check_catalog,
    export,
    import_list,
    import_records,
    update_paper,
)
from tools.adding import command
from tools.adding.fields import FIELDS
from tools.catalog.entries.loader import PAPERS
from tools.catalog.exports.formats import EXPORTS
from tools.importing.record import Record
from tools.sources.errors import NETWORK, Unreachable

WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20
) | st.sampled_from(
    [
        *("", "-", "--", "--help", "/", ".", "..", "/dev/null", "~", "nan", "-1"),
        *("9" * 200, "x" * 100, "\x1b[2J", "a\nb", "2301.00774v" + "9" * 20, "10.1234/))"),
        *("https://[::1", "javascript:alert(1)"),
        *("flap", "magnitude", "method", "2401.01234", "2024", "unstructured", "forward", "nosuch"),
        *("here/entry.yaml", "here/list.md", "here/form.md", "here/paper.bib", "here/pipe.bib"),
        *("here/folder.md", "here/round.md", "here/pipe.md", "here/bytes.md", "here/none.md"),
    ]
)
FACTS = st.sampled_from([field.option for field in FIELDS.values()])
GIVEN = st.lists(
    st.tuples(FACTS | st.sampled_from(["--slug", "--from-file", "--contact"]), WORDS), max_size=4
).map(lambda pairs: [word for pair in pairs for word in pair])
WHOLE = [
    *("--manual", "2401.01234", "--title", "Foo", "--author", "Ann", "--year", "2024"),
    *("--source", "paper", "--summary", "Ok.", "--kind", "method", "--granularity", "unstructured"),
    *("--criterion", "magnitude", "--calibration", "forward", "--slug", "foo"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a small catalog and unusual files, without network."""
    papers = tmp_path / "checkout" / "catalog" / "papers"
    papers.mkdir(parents=True)
    (tmp_path / "checkout" / "implementations").mkdir()
    for slug in ("magnitude", "flap"):
        shutil.copy(PAPERS / f"{slug}.yaml", papers)
    (papers / "folder.yaml").mkdir()
    os.mkfifo(papers / "pipe.yaml")
    here = tmp_path / "here"
    (here / "folder.md").mkdir(parents=True)
    for name in ("pipe.md", "pipe.bib"):
        os.mkfifo(here / name)
    (here / "round.md").symlink_to(here / "round.md")
    (here / "bytes.md").write_bytes(b"\xff\xfe")
    (here / "list.md").write_text("- [2023.07] A Title of Words, ICML 2023 [[Paper](https://a.b)]")
    (here / "form.md").write_text("### Title\n\nA Title\n\n### Year\n\n" + "9" * 5000)
    (here / "paper.bib").write_text("@article{x, title = {A Title}, year = 2024}")
    shutil.copy(PAPERS / "wanda.yaml", here / "entry.yaml")
    monkeypatch.chdir(tmp_path)

    def refuse(contact):
        raise Unreachable("there is no network", NETWORK)

    monkeypatch.setattr(command, "default_client", refuse)
    return tmp_path


def ends_in_words(place, app, arguments):
    """Run a command and check its exit code, its messages and the files it writes."""
    before = files(place)
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2)
    said = done.stdout + done.stderr
    assert done.exit_code == 0 or said.strip()
    assert "\x1b" not in said or any("\x1b" in one for one in arguments)  # their own words
    assert "Traceback" not in said
    for path in sorted(files(place) - before, reverse=True):
        inside = path.relative_to(place).parts[0]
        assert inside in ("checkout", "out"), path
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def files(place):
    return set(place.rglob("*"))


@fuzz
@given(what=st.lists(WORDS, max_size=1), given=GIVEN, whole=st.booleans(), more=st.booleans())
def test_add_paper(place, what, given, whole, more):
    options = ["--force"] if more else ["--dry-run"]
    arguments = [*(WHOLE if whole else [*what, "--yes"]), *given, *options]
    ends_in_words(place, add_paper.app, [*arguments, f"--catalog={place}/checkout/catalog/papers"])


@fuzz
@given(words=st.lists(WORDS, max_size=2))
def test_update_paper(place, words):
    where = ["--yes", f"--catalog={place}/checkout/catalog/papers"]
    ends_in_words(place, update_paper.app, [*where, "--", *words])


@fuzz
@given(
    words=st.lists(WORDS, max_size=2),
    options=st.lists(st.sampled_from(["--fix", "--json", "--github", "--no-hints"]), unique=True),
)
def test_check_catalog(place, words, options):
    where = f"--papers={place}/checkout/catalog/papers"
    ends_in_words(place, check_catalog.app, [*options, where, "--", *words])


@fuzz
@given(words=st.lists(WORDS | st.sampled_from([*EXPORTS]), max_size=2), out=WORDS)
def test_export(place, words, out):
    inside = f"{place}/out/" + out.replace("/", "_").replace("..", "")
    where = ["--out", inside, f"--papers={place}/checkout/catalog"]
    ends_in_words(place, export.app, [*where, "--", *words])


@fuzz
@given(words=st.lists(WORDS, min_size=1, max_size=2), data=st.booleans())
def test_import_list(place, words, data):
    empty = f"--papers={place}/checkout/implementations"
    ends_in_words(place, import_list.app, [*["--json"] * data, empty, "--", *words])


RECORD = {"slug": "foo", "title": "A Title", "arxiv": "2401.01234", "authors": ["A B"]}


@fuzz
@given(
    words=st.lists(WORDS, max_size=1),
    records=st.lists(
        st.dictionaries(st.sampled_from([*Record.model_fields, "x"]), ODD | WORDS, max_size=4),
        max_size=3,
    ),
    options=st.lists(st.sampled_from(["--offline", "--force", "--limit=1", "--only=foo"])),
)
def test_import_records(place, words, records, options):
    text = "".join(yaml.safe_dump([RECORD | record]) for record in records)
    (place / "here" / "records.yaml").write_text(text, errors="surrogatepass")
    where = [f"--out={place}/out/drafts", f"--papers={place}/checkout/implementations"]
    file = words or [f"{place}/here/records.yaml"]
    ends_in_words(place, import_records.app, [*options, *where, "--", *file])

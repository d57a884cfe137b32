"""Any text as a place for records and a model is refused in a sentence, or can be written to."""

import tempfile
from contextlib import chdir, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import AtlasError
from implementations.harness.model.output_folder import check_output_folder, published
from implementations.harness.results.places import real, shown
from implementations.harness.results.store import load_records, save_record
from implementations.harness.runs.run import check_outputs
from tests.fuzz.foreign import everything, fuzz, value_or_refusal

DEEP = 6  # folders above the one that is worked in; no path goes up further
ODD = st.text("ab .-~*?[]{}\\:'\"\n\t\x00\x1b\u00fc\u4e2d\ud800\udcff", max_size=8)
PART = (
    st.sampled_from(["file", "full", "empty", "loop", "gone", "away", "in", "runs", ".", "", ".."])
    | ODD
    | st.sampled_from([236, 237, 255, 256]).map("x".__mul__)
    | st.sampled_from(["ü" * 127, ".x.partial-12345678", ".empty.lock", "os error", "x.json"])
)
PATH = st.lists(PART, max_size=5).map("/".join) | st.integers(0, 22).map((200 * "y" + "/").__mul__)
PATH = PATH.map(lambda text: text.lstrip("/"))  # an absolute one would leave the folder
LINK = st.lists(PART, max_size=3).map("/".join).map(lambda text: text.lstrip("/") or ".")


def prepare(root: Path, link: str) -> Path:
    """Make a folder to work in that holds what a path may meet, one link among it drawn."""
    work = root.joinpath(*"abcdef"[:DEEP], "work")
    for name in ("full", "empty", "away"):
        (work / name).mkdir(parents=True)
    (work / "full" / "it").write_text("precious")
    (work / "file").write_text("precious")
    for name, target in {"loop": "loop", "gone": "nowhere/it", "in": "away"}.items():
        (work / name).symlink_to(target)
    with suppress(OSError, ValueError):  # no link can lead there
        (work / "drawn").symlink_to(link)
    return work


@fuzz
@given(path=PATH | PATH.map("drawn/".__add__) | st.just("drawn"), link=LINK)
def test_a_model_is_saved_where_the_check_let_it(tmp_path, path, link):
    check_saving(tmp_path, path, link)


@pytest.mark.parametrize(
    ("path", "link"), [("empty", "."), ("gone", "."), ("drawn/new", "in/../empty")]
)
def test_a_model_is_saved_where_it_once_was_not(tmp_path, path, link):
    check_saving(tmp_path, path, link)


def check_saving(tmp_path, path, link):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        work = prepare(Path(folder), link)
        with chdir(work):
            before = everything(tmp_path)
            found = value_or_refusal(lambda: check_output_folder(path))
            assert everything(tmp_path) == before
            if isinstance(found, AtlasError):
                return
            with published(found) as partial:
                (partial / "config.json").write_text("{}")
            assert (found / "config.json").read_text() == "{}"
        after = everything(tmp_path)
        assert before.items() <= after.items()
        new = {Path(name) for name in after.keys() - before.keys()}
        assert new <= {found / "config.json", found, *found.parents}
    assert list(tmp_path.iterdir()) == []


@fuzz
@given(runs=PATH | st.just("drawn"), checkpoint=PATH | PATH.map("drawn/".__add__), link=LINK)
def test_records_are_written_where_the_check_let_them(tmp_path, made_up, runs, checkpoint, link):
    check_writing(tmp_path, made_up(), runs, checkpoint, link)


@pytest.mark.parametrize(
    ("runs", "checkpoint", "link"),
    [
        ("runs", "runs/model", "."),
        ("empty/runs", "empty", "."),
        ("empty", "drawn/model", "empty"),
        ("gone", "new", "."),
    ],
)
def test_records_are_written_where_they_once_were_not(tmp_path, made_up, runs, checkpoint, link):
    check_writing(tmp_path, made_up(), runs, checkpoint, link)


def check_writing(tmp_path, record, runs, checkpoint, link):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, chdir(prepare(Path(folder), link)):
        before = everything(tmp_path)
        refused = value_or_refusal(lambda: check_outputs(Path(runs), Path(checkpoint)))
        assert everything(tmp_path) == before
        if refused is None:
            there = load_records([real(runs)])
            save_record(record, Path(runs))
            with published(check_output_folder(checkpoint)) as partial:
                (partial / "config.json").write_text("{}")
            assert load_records([real(runs)]) == [*there, record]


@fuzz
@given(text=st.text() | st.text(min_size=2_000, max_size=3_000))
def test_a_path_is_shown_on_one_line_of_some_length(text):
    line = shown(text)
    assert line.isprintable()
    assert len(line) < 400
    line.encode()

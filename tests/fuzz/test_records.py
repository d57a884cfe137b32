"""Any content of a record file is read or rejected; any record can be displayed and compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from implementations.harness.cli import terminal
from implementations.harness.cli.terminal import Screen
from implementations.harness.errors import BadInput
from implementations.harness.results import table
from implementations.harness.results.boards import boards
from implementations.harness.results.record import Record
from implementations.harness.results.store import (
    IMPLEMENTATIONS,
    load_record,
    publish_record,
    published_folders,
    record_files,
    save_record,
)
from implementations.harness.runs.recording import name_of
from implementations.harness.runs.verify import compare
from tests.fuzz.foreign import ODD, ODD_TEXT, changed, fuzz, value_or_refusal
from tests.keyed import rekeyed
from tools.site.atlas import Atlas, read
from tools.site.data_files import leaderboard_csv, records_json
from tools.site.pages import choose, data, home, how_we_measure, leaderboard

BASES = {
    str(path.relative_to(IMPLEMENTATIONS)): json.loads(path.read_text())
    for folder in published_folders()
    for path in record_files(folder)
    if path.stem in ("smollm2-135m-dense", "smollm2-135m-2of4-seed0", "smollm2-135m-s0.2-seed0")
}
BASE = st.sampled_from(sorted(BASES))


def mutated() -> st.SearchStrategy[Any]:
    """A record with a few parts changed."""
    return BASE.flatmap(lambda name: changed(BASES[name], ODD, st.sampled_from(ODD_TEXT)))


def parsed(content: Any) -> Record:
    return Record.model_validate_json(json.dumps(rekeyed(content)))


def valid() -> st.SearchStrategy[Record]:
    """A valid record with a changed part."""
    one = BASE.flatmap(lambda name: changed(BASES[name], ODD, st.sampled_from(ODD_TEXT), most=1))
    return one.map(parsed_or_none).filter(bool)


def parsed_or_none(content: Any) -> Record | None:
    try:
        return parsed(content)
    except ValidationError:
        return None


RECORDS = st.lists(valid(), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return read()


@fuzz
@given(content=mutated())
def test_any_content_is_a_record_or_an_error(tmp_path: Path, content: Any):
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(rekeyed(content)))
    found = value_or_refusal(lambda: load_record(path), BadInput)
    if isinstance(found, Record):
        path.write_text(found.to_json())
        assert load_record(path) == found
    else:
        assert str(path) in str(found)


@fuzz
@given(content=mutated())
def test_records_stay_in_their_folder(tmp_path: Path, content: Any):
    record = parsed_or_none(content)
    for path in write_everywhere(record, tmp_path) if record else ():
        assert load_record(path) == record


def write_everywhere(record: Record, folder: Path) -> Iterator[Path]:
    runs, code = folder / "deep" / "runs", folder / "deep" / "code"
    for slug in ("wanda", "flap", "sparsegpt", "magnitude", "shortgpt"):
        (code / slug).mkdir(parents=True, exist_ok=True)
        (code / slug / f"{slug}.py").touch()
    owner = "harness" if record.method == "dense" else record.method
    path = save_record(record, runs)
    assert path.parent == runs / record.protocol.name / record.method
    yield path
    published = value_or_refusal(lambda: publish_record(record, code), BadInput)
    if isinstance(published, Path):
        assert published.parent == code / owner / "records" / record.protocol.name
        yield published
    assert [path.name for path in folder.iterdir()] == ["deep"]
    assert {path.name for path in (folder / "deep").iterdir()} == {"runs", "code"}


@fuzz
@given(found=RECORDS)
def test_any_records_make_boards_and_tables(found: list[Record]):
    made = boards(found)
    assert sum(len(board.rows) for board in made) <= len(found)
    named = [name for board in made for name in board.metrics]
    for by in ("", "method", "sparsity", "decode", "parameters", *named[:1]):
        ordered = table.order(made, by)
    lines = list(table.lines(table.Filter()(ordered)))
    json.loads(table.to_json(lines), parse_constant=pytest.fail)
    read_again = list(csv.DictReader(io.StringIO(table.to_csv(lines))))
    assert len(read_again) == len(lines)
    console = Screen(file=io.StringIO(), width=200)
    for board in made:
        console.print(terminal.board_table(board))


@fuzz
@given(found=RECORDS)
def test_any_records_make_pages(atlas: Atlas, found: list[Record]):
    shown = replace(atlas, records=tuple(found))
    for kind in (leaderboard, data, how_we_measure, choose, home):
        for path, text in kind.pages(shown):
            if path.endswith(".md"):
                assert "<script>alert" not in text
    json.loads(records_json(shown), parse_constant=pytest.fail)
    leaderboard_csv(shown.boards)


@fuzz
@given(one=valid(), other=valid())
def test_any_two_records_can_be_compared(one: Record, other: Record):
    for record, again in ((one, other), (one, one)):
        verdict = compare(record, again)
        json.dumps(verdict.to_dict(), allow_nan=False)
        terminal.show_verdict(verdict)
        for line in (*verdict.elsewhere, *verdict.changes, *verdict.not_compared):
            assert "\x1b" not in line
            assert "\n" not in line


@fuzz
@given(record=valid(), model=st.text() | st.sampled_from(ODD_TEXT))
def test_every_name_is_valid_as_file_name(tmp_path: Path, record: Record, model: str):
    named = record.model_copy(update={"model": record.model.model_copy(update={"name": model})})
    content = json.loads(record.to_json()) | {"name": name_of(named)}
    save_record(parsed(content), tmp_path)

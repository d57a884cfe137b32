"""Any content of a record file is read or rejected; any record can be displayed and compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from copy import deepcopy
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

WRITABLE = [text for text in ODD_TEXT if text != "\ud800"]
FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.7e308, 5e-324])
LINES = st.sampled_from(
    ["[/x]", "[red]", "<b>&", "größe 大", "x" * 300, "..", "=1+1", "-"]
) | st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=30)
VALUES = st.dictionaries(
    st.sampled_from(["ppl/wikipedia/1024", "ppl/c4/1024", "acc/arc", "acc_stderr/arc", "x/[/y]"]),
    FINITE,
    max_size=4,
)
COUNTS = st.integers(0, 2**63 - 1) | st.sampled_from([0, 1])


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


def footprints() -> st.SearchStrategy[dict[str, Any]]:
    bits = st.none() | st.floats(0, 64, exclude_min=True)
    return st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, bits).map(
        lambda n: {
            "parameters": max(n[:2]), "nonzero": min(n[:2]), "bytes": n[2], "macs": n[3],
            "bits": n[4],
        }
    )  # fmt: skip


def rates() -> st.SearchStrategy[dict[str, float] | None]:
    positive = st.floats(0, exclude_min=True, allow_infinity=False)
    made = st.tuples(positive, positive, *[positive] * 3).map(
        lambda n: dict(
            zip(("dense", "pruned", "low", "ratio", "high"), (*n[:2], *sorted(n[2:])), strict=True)
        )
    )
    return st.none() | made


@st.composite
def odd(draw: st.DrawFn) -> Record:
    """A valid record with unusual values in all displayed fields."""
    made = deepcopy(BASES[draw(BASE)])
    some = st.booleans()
    made["seed"] = draw(st.sampled_from([0, 1, 2**63 - 1]))
    made["date"] = draw(
        st.sampled_from(
            ["2026-11-25T12:00:00Z", "2000-01-02T00:00:00+14:00", "2199-12-30T23:59:59-14:00"]
        )
    )
    if draw(some):
        made["values"] = draw(VALUES)
    if draw(some):
        made["dense"]["values"] = draw(VALUES)
    if draw(some):
        made["footprint"], made["dense"]["footprint"] = draw(footprints()), draw(footprints())
    if draw(some):
        made["speed"] |= {"note": draw(LINES), "prefill": draw(rates()), "decode": draw(rates())}
    if draw(some):
        made["model"] |= {"name": draw(LINES), "family": draw(LINES)}
        made["hardware"] |= {"cpu": draw(LINES), "accelerator": draw(st.none() | LINES)}
    if draw(some):
        made["method"] = draw(st.sampled_from(["dense", "wanda", "harness", "x"]))
        made["configuration"].setdefault("sparsity", 0.5)
        made["granularity"] = draw(st.lists(LINES, max_size=2) | st.just(["blocks"]))
    if draw(some):
        made["configuration"] |= {
            "odd": draw(st.sampled_from(WRITABLE) | st.text() | FINITE),
            "sparsity": draw(st.floats(0, 1)),
        }
        made["changed"] = ["odd"]
    if draw(some):
        made["asked"], made["achieved"] = draw(st.floats(0, 1)), draw(st.floats(0, 1))
        made["labels"], made["warnings"] = (
            draw(st.lists(LINES, max_size=2)),
            draw(st.lists(st.text(), max_size=2)),
        )
        made["seconds"] = draw(
            st.dictionaries(
                st.just("prune") | LINES, st.floats(0, allow_infinity=False), max_size=2
            )
        )
        made["sample"], made["command"] = draw(st.text()), "atlas run " + draw(st.text())
        made["peak"] |= {"bytes": draw(COUNTS), "start": draw(COUNTS)}
        made["tasks"] = draw(st.lists(LINES, max_size=2))
    return parsed(made)


RECORDS = st.lists(odd(), min_size=1, max_size=4)


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
    try:
        record = parsed(content)
    except ValidationError:
        return
    for path in write_everywhere(record, tmp_path):
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
@given(one=odd(), other=odd())
def test_any_two_records_can_be_compared(one: Record, other: Record):
    for record, again in ((one, other), (one, one)):
        verdict = compare(record, again)
        json.dumps(verdict.to_dict(), allow_nan=False)
        terminal.show_verdict(verdict)
        for line in (*verdict.elsewhere, *verdict.changes, *verdict.not_compared):
            assert "\x1b" not in line
            assert "\n" not in line


@fuzz
@given(record=odd(), model=st.text() | st.sampled_from(ODD_TEXT))
def test_every_name_is_valid_as_file_name(tmp_path: Path, record: Record, model: str):
    named = record.model_copy(update={"model": record.model.model_copy(update={"name": model})})
    content = json.loads(record.to_json()) | {"name": name_of(named)}
    save_record(parsed(content), tmp_path)

"""Repeating published records: what is run again, and the table of differences."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from implementations.harness.results.store import load_records, published_folders, save_record
from tests.keyed import changed
from tools import repeat_records
from tools.command_line import program


def test_the_table_shows_what_differs(tmp_path: Path) -> None:
    wanda = [
        record
        for record in load_records(published_folders())
        if record.method == "wanda" and record.protocol.name == "quick"
    ]
    same, other = wanda[:2]
    save_record(same, tmp_path)
    name, value = next(iter(other.values.items()))
    save_record(changed(other, values={name: 1.1 * value}), tmp_path)
    arguments = [str(tmp_path), "--protocol", "quick", "--method", "wanda", "--compare"]
    done = CliRunner().invoke(program(repeat_records.main), arguments)
    assert done.exit_code == 0, done.output
    rows = done.output.splitlines()[2:]
    assert sorted(row.split(" | ")[-1] for row in rows) == ["+10.00% |", "equal |"]


def test_a_line_of_the_sweep_repeats_the_settings() -> None:
    record = next(
        record
        for record in load_records(published_folders())
        if record.method == "besa" and record.changed
    )
    line = repeat_records.entry(record, [0, 1])
    assert (line["method"], line["seeds"]) == ("besa", [0, 1])
    assert {name: line[name] for name in record.changed} == {
        name: [record.configuration[name]] for name in record.changed
    }

"""Tables of the terminal: the same numbers as the boards, written to be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

from implementations.harness.cli import terminal
from implementations.harness.cli.terminal import board_table, mean
from implementations.harness.results.boards import Spread, boards
from implementations.harness.results.record import Rate, Record, Speed
from implementations.harness.runs.sweep import Summary


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Spread(42.0, 2.0), "42 ± 2"),
        (Spread(36.0), "36"),
        (Spread(20.48616), "20.49"),
        (Spread(107_115.47, 1.5), "107,115 ± 1.5"),
    ],
)
def test_a_mean_shows_its_deviation_where_there_are_seeds(value: Spread, said: str):
    assert mean(value) == said


def columns(table: Table) -> dict[str, list[str]]:
    return {str(column.header): list(map(str, column.cells)) for column in table.columns}


def test_a_board_is_the_dense_row_and_the_others_in_order(made_up: Callable[..., Record]):
    rate = Rate(dense=100.0, pruned=120.0, ratio=1.2, low=1.1, high=1.3)
    runs = [
        made_up(seed=seed, values={"ppl/wikipedia/1024": value, "ppl/c4/1024": 50.0})
        for seed, value in enumerate((40.0, 44.0))
    ]
    runs.append(
        made_up(
            method="flap",
            granularity=("channels",),
            speed=Speed(note="measured", prefill=rate, decode=rate),
            values={"ppl/wikipedia/1024": 2000.0, "acc/arc_easy": 0.25},
            labels=("collapsed",),
        )
    )
    (board,) = boards(runs)
    table = board_table(board)
    assert table.title == "smol · smollm2-135m · float32 · CPU"
    found = columns(table)
    assert found["method"] == ["dense", "wanda", "flap"]
    assert found["ppl/wikipedia/1024"] == ["20", "42 ± 2.8", "2,000"]
    assert found["ppl/c4/1024"] == ["25", "50 ± 0", ""]
    assert found["acc/arc_easy"] == ["", "", "0.25"]
    assert found["x dense"] == ["1.00", "2.10", "100.00"]
    assert found["decode"] == ["", "", "1.20 x"]
    assert found["seeds"] == ["", "2", "1"]
    assert found[""] == ["", "", "collapsed"]


FOREIGN = "\x1b[31mred\x1b]0;title\x07 [/x] [bold]b[/bold] :smile: \u202eback\x9b1m\udcff"
SHOWN = (r"\x1b[31mred\x1b]0;title\x07", "[/x] [bold]b[/bold] :smile:", r"\u202eback\x9b1m\udcff")
OURS = re.compile(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[\d?[AK]|\r")  # colours, and bars that go


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def screen(monkeypatch: pytest.MonkeyPatch, request) -> Iterator[StringIO]:
    """What both streams of a terminal, or of a pipe, are given."""
    seen = StringIO()
    for name in ("out", "errors"):
        console = terminal.Screen(
            file=seen, width=5000, force_terminal=request.param, color_system="standard"
        )
        monkeypatch.setattr(terminal, name, console)
    return seen


def plain(screen: StringIO) -> str:
    """What was shown, without our own codes; nothing but lines is left that is not seen."""
    text = OURS.sub("", screen.getvalue())
    assert not re.search(r"[^\n\x20-\x7e\xa0-\u200a\u2010-\u2027\u2030-\u205f\u2070-\ud7ff]", text)
    return text


def foreign_record(made_up: Callable[..., Record]) -> Record:
    """A record as no schema would let it in, so that showing it is on its own."""
    plain = made_up()
    return plain.model_copy(
        update={
            "model": plain.model.model_copy(update={"name": FOREIGN}),
            "values": {f"ppl/{FOREIGN}/1024": 3.0},
            "configuration": {"sparsity": 0.5, "other": FOREIGN},
            "changed": ("other",),
            "sample": FOREIGN,
            "labels": (FOREIGN,),
            "warnings": (FOREIGN,),
            "speed": Speed(note="").model_copy(update={"note": FOREIGN}),
        }
    )


@pytest.mark.parametrize(
    "show",
    [
        lambda make: terminal.show_record(foreign_record(make)),
        lambda make: terminal.show_boards(boards([foreign_record(make)])),
        lambda make: terminal.show_error(FOREIGN),
        lambda make: terminal.show_paths(record=Path(FOREIGN)),
        lambda make: terminal.show_text(FOREIGN, FOREIGN, 3, 1.5),
        lambda make: terminal.show_sweep(Summary((), 0, ()), Path(FOREIGN)),
        lambda make: terminal.out.print(FOREIGN, style="dim"),
    ],
)
def test_text_of_others_is_shown_and_never_obeyed(show, screen, made_up):
    show(made_up)
    shown = plain(screen)
    for part in SHOWN:
        assert part in shown


def test_a_bar_shows_what_is_loaded_as_it_is_called(screen):
    with Progress(*terminal.columns(), console=terminal.errors, transient=True) as progress:
        bars = terminal.Bars(progress)
        bars.advance(bars.start(FOREIGN, 3), 1)
        progress.refresh()
    shown = plain(screen)
    assert not terminal.errors.is_terminal or all(part in shown for part in SHOWN)


def test_a_line_end_of_others_begins_no_line_of_ours(screen):
    terminal.show_error("bad\nrecord: /etc/passwd")
    assert plain(screen) == "error: bad\\nrecord: /etc/passwd\n"


def test_a_continued_text_keeps_its_lines(screen):
    terminal.show_text("a\n\tb\x1b", "c\nd[/x]", 3, 1.5)
    assert plain(screen).startswith("a\n        b\\x1bc\nd[/x]\n3 tokens")


def test_a_long_error_is_cut(screen):
    terminal.show_error("x" * 100_000)
    assert plain(screen) == f"error: {'x' * 2000}... (98,000 characters more)\n"

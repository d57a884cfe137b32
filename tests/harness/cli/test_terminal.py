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
from implementations.harness.cli.terminal import board_table, mean, times
from implementations.harness.results.boards import Spread, boards
from implementations.harness.results.comparison import EXACT, FOLLOWS, Comparison, Held
from implementations.harness.results.record import Rate, Record, Speed
from implementations.harness.runs.sweep import Summary
from implementations.harness.runs.verify import Verdict


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Spread(42.0, 2.0), "42 ± 2"),
        (Spread(36.0), "36"),
        (Spread(20.48616), "20.49"),
        (Spread(107_115.47, 1.5), "107,115 ± 1.5"),
        (Spread(1.5e300), "1.5e+300"),
        (Spread(-1.5e300), "-1.5e+300"),
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


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    text = StringIO()
    monkeypatch.setattr(terminal, "out", terminal.Screen(file=text, width=160))
    return text


def test_bits_a_weight_are_shown_where_there_are_fewer(
    made_up: Callable[..., Record], shown: StringIO
):
    terminal.show_record(made_up())
    assert "bits" not in shown.getvalue()
    weights = made_up().footprint.model_copy(update={"bits": 1.516})
    terminal.show_record(made_up(footprint=weights))
    assert "wanda 50 %, 1.52 bits" in shown.getvalue()
    assert re.search(r"bits a weight[ │]+1\.516", shown.getvalue())


def test_words_of_a_record_are_no_markup(made_up: Callable[..., Record], shown: StringIO):
    model = made_up().model.model_copy(update={"name": "[/x] [bold]m"})
    settings = {"sparsity": 0.5, "mode": "[/y]"}
    run = made_up(
        model=model,
        configuration=settings,
        changed=("mode",),
        values={"ppl/[/z]/8": 1.0},
        labels=("[/w]",),
    )
    terminal.show_boards(boards([run]))
    for word in ("[/x] [bold]m", "[/y]", "ppl/[/z]/8", "[/w]"):
        assert word in shown.getvalue()


@pytest.mark.parametrize(
    ("ratio", "said"), [(1.0, "1.00"), (1234.5, "1234.50"), (1e300, "1e+300"), (float("inf"), "∞")]
)
def test_a_multiple_is_short(ratio: float, said: str):
    assert times(ratio) == said


VERDICTS = {
    "narrow": (20.0, (), ["agrees", "confirmed within the narrow tolerance\n"]),
    "wide": (
        20.1,
        ('cpu: "[/x]" in the record, "some" now',),
        ["wide only", "within the wide tolerance only", 'nothing here can check: cpu: "[/x]"'],
    ),
    "no": (20.1, (), ["off", "the record is not confirmed\n"]),
}


@pytest.mark.parametrize("which", VERDICTS)
def test_a_verdict_says_which_tolerance_and_why(which: str, shown: StringIO):
    again, elsewhere, words = VERDICTS[which]
    verdict = Verdict(
        comparisons=(
            Comparison("ppl/x/8", 20.0, again, Held(1e-4, 1e-2)),
            Comparison("acc/[/y]", 20.0, 20.0, Held(1e-4, 1e-2)),
            Comparison("method", "wanda", "wanda", EXACT),
            Comparison("details", {}, {}, FOLLOWS),
        ),
        elsewhere=elsewhere,
        changes=("commit: [/z]",),
        not_compared=("date",),
    )
    assert verdict.confirmed == which
    terminal.show_verdict(verdict)
    always = ("2 other parts of the record are as they should be", "not compared: date", "[/z]")
    for word in (*words, *always):
        assert word in shown.getvalue()


def test_a_verdict_shows_what_is_missing_and_what_is_not_equal(shown: StringIO):
    verdict = Verdict(
        comparisons=(
            Comparison("acc/x", None, 0.5, Held(1e-9, 5e-2)),
            Comparison("sample", "[/x] one", "[/x] two", FOLLOWS),
        ),
        elsewhere=(),
        changes=(),
        not_compared=(),
    )
    terminal.show_verdict(verdict)
    said = shown.getvalue()
    assert "missing" in said
    assert 'off sample: "[/x] one" in the record, "[/x] two" now' in said


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

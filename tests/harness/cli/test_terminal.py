"""Terminal output: tables and escaping of untrusted text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table

from implementations.harness.cli import describe, progress_output, terminal
from implementations.harness.cli.progress_output import show_progress
from implementations.harness.cli.terminal import board_table, mean, times
from implementations.harness.progress import task
from implementations.harness.results.boards import Spread, boards
from implementations.harness.results.record import Rate, Record, Speed
from implementations.harness.results.store import IMPLEMENTATIONS, methods
from implementations.harness.runs.record_checks import EXACT, SENSITIVE, Bounds, Comparison
from implementations.harness.runs.sweep import Summary
from implementations.harness.runs.verify import Verdict
from tests.keyed import with_divergence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Spread(42.0, 2.0), "42 ± 2"),
        (Spread(36.0), "36"),
        (Spread(20.48616), "20.49"),
        (Spread(107_115.47, 1.5), "107,115 ± 1.5"),
        (Spread(1.5e300), "1.5e+300"),
        (Spread(-1.5e300), "-1.5e+300"),
    ],
)
def test_mean_has_a_deviation_with_several_seeds(value: Spread, text: str):
    assert mean(value) == text


def columns(table: Table) -> dict[str, list[str]]:
    return {str(column.header): list(map(str, column.cells)) for column in table.columns}


def test_board_has_the_dense_row_first(made_up: Callable[..., Record]):
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
    cells = columns(table)
    assert cells["method"] == ["dense", "wanda", "flap"]
    assert cells["ppl/wikipedia/1024"] == ["20", "42 ± 2.8", "2,000"]
    assert cells["ppl/c4/1024"] == ["25", "50 ± 0", ""]
    assert cells["acc/arc_easy"] == ["", "", "0.25"]
    assert cells["x dense"] == ["1.00", "2.10", "100.00"]
    assert cells["decode"] == ["", "", "1.20 x"]
    assert cells["seeds"] == ["", "2", "1"]
    assert cells[""] == ["", "", "collapsed"]


def test_board_names_what_it_was_measured_after(made_up: Callable[..., Record]):
    (board,) = boards([made_up(values={"after_prompt/wikipedia/1024": 30.0})])
    assert board_table(board).title == "smol · smollm2-135m · float32 · CPU · after prompts"


def test_board_shows_divergence_and_agreement_on_the_ranking_text(
    made_up: Callable[..., Record], shown: StringIO
):
    runs = [with_divergence(made_up(seed=seed), 0.5 + seed / 10, 0.712) for seed in range(2)]
    older = made_up(method="sparsegpt")
    (board,) = boards([*runs, older])
    cells = columns(board_table(board))
    assert list(cells) == [
        *("method", "settings", "achieved", "ppl/wikipedia/1024", "ppl/c4/1024", "kl", "agreement"),
        *("x dense", "parameters", "decode", "seeds", ""),
    ]
    assert dict(zip(cells["method"], cells["kl"], strict=True)) == {
        "dense": "",
        "sparsegpt": "",
        "wanda": "0.550 ± 0.0707",
    }
    assert cells["agreement"][cells["method"].index("wanda")] == "71.2 % ± 0.0 %"
    terminal.show_boards([board])
    assert "kl: mean KL divergence" in shown.getvalue()
    (board,) = boards([older])
    assert not {"kl", "agreement"} & columns(board_table(board)).keys()


def test_record_shows_divergence_and_agreement_without_a_ratio(
    made_up: Callable[..., Record], shown: StringIO
):
    terminal.show_record(made_up())
    assert "kl" not in shown.getvalue()
    terminal.show_record(with_divergence(made_up(), 0.012345, 0.7123))
    for line in (
        r"ppl/c4/1024 +│ +25\.000 │ +50\.000 │ +2\.000",
        r"kl/c4/1024 +│ +│ +0\.0123 │ +│",
        r"agreement/c4/1024 +│ +│ +71\.2 % │ +│",
        "agreement: share of tokens",
    ):
        assert re.search(line, shown.getvalue())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    text = StringIO()
    monkeypatch.setattr(terminal, "out", terminal.Screen(file=text, width=160))
    return text


def test_bits_per_weight_are_shown_for_quantised_results(
    made_up: Callable[..., Record], shown: StringIO
):
    terminal.show_record(made_up())
    assert "bits" not in shown.getvalue()
    weights = made_up().footprint.model_copy(update={"bits": 1.516})
    terminal.show_record(made_up(footprint=weights))
    assert "wanda 50 %, 1.52 bits" in shown.getvalue()
    assert re.search(r"bits per weight[ │]+1\.516", shown.getvalue())


def test_markup_in_a_record_is_ignored(made_up: Callable[..., Record], shown: StringIO):
    model = made_up().model.model_copy(update={"name": "[/x] [bold]m"})
    settings = {"sparsity": 0.5, "mode": "[/y]"}
    run = made_up(
        model=model,
        configuration=settings,
        changed=("mode",),
        values={"ppl/[/z]/8": 1.0},
    )
    terminal.show_boards(boards([run]))
    for word in ("[/x] [bold]m", "[/y]", "ppl/[/z]/8"):
        assert word in shown.getvalue()


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.0, "1.00"), (1234.5, "1234.50"), (1e300, "1e+300"), (float("inf"), "∞")]
)
def test_ratio_is_short(ratio: float, text: str):
    assert times(ratio) == text


VERDICTS = {
    "narrow": (20.0, (), ["agrees", "confirmed within the narrow tolerance\n"]),
    "wide": (
        20.1,
        ('cpu: "[/x]" in the record, "some" now',),
        ["wide only", "within the wide tolerance only", 'cannot be checked here: cpu: "[/x]"'],
    ),
    "no": (20.1, (), ["differs", "the record is not confirmed\n"]),
}


@pytest.mark.parametrize("which", VERDICTS)
def test_verdict_names_the_tolerance_and_why_it_applies(which: str, shown: StringIO):
    again, elsewhere, words = VERDICTS[which]
    verdict = Verdict(
        comparisons=(
            Comparison("ppl/x/8", 20.0, again, Bounds(1e-4, 1e-2)),
            Comparison("acc/[/y]", 20.0, 20.0, Bounds(1e-4, 1e-2)),
            Comparison("method", "wanda", "wanda", EXACT),
            Comparison("details", {}, {}, SENSITIVE),
        ),
        elsewhere=elsewhere,
        changes=("commit: [/z]",),
        not_compared=("date",),
    )
    assert verdict.confirmed == which
    terminal.show_verdict(verdict)
    always = ("2 other parts of the record agree", "not compared: date", "[/z]")
    for word in (*words, *always):
        assert word in shown.getvalue()


def test_verdict_shows_missing_and_different_parts(shown: StringIO):
    verdict = Verdict(
        comparisons=(
            Comparison("acc/x", None, 0.5, Bounds(1e-9, 5e-2)),
            Comparison("sample", "[/x] one", "[/x] two", SENSITIVE),
        ),
        elsewhere=(),
        changes=(),
        not_compared=(),
    )
    terminal.show_verdict(verdict)
    text = shown.getvalue()
    assert "missing" in text
    assert 'differs: sample: "[/x] one" in the record, "[/x] two" now' in text


UNTRUSTED = "\x1b[31mred\x1b]0;title\x07 [/x] [bold]b[/bold] :smile: \u202eback\x9b1m\udcff"
ESCAPED = (r"\x1b[31mred\x1b]0;title\x07", "[/x] [bold]b[/bold] :smile:", r"\u202eback\x9b1m\udcff")
OWN_CODES = re.compile(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[\d?[AK]|\r")  # colours and bars


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def screen(monkeypatch: pytest.MonkeyPatch, request) -> Iterator[StringIO]:
    """Capture both output streams of a terminal or pipe."""
    captured = StringIO()
    for name in ("out", "errors"):
        console = terminal.Screen(
            file=captured, width=5000, force_terminal=request.param, color_system="standard"
        )
        monkeypatch.setattr(terminal, name, console)
    return captured


def plain(screen: StringIO) -> str:
    """Return the output without rich's own codes; check that all other characters are printable."""
    text = OWN_CODES.sub("", screen.getvalue())
    assert not re.search(r"[^\n\x20-\x7e\xa0-\u200a\u2010-\u2027\u2030-\u205f\u2070-\ud7ff]", text)
    return text


def untrusted_record(made_up: Callable[..., Record]) -> Record:
    """Return a record that the schema would refuse, to test the output on its own."""
    plain = made_up()
    return plain.model_copy(
        update={
            "model": plain.model.model_copy(update={"name": UNTRUSTED}),
            "values": {f"ppl/{UNTRUSTED}/1024": 3.0},
            "configuration": {"sparsity": 0.5, "other": UNTRUSTED},
            "changed": ("other",),
            "sample": UNTRUSTED,
            "labels": (UNTRUSTED,),
            "warnings": (UNTRUSTED,),
            "speed": Speed(note="").model_copy(update={"note": UNTRUSTED}),
        }
    )


@pytest.mark.parametrize(
    "show",
    [
        lambda make: terminal.show_record(untrusted_record(make)),
        lambda make: terminal.show_boards(boards([untrusted_record(make)])),
        lambda make: terminal.show_error(UNTRUSTED),
        lambda make: terminal.show_paths(record=Path(UNTRUSTED)),
        lambda make: terminal.show_text(UNTRUSTED, UNTRUSTED, 3, 1.5),
        lambda make: terminal.show_sweep(Summary((), 0, ()), Path(UNTRUSTED)),
        lambda make: terminal.out.print(UNTRUSTED, style="dim"),
    ],
)
def test_untrusted_text_is_escaped(show, screen, made_up):
    show(made_up)
    text = plain(screen)
    for part in ESCAPED:
        assert part in text


def test_untrusted_text_in_progress_is_escaped(screen, monkeypatch):
    monkeypatch.setattr(progress_output, "SECONDS_PER_LINE", 0.0)
    with show_progress(), task(UNTRUSTED, 3) as open_task:
        open_task.advance()
    text = plain(screen)
    for part in ESCAPED:
        assert part in text


def test_log_has_a_line_a_minute_with_all_open_tasks(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(progress_output, "time", SimpleNamespace(monotonic=lambda: now))
    with show_progress(), task("runs", 1200) as runs:
        with task("decoder layers") as layers:
            now += 59
            layers.advance()
            now += 62
            layers.advance()
            layers.advance()
        now += 7200
        runs.advance(1100)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "0:02:01 runs 0/1,200, decoder layers 2/?"
    assert second == "2:02:01 runs 1,100/1,200 (about 0:11:06 left)"


def test_newline_in_an_error_is_escaped(screen):
    terminal.show_error("bad\nrecord: /etc/passwd")
    assert plain(screen) == "error: bad\\nrecord: /etc/passwd\n"


def test_continuation_keeps_its_newlines(screen):
    terminal.show_text("a\n\tb\x1b", "c\nd[/x]", 3, 1.5)
    assert plain(screen).startswith("a\n        b\\x1bc\nd[/x]\n3 tokens")


def test_long_error_is_cut(screen):
    terminal.show_error("x" * 100_000)
    assert plain(screen) == f"error: {'x' * 2000}... (98,000 more characters)\n"


@pytest.mark.parametrize("slug", methods())
def test_differences_from_the_paper_are_plain_text(slug):
    text = describe.differences(IMPLEMENTATIONS / slug / "README.md")
    assert not re.search(r"[$]|\\[a-z]", text)

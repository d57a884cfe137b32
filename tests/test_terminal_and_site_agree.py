"""The terminal and the site show the same boards, rows and numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.results.record import Record
from implementations.harness.results.store import save_record
from tools.site.atlas import read
from tools.site.data_files import data_files
from tools.site.pages import leaderboard

METRIC = "ppl/wikipedia/1024"
ASKED = ("protocol_fingerprint", "model", "dtype", "device", "after", "method", "settings", "seeds")
TWO_SEEDS = "a-model-of-two-seeds"


@pytest.fixture(scope="module")
def runs(made_up: Callable[..., Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs of two seeds whose dense values differ by a factor of two."""
    folder = tmp_path_factory.mktemp("runs")
    plain = made_up()
    model = plain.model.model_copy(update={"name": TWO_SEEDS, "sha256": "2" * 64})
    for seed, dense in enumerate((10.0, 20.0)):
        beside = plain.dense.model_copy(update={"values": {METRIC: dense, "ppl/c4/1024": 25.0}})
        values = {METRIC: 21.77, "ppl/c4/1024": 50.0}
        save_record(made_up(seed=seed, model=model, values=values, dense=beside), folder)
    return folder


def terminal(form: str, runs: Path) -> str:
    done = CliRunner().invoke(app, ["leaderboard", form, "--runs", str(runs)])
    assert done.exit_code == 0, done.output
    return done.stdout


def table(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Return the rows of a CSV file by their key, without dense rows."""
    lines = csv.DictReader(io.StringIO(text))
    return {tuple(line[n] for n in ASKED): line for line in lines if line["method"] != "dense"}


def test_json_csv_and_site_files_have_the_same_numbers(runs: Path) -> None:
    here, there = (
        table(terminal("--csv", runs)),
        table(data_files(read(runs=runs))["leaderboard.csv"]),
    )
    assert len(here) > 20
    assert here.keys() == there.keys()
    for row, line in here.items():
        shared = {name: there[row][name] for name in line}
        assert shared == line
    found = json.loads(terminal("--json", runs))
    pruned = [line for line in found if line["method"] != "dense"]
    assert len(pruned) == len(here)
    for line in pruned:
        seeds = " ".join(map(str, line["seeds"]))
        flat = here[(*(line[name] for name in ASKED[:-1]), seeds)]
        for name, value in line["values"].items():
            assert float(flat[name]) == value["mean"]
            for part in value.keys() & {"ratio", "dense"}:
                assert float(flat[f"{name} {part}"]) == value[part]
        assert float(flat["ratio"]) == line["ratio"]


def test_page_shows_the_same_ratios(runs: Path) -> None:
    found = json.loads(terminal("--json", runs))
    made = dict(leaderboard.pages(read(runs=runs)))
    boards = [json.loads(made[name]) for name in made if re.match(r"leaderboard/.+--?.+json", name)]
    shown = [row["cells"][0][0] for board in boards for row in board["rows"]]
    pruned = [line["ratio"] for line in found if line["method"] != "dense"]
    assert sorted(map(float, shown)) == sorted(pruned)


def test_numbers_follow_the_documented_rule(runs: Path) -> None:
    """Compute the numbers from the records without the code for boards."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in read(runs=runs).records:
        if record.method != "dense":
            groups[record.group].append(record)
    expected = {
        frozenset(record.run for record in group): statistics.fmean(
            record.values[first] / record.dense.values[first]
            for record in group
            for first in list(record.values)[:1]
        )
        for group in groups.values()
    }
    lines: list[dict[str, Any]] = json.loads(terminal("--json", runs))
    pruned = [line for line in lines if line["method"] != "dense"]
    assert {frozenset(line["runs"]): line["ratio"] for line in pruned} == pytest.approx(expected)

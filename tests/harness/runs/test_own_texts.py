"""Runs on texts of the user: records, keys, refusals and the printed command."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.results.store import load_records


@pytest.fixture
def here(world, tmp_path, monkeypatch) -> Path:
    """A working folder with the protocol of the tiny model and texts in every format."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    Path("tiny.yaml").write_bytes(world.protocol.read_bytes())
    words = world.calibration.read_text().split()
    documents = [" ".join(words[start : start + 50]) for start in range(0, 500, 50)]
    Path("notes.txt").write_text(" ".join(words[1000:1500]))
    Path("web.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    return tmp_path


def atlas(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def run(*arguments: str):
    done = atlas(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def own(*more: str) -> tuple[str, ...]:
    return ("run", "magnitude", "--sparsity", "0.5", "--protocol", "tiny.yaml", *more)


def write_parquet(path: str, **columns: list) -> None:
    reason = "pyarrow is not installed (extra `hub`)"
    pyarrow = pytest.importorskip("pyarrow", reason=reason)
    parquet = pytest.importorskip("pyarrow.parquet", reason=reason)
    parquet.write_table(pyarrow.table(columns), path)


def test_record_names_and_hashes_the_files(here):
    record = run(*own("--calibrate-on", "notes.txt", "--evaluate-on", "web.jsonl"))
    calibration, evaluation = record["texts"]
    assert (calibration["role"], calibration["source"]) == ("calibration", "notes.txt")
    assert calibration["source_sha256"] == sha256(Path("notes.txt").read_bytes())
    rows = [json.loads(line)["text"] for line in Path("web.jsonl").read_text().splitlines()]
    assert (evaluation["role"], evaluation["source"]) == ("ppl/web/32", "web.jsonl")
    assert evaluation["source_sha256"] == sha256("\n\n".join(rows).encode())
    assert "ppl/web/32: another text" in record["disjoint"]
    assert list(record["values"]) == ["ppl/web/32", "kl/web/32", "agreement/web/32"]
    assert {path.parent.parent.name for path in Path("runs").rglob("*.json")} == {
        "tiny-own-notes-web"
    }


@pytest.mark.parametrize(
    "options",
    [
        ("--calibrate-on", "notes.txt"),
        ("--evaluate-on", "web.jsonl"),
        ("--calibrate-on", "web.jsonl", "--evaluate-on", "notes.txt", "--evaluate-on", "b c.txt"),
    ],
    ids=["calibration", "evaluation", "both"],
)
def test_printed_command_repeats_the_run_and_verify_confirms_it(options, here):
    Path("b c.txt").write_text("water " * 100)
    record = run(*own(*options))
    name, *arguments = shlex.split(record["command"])
    assert name == "atlas"
    again = run(*arguments)
    assert (again["key"], again["command"]) == (record["key"], record["command"])
    assert again["values"] == record["values"]
    for path in Path("runs").rglob("*.json"):
        verdict = atlas("verify", path)
        assert verdict.exit_code == 0, verdict.stdout


def test_parquet_file_gives_the_same_numbers_as_json_lines(here):
    rows = [json.loads(line)["text"] for line in Path("web.jsonl").read_text().splitlines()]
    write_parquet("other.parquet", text=rows, id=list(range(len(rows))))
    records = [
        run(*own("--calibrate-on", "notes.txt", "--evaluate-on", name))
        for name in ("web.jsonl", "other.parquet")
    ]
    assert records[0]["values"]["ppl/web/32"] == records[1]["values"]["ppl/other/32"]


def test_documents_of_a_parquet_file_are_drawn(world, here):
    write_parquet("pages.parquet", text=["river stone " * 10, "water " * 20, "velvet " * 20])
    drawn = {"text": "c4-train", "samples": 2, "length": 32, "draw": "documents"}
    protocol = world.write_protocol("drawn", calibration=drawn)
    record = run("run", "magnitude", "--protocol", protocol, "--calibrate-on", "pages.parquet")
    assert record["texts"][0]["samples"] == 2
    assert record["texts"][0]["source_sha256"] == sha256(Path("pages.parquet").read_bytes())


REFUSED = {
    "empty": ("empty.txt", "notes.txt", "empty.txt is empty; use a text that is not"),
    "short calibration": (
        "short.txt",
        "notes.txt",
        "short.txt is too short: it has 100 tokens, but 4 windows of 32 tokens need 128; use a "
        "longer text, or a protocol with fewer or shorter windows",
    ),
    "short evaluation": (
        "notes.txt",
        "short.txt",
        "short.txt is too short: it has 100 tokens, but 4 windows of 32 tokens need 128",
    ),
    "wrong field": (
        "notes.txt",
        "rows.jsonl",
        "rows.jsonl, line 2: the field `text` is missing or not a string",
    ),
    "wrong column": (
        "notes.txt",
        "wrong.parquet",
        "wrong.parquet: the column `text` is missing or not a string; the columns are content (",
    ),
    "not text": ("numbers.parquet", "notes.txt", "the columns are text (int64)"),
    "missing row": ("null.parquet", "notes.txt", "null.parquet, row 2: the column `text` is empty"),
    "damaged": ("damaged.parquet", "notes.txt", "damaged.parquet is damaged: "),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refuses_a_file_before_any_work(case, here):
    calibrate_on, evaluate_on, message = case
    Path("empty.txt").touch()
    Path("short.txt").write_text("x" * 100)
    Path("rows.jsonl").write_text('{"text": "a"}\n{"content": "b"}\n')
    if "parquet" in calibrate_on + evaluate_on:
        write_parquet("wrong.parquet", content=["a"])
        write_parquet("numbers.parquet", text=[1, 2])
        write_parquet("null.parquet", text=["a", None])
        Path("damaged.parquet").write_text("not parquet")
    done = atlas(*own("--calibrate-on", calibrate_on, "--evaluate-on", evaluate_on))
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not Path("runs").exists()


def test_refuses_evaluation_on_a_copied_passage(world, here):
    passage = Path("notes.txt").read_text()[:600]
    Path("notes.txt").write_text(passage)
    Path("copy.txt").write_text("A new beginning. " + passage)
    evaluations = [{"text": "c4", "length": 128, "windows": 4}]
    protocol = world.write_protocol("long", evaluations=evaluations)
    files = ("--calibrate-on", "notes.txt", "--evaluate-on", "copy.txt")
    done = atlas("run", "magnitude", "--protocol", protocol, *files)
    assert done.exit_code == 2
    assert "calibration (notes.txt) and evaluation (copy.txt) share tokens" in done.stderr
    assert not Path("runs").exists()


def test_sweep_file_names_the_texts(here):
    Path("sweep.yaml").write_text(
        "protocol: tiny.yaml\ncalibrate_on: notes.txt\nevaluate_on: web.jsonl\n"
        "runs: [{method: magnitude, sparsity: 0.5}]\n"
    )
    (record,) = run("sweep", "--file", "sweep.yaml")
    options = ("--calibrate-on", "notes.txt", "--evaluate-on", "web.jsonl")
    assert run(*own(*options))["key"] == record["key"]
    assert atlas("sweep", "--file", "sweep.yaml", *options).exit_code == 0
    of_options = ("sweep", "magnitude", "--sparsity", "0.5", "--protocol", "tiny.yaml", *options)
    assert [one["key"] for one in run(*of_options)] == [record["key"]]
    assert len(load_records([Path("runs")])) == 2  # the dense model and one run
    contradiction = atlas("sweep", "--file", "sweep.yaml", "--evaluate-on", "notes.txt")
    assert contradiction.exit_code == 2
    assert "--evaluate-on notes.txt contradicts the sweep file, which has web.jsonl" in (
        contradiction.stderr
    )

"""The commands of `atlas`: options, exit codes, messages and signals."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.cli.describe import describe, overview
from implementations.harness.cli.setup import make_setup
from implementations.harness.errors import BadInput
from implementations.harness.model import execution, loading
from implementations.harness.results import external
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_record, load_records, methods


class Finished(NamedTuple):
    """Result of a command."""

    code: int
    out: str
    err: str


METRIC = "ppl/evaluation/32"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def inside(*arguments: object) -> Finished:
    """Run `atlas` in this process, which does not import torch again."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return Finished(done.exit_code, done.stdout, done.stderr)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the running `process` meets `condition`; a busy machine can need minutes."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def ran(world, tmp_path_factory):
    """Prune and save one model, for commands that need a record or a saved model."""
    folder = tmp_path_factory.mktemp("ran")
    done = inside(
        *("run", "flap", "--sparsity", 0.3, "--set", "compensate=false"),
        *("--protocol", world.protocol, "--runs", folder / "runs", "--save", folder / "model"),
    )
    return folder, done


def test_help_lists_every_command():
    done = inside("--help")
    assert done.code == 0
    for command in ("methods", "run", "sweep", "leaderboard", "verify", "generate"):
        assert command in done.out


def test_version_is_that_of_the_package():
    assert inside("--version").out == f"pruning-atlas {metadata.version('pruning-atlas')}\n"


def test_methods_lists_all_or_shows_one():
    done = inside("methods", "--json")
    assert {one["slug"] for one in json.loads(done.out)} >= {"magnitude", "wanda", "sparsegpt"}
    one = inside("methods", "sparsegpt")
    assert one.code == 0
    for word in ("damping", "0.01", "block_size", "128", "pattern", "Differences from the paper"):
        assert word in one.out


def test_overview_from_source_equals_the_imported_method():
    for slug in methods():
        parsed, imported = overview(slug), describe(slug)
        for name in ("slug", "summary", "granularity", "calibration"):
            assert getattr(parsed, name) == getattr(imported, name), (slug, name)


def test_methods_names_a_package_that_cannot_be_loaded(monkeypatch):
    points = [EntryPoint("broken", "no_such_package:Method", external.GROUP)]
    monkeypatch.setattr(external, "entry_points", lambda group: points)
    done = inside("methods")
    assert done.code == 0
    assert "broken" in done.out
    assert "cannot be loaded" in done.out
    listed = {one["slug"]: one for one in json.loads(inside("methods", "--json").out)}
    assert "cannot be loaded" in listed["broken"]["summary"]
    assert listed["wanda"]["parameters"]


def test_compare_needs_another_method_than_dense():
    done = inside("compare", "dense", "--model", "no-such-model")
    assert done.code == 2
    assert "name at least one method besides dense" in done.err


def test_run_shows_the_dense_row_and_writes_a_record(ran):
    folder, done = ran
    assert done.code == 0, done.err
    for word in ("flap", "30 %", METRIC, "dense", "pruned", "decode", "the river"):
        assert word in done.out
    record = load_record(folder / "runs/tiny/flap/tiny-s0.3-compensatefalse-seed0.json")
    assert record.configuration["compensate"] is False
    assert "--set compensate=false" in record.command
    assert f"record: {folder}/runs" in done.out
    assert (folder / "model" / "model.safetensors").exists()


def test_sparsity_may_be_given_in_percent(world, tmp_path):
    done = inside(
        *("run", "magnitude", "--sparsity", "50%", "--json"),
        *("--protocol", world.protocol, "--runs", tmp_path),
    )
    assert json.loads(done.out)["requested"] == 0.5


def test_run_prints_only_json_on_request(world, tmp_path):
    done = inside(
        *("run", "wanda", "--pattern", "2:4", "--json"),
        *("--protocol", world.protocol, "--runs", tmp_path, "--seed", 2),
    )
    assert done.code == 0
    printed = json.loads(done.out)
    (path,) = (tmp_path / "tiny" / "wanda").iterdir()
    assert path.name == "tiny-2of4-seed2.json"
    assert printed == json.loads(path.read_text())


def test_generate_continues_a_saved_model(ran):
    folder, _ = ran
    shown = inside("generate", folder / "model", "the winter", "--tokens", 5)
    assert shown.code == 0, shown.err
    assert "the winter" in shown.out
    assert "tokens/s" in shown.out
    result = json.loads(inside("generate", folder / "model", "the winter", "--json").out)
    assert result["prompt"] == "the winter"
    assert result["tokens_per_second"] > 0


def test_verify_confirms_a_record_and_detects_a_changed_value(ran, tmp_path):
    folder, _ = ran
    path = next((folder / "runs/tiny/flap").iterdir())
    assert inside("verify", path).code == 0
    record = load_record(path)
    off = record.model_copy(update={"values": {METRIC: 1.1 * record.values[METRIC]}})
    (tmp_path / "off.json").write_text(off.to_json())
    done = inside("verify", tmp_path / "off.json")
    assert done.code == 1
    assert "differs" in done.out
    assert "Traceback" not in done.err


def test_verify_names_the_tolerance_that_was_needed(ran, tmp_path):
    """Both tolerances exit with 0; a missing value differs with either."""
    folder, _ = ran
    record = load_record(next((folder / "runs/tiny/flap").iterdir()))
    hardware = record.hardware.model_copy(update={"cpu": "another"})
    far = record.model_copy(
        update={"hardware": hardware, "values": {METRIC: 1.005 * record.values[METRIC]}}
    )
    (tmp_path / "far.json").write_text(far.to_json())
    done = inside("verify", tmp_path / "far.json")
    assert done.code == 0
    assert "within the wide tolerance only" in done.out
    assert 'cpu: "another" in the record' in done.out
    printed = json.loads(inside("verify", tmp_path / "far.json", "--json").out)
    assert (printed["confirmed"], printed["agrees"], printed["same_machine"]) == (
        "wide",
        True,
        False,
    )
    (tmp_path / "empty.json").write_text(record.model_copy(update={"values": {}}).to_json())
    done = inside("verify", tmp_path / "empty.json")
    assert done.code == 1
    assert "missing" in done.out


@pytest.mark.parametrize(
    ("device", "accelerator", "home"),
    [("auto", "cuda", "cpu"), ("auto", None, "cuda"), ("cuda", "cuda", "cuda")],
)
def test_weights_stay_on_the_cpu_beside_an_accelerator(
    device, accelerator, home, world, monkeypatch
):
    loaded = []

    def place(name):
        return torch.device("cuda" if name == "auto" else name)

    def load(folder, **options):
        loaded.append(str(place(options["device"])))
        raise BadInput("loaded")

    monkeypatch.setattr(execution, "parse_device", place)
    monkeypatch.setattr(loading, "load_model", load)
    setup = make_setup(
        get_protocol(str(world.protocol)), None, device, None, accelerator, None, None
    )
    assert (setup.device, setup.accelerator) == (home, accelerator)
    options = ("--device", device, *(("--accelerator", accelerator) if accelerator else ()))
    assert inside("generate", "model", "text", *options).code == 2
    assert loaded == [home]


def test_tasks_are_sorted_and_distinct(world):
    protocol = get_protocol(str(world.protocol))
    setup = make_setup(protocol, "model", "cpu", None, None, ["piqa,arc_easy", "piqa"], None)
    assert setup.tasks == ("arc_easy", "piqa")


def test_leaderboard_as_table_csv_and_json(ran):
    folder, _ = ran
    here = ("leaderboard", "--runs", folder / "runs", "--protocol", "tiny")
    table = inside(*here)
    assert table.code == 0
    assert table.out.index("dense") < table.out.index("flap")
    lines = list(csv.DictReader(io.StringIO(inside(*here, "--csv").out)))
    assert [line["method"] for line in lines] == ["dense", "flap"]
    rows = json.loads(inside(*here, "--json", "--sort", "sparsity", "--sparsity", "0.2-0.4").out)
    assert [row["method"] for row in rows] == ["dense", "flap"]
    wrong = inside(*here, "--sort", "colour")
    assert wrong.code == 2
    assert "choose one of method" in wrong.err
    none = inside(*here, "--method", "flap", "--sparsity", "0.9")
    assert none.code == 0
    assert none.out.startswith("no matching records")
    assert json.loads(inside(*here, "--json", "--method", "flap", "--sparsity", "0.9").out) == []


def test_sweep_from_a_file_can_be_repeated(world, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"protocol: {world.protocol}\nruns:\n"
        "  - dense\n  - {method: [magnitude, wanda], sparsity: 0.5}\n"
        "  - {method: wanda, pattern: '2:5'}\n"
    )
    done = inside("sweep", "--file", file, "--runs", tmp_path / "runs")
    assert done.code == 1  # one run fails
    assert "wanda 2:5 seed 0: pattern 2:5 does not divide" in done.err
    assert "new records: 3, already existing: 0, failed: 1" in done.out
    assert len(load_records([tmp_path / "runs"])) == 3
    again = inside("sweep", "--file", file, "--runs", tmp_path / "runs", "--json")
    assert len(json.loads(again.out)) == 3


BAD = {
    "sparsity too large": (["run", "wanda", "--sparsity", "1.5"], "or 50%, got '1.5'"),
    "sparsity nan": (["run", "wanda", "--sparsity", "nan"], "or 50%, got 'nan'"),
    "sparsity not a number": (
        ["run", "wanda", "--sparsity", "1/2"],
        "--sparsity: expected a number between 0 and 1, such as 0.5 or 50%, got '1/2'",
    ),
    "pattern 5:4": (["run", "wanda", "--pattern", "5:4"], "5:4"),
    "unknown method": (["run", "sparsgpt"], "did you mean 'sparsegpt'"),
    "unknown command": (["prune"], "prune"),
    "unknown parameter": (["run", "sparsegpt", "--set", "dampign=1"], "did you mean 'damping'"),
    "unknown protocol": (["run", "wanda", "--protocol", "smoll"], "did you mean 'smol'"),
    "no model": (["run", "wanda", "--protocol", "paper"], "--model"),
    "unknown device": (["run", "wanda", "--device", "nowhere"], "nowhere"),
    "seed negative": (["run", "wanda", "--seed=-1"], "--seed: expected a whole number between 0"),
    "seed not an integer": (
        ["run", "wanda", "--seed", "1.5"],
        "between 0 and 9,223,372,036,854,775,",
    ),
    "no such record": (["verify", "nowhere.json"], "nowhere.json"),
    "sweep without methods": (["sweep"], "no method"),
    "sweep with methods and file": (["sweep", "wanda", "--file", "x.yaml"], "--file cannot be"),
    "methods": (["methods", "wnada"], "did you mean 'wanda'"),
    "sparsity twice": (
        ["run", "wanda", "--set", "sparsity=.1", "--sparsity", ".2"],
        "--set sparsity cannot be combined",
    ),
    "pattern twice": (
        ["run", "wanda", "--set", "pattern=2:4", "--pattern", "4:8"],
        "--set pattern cannot be combined",
    ),
    "runs missing": (["leaderboard", "--runs", "nosuch"], "--runs: nosuch is not a folder; give"),
    "runs is a file": (["leaderboard", "--runs", os.devnull], "--runs: /dev/null is not a folder"),
    "only commas in tasks": (["run", "wanda", "--tasks", ","], "contains an empty name"),
    "task folder missing": (
        ["run", "dense", "--tasks", "arc_easy", "--task-folder", "nosuch"],
        "--task-folder: nosuch is not a folder; give the folder with the task files",
    ),
    "task folder without tasks": (
        ["run", "dense", "--task-folder", "."],
        "--task-folder needs --tasks; give both or neither",
    ),
    "unknown recovery": (["run", "wanda", "--recover", "lroa"], "did you mean 'lora'"),
    "calibration text missing": (
        ["run", "wanda", "--calibrate-on", "nosuch.txt"],
        "--calibrate-on: nosuch.txt is not a file",
    ),
    "evaluation text in another format": (
        ["sweep", "wanda", "--evaluate-on", "notes.pdf"],
        "--evaluate-on: notes.pdf must be a .txt, .jsonl or .parquet file; convert it",
    ),
    "tokens without recovery": (
        ["run", "wanda", "--tokens", "1000"],
        "--tokens needs --recover; add",
    ),
    "recovery on 0 tokens": (
        ["run", "wanda", "--recover", "full", "--tokens", "0"],
        "--tokens must be between 1 and",
    ),
    "distillation of the teacher": (
        ["run", "dense", "--recover", "distill"],
        "the dense model is the teacher",
    ),
}

EMPTY = ["model", "protocol", "device", "dtype", "accelerator", "set", "tasks", "task-folder"]
EMPTY += ["save", "runs", "seed", "sparsity", "pattern", "calibrate-on", "evaluate-on"]
BAD |= {f"empty {name}": (["run", "wanda", f"--{name}", ""], f"--{name} is") for name in EMPTY}
BAD["empty prompt"] = (["generate", "smollm2-135m", ""], "an argument is empty")


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_invalid_input_exits_with_2_and_one_message_and_writes_nothing(case, monkeypatch, tmp_path):
    arguments, message = case
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    done = inside(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "typo", "message"),
    [
        ("--method", "flpa", "unknown method 'flpa'; did you mean 'flap'?"),
        ("--model", "tiny,tinny", "unknown model 'tinny'; did you mean 'tiny'?"),
    ],
)
def test_leaderboard_suggests_the_closest_name_for_a_typo(ran, option, typo, message):
    folder, _ = ran
    done = inside("leaderboard", "--runs", folder / "runs", option, typo)
    assert done.code == 2
    assert f"no matching record: {message}" in done.err


def test_leaderboard_accepts_any_name_without_records(tmp_path, monkeypatch):
    monkeypatch.setattr("implementations.harness.cli.commands.published_folders", list)
    done = inside("leaderboard", "--runs", tmp_path, "--method", "wanda")
    assert done.code == 0
    assert "no matching records; create one with `atlas run`" in done.out


def test_process_exits_with_2_and_without_a_traceback(atlas, tmp_path):
    done = atlas("run", "sparsgpt", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def slow(world) -> Path:
    """Write a protocol whose structured runs measure speed for minutes."""
    return world.write_protocol("slow", speed={"prompt": 8, "tokens": 100, "repeats": 10_000})


@pytest.mark.full
def test_ctrl_c_leaves_no_partial_files(slow, start, tmp_path):
    process = start(
        *("run", "shortgpt", "--sparsity", 0.5, "--protocol", slow),
        *("--runs", tmp_path / "runs", "--save", tmp_path / "model"),
    )
    dense = tmp_path / "runs/slow/dense/tiny-dense.json"
    wait_for(dense.exists, process)  # pruning and the long speed test follow
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert files(tmp_path) == [dense]
    load_record(dense)


@pytest.mark.full
def test_killed_sweep_continues_where_it_stopped(world, atlas, start, tmp_path):
    shares = [f"--sparsity={i / 40}" for i in range(1, 9)]
    command = ("sweep", "magnitude", *shares, "--protocol", world.protocol, "--workers", 2)
    runs = tmp_path / "runs"
    process = start(*command, "--runs", runs)
    pruned = runs / "tiny" / "magnitude"
    wait_for(lambda: len(list(pruned.glob("t*.json"))) >= 3, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    psutil.wait_procs(workers, timeout=120)
    existing = len(list(pruned.glob("t*.json")))
    assert 3 <= existing < 8
    assert len(load_records([runs])) == existing + 1  # all complete, with the dense one
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("t*.json")}
    done = atlas(*command, "--runs", runs)
    assert done.code == 0, done.err
    assert f"new records: {8 - existing}, already existing: {existing}, failed: 0" in done.out
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert len(load_records([runs])) == 9
    assert all(path.suffix == ".json" for path in files(runs))  # no leftovers of the kill


@pytest.mark.full
def test_ctrl_c_ends_a_sweep_with_its_workers(slow, start, tmp_path):
    shares = [f"--sparsity={share}" for share in (0.5, 0.4)]
    process = start(
        *("sweep", "magnitude", "shortgpt", *shares, "--protocol", slow, "--workers", 2),
        *("--runs", tmp_path / "runs"),
    )
    done = tmp_path / "runs" / "slow" / "magnitude"
    wait_for(lambda: len(list(done.glob("t*.json"))) == 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert len(load_records([tmp_path / "runs"])) == 3
    assert all(path.suffix == ".json" for path in files(tmp_path))

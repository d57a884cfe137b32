"""A method of one's own: written, checked, run, swept, verified and compared without a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.contract.tiny import MODEL_TYPES
from implementations.harness.results.store import load_records


def atlas(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert atlas("new", "my_method").exit_code == 0
    return tmp_path


def test_new_method_passes_the_contract(folder, monkeypatch):
    for family in list(MODEL_TYPES):
        if family not in ("llama", "opt"):
            monkeypatch.delitem(MODEL_TYPES, family)
    done = atlas("check", "./my_method.py")
    assert done.exit_code == 0, done.output
    assert "sparsity_is_met" in done.stdout
    assert "fails" not in done.stdout


def test_wrong_method_fails_the_contract_with_advice(folder, monkeypatch):
    for family in list(MODEL_TYPES):
        if family != "llama":
            monkeypatch.delitem(MODEL_TYPES, family)
    text = Path("my_method.py").read_text()
    Path("my_method.py").write_text(text.replace("self.choose(scores)", "scores < 0"))
    done = atlas("check", "./my_method.py")
    assert done.exit_code == 1
    assert "llama: removed 0 of the weights, 0.25 was asked for" in done.stdout
    assert "what to do: remove exactly `self.target`" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_method", "my_method.py exists"),
        ("wanda", "'wanda' is a method of the atlas"),
        ("my-method", "NAME 'my-method' cannot be a class name; choose another"),
        ("none", "NAME 'none' cannot be a class name; choose another"),
        ("1", "a letter followed by letters and digits, got '1'; rename it"),
    ],
)
def test_new_refuses_a_name(folder, name, message):
    done = atlas("new", name)
    assert done.exit_code == 2
    assert message in done.stderr
    assert [path.name for path in folder.iterdir()] == ["my_method.py"]


@pytest.mark.parametrize("absolute", [True, False])
def test_new_shows_the_next_command(tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    name = str(tmp_path / "other") if absolute else "other"
    shown = f"{name}.py" if absolute else "./other.py"
    assert f"atlas check {shown}, then atlas run {shown} " in atlas("new", name).stdout


def test_run_records_the_hash_and_is_never_published(folder, world):
    common = ("run", "./my_method.py", "--protocol", world.protocol)
    refused = atlas(*common, "--publish")
    assert refused.exit_code == 2
    assert "not part of the atlas" in refused.stderr
    done = atlas(*common)
    assert done.exit_code == 0, done.output
    assert "external: the method is not part of the atlas" in done.stdout
    records = {record.method: record for record in load_records([Path("runs")])}
    record = records["mymethod"]
    assert record.labels == ("external",)
    assert record.external.source == "./my_method.py"
    assert record.command.startswith("atlas run ./my_method.py --sparsity 0.5")
    shown = atlas("leaderboard", "--runs", "runs", "--protocol", record.protocol.name, "--json")
    rows = [(row["method"], row["labels"]) for row in json.loads(shown.stdout)]
    assert ("mymethod", ["external"]) in rows
    (path,) = Path("runs").glob("*/mymethod/*.json")
    assert atlas("verify", path).exit_code == 0
    Path("my_method.py").write_text("raise SystemExit('imported')")
    changed = atlas("verify", path)
    assert changed.exit_code == 2
    message = f"my_method.py is not the file with which the record {record.name} was made"
    assert message in " ".join(changed.stderr.split())


def test_compare_continues_and_writes_tables_and_a_chart(folder, world):
    common = ("compare", "./my_method.py", "magnitude", "--sparsity", "50%")
    common = (*common, "--protocol", world.protocol)
    first = atlas(*common, "--seeds", 1)
    assert first.exit_code == 0, first.output
    done = atlas(*common, "--seeds", 2, "--workers", 2)  # workers load the file by themselves
    assert done.exit_code == 0, done.output
    assert "new records: 2, already existing: 2, failed: 0" in done.stdout
    assert sorted(path.name for path in Path("comparison").iterdir()) == [
        "chart.svg",
        "table.csv",
        "table.md",
        "table.tex",
    ]
    table = Path("comparison/table.md").read_text()
    assert "mymethod" in table
    assert "over 2 seeds" in table


def test_changed_file_is_run_again(folder, world):
    common = ("compare", "./my_method.py", "--protocol", world.protocol)
    assert "new records: 1, already existing: 0" in atlas(*common).stdout
    Path("my_method.py").write_text(Path("my_method.py").read_text() + "# changed\n")
    assert "new records: 1, already existing: 0" in atlas(*common).stdout


def test_compare_shows_failures_and_the_rest(folder, world):
    Path("runs.yaml").write_text(
        f"protocol: {world.protocol}\nruns:\n"
        "  - {method: wanda, pattern: '2:5'}\n  - {method: ./my_method.py, sparsity: 0.5}\n"
    )
    done = atlas("compare", "--file", "runs.yaml")
    assert done.exit_code == 1
    assert "pattern 2:5 does not divide" in done.stderr
    assert "mymethod" in Path("comparison/table.md").read_text()


def test_installed_method_is_listed(folder, monkeypatch):
    import importlib.metadata
    import sys

    from implementations.harness.results import external

    monkeypatch.syspath_prepend(folder)
    point = importlib.metadata.EntryPoint("mine", "my_method:MyMethod", external.GROUP)
    monkeypatch.setattr(external, "entry_points", lambda group: [point])
    listed = atlas("methods").stdout
    assert "mine" in listed
    assert "wanda" in listed
    assert "power" in atlas("methods", "mine").stdout
    del sys.modules["my_method"]  # other tests import another file of that name

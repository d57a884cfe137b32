"""Upgrade of records from the previous schema."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get
from implementations.harness.results.store import load_record
from implementations.harness.runs.job import Job
from implementations.harness.runs.migrate import migrate
from implementations.harness.runs.run import run


@pytest.fixture(scope="module")
def now(setup, tmp_path_factory):
    method = get("magnitude").configure(sparsity=0.5)
    return run(Job(method), setup, runs=tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def before(now, tmp_path):
    """Return the same record in the previous schema, without the newer hashes."""
    content = json.loads(now.read_text()) | {"schema_version": 1, "key": "0" * 64}
    del content["tasks_sha256"], content["model"]["config_sha256"]
    del content["model"]["tokenizer_sha256"]
    for text in content["texts"]:
        del text["source_sha256"]
    path = tmp_path / now.name
    path.write_text(json.dumps(content))
    return path


def test_migrated_record_equals_a_current_one(before, now):
    assert migrate(before)
    assert before.read_text() == now.read_text()
    assert not migrate(before)
    assert load_record(before).command == load_record(now).command


def test_refuses_changed_model_and_writes_nothing(before):
    content = json.loads(before.read_text())
    content["model"]["sha256"] = "9" * 64
    before.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="differ from the recorded ones"):
        migrate(before)
    assert json.loads(before.read_text()) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is not a record"),
        ({}, "is not a record"),
        ({"schema_version": 7}, "has record schema 7; only 1 can be upgraded"),
        ({"schema_version": "1"}, "has record schema '1'; only 1 can be upgraded"),
        ({"schema_version": 1}, "is not a record of schema 1"),
        ({"schema_version": 1, "model": 3}, "is not a record of schema 1"),
    ],
)
def test_refuses_file_that_is_not_a_record(content, words, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=words):
        migrate(path)


def test_migrate_command(before, now):
    done = CliRunner().invoke(app, ["migrate", str(before)])
    assert done.exit_code == 0
    assert before.name in done.stdout.replace("\n", "")
    assert load_record(before).key == load_record(now).key

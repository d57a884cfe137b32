"""Records of the schema before are brought up to date from what they say."""

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
    """The same record as the schema before had it: with a key of less."""
    content = json.loads(now.read_text()) | {"schema_version": 1, "key": "0" * 64}
    del content["tasks_sha256"], content["model"]["config_sha256"]
    del content["model"]["tokenizer_sha256"]
    for text in content["texts"]:
        del text["source_sha256"]
    path = tmp_path / now.name
    path.write_text(json.dumps(content))
    return path


def test_it_becomes_the_record_that_is_written_today(before, now):
    assert migrate(before)
    assert before.read_text() == now.read_text()
    assert not migrate(before)
    assert load_record(before).command == load_record(now).command


def test_another_model_is_refused_and_nothing_is_written(before):
    content = json.loads(before.read_text())
    content["model"]["sha256"] = "9" * 64
    before.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="has other weights now"):
        migrate(before)
    assert json.loads(before.read_text()) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is not a record"),
        ({}, "is not a record"),
        ({"schema_version": 7}, "has record schema 7, not 1"),
        ({"schema_version": "1"}, "has record schema '1', not 1"),
        ({"schema_version": 1}, "is not a record of schema 1"),
        ({"schema_version": 1, "model": 3}, "is not a record of schema 1"),
    ],
)
def test_what_is_no_record_is_named(content, words, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=words):
        migrate(path)


def test_the_command(before, now):
    done = CliRunner().invoke(app, ["migrate", str(before)])
    assert done.exit_code == 0
    assert before.name in done.stdout.replace("\n", "")
    assert load_record(before).key == load_record(now).key

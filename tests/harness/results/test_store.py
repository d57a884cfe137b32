"""Records as files: read and written whole, refused where damaged or too new."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.results.record import Record
from implementations.harness.results.store import (
    load_record,
    load_records,
    publish_record,
    save_record,
)

Make = Callable[..., Record]


def test_a_record_survives_the_file(made_up: Make, tmp_path):
    record = made_up(details={"order": [3, 1], "deep": [{"a": None}]}, sample="größer — 大")
    path = save_record(record, tmp_path)
    assert path == tmp_path / "smol" / "wanda" / "smollm2-135m-s0.5-seed0.json"
    assert load_record(path) == record
    assert load_records([tmp_path, tmp_path / "missing"]) == [record]


def test_a_newer_schema_is_named_with_the_way_out(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    newer = json.loads(path.read_text()) | {"schema_version": 99, "colour": "of a later day"}
    path.write_text(json.dumps(newer))
    with pytest.raises(BadInput, match=r"seed0\.json has record schema 99, newer.*update"):
        load_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged JSON"),
        (lambda text: "[]", "not a valid record"),
        (lambda text: "12", "not a valid record"),
        (lambda text: text.replace('"seed": 0', '"seed": "0"'), "seed: Input should be"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "extra": 1'), "extra: Extra"),
    ],
)
def test_a_damaged_file_is_named(change, message, made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(BadInput, match=message) as refusal:
        load_records([tmp_path])
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.json"):
        load_record(tmp_path / "nowhere.json")


def test_the_same_request_replaces_and_another_one_does_not(made_up: Make, tmp_path):
    first = save_record(made_up(), tmp_path)
    assert save_record(made_up(sample="again"), tmp_path) == first
    assert load_record(first).sample == "again"
    hashed = made_up().model.model_copy(update={"config_sha256": "5" * 64})
    second = made_up(model=hashed)
    other = save_record(second, tmp_path)
    assert other.name == f"smollm2-135m-s0.5-seed0-{second.key[:8]}.json"
    assert len(load_records([tmp_path])) == 2


def test_an_edited_record_is_refused(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(path.read_text().replace('"sparsity": 0.5', '"sparsity": 0.4'))
    with pytest.raises(BadInput, match="it was edited"):
        load_record(path)


def test_a_record_of_the_schema_before_says_how_to_go_on(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(BadInput, match=f"atlas migrate {path}"):
        load_record(path)


def test_published_records_lie_with_their_method_and_dense_ones_with_the_harness(
    made_up: Make, tmp_path
):
    assert publish_record(made_up(), tmp_path).parent == tmp_path / "wanda" / "records" / "smol"
    dense = made_up(method="dense", granularity=(), configuration={})
    assert publish_record(dense, tmp_path).parent == tmp_path / "harness" / "records" / "smol"


def test_support_files_and_leftovers_are_no_records(made_up: Make, tmp_path):
    save_record(made_up(), tmp_path)
    (tmp_path / "support.json").write_text("{}")
    (tmp_path / "smol" / ".half.json.x1").write_text("{")
    (tmp_path / "smol" / ".half.json").write_text("{")
    assert len(load_records([tmp_path])) == 1


def test_reading_records_needs_neither_torch_nor_transformers():
    code = (
        "import sys, implementations.harness.cli.commands, implementations.harness.results.table, "
        "implementations.harness.results.protocol, implementations.harness.results.store; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Record files: saving, publishing, loading, and refusal of damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import LONGEST_NAME
from implementations.harness.results.record import Record
from implementations.harness.results.store import (
    load_record,
    load_records,
    publish_record,
    save_record,
)

Make = Callable[..., Record]


def test_saved_record_is_loaded_unchanged(made_up: Make, tmp_path):
    record = made_up(details={"order": [3, 1], "deep": [{"a": None}]}, sample="größer — 大")
    path = save_record(record, tmp_path)
    assert path == tmp_path / "smol" / "wanda" / "smollm2-135m-s0.5-seed0.json"
    assert load_record(path) == record
    assert load_records([tmp_path, tmp_path / "missing"]) == [record]


def test_refuses_newer_schema_and_suggests_an_update(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    newer = json.loads(path.read_text()) | {"schema_version": 99, "colour": "of a later day"}
    path.write_text(json.dumps(newer))
    with pytest.raises(BadInput, match=r"seed0\.json has record schema 99, newer.*update"):
        load_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: "[]", "not a valid record"),
        (lambda text: text.replace('"seed": 0', '"seed": "0"'), "seed: Input should be"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "extra": 1'), "extra: Extra"),
    ],
)
def test_refuses_damaged_file(change, message, made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(BadInput, match=message) as refusal:
        load_records([tmp_path])
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 1'), "gives 'seed' twice"),
        (lambda text: text.replace("wanda", "../../wanda"), "method: String should match"),
        (
            lambda text: json.dumps(json.loads(text) | {f"\x1b[{i}m" * 99: 1 for i in range(99)}),
            "and 89 more$",
        ),
    ],
)
def test_refuses_hostile_file_with_a_short_message(change, words, made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(BadInput, match=words) as refusal:
        load_record(path)
    assert str(path) in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 2000


def test_refuses_missing_file(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.json"):
        load_record(tmp_path / "nowhere.json")


def test_only_a_record_with_the_same_key_is_replaced(made_up: Make, tmp_path):
    first = save_record(made_up(), tmp_path)
    assert save_record(made_up(sample="again"), tmp_path) == first
    assert load_record(first).sample == "again"
    hashed = made_up().model.model_copy(update={"config_sha256": "5" * 64})
    second = made_up(model=hashed)
    other = save_record(second, tmp_path)
    assert other.name == f"smollm2-135m-s0.5-seed0-{second.key[:8]}.json"
    assert len(load_records([tmp_path])) == 2


def test_refuses_edited_record(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(path.read_text().replace('"sparsity": 0.5', '"sparsity": 0.4'))
    with pytest.raises(BadInput, match="the record was edited"):
        load_record(path)


def test_refuses_older_schema(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 1'))
    with pytest.raises(BadInput, match="schema 1, older than the supported 3"):
        load_record(path)


def test_records_are_published_to_their_method_and_dense_ones_to_the_harness(
    made_up: Make, tmp_path
):
    (tmp_path / "wanda").mkdir()
    (tmp_path / "wanda" / "wanda.py").write_text("")
    assert publish_record(made_up(), tmp_path).parent == tmp_path / "wanda" / "records" / "smol"
    dense = made_up(method="dense", granularity=(), configuration={})
    assert publish_record(dense, tmp_path).parent == tmp_path / "harness" / "records" / "smol"


def test_refuses_to_publish_unknown_method(made_up: Make, tmp_path):
    for method in ("wanda", "harness", "records"):
        with pytest.raises(BadInput, match=f"has no method '{method}'"):
            publish_record(made_up(method=method), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_longest_name_fits_the_file_system(made_up: Make, tmp_path):
    long = {"name": "x" * LONGEST_NAME}
    save_record(made_up(**long), tmp_path)
    other = made_up(seed=1, **long)
    path = save_record(other, tmp_path)
    assert path.name == f"{'x' * LONGEST_NAME}-{other.key[:8]}.json"


def test_leftovers_are_ignored(made_up: Make, tmp_path):
    save_record(made_up(), tmp_path)
    (tmp_path / "smol" / ".half.json.x1").write_text("{")
    (tmp_path / "smol" / ".half.json").write_text("{")
    assert len(load_records([tmp_path])) == 1

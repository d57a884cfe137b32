"""Records: read and written whole, in stable order, refused where damaged or too new."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results.record import (
    Record,
    layout,
    load_record,
    load_records,
    publish_record,
    save_record,
    write_whole,
)

Make = Callable[..., Record]


def test_a_record_survives_the_file(made_up: Make, tmp_path):
    record = made_up(details={"order": [3, 1], "deep": [{"a": None}]}, sample="größer — 大")
    path = save_record(record, tmp_path)
    assert path == tmp_path / "smol" / "wanda" / "smollm2-135m-s0.5-seed0.json"
    assert load_record(path) == record
    assert load_records([tmp_path, tmp_path / "missing"]) == [record]


def test_the_same_record_gives_the_same_bytes_in_the_order_of_the_fields(made_up: Make):
    text = made_up().to_json()
    assert text == made_up().to_json()
    assert list(json.loads(text)) == list(Record.model_fields)
    assert '"date": "2026-11-25T12:00:00Z"' in text
    assert '"spans": [[0, 1024], [2048, 3072]]' in text  # one line, however many windows


def test_layout_is_json():
    value = {"a": [1, [2.5, "x"]], "b": {"c": []}, "d": [{"e": None}, {}], "f": {}}
    assert json.loads(layout(value)) == value


def test_infinity_is_not_written(made_up: Make):
    with pytest.raises(ValueError, match="finite"):
        made_up(values={"ppl/wikipedia/1024": float("inf")})


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
    other = save_record(made_up(key="f" * 64), tmp_path)
    assert other.name == "smollm2-135m-s0.5-seed0-ffffffff.json"
    assert len(load_records([tmp_path])) == 2


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


def test_groups_differ_in_everything_but_the_seed(made_up: Make):
    assert made_up(seed=1).group == made_up().group
    assert made_up(configuration={"sparsity": 0.7}).group != made_up().group
    assert made_up(tasks=("arc_easy",)).group != made_up().group


def test_settings_read_well(made_up: Make):
    assert made_up().settings == "50 %"
    pattern = {"sparsity": 0.5, "pattern": "2:4", "damping": 0.1}
    assert made_up(configuration=pattern, changed=("damping",)).settings == "2:4 damping=0.1"


def test_an_unwritable_place_is_named_and_nothing_left(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot write"):
        write_whole(tmp_path / "file" / "under" / "it.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL = """
import resource, signal, sys
from pathlib import Path
from implementations.harness.errors import Unavailable
from implementations.harness.results.record import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_whole(Path(sys.argv[1]), "x" * 10_000)
except Unavailable as error:
    sys.exit(0 if "cannot write" in str(error) else 3)
"""


def test_a_write_that_fails_half_way_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], check=False)
    assert done.returncode == 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_is_an_ordinary_one(tmp_path):
    write_whole(tmp_path / "a.json", "{}")
    (tmp_path / "b.json").write_text("{}")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b.json").stat().st_mode


def test_reading_records_needs_neither_torch_nor_transformers():
    code = (
        "import sys, implementations.harness.cli.commands, implementations.harness.results.boards, "
        "implementations.harness.results.protocol, implementations.harness.results.record; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

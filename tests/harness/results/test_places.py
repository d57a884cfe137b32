"""Places to write in: tried before the work, held by one process at a time, left clean."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results import places
from implementations.harness.results.bounds import LONGEST_NAME
from implementations.harness.results.places import alone, check_writable, real, spare
from implementations.harness.results.record import Record
from implementations.harness.results.store import (
    check_record,
    load_record,
    load_records,
    record_files,
    save_record,
)

Make = Callable[..., Record]
NAME = "smollm2-135m-s0.5-seed0"


def half(path: Path) -> Path:
    """What a killed process leaves of a file."""
    return path.with_name(f".{path.name}.0a1b2c3d.tmp")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_the_trial_leaves_nothing_and_makes_nothing(tmp_path):
    check_writable(tmp_path / "new" / "runs")
    check_writable(tmp_path)
    check_record(tmp_path / "runs", "tiny", "wanda")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("below", "name", "words"),
    [
        ("file", "it", "Not a directory"),
        ("file/runs", "it", "Not a directory"),
        ("x" * 256, "it", "name too long"),
        ("y/" * 2050, "it", "name too long"),
        ("runs", "x" * 256, "name too long"),
    ],
)
def test_what_cannot_be_written_is_found_by_trying(below, name, words, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=words) as refusal:
        check_writable(tmp_path / below, name)
    assert len(str(refusal.value)) < 500
    assert names(tmp_path) == ["file"]


def test_the_names_beside_a_record_count_too(made_up: Make, tmp_path):
    longest = 255 - len("..json.12345678.tmp")
    check_writable(tmp_path, f"{'x' * longest}.json")
    with pytest.raises(Unavailable, match="name too long"):
        check_writable(tmp_path, f"{'x' * (longest + 1)}.json")
    check_record(tmp_path, "smol", "wanda")
    first = save_record(made_up(name="x" * LONGEST_NAME), tmp_path)
    hashed = made_up().model.model_copy(update={"config_sha256": "5" * 64})
    second = save_record(made_up(name="x" * LONGEST_NAME, model=hashed), tmp_path)
    assert len(first.name) < len(second.name) <= longest


@pytest.mark.parametrize("text", ["runs\0", "runs\udcff", "runs/\ud800"])
def test_a_text_that_is_no_path_is_refused_and_shown_escaped(text):
    with pytest.raises(BadInput, match="nothing can be written in 'runs") as refusal:
        real(text)
    assert str(refusal.value).isprintable()


def test_where_one_works_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(Unavailable, match="nothing can be written in runs: No such file"):
        real("runs")


def test_a_trial_goes_where_the_links_lead(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "link").symlink_to("away/new")
    with spare(tmp_path / "link") as place:
        assert place.name == "new"
        assert place.parent.parent == tmp_path / "away"


def test_what_a_killed_process_left_of_its_trial_goes_with_the_next(tmp_path):
    killed = "with spare(Path('runs')) as place: place.mkdir(); os._exit(1)"
    code = f"import os\nfrom pathlib import Path\nfrom {spare.__module__} import spare\n{killed}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    (left,) = tmp_path.iterdir()
    others = [f"{places.TRIAL}{os.getpid()}-of-a-living-one", ".atlas-elsewhere-1-x", ".atlas-mine"]
    for name in others:
        (tmp_path / name).mkdir()
    check_writable(tmp_path / "runs")
    assert not left.exists()
    assert names(tmp_path) == sorted(others)


def test_who_comes_later_waits_and_who_waits_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "PATIENCE", 0.1)
    with alone(tmp_path / "it"):
        with (
            pytest.raises(Unavailable, match=r"another process is writing .*it"),
            alone(tmp_path / "it"),
        ):
            pytest.fail("two at once")
        with alone(tmp_path / "other"):
            pass
        assert names(tmp_path) == [".it.lock"]
    with alone(tmp_path / "it"):
        pass
    assert names(tmp_path) == []


def test_many_requests_of_one_name_all_keep_their_record(made_up: Make, tmp_path):
    records = [made_up(seed=number, name="same") for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda record: save_record(record, tmp_path), records))
    assert [load_record(path) for path in written] == records
    assert len(load_records([tmp_path])) == 16
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_many_records_of_one_request_are_one_file(made_up: Make, tmp_path):
    records = [made_up(sample=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        (path,) = set(pool.map(lambda record: save_record(record, tmp_path), records))
    assert load_record(path) in records
    assert names(path.parent) == [path.name]


def test_what_killed_writers_left_of_a_record_goes_with_its_next_writing(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path)
    (path.parent / f".{NAME}.json.lock").write_text("")
    half(path).write_text("{")
    of_another = half(path.with_name(f"{NAME}-wider.json"))
    of_another.write_text("{")
    save_record(made_up(), tmp_path)
    assert names(path.parent) == sorted([of_another.name, path.name])


def damaged(path: Path) -> None:
    path.write_text("{")


def folder(path: Path) -> None:
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("left", [damaged, folder, os.mkfifo, link_to_nothing])
def test_what_is_no_record_is_kept_and_the_new_one_gets_another_name(left, made_up: Make, tmp_path):
    path = tmp_path / "smol" / "wanda" / f"{NAME}.json"
    path.parent.mkdir(parents=True)
    left(path)
    written = save_record(made_up(), tmp_path)
    assert written.name == f"{NAME}-{made_up().key[:8]}.json"
    assert load_record(written) == made_up()
    assert os.path.lexists(path)


def test_what_is_hidden_holds_no_records(made_up: Make, tmp_path):
    path = save_record(made_up(), tmp_path / "runs")
    for name in (".ipynb_checkpoints", ".out.partial-12345678"):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert list(record_files(tmp_path / "runs")) == [path]
    hidden = save_record(made_up(), tmp_path / ".runs")
    assert list(record_files(tmp_path / ".runs")) == [hidden]


def test_a_folder_that_goes_while_it_is_read_is_passed_over(made_up: Make, tmp_path, monkeypatch):
    path = save_record(made_up(), tmp_path)
    (tmp_path / "trial").mkdir()
    scan = os.scandir

    def late(place):
        found = scan(place)
        if (tmp_path / "trial").exists():
            (tmp_path / "trial").rmdir()
        return found

    monkeypatch.setattr(os, "scandir", late)
    assert list(record_files(tmp_path)) == [path]

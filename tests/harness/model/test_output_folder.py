"""Where a model is to be saved: refused before any work, or filled whole by one process."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from implementations.harness.contract.tiny import tiny_model
from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.model.checkpoint import save
from implementations.harness.model.output_folder import check_output_folder, published
from implementations.harness.results import places


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fill(folder: str | Path) -> Path:
    with published(check_output_folder(folder)) as partial:
        (partial / "it").write_text("")
    return Path(folder, "it")


WILL_NOT_DO = {
    "file": (BadInput, "is a file"),
    "full": (BadInput, "is not empty"),
    "to-full": (BadInput, "full is not empty"),
    ".": (BadInput, "is the folder you work in"),
    "..": (BadInput, "is not empty"),
    "/": (BadInput, "is not empty"),
    "": (BadInput, "is the folder you work in"),
    "../here": (BadInput, "is the folder you work in"),
    "loop": (Unavailable, "Too many levels"),
    "loop/out": (Unavailable, "Too many levels"),
    "file/out": (Unavailable, "Not a directory"),
    "/proc/out": (Unavailable, "could not be written"),
    "/dev/null": (BadInput, "is a file"),
    "x" * 238: (Unavailable, "File name too long"),
    "y/" * 2030 + "out": (Unavailable, "File name too long"),
    "a\0b": (BadInput, "nothing can be written"),
    "\udcff": (BadInput, "nothing can be written"),
    ".out.partial-01234567": (BadInput, "is named as what a killed process leaves"),
}


@pytest.mark.parametrize(("target", "refusal"), WILL_NOT_DO.items(), ids=range(len(WILL_NOT_DO)))
def test_a_bad_target_is_refused_before_the_work(target, refusal, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(here)
    if target in ("file", "full", "to-full", "loop", "loop/out", "file/out"):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "it").write_text("")
        (tmp_path / "to-full").symlink_to("full")
        (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    error, words = refusal
    with pytest.raises(error, match=words) as told:
        check_output_folder(target)
    assert len(str(told.value)) < 500
    assert names(tmp_path) == before


@pytest.mark.parametrize("target", ["new", "to-new", "to-empty", "a/b/new", "empty/../new", "ü b"])
def test_links_are_followed_and_what_passes_is_saved_to(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-new").symlink_to("deep/new")
    (tmp_path / "to-empty").symlink_to("empty")
    before = names(tmp_path)
    check_output_folder(target)
    assert names(tmp_path) == before
    assert fill(target).exists()
    assert {"to-new", "to-empty"} <= {path.name for path in tmp_path.iterdir() if path.is_symlink()}


def test_an_empty_folder_keeps_its_mode(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    check_output_folder(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    fill(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


@contextmanager
def without_roots_rights() -> Iterator[None]:
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("target", ["shut/out", "shut/a/b", "shut/empty", "sealed/out", "sealed"])
def test_a_place_without_permission_is_found_by_trying(target):
    with tempfile.TemporaryDirectory() as name:  # others may not enter pytest's
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "shut" / "empty").mkdir(parents=True)
        (folder / "shut").chmod(0o555)
        (folder / "sealed").mkdir(mode=0o000)
        with (
            without_roots_rights(),
            pytest.raises(Unavailable, match=r"written.*: Permission denied"),
        ):
            check_output_folder(folder / target)
        (folder / "shut").chmod(0o755)
        (folder / "sealed").chmod(0o755)
        assert names(folder) == ["sealed", "shut", "shut/empty"]


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 64 kB, where one may mount."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_where_a_disk_is_mounted_no_folder_can_be_put(disk):
    with pytest.raises(BadInput, match=r"disk is where a disk is mounted; choose a folder inside"):
        check_output_folder(disk)
    assert fill(disk / "out").exists()


def test_a_disk_that_is_full_in_the_end_is_left_as_it_was(disk):
    check_output_folder(disk / "out")
    with pytest.raises(Unavailable, match=r"could not be written: .*No space left.* Free some"):
        save(tiny_model(), disk / "out")
    assert names(disk) == []


def test_what_a_killed_process_left_goes_with_the_next_check_or_save(tmp_path):
    def left() -> None:
        (tmp_path / ".out.lock").write_text("")
        for name in (".out.partial-01234567", ".out2.partial-01234567", ".o.partial-01234567"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "model.safetensors").write_text("half")

    others = [".o.partial-01234567", ".out2.partial-01234567"]
    for act in (check_output_folder, fill):
        left()
        act(tmp_path / "out")
        assert sorted(
            name for name in names(tmp_path) if "out/" not in name and "/" not in name
        ) == [
            *others,
            *(["out"] if act is fill else []),
        ]


def test_what_a_living_process_fills_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "PATIENCE", 0.1)
    with published(tmp_path / "out") as partial:
        (partial / "half").write_text("")
        with pytest.raises(Unavailable, match=r"another process is writing .*out"):
            check_output_folder(tmp_path / "out")
        with pytest.raises(Unavailable, match=r"another process is writing .*out"):
            fill_at_once(tmp_path / "out")
        fill(tmp_path / "out2")
        assert (partial / "half").exists()
    assert names(tmp_path) == ["out", "out/half", "out2", "out2/it"]


def fill_at_once(folder: Path) -> None:
    with published(folder) as partial:
        (partial / "it").write_text("")


def test_of_many_at_once_one_wins_and_the_others_are_told(tmp_path):
    def attempt(number: int) -> str:
        try:
            with published(tmp_path / "out") as partial:
                (partial / str(number)).write_text("")
        except AtlasError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(attempt, range(12)))
    assert told.count("") == 1
    assert all("Directory not empty. Choose another folder" in words for words in told if words)
    assert names(tmp_path) == ["out", f"out/{told.index('')}"]


def test_checks_at_once_do_not_stand_in_each_others_way(tmp_path):
    def act(number: int) -> object:
        return check_output_folder(tmp_path / "new" / str(number))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(act, range(48)))
    assert names(tmp_path) == []

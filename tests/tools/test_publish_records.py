"""Publishing of records from another machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from implementations.harness.results.record import Record
from implementations.harness.results.store import load_record, save_record
from tests.keyed import changed
from tools import publish_records
from tools.command_line import program

GPU = "NVIDIA H100"


@pytest.fixture
def measured(made_up: Callable[..., Record]) -> Callable[..., Record]:
    """Create a record of a GPU."""
    record = made_up()
    hardware = record.hardware.model_copy(update={"accelerator": GPU})
    fields = {"hardware": hardware, "name": f"{record.name}-nvidia-h100"}
    provenance = {"commit": "a" * 40, "dirty": False}
    return lambda **changes: changed(record, **fields | provenance | changes)


def publish(record: Record, folder: Path) -> tuple[int, str, Path]:
    methods = folder / "implementations"
    (methods / record.method).mkdir(parents=True)
    (methods / record.method / f"{record.method}.py").touch()
    save_record(record, folder / "runs")
    arguments = [str(folder / "runs"), "--implementations", str(methods)]
    done = CliRunner().invoke(program(publish_records.main), arguments)
    return done.exit_code, done.output, methods


def test_a_record_is_copied_to_its_method(measured, tmp_path: Path) -> None:
    record = measured()
    code, _, methods = publish(record, tmp_path)
    (path,) = methods.rglob("*.json")
    assert code == 0
    assert path.parent == methods / record.method / "records" / record.protocol.name
    assert load_record(path) == record


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"commit": None, "dirty": None}, "has no commit"),
        ({"dirty": True}, "changes that are in no commit"),
        ({"labels": ("external",)}, "not part of the atlas"),
    ],
)
def test_records_without_provenance_are_refused(
    changes: dict[str, object], reason: str, measured, tmp_path: Path
) -> None:
    code, said, methods = publish(measured(**changes), tmp_path)
    assert code == 1
    assert reason in said
    assert list(methods.rglob("*.json")) == []


def test_unknown_method_publishes_no_record(measured, tmp_path: Path) -> None:
    record = measured()
    save_record(measured(method="zzz", name="zzz"), tmp_path / "runs")
    code, said, methods = publish(record, tmp_path)
    assert code == 1
    assert "has no method of that name; switch to the branch that has it" in " ".join(said.split())
    assert list(methods.rglob("*.json")) == []

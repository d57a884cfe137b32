"""Copy records of another machine, such as those of `make gpu`, to the folders of their methods.

    python tools/publish_records.py build/gpu/records

They must come from a clean commit.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer

from implementations.harness.errors import AtlasError
from implementations.harness.results.processor import STANDARD
from implementations.harness.results.record import DENSE, EXTERNAL, Record
from implementations.harness.results.store import load_records, publish_record
from tools.command_line import fail, program
from tools.repository import IMPLEMENTATIONS, implemented


def main(
    folders: Annotated[
        list[Path], typer.Argument(exists=True, file_okay=False, help="Folders of records")
    ],
    implementations: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the methods")
    ] = IMPLEMENTATIONS,
) -> None:
    """Check all records, then write them to the methods' folders."""
    try:
        records = load_records(folders)
        problems = [
            f"{record.name}: {why}"
            for record in records
            if (why := unpublishable(record, implementations))
        ]
        if not records or problems:
            fail("\n".join(problems) or "the folders have no records")
        for record in records:
            typer.echo(publish_record(record, implementations))
    except AtlasError as error:
        fail(str(error))


def unpublishable(record: Record, implementations: Path) -> str:
    """Return why a record cannot be published, or ''."""
    if EXTERNAL in record.labels:
        return "its method is not part of the atlas"
    if record.method not in (DENSE, *implemented(implementations)):
        return "this checkout has no method of that name; switch to the branch that has it"
    if record.commit is None:
        return "it has no commit; run the code in a checkout with its .git folder, and with git"
    if record.hardware.accelerator is None and not record.hardware.standard:
        return f"records of a CPU need {STANDARD} and OMP_NUM_THREADS=1, so that they repeat"
    if record.dirty:
        return "its code has changes that are in no commit; commit them and run it again"
    return ""


if __name__ == "__main__":
    program(main)()

"""How long the site of very many papers and records takes: `python -m tools.site.benchmark_site`.

Wanted on two cores: 1,000 invented entries and 5,000 invented records in under 2 minutes, growing
no faster than their number. Nothing invented is ever part of the real site.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from implementations.harness.results.record import Record
from implementations.harness.results.store import load_records, published_folders, save_record
from tools.catalog.synthetic import write_papers
from tools.repository import REPOSITORY

COUNTS = (250, 500, 1000)
RECORDS_AN_ENTRY = 5
MODELS = 20
PARTS = (
    "catalog",
    "docs",
    "implementations",
    "tools",
    "mkdocs.yml",
    "CONTRIBUTING.md",
    "CITATION.cff",
)


def main() -> None:
    """Build the site at each size and print seconds, files and bytes."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            checkout, runs, site = (Path(name) / part for part in ("checkout", "runs", "site"))
            crowd(checkout, runs, count)
            start = time.perf_counter()
            build(checkout, runs, site)
            seconds = time.perf_counter() - start
            sizes = {p.relative_to(site): p.stat().st_size for p in site.rglob("*") if p.is_file()}
            largest = max(sizes, key=lambda path: sizes[path])
            index = sum(size for path, size in sizes.items() if path.parent == Path("search"))
            sys.stdout.write(
                f"{count:,} entries, {RECORDS_AN_ENTRY * count:,} records: {seconds:.1f} s, "
                f"{len(sizes):,} files, {sum(sizes.values()) / 1e6:.1f} MB, search "
                f"{index / 1e3:.0f} kB, largest {largest} {sizes[largest] / 1e3:.0f} kB\n"
            )


def crowd(checkout: Path, runs: Path, count: int) -> None:
    """Copy this checkout, and add invented entries to the copy and invented records to `runs`."""
    checkout.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout)
    write_papers(checkout / "catalog" / "papers", count)
    for record in _records(RECORDS_AN_ENTRY * count):
        save_record(record, runs)


def build(checkout: Path, runs: Path, site: Path) -> None:
    """Run `mkdocs build --strict` on a checkout with a folder of runs."""
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "ATLAS_RUNS": str(runs)},
        check=True,
    )


def _records(count: int) -> Iterator[Record]:
    """Vary the published records: other models, shares, seeds and values."""
    random = Random(0)
    published = [r for r in load_records(published_folders()) if r.method != "dense"]
    for index in range(count):
        record = published[index % len(published)]
        asked = round(random.uniform(0.05, 0.8), 3)
        factor = random.uniform(0.8, 1.6)
        draft = record.model_copy(
            update={
                "run": f"20261125T120000Z-{index:08x}",
                "name": f"invented-{index}",
                "asked": asked,
                "achieved": asked,
                "seed": index % 3,
                "configuration": record.configuration | {"sparsity": asked},
                "model": record.model.model_copy(
                    update={
                        "name": f"invented-{index % MODELS}b",
                        "sha256": f"{index % MODELS:064x}",
                    }
                ),
                "values": {name: factor * value for name, value in record.values.items()},
            }
        )
        yield draft.model_copy(update={"key": draft.key_with(draft.seed)})


if __name__ == "__main__":
    main()

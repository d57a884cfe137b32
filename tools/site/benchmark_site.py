"""How long the site of very many papers and records takes: `python -m tools.site.benchmark_site`.

Wanted on two cores: 1,000 invented entries and 5,000 invented records in under 2 minutes, growing
no faster than their number; and of 500 entries and 2,500 records no page above `LIMIT` on a first
visit. Nothing invented is ever part of the real site.
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

from playwright.sync_api import sync_playwright

from implementations.harness.results.record import Record
from implementations.harness.results.store import load_records, published_folders, save_record
from tools.catalog.synthetic import write_papers
from tools.repository import REPOSITORY
from tools.site.weight import FLAGS, LIMIT, heaviest, serve, weigh

COUNTS = (250, 500, 1000)
WEIGHED = 500
RECORDS_AN_ENTRY = 5
MODELS = 20
QUESTIONS = (
    "catalog.html?find=quantization",
    "leaderboard.html?compare=wanda,sparsegpt",
    "index.html?q=sparse",
    "leaderboard.html?chart=speed",
    "leaderboard.html?share=50",
)
"""Addresses that load more than the same page without what is asked there."""
PARTS = (
    "catalog",
    "docs",
    "implementations",
    "tools",
    "mkdocs.yml",
    "README.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
)


def main() -> None:
    """Build the site at each size and print seconds, files and bytes, of one what pages weigh."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            checkout, runs, site = (Path(name) / part for part in ("checkout", "runs", "site"))
            crowd(checkout, runs, count)
            start = time.perf_counter()
            build(checkout, runs, site)
            seconds = time.perf_counter() - start
            sizes = {p.relative_to(site): p.stat().st_size for p in site.rglob("*") if p.is_file()}
            pages = {path: size for path, size in sizes.items() if path.suffix == ".html"}
            largest, page = (max(these, key=lambda path: these[path]) for these in (sizes, pages))
            index = sum(size for path, size in sizes.items() if path.parent == Path("search"))
            sys.stdout.write(
                f"{count:,} entries, {RECORDS_AN_ENTRY * count:,} records: {seconds:.1f} s, "
                f"{len(sizes):,} files, {sum(sizes.values()) / 1e6:.1f} MB, search "
                f"{index / 1e3:.0f} kB, largest {largest} {sizes[largest] / 1e3:.0f} kB, "
                f"largest page {page} {sizes[page] / 1e3:.0f} kB\n"
            )
            if count == WEIGHED:
                weights(site)


def weights(site: Path) -> None:
    """Print what the first visit of the heaviest page of each kind takes, in kB, the most first."""
    program = os.environ.get("ATLAS_CHROMIUM") or shutil.which("chromium")
    pages = heaviest(site) | {address: address for address in QUESTIONS}
    with serve(site) as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        found = [(weigh(browser, home + page).whole, kind) for kind, page in pages.items()]
        browser.close()
    for size, kind in sorted(found, reverse=True):
        above = ", too heavy" * (size > LIMIT)
        sys.stdout.write(f"{size / 1e3:8.1f}  {kind}{above}\n")


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
    """Build the site of a checkout with a folder of runs."""
    mkdocs = ("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site))
    for program in (("tools.site",), mkdocs):
        subprocess.run(
            [sys.executable, "-m", *program],
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

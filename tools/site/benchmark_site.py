"""Benchmark of the site with very many papers: `python -m tools.site.benchmark_site`.

Targets on two cores: a site of 1,000 synthetic entries and 5,000 synthetic records builds in under
2 minutes, in time at most linear in their number; with 500 entries and 2,500 records, no page
transfers more than `LIMIT` bytes on a first visit. The real site never contains synthetic data.
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
"""Number of entries at which the pages are weighed."""
RECORDS_PER_ENTRY = 5
MODELS = 20
QUESTIONS = (
    "catalog.html?find=quantization",
    "leaderboard.html?compare=wanda,sparsegpt",
    "index.html?q=sparse",
    "leaderboard.html?chart=speed",
    "leaderboard.html?share=50",
)
"""Addresses with a query, which makes the page load more data."""
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
    """Build the site at each size; print seconds, files and bytes, and once page weights."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            checkout, runs, site = (Path(name) / part for part in ("checkout", "runs", "site"))
            write_checkout(checkout, runs, count)
            start = time.perf_counter()
            build(checkout, runs, site)
            seconds = time.perf_counter() - start
            sizes = {p.relative_to(site): p.stat().st_size for p in site.rglob("*") if p.is_file()}
            pages = {path: size for path, size in sizes.items() if path.suffix == ".html"}
            largest, page = (max(these, key=lambda path: these[path]) for these in (sizes, pages))
            index = sum(size for path, size in sizes.items() if path.parent == Path("search"))
            sys.stdout.write(
                f"{count:,} entries, {RECORDS_PER_ENTRY * count:,} records: {seconds:.1f} s, "
                f"{len(sizes):,} files, {sum(sizes.values()) / 1e6:.1f} MB, search "
                f"{index / 1e3:.0f} kB, largest {largest} {sizes[largest] / 1e3:.0f} kB, "
                f"largest page {page} {sizes[page] / 1e3:.0f} kB\n"
            )
            if count == WEIGHED:
                print_weights(site)


def print_weights(site: Path) -> None:
    """Print the weight of the heaviest page of each kind on a first visit, in kB, largest first."""
    program = os.environ.get("ATLAS_CHROMIUM") or shutil.which("chromium")
    pages = heaviest(site) | {address: address for address in QUESTIONS}
    with serve(site) as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        sizes = [(weigh(browser, home + page).whole, kind) for kind, page in pages.items()]
        browser.close()
    for size, kind in sorted(sizes, reverse=True):
        above = ", too heavy" * (size > LIMIT)
        sys.stdout.write(f"{size / 1e3:8.1f}  {kind}{above}\n")


def write_checkout(checkout: Path, runs: Path, count: int) -> None:
    """Copy this checkout; add synthetic entries to the copy and synthetic records to `runs`."""
    checkout.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout)
    write_papers(checkout / "catalog" / "papers", count)
    for record in _records(RECORDS_PER_ENTRY * count):
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
    """Yield copies of the published records with other models, sparsities, seeds and values."""
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

"""Tables under "What we measured" in the READMEs must come from records or a named script."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest

from implementations.harness.results.record import Record
from implementations.harness.results.store import load_records, published_folders
from tests.test_repository import IMPLEMENTATIONS, SLUGS

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
LEAST = 17  # no perplexity of the model that we measure is lower, so smaller numbers are others


def tables(page: str) -> Iterator[tuple[str, str]]:
    """Yield each measured table with the paragraphs right before and after it."""
    _, _, measured = page.partition("\n## What we measured\n")
    parts = re.split(r"\n{2,}", measured.partition("\n## ")[0].strip())
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        if part.startswith("|"):
            yield part, f"{before}\n{after}"


def perplexities(table: str) -> list[str]:
    """Return the decimal numbers of at least `LEAST` in cells without words."""
    cells = [cell for cell in re.split(r"[|\n]", table) if not re.search(r"[A-Za-z%]", cell)]
    numbers = [n.rstrip(",") for cell in cells for n in NUMBER.findall(cell)]
    written_out = [n for n in numbers if "." in n or "," in n]
    return [n for n in written_out if float(n.replace(",", "")) >= LEAST]


def recorded(record: Record) -> list[float]:
    """Return the values of the pruned model, before and after training, and of the dense one."""
    parts = [record.values, record.dense.values]
    if record.recovered:
        parts.append(record.recovered.before)
    return [value for part in parts for value in part.values()]


def is_named(slug: str, text: str) -> bool:
    """Return whether a text names a method, such as `LLM-Pruner` or `ADMM pruning`."""
    words = [re.sub(r"[^a-z0-9]", "", word.removesuffix("'s")) for word in text.split()]
    return slug in {*words, *map("".join, pairwise(words))}


def unrecorded(slug: str, page: str, values: dict[str, list[float]]) -> list[str]:
    """Return the problems of the measured tables of a page."""
    wrong = []
    for table, beside in tables(page):
        scripts = re.findall(r"`(benchmark_\w+\.py)`", beside)
        missing = [name for name in scripts if not (IMPLEMENTATIONS / slug / name).is_file()]
        if missing:
            wrong.append(f"there is no {missing[0]}")
        if scripts:
            continue
        text = f"{table}\n{beside}".lower()
        known = [v for other in values if is_named(other, text) for v in values[other]]
        known += values[slug]
        numbers = perplexities(table)
        if not numbers:
            wrong.append(f"no script is named for the table {table.splitlines()[0]!r}")
        for number in numbers:
            digits = len(number.partition(".")[2])
            if all(
                f"{value:,.{digits}f}" != f"{float(number.replace(',', '')):,.{digits}f}"
                for value in known
            ):
                wrong.append(f"no record has {number}")
    return wrong


@pytest.fixture(scope="module")
def values() -> dict[str, list[float]]:
    found = defaultdict(list)
    for record in load_records(published_folders()):
        found[record.method] += recorded(record)
    return found


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {slug: (IMPLEMENTATIONS / slug / "README.md").read_text("utf-8") for slug in SLUGS}


def test_measured_tables_come_from_records_or_from_a_script(pages, values) -> None:
    """If it fails, publish the records, or name the script next to the table."""
    found = {slug: unrecorded(slug, page, values) for slug, page in pages.items()}
    assert {slug: wrong for slug, wrong in found.items() if wrong} == {}


def test_perplexities_of_the_dense_model_come_from_records(pages, values) -> None:
    for slug, page in pages.items():
        _, _, measured = page.partition("\n## What we measured\n")
        quoted = set(re.findall(r"\(dense (\d+\.\d\d)\)", measured))
        assert quoted <= {f"{value:.2f}" for value in values["dense"] + values[slug]}, slug


TABLE = """
## What we measured

{before}

| setting | perplexity |
| --- | --- |
| `rate=20.5`, 50 % of 1,024 | {number} |

LLM-Pruner leaves more.

## Cost
"""


@pytest.mark.parametrize(
    ("before", "number", "wrong"),
    [
        ("Perplexity.", "**43.8**", []),
        ("Perplexity.", "1,048", []),
        ("Perplexity.", "58.0", []),  # of the method that is named
        ("Perplexity.", "43.9", ["no record has 43.9"]),
        ("Perplexity.", "51.7", ["no record has 51.7"]),  # of a method that is not named
        ("`benchmark_evop.py` prints:", "43.9", []),
        ("`benchmark_none.py` prints:", "43.9", ["there is no benchmark_none.py"]),
    ],
)
def test_detects_number_without_a_record(before, number, wrong) -> None:
    values = {"evop": [43.81, 1048.4, 1024.0], "llmpruner": [57.96], "wanda": [51.68]}
    page = TABLE.format(before=before, number=number)
    assert unrecorded("evop", page, values) == wrong


def test_table_without_perplexities_names_its_script() -> None:
    page = TABLE.format(before="Errors.", number="0.34").replace("of 1,024", "")
    assert len(unrecorded("evop", page, {"evop": []})) == 1

"""Numbers that several pages or files show are the same everywhere and follow from the data."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from implementations.harness.results.boards import boards
from tools.site.answers import SPLIT, share, share_label
from tools.site.atlas import Atlas
from tools.site.board_columns import columns
from tools.site.claim_tables import claim_tables
from tools.site.formatting import count, number
from tools.site.method_candidates import SIZE, candidates
from tools.site.pages import choose, llms
from tools.site.pages.paper import SHARES
from tools.site.replication import NOISE

# "over 300 papers" is what a survey counts, and "ICLR 2025 papers" are those of a year.
TOTAL = re.compile(
    r"(?<!over )(?<![\w.,])(?!20\d\d )([\d,]+) (?:published |more )?"
    r"(papers|entries|methods|records)\b"
)


def text(page: str) -> str:
    """Return the text of a page without tags and scripts."""
    bare = re.sub(r"<(script|style|svg|pre)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", bare)))


@pytest.fixture(scope="module")
def made(real_pages: dict[str, str]) -> dict[str, str]:
    return real_pages


def test_a_total_is_the_same_on_every_page(made: dict[str, str], real: Atlas) -> None:
    protocols = Counter(record.protocol.name for record in real.records)
    totals = {
        "papers": {real.counts.papers},
        "entries": {real.counts.entries},
        "methods": {real.counts.methods},
        "records": {len(real.records), *protocols.values()},
    }
    shown = Counter[str]()
    for path, page in made.items():
        # Design notes report what was measured when the catalog had another size.
        if not path.endswith((".md", "llms.txt")) or path == "design.md":
            continue
        for found, noun in TOTAL.findall(text(page)):
            # A larger number of one kind than half of them can only be the total.
            if int(found.replace(",", "")) > max(totals[noun]) / 2:
                shown[noun] += 1
                assert int(found.replace(",", "")) in totals[noun], f"{path}: {found} {noun}"
    assert set(shown) == set(totals)
    assert shown["papers"] >= 3


def test_exported_files_have_as_many_entries_as_the_pages_say(
    made: dict[str, str], real: Atlas, repository: Path
) -> None:
    counts = real.counts
    assert len(json.loads(made["papers.json"])["papers"]) == counts.entries
    assert len(list(csv.DictReader(io.StringIO(made["papers.csv"])))) == counts.entries
    assert len(re.findall("^@", made["papers.bib"], re.MULTILINE)) == counts.papers
    assert len(json.loads(made["records.json"])["records"]) == len(real.records)
    listed = " ".join((repository / "LIST.md").read_text(encoding="utf-8").split())
    assert f"{counts.papers} papers, newest first" in listed
    assert f"{counts.implemented} of the methods are implemented in this repository" in listed


def test_what_holds_for_some_methods_is_not_said_of_all(
    made: dict[str, str], real: Atlas, repository: Path
) -> None:
    assert real.counts.implemented < real.counts.methods
    some = f"{real.counts.implemented} of the {real.counts.methods} methods"
    assert some in text(made["index.md"])
    assert some in llms(real)
    about = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))["abstract"]
    description = re.search(
        "^site_description: (.*)", (repository / "mkdocs.yml").read_text(), re.M
    )
    assert description
    first = (repository / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    others = {path: text(page) for path, page in made.items() if path.endswith((".md", ".txt"))}
    for path, words in (others | {"": about, "mkdocs": description[1], "README": first}).items():
        found = re.search(
            r"\b(methods?[^.:]{0,40}, (each|all) implemented|(every|each|all) (papers?|methods?) "
            r"(has|have|is|are) [^.]{0,20}implement)",
            words,
            re.IGNORECASE,
        )
        assert not found, f"{path}: {found and found[0]}"
    # These sentences say it of all implementations.
    assert all(method.records for method in real.methods.values())


def test_a_setting_without_a_number_at_the_top_has_no_record_anywhere(
    made: dict[str, str], real: Atlas
) -> None:
    missing = 0
    for slug, method in real.methods.items():
        strip = made[f"papers/{slug}.md"].partition('<section class="atlas-glance"')[2]
        for removed in SHARES:
            label = share_label(removed)
            found = re.search(rf"<dt>{label}(?: removed)?</dt><dd>(.*?)</dd>", strip)
            if found and "no record" in found[1]:
                missing += 1
                assert not [
                    record
                    for board in boards(method.records)
                    for row in board.rows
                    for record in row.records
                    if share(record) == removed
                ], f"{slug} at {label}"
    assert missing > 0


def test_the_board_of_the_split_model_says_that_it_is_no_real_mixture(
    made: dict[str, str], real: Atlas
) -> None:
    shown = [board for board in real.boards if board.model == SPLIT]
    assert shown
    for board in shown:
        page = made[f"leaderboard/{board.protocol}-{board.place}.md"]
        assert "nothing about real mixtures" in text(page)


def test_numbers_of_a_row_are_those_of_every_file(made: dict[str, str], real: Atlas) -> None:
    lines = {line["runs"]: line for line in csv.DictReader(io.StringIO(made["leaderboard.csv"]))}
    formats: dict[str, Callable[[Any], str]] = {
        "ratio": number,
        "parameters": count,
        "nonzero": count,
        "macs": count,
    }
    for board in real.boards:
        for row in board.rows:
            line = lines[" ".join(record.run for record in row.records)]
            cells = {column.key: column.cell(row) for column in columns(board, real)}
            for key, written in formats.items():
                value = cells[key].value
                assert value == pytest.approx(float(line[key])), (row.method, key)
                # The browser exports the value below the heading of the text.
                assert value is not None
                assert cells[key].text == written(value), (row.method, key)


def test_gains_follow_from_the_records(made: dict[str, str], real: Atlas) -> None:
    rows = {
        slug: text(cells)
        for slug, cells in re.findall(
            r'<th scope="row"><a href="papers/(\w+)\.html">.*?</th><td>(.*?)</td>',
            made["choose.md"],
        )
    }
    checked = 0
    for slug in real.methods:
        records = [
            record
            for row in real.boards[0].rows
            for record in row.records
            if row.method == slug and record.structured and abs(record.requested - 0.2) < 5e-3
        ]
        if slug not in rows or not records:
            continue
        checked += 1
        sizes = {
            r.footprint.parameters < (1 - NOISE) * r.dense.footprint.parameters for r in records
        }
        assert sizes == {"size" in rows[slug]}, slug
        if "speed" in rows[slug]:
            rates = [rate for r in records for rate in (r.speed.prefill, r.speed.decode) if rate]
            assert max(rate.ratio for rate in rates) > 1 + NOISE, slug
    assert checked > 5


def test_a_claim_has_a_status_only_if_something_was_measured(
    made: dict[str, str], real: Atlas
) -> None:
    reports = [
        report for table in claim_tables(real) for one in table.methods for report in one.reports
    ]
    tested = [report for report in reports if report.checked.status]
    assert all(report.checked.ours is not None for report in tested)
    assert made["claims.md"].count("atlas-status--") == len(tested)
    assert (">Here</th>" in made["claims.md"]) == bool(tested)
    assert not [path for path, page in made.items() if "not attempted" in page]


def test_the_reading_order_counts_the_papers_that_a_page_lists(made: dict[str, str]) -> None:
    items = re.findall(
        r'<li><a href="\.\./papers/(\w+)\.html">.*?(\d+) papers? builds? on it.*?</li>',
        made["learn/reading-order.md"],
    )
    assert len(items) > 5
    for slug, builders in items:
        related = made[f"papers/{slug}.md"].partition('<ul class="atlas-related">')[2]
        groups = re.findall(
            r'<li><span class="atlas-muted">(?:Basis of|Extended by)</span>(.*?)</li>', related
        )
        assert len(
            {link for group in groups for link in re.findall('href="([^"]+)"', group)}
        ) == int(builders), slug


def test_excluded_methods_are_told_their_measurement(real: Atlas) -> None:
    methods = candidates(real, ["20"])
    small = [one for one in methods if one.typical and SIZE not in one.gains]
    assert small
    (size,) = (
        option
        for question in choose.questions(methods, [])
        for option in question.options
        if option.value == SIZE and "" in option.given["kernels"]
    )
    for one in small:
        assert re.search(r"\d %? ?\S* (fewer|more) parameters", size.reason(one)), one.slug

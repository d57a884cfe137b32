"""Data files: catalog, records, leaderboard, feed, redirects, `llms.txt` and `robots.txt`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from implementations.harness.results.record import Record
from tools.catalog.schema.json_schema import PATH
from tools.catalog.schema.paper import Paper
from tools.site.addresses import record_path
from tools.site.atlas import Atlas
from tools.site.data_files import FILES, MAX_ENTRIES, data_files, feed, identifier
from tools.site.pages import contribute, fronts, llms, redirects, robots

ATOM = "{http://www.w3.org/2005/Atom}"
SITE = "https://example.org/atlas/"


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.fixture(scope="module")
def day(atlas: Atlas) -> Atlas:
    """A catalog to which a few papers were added on one day."""
    return replace(atlas, papers=dict(list(atlas.papers.items())[:20]))


@pytest.fixture(scope="module")
def measured(atlas: Atlas, records: list[Record]) -> Atlas:
    return replace(atlas, records=tuple(records))


# Data


def test_short_records_match_the_records(measured: Atlas) -> None:
    shorts = json.loads(data_files(measured)["records.json"])["records"]
    assert len(shorts) == len(measured.records)
    for short, record in zip(shorts, measured.records, strict=True):
        assert short["path"] == record_path(record)
        assert short["values"] == record.values
        assert short["dense"] == record.dense.values
        assert short["achieved"] == record.achieved
        assert short["labels"] == list(record.labels)


def test_the_leaderboard_csv_has_one_line_per_setting(measured: Atlas) -> None:
    lines = list(csv.DictReader(io.StringIO(data_files(measured)["leaderboard.csv"])))
    rows = [row for board in measured.boards for row in board.rows]
    assert len(lines) == len(rows)
    metric = measured.boards[0].metrics[0]
    for line, row in zip(lines, rows, strict=True):
        value, ratio = row.value(metric), row.ratio(metric)
        assert value is not None
        assert ratio is not None
        assert float(line[metric]) == pytest.approx(value.mean)
        assert float(line[f"{metric} ratio"]) == pytest.approx(ratio.mean)
        assert float(line[f"{metric} dense"]) == row.first.dense.values[metric]
        assert line["seeds"].split() == [str(record.seed) for record in row.records]
        assert line["records"].split() == [record_path(record) for record in row.records]
        assert (line["labels"] == "collapsed") == row.collapsed
        assert line[f"{metric} deviation"] == (
            "" if len(row.records) == 1 else line[f"{metric} deviation"]
        )


def test_an_empty_atlas_has_an_empty_leaderboard() -> None:
    assert data_files(Atlas({}, {}))["leaderboard.csv"] == ""


def test_schemas_match_entry_and_record(atlas: Atlas) -> None:
    files = data_files(atlas)
    assert files["schema.json"] == PATH.read_text(encoding="utf-8")
    assert set(json.loads(files["record.schema.json"])["properties"]) == set(Record.model_fields)


# News


def alike(atlas: Atlas, added: str) -> Atlas:
    """Return the same papers, all added on one day."""
    papers = {s: p.model_copy(update={"added": added}) for s, p in atlas.papers.items()}
    return replace(atlas, papers=papers)


def test_the_feed_is_atom_with_stable_identifiers(day: Atlas) -> None:
    few = alike(day, "2026-12-01")
    root = ElementTree.fromstring(feed(few).encode())
    assert root.tag == f"{ATOM}feed"
    entries = root.findall(f"{ATOM}entry")
    slugs = sorted(few.papers, key=lambda slug: few.names[slug].lower())
    assert len(entries) == len(slugs)
    for entry, slug in zip(entries, slugs, strict=True):
        assert entry.findtext(f"{ATOM}id") == identifier(f"papers/{slug}")
        assert (entry.findtext(f"{ATOM}title") or "").endswith(few.papers[slug].title)
        assert entry.findtext(f"{ATOM}summary") == few.papers[slug].summary
        assert entry.findtext(f"{ATOM}updated") == f"{few.papers[slug].added}T00:00:00Z"
        assert entry.find(f"{ATOM}link").attrib["href"] == f"papers/{slug}.html"  # type: ignore[union-attr]
        authors = [one.findtext(f"{ATOM}name") for one in entry.findall(f"{ATOM}author")]
        assert authors == list(few.papers[slug].authors or ())
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(entries)
    for element in (root, *entries):
        for name in ("title", "id", "updated"):
            assert element.find(f"{ATOM}{name}") is not None
    assert root.find(f"{ATOM}author") is not None  # for entries without an author
    assert identifier("papers/wanda") == "urn:uuid:730c75f7-0525-5a76-813b-e6ed55918c1b"


def test_the_feed_has_a_maximum_number_of_entries(atlas: Atlas) -> None:
    papers = {
        slug: paper.model_copy(update={"added": f"2026-{1 + i // 28:02}-{1 + i % 28:02}"})
        for i, (slug, paper) in enumerate(atlas.papers.items())
    }
    made = replace(atlas, papers=papers)
    ids = [e.findtext(f"{ATOM}id") for e in ElementTree.fromstring(feed(made)).iter(f"{ATOM}entry")]
    newest = sorted(papers, key=lambda slug: papers[slug].added, reverse=True)
    assert ids == [identifier(f"papers/{slug}") for slug in newest[:MAX_ENTRIES]]


def test_feed_addresses_are_absolute_if_the_site_is_known(atlas: Atlas) -> None:
    there, here = (
        ElementTree.fromstring(feed(one).encode()) for one in (replace(atlas, site=SITE), atlas)
    )
    links = [link.attrib for link in there.iter(f"{ATOM}link")]
    assert all(link["href"].startswith(SITE) for link in links)
    assert [link["href"] for link in links if link["rel"] == "self"] == [f"{SITE}feed.xml"]
    names = [[e.text for e in one.iter(f"{ATOM}id")] for one in (there, here)]
    assert names[0] == names[1]


def test_a_hostile_entry_is_escaped_in_the_feed() -> None:
    paper = Paper.model_construct(
        title="<script>\x00]]>",
        authors=("& a",),
        summary="<b>\x1b</b>",
        added="2026-11-25",
        kind="method",
        name=None,
        year=2024,
    )
    root = ElementTree.fromstring(feed(Atlas({"harmless": paper}, {})).encode())
    assert root.findtext(f"{ATOM}entry/{ATOM}title") == "a 2024: <script>�]]>"
    assert root.findtext(f"{ATOM}entry/{ATOM}summary") == "<b>�</b>"


def test_an_empty_feed_is_valid() -> None:
    assert ElementTree.fromstring(feed(Atlas({}, {})).encode()).find(f"{ATOM}entry") is None


# Redirects


def test_aliases_redirect_to_the_slug(atlas: Atlas) -> None:
    renamed = atlas.papers["wanda"].model_copy(update={"aliases": ("oldwanda", "sparsegpt")})
    changed = replace(atlas, papers={**atlas.papers, "wanda": renamed})
    found = dict(redirects.pages(changed))
    papers = {address for address in found if address.startswith("papers/")}
    assert papers == {"papers/oldwanda.html"}  # the other alias is a paper itself
    page = found["papers/oldwanda.html"]
    assert '<meta http-equiv="refresh" content="0; url=wanda.html">' in page
    assert '<link rel="canonical" href="wanda.html">' in page
    assert '<a href="wanda.html">papers/wanda.html</a>' in page
    assert "<script" not in page
    whole = dict(redirects.pages(replace(changed, site=SITE)))["papers/oldwanda.html"]
    assert f'<link rel="canonical" href="{SITE}papers/wanda.html">' in whole


def test_every_redirect_has_an_existing_target(atlas: Atlas, real_pages: dict[str, str]) -> None:
    made = real_pages
    catalog_page = made["catalog.md"]
    found = redirects.moved(atlas)
    assert found["records/sparsegpt.html"] == "papers/sparsegpt.html#records"
    assert found["topics/safety.html"] == "catalog.html?topic=safety"
    assert found["taxonomy/venues-icml.html"] == "catalog.html?venue=icml"
    assert found["taxonomy/criterion-magnitude.html"] == "catalog.html?criterion=magnitude"
    for former, address in found.items():
        parts = urlsplit(address)
        page = made[re.sub(r"\.html$", ".md", parts.path)]
        assert former.removesuffix(".html") + ".md" not in made, former
        anchors = (f'id="{parts.fragment}"', f"{{ #{parts.fragment} ")
        assert not parts.fragment or any(one in page for one in anchors), address
        if "=" in parts.query and former.startswith(("topics/", "taxonomy/")):
            name, _, value = parts.query.partition("=")
            if name != "venue":  # a venue may have no paper
                assert f'name="{name}" value="{value}"' in catalog_page, address


# Discovery


def test_links_of_llms_txt_resolve(atlas: Atlas, real_pages: dict[str, str]) -> None:
    everything = real_pages
    text = everything["llms.txt"]
    assert text.startswith("# Pruning Atlas\n\n> ")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > len(atlas.papers)
    for link in links:
        assert link in everything or link.removesuffix(".html") + ".md" in everything, link
    for slug in atlas.papers:
        assert f"(papers/{slug}.html)" in text
    for front in fronts():
        assert (
            f"[{front.title}]({front.path.removesuffix('.md')}.html): {front.description}\n" in text
        )


def test_llms_txt_has_absolute_addresses_if_the_site_is_known(atlas: Atlas) -> None:
    links = re.findall(r"\]\(([^)]+)\)", llms(replace(atlas, site=SITE)))
    assert len(links) > len(fronts())
    assert all(urlsplit(link).netloc for link in links)


def test_robots_txt_names_the_site_map_if_the_site_is_known(atlas: Atlas) -> None:
    assert "Sitemap" not in robots(atlas)
    assert f"Sitemap: {SITE}sitemap.xml" in robots(replace(atlas, site=SITE))


# Contribute


def test_contribute_shows_the_file_of_the_repository(atlas: Atlas, repository: Path) -> None:
    page = dict(contribute.pages(atlas))["contribute.md"]
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^## .*$", text, re.MULTILINE):
        assert f"\n{heading}\n" in page
    words = re.findall(r"\w+", text.partition("\n## ")[2])
    assert set(words) <= set(re.findall(r"\w+", page))


def test_the_built_site_has_all_data_files(site: Path, build: Callable[..., Path]) -> None:
    for name in (
        *FILES,
        "robots.txt",
        "sitemap.xml",
        "learn/index.html",
        "learn/how-we-measure.html",
    ):
        assert (site / name).is_file(), name
    home = (site / "index.html").read_text(encoding="utf-8")
    assert '<link rel="alternate feed" type="application/atom+xml"' in home

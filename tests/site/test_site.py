"""The built site: numbers match the records, links resolve, text is escaped."""

from __future__ import annotations

import html
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from implementations.harness.results.boards import boards
from implementations.harness.results.metric import PERPLEXITY
from implementations.harness.results.record import NO_SPEED_UP, External, Record
from implementations.harness.results.store import load_record, save_record
from tests.catalog.invented import baseline, paper
from tests.keyed import changed
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper, Sources
from tools.site.addresses import record_address, record_path
from tools.site.atlas import Atlas, Method, Source, read, read_source
from tools.site.code import load
from tools.site.formatting import code, count, number, plain
from tools.site.pages import make

Cells = dict[str, str]


class Page(HTMLParser):
    """Parser of a page: anchors, addresses, and tables of measurements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.addresses: list[str] = []
        self.boards: list[list[Cells]] = []
        self.text = ""
        self._cell = ""
        self._hidden = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        self.addresses += [given[name] for name in ("href", "src", "xlink:href") if name in given]
        self._hidden += tag in ("script", "style")
        if tag == "table" and "atlas-board" in given.get("class", ""):
            self.boards.append([])
        if tag == "tr" and self.boards:
            self.boards[-1].append({"class": given.get("class", "")})
        if tag in ("td", "th"):
            self._cell = given.get("data-label") or given.get("class") or "head"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")
        if tag in ("td", "th", "thead"):
            self._cell = ""

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text += data
        if self._cell and self.boards:
            row = self.boards[-1][-1]
            row[self._cell] = row.get(self._cell, "") + data


def boards_of(site: Path) -> list[Path]:
    """List the pages of the boards."""
    return [site / "leaderboard.html", *(site / "leaderboard").glob("*.html")]


def rows(page: Page) -> list[Cells]:
    """Return the rows of all boards without the dense ones."""
    return [
        row
        for board in page.boards
        for row in board[1:]
        if row["class"] in ("", "collapsed") and "Records" in row
    ]


def value(text: str) -> float:
    """Return the first number of a cell."""
    first = text.replace("collapsed", "").split()[0].partition("–")[0]
    return float(first.replace(",", "").replace("∞", "inf"))


def settings(records: Iterable[Record]) -> list[list[Record]]:
    """Group the records by their row on the pages of the boards."""
    return [list(row.records) for board in boards(records) for row in board.rows]


def group_of(row: Cells, groups: list[list[Record]], names: dict[str, str]) -> list[Record]:
    """Return the records that a row shows."""
    found = []
    for group in groups:
        first = group[0]
        seeds = ", ".join(f"seed {record.seed}" for record in sorted(group, key=lambda r: r.seed))
        name = next(iter(first.values))  # per-prompt methods have another metric
        metric = name.split("/")[1].capitalize()
        mean = statistics.fmean(record.values[name] for record in group)
        if (
            row["head"].startswith(names[first.method])
            and row["removed"].split("(")[0].strip() == first.settings
            and row["Records"].removesuffix(" copy command") == seeds
            and value(row[metric]) == pytest.approx(mean, rel=1e-3)
        ):
            found.append(group)
    assert len(found) == 1, f"{row['head']} {row['removed']}: {len(found)} rows"
    return found[0]


def assert_numbers_are_the_records(
    site: Path, records: list[Record], names: dict[str, str]
) -> None:
    table = [row for path in boards_of(site) for row in rows(Page(path))]
    groups = settings(records)
    assert len(table) >= len({group[0].method for group in groups}) - 4
    for row in table:
        group = group_of(row, groups, names)
        first = group[0]
        for metric in first.values:
            if metric.partition("/")[0] != PERPLEXITY.kind:
                continue
            text = {"c4": "C4", "wikipedia": "Wikipedia"}[metric.split("/")[1]]
            mean = statistics.fmean(record.values[metric] for record in group)
            assert value(row[text]) == pytest.approx(mean, rel=1e-3)
        ranking = next(iter(first.values))
        ratio = statistics.fmean(r.values[ranking] / r.dense.values[ranking] for r in group)
        assert value(row["× dense"]) == pytest.approx(ratio, abs=0.005, rel=5e-3)
        assert ("collapsed" in row["× dense"]) == (ratio > PERPLEXITY.collapse)
        assert value(row["Parameters"]) == pytest.approx(first.footprint.parameters / 1e6, abs=0.06)
        speeds = [record.speed.decode.ratio for record in group if record.speed.decode]
        if not first.structured:
            assert row["Speed"] == "no gain"
        elif row["Speed"] not in ("too noisy", "other CPU", "not measured"):
            assert value(row["Speed"]) == pytest.approx(statistics.fmean(speeds), abs=0.006)
        seconds = [record.seconds["prune"] for record in group if "prune" in record.seconds]
        if seconds and row["Pruning"] != "other machine":
            low, high = min(seconds), max(seconds)
            shown = value(row["Pruning"]) * (3600 if " h" in row["Pruning"] else 1)
            assert low * 0.99 - 0.06 <= shown <= high * 1.01 + 0.06
        elif not seconds:  # per-prompt methods have no pruning time
            assert not row.get("Pruning")


@pytest.fixture(scope="module")
def names(repository: Path) -> dict[str, str]:
    atlas = read(repository)
    return {slug: atlas.names[slug] for slug in atlas.methods}


def test_numbers_on_the_leaderboard_match_the_records(
    site: Path, records: list[Record], names: dict[str, str]
) -> None:
    assert_numbers_are_the_records(site, records, names)


def test_the_dense_row_matches_the_records(site: Path, records: list[Record]) -> None:
    dense = next(
        row for row in Page(site / "leaderboard.html").boards[0] if row["class"] == "dense"
    )
    for metric, text in zip(records[0].protocol.metrics, ("Wikipedia", "C4"), strict=True):
        assert value(dense[text]) == pytest.approx(records[0].dense.values[metric], abs=0.005)
    assert value(dense["Parameters"]) == pytest.approx(134.5)


@pytest.mark.full
def test_the_published_records_are_on_the_site(
    repository: Path, published: Path, names: dict[str, str]
) -> None:
    records = read(repository).records
    assert len(list((published / "records").rglob("*.json"))) == len(records)
    if any(record.method != "dense" for record in records):
        assert_numbers_are_the_records(published, list(records), names)


def test_unstructured_methods_say_that_they_gain_no_speed(site: Path) -> None:
    families = [
        row["head"] for row in Page(site / "leaderboard.html").boards[0] if row["class"] == "family"
    ]
    assert [NO_SPEED_UP in family for family in families] == [False, True]


def test_each_method_page_shows_its_own_measurements(
    site: Path, records: list[Record], names: dict[str, str]
) -> None:
    for slug, name in names.items():
        page = Page(site / "papers" / f"{slug}.html")
        assert name in page.text
        own = [record for record in records if record.method == slug]
        assert len(rows(page)) == len(settings(own))


def test_method_pages_show_parameters_and_readme(site: Path, bare_checkout: Path) -> None:
    for method in read(bare_checkout).methods.values():
        text = " ".join(Page(site / "papers" / f"{method.slug}.html").text.split())
        for parameter in method.source.parameters:
            assert parameter.name in text
            assert parameter.meaning.replace("`", "") in text
        if "## Differences from the paper" in method.readme:
            assert "Differences from the paper" in text


def test_internal_links_and_anchors_resolve(site: Path) -> None:
    files = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(files) >= 3
    broken = []
    for path, page in files.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or address.startswith("data:"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchored = not parts.fragment or unquote(parts.fragment) in files[target].ids
            if not target.is_file() or not anchored:
                broken.append(f"{path.name}: {address}")
    assert broken == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for tag in ('src="http', 'rel="stylesheet" href="http', "@import", 'rel="preconnect"'):
            assert tag not in text, f"{path.name}: {tag}"
        assert not re.search(r"<[a-z][^>]* on[a-z]+=", text), f"{path.name}: an inline handler"


def test_every_chart_point_links_to_a_record(site: Path, records: list[Record]) -> None:
    page = (site / "leaderboard.html").read_text(encoding="utf-8")
    figure = page[page.index('class="atlas-stage"') :].partition("</figure>")[0]
    addresses = [html.unescape(address) for address in re.findall(r'href="([^"]+)"', figure)]
    own = [record_address(record) for record in records if record.method == "magnitude"]
    # Once in the wide and once in the narrow chart.
    assert Counter(one for one in addresses if "/magnitude.html#" in one) == dict.fromkeys(own, 2)


def test_records_on_the_site_are_unchanged(site: Path, records: list[Record]) -> None:
    for record in records:
        assert load_record(site / record_path(record)) == record


def test_only_the_catalog_as_data_and_the_index_are_above_a_megabyte(site: Path) -> None:
    files = (path for path in site.rglob("*") if path.is_file() and path.suffix != ".map")
    large = {path.name for path in files if path.stat().st_size > 10**6}
    assert large <= {"papers.json", "search_index.json"}


@pytest.mark.full
def test_a_site_without_records_says_so(bare_checkout: Path, build: Callable[..., Path]) -> None:
    site = build(bare_checkout)
    assert "There are no records yet" in Page(site / "leaderboard.html").text
    assert not (site / "records").exists()


# Formulas


def test_formulas_need_no_javascript(site: Path, bare_checkout: Path) -> None:
    for method in read(bare_checkout).methods.values():
        page = (site / "papers" / f"{method.slug}.html").read_text(encoding="utf-8")
        found = re.findall(r"<math.*?</math>", page, re.DOTALL)
        assert bool(found) == ("$" in method.readme)
        for formula in found:
            ElementTree.fromstring(formula)
        assert "arithmatex" not in page


def test_the_font_has_every_character_of_a_formula(site: Path) -> None:
    style = (site / "assets" / "atlas.css").read_text(encoding="utf-8")
    ranges = re.search(r"unicode-range: ([^;]+);", style)
    assert ranges
    ends = [one.removeprefix("U+").split("-") for one in ranges[1].split(", ")]
    has = {
        chr(n) for low, *high in ends for n in range(int(low, 16), int((high or [low])[0], 16) + 1)
    }
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        formulas = re.findall(r"<math.*?</math>", page, re.DOTALL)
        assert ("stix-two-math.woff2" in page) is bool(formulas), path.name
        for formula in formulas:
            root = ElementTree.fromstring(formula)
            for element in root.iter():
                text = (element.text or "").strip()
                if element.tag.endswith("mi") and "mathvariant" not in element.attrib:
                    text = slanted(text)
                assert set(text) <= has, f"{path.name}: {formula}"


def slanted(text: str) -> str:
    """Return the italic mathematical letters that browsers show for variables of one letter."""
    if text == "h":
        return "ℎ"
    letter = re.fullmatch(
        r"(?:LATIN|GREEK) (.*)", unicodedata.name(text, "") if len(text) == 1 else ""
    )
    try:
        return (
            unicodedata.lookup(f"MATHEMATICAL ITALIC {letter[1].replace(' LETTER', '')}")
            if letter
            else text
        )
    except KeyError:
        return text


# Boards


def test_the_newest_record_of_a_repeated_run_is_used(
    bare_checkout: Path, tmp_path: Path, records: list[Record]
) -> None:
    old = records[0]
    new = old.model_copy(
        update={"run": "20261126T120000Z-00000000", "date": old.date + timedelta(days=1)}
    )
    save_record(new, tmp_path / "a")
    save_record(old, tmp_path / "b")
    assert read(bare_checkout, runs=tmp_path).records == (new,)


def test_records_of_methods_outside_the_atlas_are_not_shown(
    bare_checkout: Path, tmp_path: Path, records: list[Record]
) -> None:
    origin = External(source="./mine.py", sha256="ab" * 32)
    for record in (records[0], changed(records[0], method="mine", external=origin)):
        save_record(record, tmp_path)
    assert read(bare_checkout, runs=tmp_path).records == (records[0],)


# Hostile text


HOSTILE = (
    '<script>alert(1)</script> {{ 7 * 7 }} <img src=x onerror=alert(1)> "quoted" [x](javascript:y)'
)


def hostile(**more: Any) -> Paper:
    """Make an entry that every check would reject."""
    return Paper.model_construct(
        title=HOSTILE,
        authors=(HOSTILE,),
        kind="method",
        summary=HOSTILE,
        year=2024,
        venue="icml",
        status="published",
        added="2026-11-25",
        models=(HOSTILE,),
        sources=Sources.model_construct(checked=HOSTILE, from_=(HOSTILE,), unverified=(HOSTILE,)),
        notes=HOSTILE,
        fidelity=HOSTILE,
        **more,
    )


def test_hostile_text_is_escaped() -> None:
    method = Method("harmless", "", Source("Harmless", HOSTILE, ()), ())
    made = make(Atlas({"harmless": hostile()}, {"harmless": method}))
    for name in ("index.md", "catalog.md", "papers/harmless.md"):
        assert "&lt;script&gt;" in made[name]
    for name, page in made.items():
        assert not name.endswith(".md") or "<script>alert" not in page, name
    assert "[x](javascript:y)" not in made["llms.txt"]  # which is plain text


# A baseline without a paper


def test_the_page_of_a_baseline_has_no_empty_sections() -> None:
    page = make(Atlas({"chance": baseline()}, {}))["papers/chance.md"]
    assert "<br>A baseline without a paper of its own</p>" in page
    assert '<span class="atlas-tag">baseline</span>' in page
    for absent in ('id="cite"', "atlas-links", "None", "· no paper", "<ul></ul>", "<dd></dd>"):
        assert absent not in page
    assert not re.search(r"<(li|dd|p|h1|cite|ul)[^>]*>\s*</", page)


def test_only_pages_of_baselines_have_no_bibtex(site: Path) -> None:
    alone = {slug for slug, paper in load_catalog().items() if not paper.has_paper}
    assert alone >= {"random", "randomweights", "unitmagnitude"}
    for page in (site / "papers").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert ('id="cite"' in text) is (page.stem not in alone), page.stem
        assert ("<br>A baseline without a paper of its own</p>" in text) is (page.stem in alone), (
            page.stem
        )


def test_claims_for_a_baseline_come_from_papers() -> None:
    claim = {"model": "LLaMA-7B", "sparsity": 0.2, "metric": "ppl/wikitext2/128"}
    claim |= {"value": 27.51, "where": "Table 1 of another paper"}
    page = make(Atlas({"chance": baseline(claims=[claim])}, {}))["papers/chance.md"]
    assert "## What papers claim {" in page
    assert "the paper claims" not in page


def test_baselines_are_last_by_year_and_not_among_the_latest_papers() -> None:
    papers = {"a": paper(name="A"), "chance": baseline(name="Chance", added="2027-01-01")}
    made = make(Atlas(papers, {}))
    assert "papers/chance.html" not in made["index.md"]
    assert made["catalog.md"].index("papers/a.html") < made["catalog.md"].index(
        "papers/chance.html"
    )
    assert ">no paper</td>" in made["catalog.md"]
    assert "(papers/chance.html): Chance\n" in made["llms.txt"]
    assert Atlas({"chance": baseline()}, {}).names == {"chance": "Chance"}


def test_reads_sources_without_running_them(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(
        'raise SystemExit("run")\n'
        "class Helper: x: int = 1\n"
        "class Mine(Method):\n"
        '    """Do `a`\n    and b.\n\n    More."""\n'
        "    capabilities: ClassVar[Capabilities] = Capabilities()\n"
        "    a: float = 0.5\n"
        '    """Share of\n    something."""\n'
        '    b: int | None = Field(default=None, description="-")\n'
        "    c: int = Field(3)\n"
    )
    source = read_source(load(tmp_path, "m"))
    assert (source.name, source.about) == ("Mine", "Do `a` and b.")
    assert [(p.name, p.type, p.default, p.meaning) for p in source.parameters] == [
        ("a", "float", "0.5", "Share of something."),
        ("b", "int | None", "None", ""),
        ("c", "int", "3", ""),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1.0, "1.00"),
        (20.4861, "20.49"),
        (190.72, "190.7"),
        (8440.3, "8,440"),
        (float("inf"), "∞"),
        (float("nan"), "not a number"),
    ],
)
def test_numbers_are_formatted(given: float, expected: str) -> None:
    assert number(given) == expected


def test_counts_and_markup_are_formatted() -> None:
    assert [count(n) for n in (134_515_008, 7_000_000_000, 576, 1_500)] == [
        "134.5 M",
        "7.0 B",
        "576",
        "1.5 k",
    ]
    assert code("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
    assert plain("a_b [c](d)") == r"a\_b \[c\]\(d\)"

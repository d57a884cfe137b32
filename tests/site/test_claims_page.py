"""The page of claims: every value that a paper reports, once per paper."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from markupsafe import escape

from implementations.harness.results.record import Record
from tests.keyed import changed
from tests.site.conftest import recovered
from tools.catalog.schema.paper import Claim, Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.claim_status import check_claim
from tools.site.claim_tables import ClaimTable, Report, claim_address, claim_anchor, claim_tables
from tools.site.metrics import explained
from tools.site.pages import claims, paper

WIKITEXT = "llama-7b-at-20-ppl-wikitext2-128"


@pytest.fixture(scope="module")
def board(atlas: Atlas) -> dict[str, ClaimTable]:
    return {table.anchor: table for table in claim_tables(atlas)}


@pytest.fixture(scope="module")
def made(atlas: Atlas) -> dict[str, str]:
    return dict(claims.pages(atlas))


@pytest.fixture(scope="module")
def page(made: dict[str, str]) -> str:
    return made["claims.md"]


def entry(name: str, *made: Claim, has_paper: bool = True) -> Paper:
    authors = ("A. Author",) if has_paper else None
    return Paper.model_construct(name=name, authors=authors, claims=made, kind="method", models=())


def claim(value: float, metric: str = "ppl/wikitext2/128", **more: object) -> Claim:
    about = {"model": "LLaMA-7B", "sparsity": 0.2, "where": "Table 1", "metric": metric}
    return Claim(**{**about, "value": value, **more})  # type: ignore[arg-type]


def reports(table: ClaimTable, method: str) -> list[Report]:
    return [one for line in table.methods if line.method == method for one in line.reports]


def test_methods_of_a_setting_are_sorted_best_first(
    board: dict[str, ClaimTable], atlas: Atlas
) -> None:
    table = board[WIKITEXT]
    names = [atlas.names[line.method] for line in table.methods]
    papers = {"FLAP", "SlimLLM", "LoRAPrune", "SlimGPT", "LLM-Pruner"}
    assert [name for name in names if name in papers] == [
        "FLAP",
        "SlimLLM",
        "LoRAPrune",
        "SlimGPT",
        "LLM-Pruner",
    ]
    values = [line.reports[0].value for line in table.methods]
    assert values == sorted(values)
    assert [one.value for one in reports(table, "llmpruner") if one.own] == [17.58, 19.09]


def test_higher_accuracy_is_better() -> None:
    papers = {"a": entry("A", claim(50, "acc/piqa")), "b": entry("B", claim(60, "acc/piqa"))}
    (table,) = claim_tables(Atlas(papers, {}))
    assert [line.method for line in table.methods] == ["b", "a"]


def test_every_reported_value_appears_exactly_once(
    atlas: Atlas, board: dict[str, ClaimTable]
) -> None:
    said = {
        (claim_anchor(at), method, at.value)
        for slug, entry in atlas.papers.items()
        for one in entry.claims or ()
        for method, at in ((slug, one), *one.beside())
    }
    shown = [
        (
            name,
            line.method,
            report.value,
            report.reporter,
            *(() if report.quoted else report.settings),
        )
        for name, table in board.items()
        for line in table.methods
        for report in line.reports
    ]
    assert {one[:3] for one in shown} == said
    assert set(Counter(shown).values()) == {1}
    # Every value has its setting, and values for other methods name the paper that reports them.
    for slug, entry in atlas.papers.items():
        for one in entry.claims or ():
            rows = reports(board[claim_anchor(one)], slug)
            assert any(r.value == one.value and one.setting in (*r.settings, None) for r in rows)
            quoted = re.search("of the .* paper|quoted in", one.where)
            for other, at in one.beside():
                rows = reports(board[claim_anchor(at)], other)
                found = [row for row in rows if row.value == at.value]
                assert slug in {r.paper for r in found} or quoted


def test_every_report_is_a_row_and_what_most_papers_report_comes_first(
    page: str, board: dict[str, ClaimTable]
) -> None:
    order = re.findall(r'<tbody id="([^"]+)"', page)
    sizes = [(len(board[name].reporters), len(board[name].methods)) for name in order]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(order) == sorted(board)
    count = sum(len(one.reports) for table in board.values() for one in table.methods)
    assert len(re.findall('<tr class="atlas-claim--', page)) == count


def rows(page: str, name: str, method: str) -> list[str]:
    body = page.split(f'<tbody id="{name}"')[1].split("</tbody>", maxsplit=1)[0]
    return re.findall(rf'<tr [^>]*data-marked="{method}">.*?</tr>', body)


def test_values_from_other_papers_are_marked(page: str) -> None:
    found = rows(page, WIKITEXT, "llmpruner")
    own = [row for row in found if "atlas-claim--own" in row]
    rivals = [row for row in found if "atlas-claim--other" in row]
    assert len(own) == 2
    assert all('<span class="atlas-tag">own paper</span>' in row for row in own)
    assert len(rivals) >= 2
    assert any(">19.77</td>" in row and 'papers/flap.html">FLAP' in row for row in rivals)
    assert any(">19.09</td>" in row and 'papers/slimllm.html">SlimLLM' in row for row in rivals)
    assert not any("own paper" in row for row in rivals)


def test_disagreements_between_papers_are_marked(page: str, board: dict[str, ClaimTable]) -> None:
    apart = {line.method: line.disagreement for line in board[WIKITEXT].methods}
    assert apart["llmpruner"] == pytest.approx(1 - 19.09 / 19.77)
    assert apart["flap"] == 0
    assert "reports differ by 3.44 %" in rows(page, WIKITEXT, "llmpruner")[0]
    assert "reports differ" not in "".join(rows(page, WIKITEXT, "flap"))


def test_different_settings_of_one_paper_do_not_disagree() -> None:
    one = entry("A", claim(10, setting="tuned"), claim(20))
    (table,) = claim_tables(Atlas({"a": one}, {}))
    assert [report.value for report in table.methods[0].reports] == [10, 20]
    assert table.methods[0].disagreement == 0


def test_a_value_quoted_by_two_entries_is_one_report() -> None:
    papers = {
        "x": entry("X", claim(30, where="Table 1 of the A paper", against={"a": 10, "y": 40})),
        "y": entry("Y", claim(40, where="as quoted in A Table 1")),
        "a": entry("A", claim(10)),
    }
    (table,) = claim_tables(Atlas(papers, {}))
    found = [(r.method, r.paper, r.value) for line in table.methods for r in line.reports]
    assert found == [("a", "a", 10), ("x", "a", 30), ("y", "a", 40)]
    assert reports(table, "y")[0].places == ["Table 1 of the A paper", "as quoted in A Table 1"]


def test_claims_for_a_baseline_come_from_other_papers(page: str) -> None:
    chance = entry("Chance", claim(90, where="Table 3 of a thesis"), has_paper=False)
    (table,) = claim_tables(Atlas({"chance": chance}, {}))
    (only,) = reports(table, "chance")
    assert (only.own, only.paper, only.reporter) == (False, "", "Table 3 of a thesis")
    assert "own paper" not in "".join(rows(page, WIKITEXT, "random"))


def test_spellings_of_a_model_share_a_table_and_patterns_have_unambiguous_anchors() -> None:
    spelled = [claim(1, model="Llama 2 7B"), claim(1, model="LLaMA-2-7B")]
    assert len({claim_anchor(one) for one in spelled}) == 1
    shares = [claim(1, sparsity=0.024), claim(1, sparsity=None, pattern="2:4")]
    assert len({claim_anchor(one) for one in (*shares, claim(1, sparsity=None))}) == 3


def test_our_measurement_is_shown_next_to_every_report(atlas: Atlas, records: list[Record]) -> None:
    ours = next(r for r in records if r.method == "flap" and r.requested == 0.2)
    metric = ours.protocol.metrics[0]
    ratio = ours.ratio(metric)
    assert ratio is not None
    about = {"model": ours.model.name, "dense": 10.0, "metric": metric}
    papers = {
        "flap": entry("FLAP", claim(10 * ratio, **about)),
        "x": entry("X", claim(99, against={"flap": 10 * ratio * 1.05}, **about)),
    }
    here = {"flap": replace(atlas.methods["flap"], records=(ours,))}
    (table,) = claim_tables(Atlas(papers, here))
    found = {r.paper: r.checked.status for r in reports(table, "flap")}
    assert found == {"flap": "reproduced", "x": "partial"}
    assert [r.checked.status for r in reports(table, "x")] == [""]


def test_a_claim_is_checked_against_the_mean_over_seeds_of_the_defaults(
    records: list[Record],
) -> None:
    seeds = [r for r in records if r.method == "wanda" and r.requested == 0.5 and not r.pattern]
    metric = seeds[0].protocol.metrics[0]
    mean = statistics.fmean(r.values[metric] for r in seeds)
    said = claim(
        mean,
        metric,
        model=seeds[0].model.name,
        sparsity=0.5,
        dense=seeds[0].dense.values[metric],
    )
    checked = check_claim(said, tuple(seeds))
    assert (checked.status, checked.ours) == ("reproduced", pytest.approx(mean))
    # Changed fields, training afterwards and other records are not what the paper says.
    other = changed(
        seeds[0], configuration=seeds[0].configuration | {"steps": 9}, changed=("steps",)
    )
    others = (other, recovered(seeds[0]))
    assert check_claim(said, others).status == ""
    assert check_claim(said, (*others, *seeds)) == checked


def test_metrics_have_definitions(made: dict[str, str]) -> None:
    assert explained("ppl/wikitext2/2048").definition == (
        "Perplexity on WikiText-2 in windows of 2,048 tokens; lower is better. "
        "WikiText-2: Two million words of Wikipedia."
    )
    suite = explained("mean/llmpruner-7").definition
    assert suite.startswith("Mean accuracy on llmpruner-7; higher is better.")
    assert "BoolQ, PIQA, HellaSwag" in suite
    assert explained("speedup/generation").label == "speed-up, generation"
    assert explained("unknown/thing").definition == "Unknown, thing."
    page = made["claims.md"]
    legend = page.split('id="metrics"')[1]
    for name in set(re.findall(r'data-metric="([^"]+)"', page)):
        metric = explained(name)
        assert f'data-definition="{escape(metric.definition)}"' in page
        assert f'<div id="{metric.anchor}"><dt><code>{name}</code>' in legend
    for term in vocabulary()["metrics"].terms.values():
        assert term.definition in legend


def test_claims_on_the_page_of_a_paper_link_to_their_tables(
    atlas: Atlas, board: dict[str, ClaimTable]
) -> None:
    made = dict(paper.pages(Atlas({s: p for s, p in atlas.papers.items() if p.claims}, {})))
    anchors = {f"claims.html#{name}" for name in board}
    for slug in ("flap", "permllm", "darwinlm"):
        links = re.findall(
            r'href="\.\./(claims\.html#[^"]+)">[\d.,]+</a>', made[f"papers/{slug}.md"]
        )
        assert links == [claim_address(one) for one in atlas.papers[slug].claims or ()]
        assert set(links) <= anchors


def test_a_catalog_without_claims_says_so() -> None:
    text = dict(claims.pages(Atlas({}, {})))["claims.md"]
    assert "No entry of the catalog has a claim yet." in text
    assert "<form" not in text


@pytest.mark.parametrize(
    ("where", "paper"),
    [
        ("Table 1", "a"),
        ("as quoted in B Table 2", "b"),
        ("Table 1 of the B paper", "b"),
        ("as quoted in FANG Table 1", ""),  # not in the catalog
        ("main table, as quoted in a digest of the paper", "a"),
    ],
)
def test_a_quoted_number_belongs_to_the_paper_that_quotes_it(where: str, paper: str) -> None:
    papers = {"a": entry("A", claim(50, where=where)), "b": entry("B")}
    (table,) = claim_tables(Atlas(papers, {}))
    assert [one.paper for one in reports(table, "a")] == [paper]

"""The board of claims: every number that papers report, once for each that reports it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from markupsafe import escape

from implementations.harness.results.record import Record
from tools.catalog.schema.paper import Claim, Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.claimed import Report, Table, anchor, claim_address, claim_page, tables
from tools.site.metrics import explained
from tools.site.pages import claims, paper

WIKITEXT = "llama-7b-at-20-ppl-wikitext2-128"


@pytest.fixture(scope="module")
def board(atlas: Atlas) -> dict[str, Table]:
    return {table.anchor: table for table in tables(atlas)}


@pytest.fixture(scope="module")
def made(atlas: Atlas) -> dict[str, str]:
    return dict(claims.pages(atlas))


@pytest.fixture(scope="module")
def page(made: dict[str, str]) -> str:
    """The page of one model."""
    return made["claims/llama-7b.md"]


def entry(name: str, *made: Claim, has_paper: bool = True) -> Paper:
    authors = ("A. Author",) if has_paper else None
    return Paper.model_construct(name=name, authors=authors, claims=made, kind="method", models=())


def claim(value: float, metric: str = "ppl/wikitext2/128", **more: object) -> Claim:
    about = {"model": "LLaMA-7B", "sparsity": 0.2, "where": "Table 1", "metric": metric}
    return Claim(**{**about, "value": value, **more})  # type: ignore[arg-type]


def reports(table: Table, method: str) -> list[Report]:
    return [one for line in table.lines if line.method == method for one in line.reports]


def test_methods_of_a_setting_stand_best_first(board: dict[str, Table], atlas: Atlas) -> None:
    table = board[WIKITEXT]
    names = [atlas.names[line.method] for line in table.lines]
    papers = {"FLAP", "SlimLLM", "LoRAPrune", "SlimGPT", "LLM-Pruner"}
    assert [name for name in names if name in papers] == [
        "FLAP",
        "SlimLLM",
        "LoRAPrune",
        "SlimGPT",
        "LLM-Pruner",
    ]
    assert [line.reports[0].value for line in table.lines][:4] == [14.62, 15.95, 16.8, 16.99]
    assert [one.value for one in reports(table, "llmpruner") if one.own] == [17.58, 19.09]


def test_the_greater_accuracy_is_the_better() -> None:
    papers = {"a": entry("A", claim(50, "acc/piqa")), "b": entry("B", claim(60, "acc/piqa"))}
    (table,) = tables(Atlas(papers, {}))
    assert [line.method for line in table.lines] == ["b", "a"]


def test_nothing_is_lost_and_nothing_stands_twice(atlas: Atlas, board: dict[str, Table]) -> None:
    said = {
        (anchor(one), method, value)
        for slug, entry in atlas.papers.items()
        for one in entry.claims or ()
        for method, value in ((slug, one.value), *(one.against or {}).items())
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
        for line in table.lines
        for report in line.reports
    ]
    assert {one[:3] for one in shown} == said
    assert set(Counter(shown).values()) == {1}
    # Each with its setting, and each value of a rival under the name of who reports it.
    for slug, entry in atlas.papers.items():
        for one in entry.claims or ():
            rows = reports(board[anchor(one)], slug)
            assert any(r.value == one.value and one.setting in (*r.settings, None) for r in rows)
            quoted = re.search("of the .* paper|quoted in", one.where)
            for other, value in (one.against or {}).items():
                found = [r for r in reports(board[anchor(one)], other) if r.value == value]
                assert slug in {r.by for r in found} or quoted


def test_every_report_is_a_row_of_the_page_of_its_model(
    made: dict[str, str], board: dict[str, Table]
) -> None:
    for path in {table.path for table in board.values()}:
        those = [table for table in board.values() if table.path == path]
        text = made[path.replace(".html", ".md")]
        count = sum(len(line.reports) for table in those for line in table.lines)
        assert len(re.findall('<tr class="atlas-claimed__', text)) == count
        found = re.findall(r'<section class="atlas-claimed" id="([^"]+)"', text)
        assert found == [table.anchor for table in those]


def test_all_tables_are_listed_what_most_papers_report_first(
    made: dict[str, str], board: dict[str, Table]
) -> None:
    text = made["claims.md"]
    order = re.findall(r'<tr class="atlas-claimed" id="([^"]+)"', text)
    sizes = [(len(board[name].reporters), len(board[name].lines)) for name in order]
    assert order[0] == WIKITEXT
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(order) == sorted(board)
    assert {f'href="{table.address}"' for table in board.values()} <= set(
        re.findall(r'href="claims/[^"]+"', text)
    )
    shared, alone = text.split("Reported by one paper")
    assert f'id="{WIKITEXT}"' in shared
    assert all(
        len(board[name].reporters) > 1 for name in re.findall(r'claimed" id="([^"]+)', shared)
    )
    assert not any(
        len(board[name].reporters) > 1 for name in re.findall(r'claimed" id="([^"]+)', alone)
    )
    (row,) = re.findall(rf'id="{WIKITEXT}".*?</tr>', text)
    assert "reports differ" in row
    assert '14.62 <a href="papers/flap.html">FLAP</a>' in row
    for path in {table.path for table in board.values()}:
        assert f'<a href="{path}">' in text


def test_a_list_names_no_best_where_nobody_said_what_is_better() -> None:
    (table,) = tables(Atlas({"a": entry("A", claim(1, "unknown/thing"))}, {}))
    assert table.best is None


def test_spellings_of_a_model_share_a_page_and_any_name_has_one() -> None:
    assert claim_page("Llama 2 7B") == claim_page("LLaMA-2-7B") == "claims/llama-2-7b.html"
    assert claim_page("模型") == "claims/other.html"
    assert len(claim_page("a" * 300)) < 100


def rows(page: str, name: str, method: str) -> list[str]:
    section = page.split(f'id="{name}"')[1].split("</section>", maxsplit=1)[0]
    body = section.split(f'<tbody data-method="{method}">')[1].split("</tbody>")[0]
    return re.findall(r"<tr .*?</tr>", body)


def test_rows_of_rivals_are_told_apart(page: str) -> None:
    found = rows(page, WIKITEXT, "llmpruner")
    own = [row for row in found if "atlas-claimed__own" in row]
    rivals = [row for row in found if "atlas-claimed__rival" in row]
    assert len(own) == 2
    assert all('<span class="atlas-tag">own paper</span>' in row for row in own)
    assert len(rivals) == 2
    assert any(">19.77</td>" in row and 'papers/flap.html">FLAP' in row for row in rivals)
    assert any(">19.09</td>" in row and 'papers/slimllm.html">SlimLLM' in row for row in rivals)
    assert not any("own paper" in row for row in rivals)


def test_papers_that_disagree_are_seen_to(page: str, board: dict[str, Table]) -> None:
    apart = {line.method: line.apart for line in board[WIKITEXT].lines}
    assert apart["llmpruner"] == pytest.approx(1 - 19.09 / 19.77)
    assert apart["flap"] == 0
    assert "reports differ by 3.44 %" in rows(page, WIKITEXT, "llmpruner")[0]
    assert "reports differ" not in "".join(rows(page, WIKITEXT, "flap"))


def test_settings_of_one_paper_are_no_disagreement() -> None:
    one = entry("A", claim(10, setting="tuned"), claim(20))
    (table,) = tables(Atlas({"a": one}, {}))
    assert [report.value for report in table.lines[0].reports] == [10, 20]
    assert table.lines[0].apart == 0


def test_a_table_that_two_entries_quote_is_one_report() -> None:
    papers = {
        "x": entry("X", claim(30, where="Table 1 of the A paper", against={"a": 10, "y": 40})),
        "y": entry("Y", claim(40, where="as quoted in A Table 1")),
        "a": entry("A", claim(10)),
    }
    (table,) = tables(Atlas(papers, {}))
    found = [(r.method, r.by, r.value) for line in table.lines for r in line.reports]
    assert found == [("a", "a", 10), ("x", "a", 30), ("y", "a", 40)]
    assert reports(table, "y")[0].wheres == ["Table 1 of the A paper", "as quoted in A Table 1"]


def test_a_baseline_has_no_paper_of_its_own(page: str) -> None:
    chance = entry("Chance", claim(90, where="Table 3 of a thesis"), has_paper=False)
    (table,) = tables(Atlas({"chance": chance}, {}))
    (only,) = reports(table, "chance")
    assert (only.own, only.by, only.reporter) == (False, "", "Table 3 of a thesis")
    assert "own paper" not in "".join(rows(page, WIKITEXT, "random"))


def test_spellings_of_a_model_share_a_table_and_patterns_do_not_read_as_shares() -> None:
    spelled = [claim(1, model="Llama 2 7B"), claim(1, model="LLaMA-2-7B")]
    assert len({anchor(one) for one in spelled}) == 1
    shares = [claim(1, sparsity=0.024), claim(1, sparsity=None, pattern="2:4")]
    assert len({anchor(one) for one in (*shares, claim(1, sparsity=None))}) == 3


def test_what_was_measured_here_stands_beside_whoever_reports_it(
    atlas: Atlas, records: list[Record]
) -> None:
    ours = next(r for r in records if r.method == "flap" and r.asked == 0.2)
    metric = ours.protocol.metrics[0]
    ratio = ours.ratio(metric)
    assert ratio is not None
    about = {"model": ours.model.name, "dense": 10.0, "metric": metric}
    papers = {
        "flap": entry("FLAP", claim(10 * ratio, **about)),
        "x": entry("X", claim(99, against={"flap": 10 * ratio * 1.05}, **about)),
    }
    here = {"flap": replace(atlas.methods["flap"], records=(ours,))}
    (table,) = tables(Atlas(papers, here))
    found = {r.by: r.found.status for r in reports(table, "flap")}
    assert found == {"flap": "reproduced", "x": "partial"}
    assert [r.found.status for r in reports(table, "x")] == ["not attempted"]


def test_metrics_explain_themselves(made: dict[str, str]) -> None:
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


def test_claims_on_the_page_of_a_paper_lead_to_their_tables(
    atlas: Atlas, board: dict[str, Table]
) -> None:
    made = dict(paper.pages(Atlas({s: p for s, p in atlas.papers.items() if p.claims}, {})))
    for slug in ("flap", "permllm", "darwinlm"):
        links = re.findall(r'href="\.\./(claims/[^"]+)">[\d.,]+</a>', made[f"papers/{slug}.md"])
        assert links == [claim_address(one) for one in atlas.papers[slug].claims or ()]
        assert set(links) <= {table.address for table in board.values()}


def test_a_catalog_without_claims_says_so() -> None:
    text = dict(claims.pages(Atlas({}, {})))["claims.md"]
    assert "No entry of the catalog has a claim yet." in text
    assert "<form" not in text

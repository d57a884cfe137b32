"""The page of a paper: results, code, section "Run", metadata and records."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from implementations.harness.results.record import Record
from tests.catalog.invented import baseline
from tests.keyed import changed, with_divergence
from tests.site.conftest import recovered, sample, with_records
from tools.site.addresses import record_address, record_anchor, record_path
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.pages import paper
from tools.site.quotes import imports


@pytest.fixture(scope="module")
def atlas(real: Atlas, records: list[Record]) -> Atlas:
    """The catalog with the sample records and the address of a repository."""
    return with_records(real, records)


def page_of(slug: str, atlas: Atlas) -> str:
    return next(text for path, text in paper.pages(atlas) if path == f"papers/{slug}.md")


@pytest.fixture(scope="module")
def made(sample_pages: dict[str, str]) -> dict[str, str]:
    return sample_pages


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


def test_results_are_above_the_explanation(made: dict[str, str]) -> None:
    page = made["papers/wanda.md"]
    strip = page[page.index('<section class="atlas-glance"') : page.index("</section>")]
    assert page.index("atlas-summary") < page.index(strip) < page.index("How it works")
    shown = words(strip)
    assert "20 % removed no record" in shown
    assert "50 % removed 1.97 × dense" in shown
    assert "2:4 4.31 × dense" in shown
    assert "Pruning takes 12.5 s for 50 %" in shown
    assert "atlas run wanda --sparsity 0.5 --seed 0" in shown
    assert len(re.findall(r'href="\.\./papers/wanda\.html#smol-[^"]+"', strip)) == 2
    # Unsupported patterns are not listed; a method without records has a command to try.
    assert "2:4" not in words(made["papers/flap.md"]).split("Perplexity on")[0].split("removed")[1]
    assert "No record yet. To try it: atlas run hywia" in words(made["papers/hywia.md"])


def test_headline_results_use_the_row_closest_to_the_defaults(atlas: Atlas) -> None:
    plain = sample("flap", 0.2, 1.9, granularity=("kv-groups",))
    better = changed(
        sample("flap", 0.2, 1.2, granularity=("kv-groups",), seed=1),
        configuration={"sparsity": 0.2, "pattern": None, "compensate": False},
        changed=("compensate",),
    )
    for found, ratio in (([better, plain], 1.9), ([better], 1.2)):
        shown = paper.headline(atlas.methods["flap"], with_records(atlas, found))["20"]
        assert shown
        _, page, answer = shown
        assert page == "leaderboard.html"
        assert answer.row.first.values == found[-1].values, ratio
    assert not any(paper.headline(atlas.methods["flap"], with_records(atlas, [])).values())


def test_headline_results_are_at_other_shares_if_the_usual_ones_were_not_measured(
    atlas: Atlas,
) -> None:
    found = [sample("wanda", share, 3.0) for share in (0.7, 0.6)]
    shown = paper.headline(atlas.methods["wanda"], with_records(atlas, found))
    assert list(shown) == ["60", "70"]


def test_the_section_run_comes_from_the_readme(made: dict[str, str], atlas: Atlas) -> None:
    for slug in atlas.methods:
        page = made[f"papers/{slug}.md"]
        assert len(re.findall(r"^## Run", page, re.MULTILINE)) == 1, slug
        behind = words(page[page.index("{ #run-it") :])
        assert f"pytest implementations/{slug}" in behind
        assert behind.index("atlas run") < behind.index("your own model")


def test_two_links_to_code_name_their_repositories(made: dict[str, str]) -> None:
    def links(slug: str) -> list[str]:
        return re.findall(r'<a href="https://github[^"]*">([^<]*)</a>', made[f"papers/{slug}.md"])

    name = "DISP-LLM-Dimension-Independent-Structural-Pruning"
    assert links("displlm")[:2] == [
        f"official code: ZhengaoLi/{name}",
        f"official code: gaosh/{name}",
    ]
    assert links("movement")[:2] == [
        "official code: huggingface/transformers",
        "official code: huggingface/block_movement_pruning",
    ]
    assert links("wanda")[0] == "official code"


def test_a_repository_without_code_is_not_called_code(made: dict[str, str]) -> None:
    assert "official repository (no code) no licence" in words(made["papers/dpruner.md"])


def test_shows_all_authors_data_sets_and_the_last_commit(
    made: dict[str, str], atlas: Atlas
) -> None:
    longest = max(atlas.papers, key=lambda slug: len(atlas.papers[slug].authors or ()))
    authors = atlas.papers[longest].authors or ()
    assert len(authors) > 10
    assert ", ".join(authors) in words(made[f"papers/{longest}.md"])
    shown = words(made["papers/wanda.md"])
    assert "Calibration data C4 Evaluated on WikiText-2" in shown
    assert "official code MIT, last commit 2023-11-03" in shown


@pytest.mark.parametrize(
    ("code", "folded"),
    [
        ('"""A."""\n\nimport a\nfrom b import (\n    c,\n)\n\n\n@c\nclass D: ...\n', range(3, 9)),
        ("import a\nx = 1\nimport b\n", range(1, 2)),
        ("import a\n", range(1, 2)),
        ("import a\n\n# A remark.\nx = 1\n", range(1, 3)),
        ('"""A."""\nx = 1\nimport a\n', range(0)),
        ("", range(0)),
    ],
)
def test_imports_end_at_the_first_other_statement(code: str, folded: range) -> None:
    assert imports(code) == folded


def test_imports_are_folded_but_not_quoted_lines(made: dict[str, str], atlas: Atlas) -> None:
    for slug, method in atlas.methods.items():
        folded = imports(method.source.code)
        page = made[f"papers/{slug}.md"]
        assert f"show its {len(folded)} lines of imports" in page
        assert page.count('<span class="atlas-imports">') == 1
        assert not {quote.line for quote in method.quotes} & set(folded)


# Metadata in the head


def tags(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, content in re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">', text):
        found.setdefault(name, []).append(html.unescape(content))
    return found


def test_the_head_has_citation_metadata(atlas: Atlas) -> None:
    one = atlas.papers["flap"]
    text = paper.citation_tags("flap", one, replace(atlas, site="https://atlas.example.org/"))
    found = tags(text)
    assert found["citation_author"] == list(one.authors or ())
    assert found["citation_title"] == found["og:title"] == [one.title]
    assert found["citation_doi"] == [one.ids.doi]
    assert found["citation_firstpage"] + found["citation_lastpage"] == ["10865", "10873"]
    assert found["citation_publication_date"] == ["2024/03"]
    assert found["og:url"] == ["https://atlas.example.org/papers/flap.html"]
    # A preprint has the date of its first version and no journal.
    preprint = next(p for p in atlas.papers.values() if not p.venue and p.submitted)
    found = tags(paper.citation_tags("x", preprint, atlas))
    assert found["citation_publication_date"] == [str(preprint.submitted).replace("-", "/")]
    assert not {"citation_journal_title", "citation_conference_title", "og:url"} & found.keys()


def test_a_baseline_has_no_citation_metadata_and_text_is_escaped(atlas: Atlas) -> None:
    assert set(tags(paper.citation_tags("x", baseline(), atlas))) == {
        *("og:type", "og:site_name", "og:title", "og:description"),
    }
    evil = '</script><script>alert(1)</script>" onload="x'
    text = paper.citation_tags("x", atlas.papers["flap"].model_copy(update={"title": evil}), atlas)
    assert "<script" not in text
    assert tags(text)["og:title"] == [evil]


# Records


def listed(page: str) -> dict[str, str]:
    """Return the rows of the list of records, by anchor."""
    return dict(re.findall(r'<tr id="([^"]+)">(.*?)</tr>', page, re.DOTALL))


def test_every_record_is_listed_with_its_values_command_and_file(
    made: dict[str, str], records: list[Record]
) -> None:
    for method in {record.method for record in records}:
        own = [record for record in records if record.method == method]
        found = listed(made[f"papers/{method}.md"])
        assert sorted(found) == sorted(record_anchor(record) for record in own)
        for record in own:
            row = found[record_anchor(record)]
            shown = words(row)
            assert shown.startswith(f"{record.settings}, seed {record.seed}")
            for metric, value in record.values.items():
                text = {"wikipedia": "Wikipedia", "c4": "C4"}[metric.split("/")[1]]
                assert f"{text} {number(value)}" in shown
            assert number(record.ratio(record.protocol.metrics[0]) or 0) in shown
            assert f"{record.date:%Y-%m-%d}" in shown
            assert f"<code>{record.command}</code>" in row
            assert f'data-clipboard-text="{record.command}"' in row
            assert f'href="../{record_path(record)}"' in row
            assert record_address(record) == f"papers/{method}.html#{record_anchor(record)}"
    assert 'id="records"' not in made["papers/hywia.md"]


def test_a_record_with_recovery_shows_the_values_before(atlas: Atlas) -> None:
    record = recovered(sample("flap", 0.2, 1.5, granularity=("kv-groups", "channels")))
    page = page_of("flap", with_records(atlas, [record]))
    shown = words(listed(page)[record_anchor(record)])
    for metric, before in record.recovered.before.items():
        assert f"{number(record.values[metric])} ({number(before)} before recovery)" in shown


def test_divergence_and_agreement_are_shown_beside_the_perplexity_of_their_text(
    atlas: Atlas,
) -> None:
    record = with_divergence(sample("flap", 0.2, 1.5), 0.01234, 0.712)
    page = page_of("flap", with_records(atlas, [record]))
    shown = words(listed(page)[record_anchor(record)])
    for text, value in (("Wikipedia", "ppl/wikipedia/1024"), ("C4", "ppl/c4/1024")):
        assert f"{text} {number(record.values[value])}, KL 0.0123, agreement 71.2 %" in shown
    table = page.partition('id="records"')[0].partition("measurements")[2]
    assert ">0.0123</td>" in table
    assert ">71.2 %</td>" in table


def test_hostile_text_of_a_record_is_escaped(atlas: Atlas) -> None:
    bad = '<script>alert(1)</script></section> {{ 7 * 7 }} "x" \u202e'
    record = sample("flap", 0.2, 1.5).model_copy(update={"command": bad, "labels": (bad,)})
    page = page_of("flap", with_records(atlas, [record]))
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_ranks_that_contradict_each_other_under_two_protocols_are_both_named(
    real: Atlas, real_pages: dict[str, str]
) -> None:
    shown = paper.headline(real.methods["sobp"], real)
    ranks = paper.other_ranks("sobp", shown, real)
    assert list(ranks) == ["20"]
    assert ranks["20"][0].endswith("under quick")
    assert f"; but rank {ranks['20'][0]}" in real_pages["papers/sobp.md"]

"""Looking up a paper at all sources."""

from __future__ import annotations

import json

import pytest

from tests.sources.replay import DATA, Answer, Replay
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import read_bibtex
from tools.sources.names.references import Reference, Unidentified
from tools.sources.resolve import candidates, resolve

SPARSEGPT = "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"
PMLR = "https://proceedings.mlr.press"
FORUM = "https://openreview.net/forum?id="

EXPECTED = {
    # arXiv has the date, DBLP the proceedings page, PMLR the rest.
    "2301.00774": ("icml", 2023, "2023-01-02", {"arxiv", "pmlr"}, "PMLR"),
    f"{PMLR}/v267/guo25a.html": ("icml", 2025, "2025-05-28", {"arxiv", "pmlr"}, "PMLR"),
    "2306.11695": ("iclr", 2024, "2023-06-20", {"arxiv", "openreview"}, "OpenReview"),
    f"{FORUM}PxoFut3dWW": ("iclr", 2024, "2023-06-20", {"arxiv", "openreview"}, "OpenReview"),
    "2305.11627": ("neurips", 2023, "2023-05-19", {"arxiv"}, "NeurIPS proceedings"),
    # The authors entered the DOI on arXiv, and Crossref confirms it.
    "2312.11983": ("aaai", 2024, "2023-12-19", {"arxiv", "doi"}, "Crossref"),
    "10.1609/aaai.v38i10.28960": ("aaai", 2024, "2023-12-19", {"arxiv", "doi"}, "Crossref"),
    "2308.07633": ("tacl", 2024, "2023-08-15", {"arxiv", "doi"}, "Crossref"),
    "2025.findings-acl.1035": (
        *("acl-findings", 2025, "2024-03-06", {"arxiv", "doi", "anthology"}, "ACL Anthology"),
    ),
    # OpenReview has only an imported record; DBLP has the published paper.
    f"{FORUM}a8ruEUhpOv": (
        *("emnlp", 2024, None, {"openreview", "anthology", "doi"}, "ACL Anthology"),
    ),
    # Preprints, one of them submitted somewhere.
    "2407.11681": (None, 2024, "2024-07-16", {"arxiv"}, None),
    f"{FORUM}f4b0YVwKUO": (None, 2025, "2025-01-16", {"arxiv", "openreview"}, None),
    "cs/0601001": (None, 2006, "2006-01-01", {"arxiv"}, None),
    "https://openaccess.thecvf.com/content/CVPR2023/html/"
    "Fang_DepGraph_Towards_Any_Structural_Pruning_CVPR_2023_paper.html": (
        *("cvpr", 2023, None, set(), "CVF open access"),
    ),
}


@pytest.mark.parametrize(("text", "expected"), EXPECTED.items())
def test_merges_sources(
    text: str, expected: tuple[str, int, str, set[str], str], client: Client
) -> None:
    resolved = resolve(identify(text), client)
    facts = resolved.facts
    actual = (
        facts.venue,
        facts.year,
        facts.submitted,
        set(facts.ids),
        resolved.origin.get("venue"),
    )
    assert actual == expected
    assert {name for name, _ in facts} - {"other_titles"} == set(resolved.origin)
    assert resolved.unverified == ()


def test_records_origin_of_each_fact(client: Client) -> None:
    resolved = resolve(identify("2403.03853"), client)
    assert resolved.origin == {
        "title": "arXiv",
        "authors": "arXiv",
        "abstract": "arXiv",
        "submitted": "arXiv",
        "venue": "ACL Anthology",
        "year": "ACL Anthology",
        "track": "ACL Anthology",
        "pages": "ACL Anthology",
        "published": "ACL Anthology",
        "ids.arxiv": "arXiv",
        "ids.doi": "Crossref",
        "ids.anthology": "ACL Anthology",
    }


def test_reports_disagreements(client: Client) -> None:
    assert resolve(identify("2403.03853"), client).disagreements == (
        "authors: arXiv has 8, which is used; "
        "DBLP, ACL Anthology and Crossref have 9, with Qianhao Yuan",
    )
    assert resolve(identify("2025.coling-main.626"), client).disagreements == (
        "authors: arXiv has 10, which is used; "
        "ACL Anthology has 9, with Shan Liping, without Huiming Fan and Liping Shan",
    )
    assert resolve(identify("2301.00774"), client).disagreements == ()


def test_ignores_withdrawn_and_rejected_submissions(client: Client) -> None:
    for text in ("https://openreview.net/forum?id=f4b0YVwKUO", "2501.09412"):
        said = repr(resolve(identify(text), client)).lower()
        assert not any(word in said for word in ("withdrawn", "submitted to", "reject", "iclr"))
    assert "openreview" not in resolve(identify("2501.09412"), client).facts.ids


class TestFailures:
    def test_failure_of_first_source_is_an_error(self, replay: Replay, client: Client) -> None:
        replay.say("export.arxiv.org", Answer(status=503))
        with pytest.raises(errors.ServerError, match=r"export.arxiv.org reports a server error"):
            resolve(identify("2301.00774"), client)

    def test_failures_of_other_sources_are_notes(self, replay: Replay, client: Client) -> None:
        replay.refuse("dblp.org", "api2.openreview.net")
        resolved = resolve(identify("2301.00774"), client)
        assert resolved.facts.venue is None
        assert resolved.facts.submitted == "2023-01-02"
        assert resolved.notes == tuple(
            f"{host} reports a server error (HTTP 503); continued with the other sources"
            for host in ("dblp.org", "api2.openreview.net")
        )

    def test_unconfirmed_doi_is_unverified(self, replay: Replay, client: Client) -> None:
        replay.refuse("api.crossref.org")
        resolved = resolve(identify("2312.11983"), client)
        assert resolved.facts.ids["doi"] == "10.1609/aaai.v38i10.28960"
        assert resolved.unverified == ("ids.doi",)

    def test_ignores_doi_of_another_paper(self, replay: Replay, client: Client) -> None:
        work = json.loads((DATA / "crossref" / "flap.json").read_text(encoding="utf-8"))
        work["message"]["title"] = ["On the Migration of Birds"]
        replay.say("api.crossref.org", Answer(json.dumps(work).encode()))
        resolved = resolve(identify("2312.11983"), client)
        assert "doi" not in resolved.facts.ids
        assert (
            "DOI 10.1609/aaai.v38i10.28960 is another paper, 'On the Migration of Birds', "
            "and was ignored"
        ) in resolved.notes

    def test_ignores_same_title_by_other_authors(self, replay: Replay, client: Client) -> None:
        hits = json.loads((DATA / "dblp" / "wanda.json").read_text(encoding="utf-8"))
        info = hits["result"]["hits"]["hit"][0]["info"]
        info |= {"authors": {"author": {"text": "Somebody Else"}}, "venue": "AAAI", "ee": "x"}
        replay.say("dblp.org", Answer(json.dumps(hits).encode()))
        assert resolve(identify("2306.11695"), client).facts.venue == "iclr"


class TestBibtex:
    def test_bibtex_has_the_lowest_precedence(self, client: Client) -> None:
        text = f"""@article{{x, title = {{{SPARSEGPT.upper()}}}, eprint = {{2301.00774}},
          author = {{Frantar, E. and Alistarh, D.}}, journal = {{TMLR}}, year = {{1999}}}}"""
        resolved = resolve(read_bibtex(text), client)
        assert resolved.facts.title == SPARSEGPT.replace("be", "Be")
        assert (resolved.facts.venue, resolved.facts.year) == ("icml", 2023)
        assert resolved.unverified == ()
        assert "venue: PMLR has 'icml', which is used; BibTeX has 'tmlr'" in resolved.disagreements

    def test_searches_title_without_identifier(self, client: Client) -> None:
        text = f"@misc{{x, title = {{{SPARSEGPT}}}, author = {{Frantar, Elias}}}}"
        assert set(resolve(read_bibtex(text), client).facts.ids) == {"arxiv", "pmlr"}

    def test_bibtex_alone_without_network(self, replay: Replay, client: Client) -> None:
        replay.refuse()
        text = f"@misc{{x, title = {{{SPARSEGPT}}}, author = {{Frantar, Elias}}, year = 2023}}"
        resolved = resolve(read_bibtex(text), client)
        assert set(resolved.unverified) == {"title", "authors", "year"}
        assert len(resolved.notes) == 3


class TestSearch:
    def test_candidates_are_sorted_by_similarity(self, client: Client) -> None:
        first, second = candidates(SPARSEGPT.lower(), client)
        assert first.reference == Reference("pmlr", "v202/frantar23a")
        assert second.reference == Reference("arxiv", "2301.00774")
        assert first.similarity == second.similarity == 100
        assert (first.facts.authors, first.facts.year) == (("Elias Frantar", "Dan Alistarh"), 2023)

    def test_candidates_have_the_reference_of_their_source(self, client: Client) -> None:
        title = "A Simple and Effective Pruning Approach for Large Language Models"
        found = {str(one.reference): one.facts.source for one in candidates(title, client)}
        assert found == {"arXiv 2306.11695": "arXiv", "OpenReview PxoFut3dWW": "DBLP"}

    def test_no_candidates(self, client: Client) -> None:
        assert candidates("On the migration of birds", client) == []

    def test_one_answering_source_is_enough(self, replay: Replay, client: Client) -> None:
        replay.refuse("export.arxiv.org")
        assert [one.facts.source for one in candidates(SPARSEGPT, client)] == ["DBLP", "DBLP"]

    def test_fails_if_no_source_answers(self, replay: Replay, client: Client) -> None:
        replay.refuse()
        with pytest.raises(errors.ServerError):
            candidates(SPARSEGPT, client)

    def test_resolve_rejects_titles(self, client: Client) -> None:
        with pytest.raises(Unidentified, match="is a title; use a search instead"):
            resolve(Reference("title", SPARSEGPT), client)

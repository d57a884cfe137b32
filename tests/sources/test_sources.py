"""Each source through the real client: what it says right, and what it may say wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.sources.server import DATA, Answer, Replay, stored
from tools.catalog.schema.identifiers import address
from tools.sources import arxiv, dblp, errors, openreview, semantic_scholar
from tools.sources.client import Client
from tools.sources.facts import Facts
from tools.sources.identify import Reference, identify
from tools.sources.resolve import fetch

Connect = Callable[..., Client]
ARXIV = "export.arxiv.org"
LLM_PRUNER = "44956951349095f74492a5471128a7e0"
SLIMGPT = "c1c44e46358e0fb94dc94ec495a7fb1a"
CVF = "https://openaccess.thecvf.com/content"
FPGM = "Filter_Pruning_via_Geometric_Median_for_Deep_Convolutional_Neural_Networks"

EXPECTED = {
    "2301.00774": {
        "source": "arXiv",
        "title": "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        "authors": ("Elias Frantar", "Dan Alistarh"),
        "submitted": "2023-01-02",
        "year": 2023,
        "venue": None,
        "ids": {"arxiv": "2301.00774"},
        "code": ("https://github.com/IST-DASLab/sparsegpt",),
        "notes": (),
    },
    "2312.11983": {
        "submitted": "2023-12-19",
        "ids": {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"},
        "venue": None,
    },
    "2310.05175": {"code": ("https://github.com/luuyin/OWL",)},
    "cs/0601001": {"submitted": "2006-01-01", "ids": {"arxiv": "cs/0601001"}},
    "math.GT/0309136": {"authors": ("Emmy Example", "Carl Example"), "year": 2003},
    "10.1609/aaai.v38i10.28960": {
        "source": "Crossref",
        "title": "Fluctuation-Based Adaptive Structured Pruning for Large Language Models",
        "authors": ("Yongqi An", "Xu Zhao", "Tao Yu", "Ming Tang", "Jinqiao Wang"),
        "abstract": "Structured pruning without retraining.",
        "published": "2024-03-24",
        "year": 2024,
        "venue": "aaai",
        "track": "main",
        "volume": "38",
        "number": "10",
        "pages": "10865-10873",
        "ids": {"doi": "10.1609/aaai.v38i10.28960"},
    },
    "10.1609/aaai.v39i23.34592": {"number": "23", "pages": "24167-24175", "year": 2025},
    "https://direct.mit.edu/tacl/article/doi/10.1162/tacl_a_00704/125482": {
        "venue": "tacl",
        "track": "journal",
        "published": "2024",
        "volume": "12",
    },
    "10.18653/v1/2025.findings-acl.1035": {
        "venue": "acl-findings",
        "track": "findings",
        "ids": {
            "doi": "10.18653/v1/2025.findings-acl.1035",
            "anthology": "2025.findings-acl.1035",
        },
    },
    "2025.findings-acl.1035": {
        "source": "ACL Anthology",
        "title": "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
        "abstract": "Layers are scored by Block Influence, and 25% of them are removed.",
        "published": "2025-07",
        "year": 2025,
        "venue": "acl-findings",
        "track": "findings",
        "pages": "20192-20204",
        "ids": {
            "doi": "10.18653/v1/2025.findings-acl.1035",
            "anthology": "2025.findings-acl.1035",
        },
    },
    "https://aclanthology.org/2024.emnlp-main.775.pdf": {
        "venue": "emnlp",
        "track": "main",
        "authors": (
            "Jiateng Wei",
            "Quan Lu",
            "Ning Jiang",
            "Siqi Li",
            "Jingyang Xiang",
            "Jun Chen",
            "Yong Liu",
        ),
    },
    "2024.tacl-1.85": {"venue": "tacl", "track": "journal", "volume": "12", "published": "2024"},
    "2025.coling-main.626": {"venue": "coling", "ids": {"anthology": "2025.coling-main.626"}},
    "https://openreview.net/forum?id=PxoFut3dWW": {
        "source": "OpenReview",
        "title": "A Simple and Effective Pruning Approach for Large Language Models",
        "authors": ("Mingjie Sun", "Zhuang Liu", "Anna Bair", "J Zico Kolter"),
        "venue": "iclr",
        "track": "main",
        "year": 2024,
        "ids": {"openreview": "PxoFut3dWW"},
        "code": ("https://github.com/locuslab/wanda",),
    },
    "https://openreview.net/pdf?id=J8Ajf9WfXP": {"venue": "neurips", "year": 2023},
    "https://openreview.net/forum?id=ahEm3l2P6w": {"venue": "icml", "year": 2024},
    # A journal: the year is that of publication.
    "https://openreview.net/forum?id=Qd7LzJBg21": {
        "venue": "tmlr",
        "track": "journal",
        "year": 2025,
    },
    # Only in version 1 of the API, whose values are not wrapped.
    "https://openreview.net/forum?id=invented01": {"venue": "iclr", "year": 2021},
    "https://proceedings.mlr.press/v202/frantar23a.html": {
        "source": "PMLR",
        "title": "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
        "authors": ("Elias Frantar", "Dan Alistarh"),
        "published": "2023-07-03",
        "year": 2023,
        "venue": "icml",
        "track": "main",
        "volume": "202",
        "pages": "10323-10337",
        "ids": {"pmlr": "v202/frantar23a"},
    },
    "https://proceedings.mlr.press/v267/guo25a/guo25a.pdf": {
        "pages": "20766-20776",
        "volume": "267",
    },
    f"http://papers.nips.cc/paper_files/paper/2023/hash/{LLM_PRUNER}-Abstract-Conference.html": {
        "source": "NeurIPS proceedings",
        "authors": ("Xinyin Ma", "Gongfan Fang", "Xinchao Wang"),
        "venue": "neurips",
        "year": 2023,
        "volume": "36",
        "ids": {},
        "links": {
            "venue": "https://proceedings.neurips.cc/paper_files/paper/2023/hash/"
            f"{LLM_PRUNER}-Abstract-Conference.html"
        },
    },
    # Dated to the next year, as volumes of a December are.
    f"https://proceedings.neurips.cc/paper_files/paper/2024/file/{SLIMGPT}-Paper-Conference.pdf": {
        "year": 2024,
        "pages": "107112-107137",
        "published": "2025-01-10",
    },
    f"{CVF}/CVPR2023/papers/Fang_DepGraph_Towards_Any_Structural_Pruning_CVPR_2023_paper.pdf": {
        "source": "CVF open access",
        "title": "DepGraph: Towards Any Structural Pruning",
        "venue": "cvpr",
        "year": 2023,
        "pages": "16091-16101",
    },
    f"{CVF}_CVPR_2019/html/He_{FPGM}_CVPR_2019_paper.html": {"year": 2019, "pages": "4340-4349"},
}


@pytest.mark.parametrize(("text", "expected"), EXPECTED.items())
def test_what_sources_say(text: str, expected: dict[str, object], client: Client) -> None:
    facts = fetch(identify(text), client)
    assert {name: getattr(facts, name) for name in expected} == expected


# Forums of papers that were submitted, withdrawn or rejected, or only imported from elsewhere.
@pytest.mark.parametrize("forum", ["f4b0YVwKUO", "FQ8KX1pxeo", "a8ruEUhpOv"])
def test_what_openreview_did_not_accept_is_a_preprint_and_no_more(
    forum: str, client: Client
) -> None:
    facts = fetch(Reference("openreview", forum), client)
    assert facts.title
    assert (facts.venue, facts.track, facts.published) == (None, None, None)
    said = repr(facts).lower()
    assert not any(word in said for word in ("submitted to", "withdrawn", "reject", "iclr"))


def test_an_older_version_that_was_named_is_noted(client: Client) -> None:
    facts = fetch(identify("https://arxiv.org/abs/2301.00774v1"), client)
    assert facts.notes == ("arXiv's newest version is 3; its facts were taken, not version 1's",)
    assert fetch(identify("2301.00774v3"), client).notes == ()


def feed(**changes: str) -> Answer:
    """SparseGPT's feed with some texts replaced."""
    text = (DATA / "arxiv" / "sparsegpt.xml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return Answer(text.encode(), "application/atom+xml")


def laughs() -> Answer:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY l0 "ha">{levels}]>'
    return Answer(f"{head}<feed>&l9;</feed>".encode(), "application/atom+xml")


OUTSIDE = b'<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed>&x;</feed>'
ERROR = stored("arxiv/error.xml")

ARXIV_TROUBLE = {
    "error under 200": (ERROR, errors.Denied, "rejects the request .incorrect id format for 2301"),
    "error under 400": (ERROR._replace(status=400), errors.Denied, "rejects the request .incorr"),
    "400 without a reason": (
        stored("arxiv/sparsegpt.xml", status=400),
        errors.Denied,
        r"rejects the request \(HTTP 400\)",
    ),
    "empty result": (stored("arxiv/empty.xml"), errors.NotFound, "arXiv has no paper 2301.00774"),
    "another paper": (
        stored("arxiv/wanda.xml"),
        errors.AnotherPaper,
        "was asked for 2301.00774 and answered about 2306.11695",
    ),
    "no identifier": (
        feed(**{"<id>http://arxiv.org/abs/2301.00774v3</id>": "<id>urn:x</id>"}),
        errors.Malformed,
        "no arXiv identifier",
    ),
    "no date": (feed(published="publi"), errors.Malformed, "lacks identifier, title or date"),
    "billion laughs": (laughs(), errors.Unsafe, "defines XML entities, which is an attack"),
    "external entity": (
        Answer(OUTSIDE, "text/xml"),
        errors.Unsafe,
        "defines XML entities",
    ),
    "truncated XML": (
        Answer(ERROR.body[:300], "application/atom+xml"),
        errors.Malformed,
        "it is not whole XML",
    ),
    "bad encoding": (
        Answer(b'<?xml version="1.0" encoding="utf-8"?><feed>\xff</feed>', "text/xml"),
        errors.Malformed,
        "it is not whole XML",
    ),
    "unknown encoding": (
        Answer(b'<?xml version="1.0" encoding="klingon"?><feed/>', "text/xml"),
        errors.Malformed,
        "it is not whole XML",
    ),
    "control characters": (feed(Massive="Mas\x07sive"), errors.Malformed, "it is not whole XML"),
    "open markup": (
        feed(Massive="&lt;script src="),
        errors.Unusable,
        "the title of arXiv holds HTML",
    ),
    "long title": (
        feed(Massive="Massive " * 100),
        errors.Unusable,
        "the title of arXiv holds a text of 863 characters, more than 300",
    ),
    "LaTeX without end": (
        feed(Massive="{" * 5000),
        errors.Unusable,
        "is LaTeX that cannot be read; write it plainly",
    ),
    "5,001 authors": (
        feed(**{"  </entry>": "<author><name>A B</name></author>" * 4999 + "</entry>"}),
        errors.Unusable,
        "arXiv lists 5,001 authors, more than 5,000",
    ),
    "HTML": (Answer(b"<p>Sorry", "text/html"), errors.WrongKind, "sent text/html instead of XML"),
}


@pytest.mark.parametrize("case", ARXIV_TROUBLE)
def test_trouble_with_arxiv(case: str, replay: Replay, client: Client) -> None:
    answer, kind, message = ARXIV_TROUBLE[case]
    replay.say(ARXIV, answer)
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(Reference("arxiv", "2301.00774"), client)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_three_thousand_authors_are_taken_in_order(replay: Replay, client: Client) -> None:
    names = [f"Author{'abcdefghij'[n % 10]} Number{n}x" for n in range(3000)]
    listed = "".join(f"<author><name>{name}</name></author>" for name in names)
    replay.say(ARXIV, feed(**{"  </entry>": f"{listed}</entry>"}))
    authors = fetch(Reference("arxiv", "2301.00774"), client).authors
    assert authors == ("Elias Frantar", "Dan Alistarh", *names)


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Sparse&lt;i&gt;GPT&lt;/i&gt; &amp;amp; others", "SparseGPT & others"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;Sparse", "alert(1)Sparse"),
        ("Pruning \u202eat\u202c 50\u200b\u00ad%", "Pruning at 50%"),
        ("Pruning\u2028at\u00a050 %", "Pruning at 50 %"),
        (r"Pr{\"u}ning with $\ell_0$ norms", "Prüning with ℓ_0 norms"),
        ("Pru\u0308ning", "Prüning"),
        ("Sparsity &lt; 50 % and &gt; 20 %", "Sparsity < 50 % and > 20 %"),
    ],
)
def test_markup_and_hidden_characters_leave_titles(
    written: str, title: str, replay: Replay, client: Client
) -> None:
    replay.say(ARXIV, feed(Massive=written))
    found = fetch(Reference("arxiv", "2301.00774"), client)
    rest = "Language Models Can Be Accurately Pruned in One-Shot"
    assert found.title == f"SparseGPT: {title} {rest}"


def test_markup_that_was_removed_is_noted(replay: Replay, client: Client) -> None:
    replay.say(ARXIV, feed(Massive="&lt;b&gt;Massive&lt;/b&gt;"))
    (note,) = fetch(Reference("arxiv", "2301.00774"), client).notes
    assert note == "arXiv has markup or hidden characters in the title, now removed"
    replay.say(ARXIV, feed(Massive="Massive &amp;amp; &lt; 50 %"))
    assert fetch(Reference("arxiv", "2301.00774"), client).notes == ()


def changed(name: str, *path: str | int, to: object) -> Answer:
    """A stored JSON answer with one value replaced; `...` removes it."""
    body = json.loads((DATA / name).read_text(encoding="utf-8"))
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return Answer(json.dumps(body).encode())


class TestCrossref:
    def read(self, replay: Replay, client: Client, *path: str | int, to: object) -> Facts:
        replay.say("api.crossref.org", changed("crossref/flap.json", "message", *path, to=to))
        return fetch(Reference("doi", "10.1609/aaai.v38i10.28960"), client)

    def test_another_paper(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.AnotherPaper, match=r"answered about 10.1/other; paste that DOI"):
            self.read(replay, client, "DOI", to="10.1/other")

    def test_the_case_of_a_doi_does_not_count(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "DOI", to="10.1609/AAAI.v38i10.28960")
        assert facts.ids == {"doi": "10.1609/aaai.v38i10.28960"}

    @pytest.mark.parametrize("title", [[], ...])
    def test_no_title(self, title: object, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.Malformed, match="its record has no title"):
            self.read(replay, client, "title", to=title)

    @pytest.mark.parametrize(
        ("parts", "published", "year"),
        [
            ([[2024]], "2024", 2024),
            ([[2024, 3]], "2024-03", 2024),
            ([[2024, 13, 1]], "2024", 2024),
            ([[None]], None, None),
            ([], None, None),
        ],
    )
    def test_dates_as_far_as_they_are_known(
        self, parts: object, published: str, year: int, replay: Replay, client: Client
    ) -> None:
        facts = self.read(replay, client, "issued", to={"date-parts": parts})
        assert (facts.published, facts.year) == (published, year)

    def test_a_preprint_server_is_no_venue(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "type", to="posted-content")
        assert (facts.venue, facts.notes) == (None, ())

    def test_an_unknown_venue_is_noted_and_not_copied(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "container-title", to=["Journal of Pruning"])
        assert facts.venue is None
        assert facts.notes == (
            "Crossref names the venue 'Journal of Pruning', "
            "for which vocabulary/venues.yaml has no word",
        )

    def test_names_of_people_and_organisations(self, replay: Replay, client: Client) -> None:
        people = [
            {"family": "Madonna"},
            {"given": "Martin Luther", "family": "King", "suffix": "Jr."},
            {"name": "The Pruning Team"},
        ]
        facts = self.read(replay, client, "author", to=people)
        assert facts.authors == ("Madonna", "Martin Luther King Jr.", "The Pruning Team")

    def test_what_is_quoted_cannot_steer_a_terminal(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "container-title", to=["J\x1b[2J\nof\u202e"])
        assert facts.notes[0].startswith("Crossref names the venue 'J[2J of',")
        with pytest.raises(errors.AnotherPaper) as caught:
            self.read(replay, client, "DOI", to="10.1/\x1b[2J\n\u202e")
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("year", [99999, -1, 0, 1492])
    def test_years_that_cannot_be(self, year: int, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "issued", to={"date-parts": [[year, 1, 1]]})
        assert (facts.year, facts.published) == (None, None)

    @pytest.mark.parametrize(
        ("name", "value"), [("volume", "[8](x"), ("issue", "1" * 500), ("volume", "**8**")]
    )
    def test_numbers_that_are_none(
        self, name: str, value: str, replay: Replay, client: Client
    ) -> None:
        with pytest.raises(errors.Unusable, match=r"the (volume|number) of Crossref holds"):
            self.read(replay, client, name, to=value)

    def test_a_subtitle_follows_a_colon(self, replay: Replay, client: Client) -> None:
        assert str(self.read(replay, client, "subtitle", to=["A Sub"]).title).endswith(
            "dels: A Sub"
        )


class TestOpenReview:
    def read(self, replay: Replay, client: Client, *path: str | int, to: object) -> Facts:
        answer = changed("openreview/wanda.json", "notes", 0, *path, to=to)
        replay.say("api2.openreview.net", answer)
        return fetch(Reference("openreview", "PxoFut3dWW"), client)

    @pytest.mark.parametrize(
        "venue",
        [
            "Submitted to ICLR 2024",
            "ICLR 2024 Conference Withdrawn Submission",
            "ICLR 2024 Conference Desk Rejected Submission",
            "Rejected by TMLR",
            "Under review for TMLR",
            "Decision pending for TMLR",
            "ICLR 2024",
            "CoRR 2024",
            "",
            None,
        ],
    )
    def test_only_acceptance_is_a_venue(
        self, venue: str | None, replay: Replay, client: Client
    ) -> None:
        facts = self.read(replay, client, "content", "venue", to={"value": venue})
        assert (facts.venue, facts.notes) == (None, ())

    @pytest.mark.parametrize("where", ["Withdrawn_Submission", "Rejected_Submission", "Submission"])
    def test_a_word_of_decision_does_not_outweigh_the_place(
        self, where: str, replay: Replay, client: Client
    ) -> None:
        to = {"value": f"ICLR.cc/2024/Conference/{where}"}
        assert self.read(replay, client, "content", "venueid", to=to).venue is None

    def test_a_comment_is_no_paper(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.AnotherPaper, match=r"about the forum other; paste that one"):
            self.read(replay, client, "forum", to="other")

    def test_another_paper(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.AnotherPaper, match="was asked for PxoFut3dWW"):
            self.read(replay, client, "id", to="other")

    def test_authors_who_hide_are_none(self, replay: Replay, client: Client) -> None:
        to = {"value": ["Anonymous"]}
        assert self.read(replay, client, "content", "authors", to=to).authors == ()

    def test_a_deleted_note(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.Malformed, match="its record has no title"):
            self.read(replay, client, "content", to={})

    @pytest.mark.parametrize("status", [403, 404, 400])
    def test_both_versions_are_asked(self, status: int, replay: Replay, client: Client) -> None:
        replay.say("api2.openreview.net", Answer(b'{"name": "Error"}', status=status))
        facts = fetch(Reference("openreview", "invented01"), client)
        assert facts.title == "An Invented Record of the First Version"

    def test_unknown_to_both(self, client: Client) -> None:
        with pytest.raises(errors.NotFound, match="OpenReview has no public paper nowhere123"):
            fetch(Reference("openreview", "nowhere123"), client)

    def test_a_search_yields_accepted_papers_and_workshops_last(
        self, replay: Replay, client: Client
    ) -> None:
        body = json.loads((DATA / "openreview" / "wanda.json").read_text(encoding="utf-8"))
        (main,) = body["notes"]
        workshop = {**main, "id": "w" * 10, "forum": "w" * 10}
        workshop["content"] = {**main["content"], "venue": {"value": "ICML 2023 Workshop Poster"}}
        withdrawn = {**main, "id": "x" * 10, "forum": "x" * 10}
        withdrawn["content"] = {**main["content"], "venue": {"value": "Submitted to ICLR 2024"}}
        comment = {**main, "id": "y" * 10}
        body["notes"] = [workshop, withdrawn, comment, main]
        replay.say("api2.openreview.net", Answer(json.dumps(body).encode()))
        found = openreview.search("any", client)
        assert [(facts.venue, facts.track) for facts in found] == [
            ("iclr", "main"),
            ("icml", "workshop"),
        ]

    def test_times_out_of_range(self, replay: Replay, client: Client) -> None:
        assert self.read(replay, client, "pdate", to=10**30).year == 2024


class TestAnthology:
    def test_another_paper(self, replay: Replay, client: Client) -> None:
        replay.say("aclanthology.org", stored("anthology/sobp.bib"))
        with pytest.raises(errors.AnotherPaper, match=r"answered about 2024.emnlp-main.775"):
            fetch(Reference("anthology", "2024.findings-acl.178"), client)

    def test_unknown(self, client: Client) -> None:
        with pytest.raises(errors.NotFound, match=r"aclanthology.org has no /2099.acl-long.1.bib"):
            fetch(Reference("anthology", "2099.acl-long.1"), client)

    def test_a_web_page(self, replay: Replay, client: Client) -> None:
        replay.say("aclanthology.org", Answer(b"<html>", "text/html"))
        with pytest.raises(errors.WrongKind, match="sent text/html instead of BibTeX"):
            fetch(Reference("anthology", "2024.acl-long.1"), client)

    @pytest.mark.parametrize("body", [b"", b"@inproceedings{x,", b"@article{x, title={}}", b"<>"])
    def test_no_entry(self, body: bytes, replay: Replay, client: Client) -> None:
        replay.say("aclanthology.org", Answer(body, "text/plain"))
        with pytest.raises(errors.Malformed, match="ACL Anthology"):
            fetch(Reference("anthology", "2024.acl-long.1"), client)


PAGES = {
    "proceedings.mlr.press": ("pmlr", "v202/frantar23a", "pmlr/slimllm.html"),
    "proceedings.neurips.cc": (
        "neurips",
        f"2023/hash/{LLM_PRUNER}-Abstract-Conference.html",
        "neurips/slimgpt.html",
    ),
    "openaccess.thecvf.com": ("cvf", "content/CVPR2023/html/Fang_X_paper.html", "cvf/fpgm.html"),
}


@pytest.mark.parametrize("host", PAGES)
class TestPages:
    def test_another_paper(self, host: str, replay: Replay, client: Client) -> None:
        scheme, value, other = PAGES[host]
        replay.say(host, stored(other))
        with pytest.raises(errors.AnotherPaper, match=rf"{host} was asked for .* answered about"):
            fetch(Reference(scheme, value), client)

    def test_a_page_without_tags(self, host: str, replay: Replay, client: Client) -> None:
        scheme, value, _ = PAGES[host]
        replay.say(host, Answer(b"<title>Moved</title><meta name=citation_title>", "text/html"))
        with pytest.raises(errors.Malformed, match="it has no citation tags"):
            fetch(Reference(scheme, value), client)

    def test_tags_that_are_mostly_missing(self, host: str, replay: Replay, client: Client) -> None:
        scheme, value, _ = PAGES[host]
        head = b"<meta name='citation_title' content='A &amp; B'/><meta name='citation_date'>"
        replay.say(host, Answer(head, "text/html"))
        facts = fetch(Reference(scheme, value), client)
        assert (facts.title, facts.authors, facts.venue, facts.pages) == ("A & B", (), None, None)


def test_addresses_of_cvf_are_fit_for_an_entry(replay: Replay, client: Client) -> None:
    found = identify(
        "https://openaccess.thecvf.com/content/CVPR2023/papers/Li_What's_New_paper.pdf"
    )
    replay.say(
        "openaccess.thecvf.com", Answer(b"<meta name=citation_title content=T>", "text/html")
    )
    link = fetch(found, client).links["venue"]
    assert address(link) == link
    assert link.endswith("/content/CVPR2023/html/Li_What%27s_New_paper.html")


class TestDblp:
    def test_one_author_and_many_numbers(self, client: Client) -> None:
        (facts,) = dblp.search("An Invented Record in the Old Style of Identifiers", client)
        assert facts.authors == ("Ada Example",)
        assert (facts.venue, facts.volume, facts.notes) == (None, None, ())
        assert facts.ids == {"arxiv": "cs/0601001"}

    def test_a_published_paper_and_its_preprint(self, client: Client) -> None:
        title = "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"
        published, preprint = dblp.search(title, client)
        assert published.title == title
        assert (published.venue, published.year, published.pages) == ("icml", 2023, "10323-10337")
        assert published.ids == {"pmlr": "v202/frantar23a"}
        assert (preprint.venue, preprint.ids) == (None, {"arxiv": "2301.00774"})

    def test_numbers_behind_names(self, client: Client) -> None:
        title = "A Simple and Effective Pruning Approach for Large Language Models"
        (facts,) = dblp.search(title, client)
        assert facts.authors[1] == "Zhuang Liu"
        assert facts.ids == {"openreview": "PxoFut3dWW"}

    def test_no_hit_at_all(self, client: Client) -> None:
        assert dblp.search("nothing of the kind", client) == []

    def test_a_page_for_robots(self, replay: Replay, client: Client) -> None:
        replay.say("dblp.org", Answer(b"<html>", "text/html"))
        with pytest.raises(errors.WrongKind, match=r"dblp.org sent text/html instead of JSON"):
            dblp.search("anything", client)

    def test_punctuation_does_not_reach_the_query(self, replay: Replay, client: Client) -> None:
        dblp.search("Pruning|Quantization: a $ - b*?", client)
        assert "?q=pruning quantization a b&" in replay.asked("dblp.org")[0].path


class TestSemanticScholar:
    def test_what_it_says(self, client: Client) -> None:
        facts = semantic_scholar.fetch(Reference("arxiv", "2312.11983"), client)
        assert (facts.venue, facts.year) == ("aaai", 2023)
        assert facts.ids == {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"}
        facts = semantic_scholar.fetch(Reference("arxiv", "2301.00774"), client)
        assert (facts.venue, facts.ids) == ("icml", {"arxiv": "2301.00774"})

    def test_another_paper(self, replay: Replay, client: Client) -> None:
        replay.say("api.semanticscholar.org", stored("semantic_scholar/flap.json"))
        with pytest.raises(errors.AnotherPaper, match=r"answered about 2312.11983"):
            semantic_scholar.fetch(Reference("arxiv", "2301.00774"), client)

    def test_unknown_and_empty(self, replay: Replay, client: Client) -> None:
        body = b'{"error": "Paper with id ARXIV:1 not found"}'
        replay.say("api.semanticscholar.org", Answer(body, status=404), Answer(b"{}"))
        with pytest.raises(errors.NotFound):
            semantic_scholar.fetch(Reference("arxiv", "2301.00774"), client)
        with pytest.raises(errors.Malformed, match="no title"):
            semantic_scholar.fetch(Reference("arxiv", "2301.00774"), client)


def test_arxiv_is_searched_by_words_alone(replay: Replay, client: Client) -> None:
    (found,) = arxiv.search(
        "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot", client
    )
    assert found.ids == {"arxiv": "2301.00774"}
    assert arxiv.search('A "quoted" (title) AND au:x', client) == []
    assert 'ti:"A quoted title AND au x"' in replay.requests[-1].path

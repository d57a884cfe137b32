"""Checks of single entries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.catalog.invented import Change, assert_one_problem, messages
from tools.catalog.checks.entry_checks import arxiv_month, later
from tools.catalog.entries.loader import load_catalog, read_catalog

VENUES = [
    ("venue: icml\n", "", "status: is published, but the entry has no venue"),
    ("track: main", "track: journal", "track: is journal, but icml is not a journal"),
    ("track: main", "track: findings", "track: is findings, but the venue is icml"),
    ("venue: icml", "venue: tmlr", "track: is main, but tmlr is a journal; write journal"),
    (
        "venue: icml",
        "venue: acl-findings",
        "track: is main, but the venue is acl-findings; write venue: acl",
    ),
]
TAXONOMIES = [
    (
        "kind: method",
        "kind: survey",
        "taxonomy: a survey does not prune, so it has no such terms; keep only",
    ),
    ("kind: method", "kind: analysis", "role: is only for methods and baselines; remove it"),
    ("  criterion: [activation]\n", "", "taxonomy: has no criterion, which a method needs; add it"),
    ("[activation]", "[unknown]", None),
    (
        "[activation]",
        "[activation, unknown]",
        "taxonomy.criterion: combines unknown with other terms; remove",
    ),
    (
        "when: [static]",
        "when: [static]\n  topic: [safety]",
        "taxonomy.topic: a method has no topic",
    ),
]
IDENTIFIERS = [
    ("10.1000/example.7", "10.5555/3618408", "ids.doi: is an internal handle of ACM, not a DOI"),
    ("10.1000/example.7", "10.48550/arxiv.2401.00007", "ids.doi: is a DOI of arXiv"),
    (
        "10.1000/example.7",
        "10.18653/v1/2024.other-main.7",
        "ids.doi: belongs to 2024.other-main.7, but ids.anthology is 2024.example-main.7",
    ),
    ("10.1000/example.7", "10.18653/v1/2024.example-main.7", None),
    ("v235/lovelace24a", "v202/lovelace24a", "ids.pmlr: is in volume 202, but `volume` is 235"),
    ("10.1109/icnn.1993.298572", "10.5555/1", "relations.builds-on[1].doi: is an internal handle"),
]
DATES = [
    ("year: 2024", "year: 2023", "year: 2023 is before 2024-01, when arXiv assigned 2401.00007"),
    ("submitted: 2024-01-02", "submitted: 2023-12-29", None),
    (
        "submitted: 2024-01-02",
        "submitted: 2024-02-01",
        "submitted: 2024-02-01 is after 2024-01, when arXiv assigned the identifier",
    ),
    ("published: 2024-07", "published: 2023-07", "published: 2023-07 is before the first public"),
    ("published: 2024-07", "published: 2024-02-30", "published: 2024-02-30 is not a valid date"),
    ("published: 2024-07", "published: 2027-01", "published: 2027-01 is after 2026-11-25"),
    ("submitted: 2024-01-02", "submitted: 2024-01-32", ValueError),
    ("last_commit: 2024-08-01", "last_commit: 2026-11-26", "code[0].last_commit: 2026-11-26 is"),
    ("added: 2026-11-25", "added: 2026-09-31", "added: 2026-09-31 is not a valid date"),
]
CODE = [
    ("Apache-2.0", "Apache 2.0", ValueError),
    ("Apache-2.0", "Apache2", "code[0].license: 'Apache2' is not an SPDX licence expression"),
    ("Apache-2.0", "MIT OR Apache-2.0", None),
    ("Apache-2.0", "unclear", "code[0].license: is unclear, but there is no note; add a `note`"),
    ("code/another-river", "Code/River/", "code[1].url: is listed twice"),
]
CLAIMS = [
    ('pattern: "2:4"', 'sparsity: 0.5, pattern: "2:4"', None),
    ('pattern: "2:4"', 'sparsity: 0.57, pattern: "3:7"', None),
    ('pattern: "2:4"', 'sparsity: 0.6, pattern: "2:4"', "claims[1].sparsity: 0.6 contradicts 2:4"),
    ('pattern: "2:4"', 'pattern: "4:4"', "claims[1].pattern: 4:4 removes nothing"),
    ("acc/piqa", "mean/slicegpt-5", None),
    (
        "acc/piqa",
        "mean/unheard-of",
        "claims[1].metric: 'unheard-of' is not a term of vocabulary",
    ),
    (
        "acc/piqa",
        "acc/pica",
        "claims[1].metric: 'pica' is not a term of vocabulary/datasets.yaml",
    ),
    ("acc/piqa", "f1/piqa", "claims[1].metric: 'f1' is not a term of vocabulary/metrics.yaml"),
    (
        "60.1",
        "160.1",
        "claims[1].value: 160.1 is above 100, which is impossible for accuracy; correct",
    ),
    (
        "dense: 5.68",
        "dense: 0.568",
        "claims[0].dense: 0.568 is below 1, which is impossible for perplexity",
    ),
    ("{brook: 9.10}", "{brook: 0.9}", "claims[0].against.brook: 0.9 is below 1"),
    ("{brook: 9.10}", "{brook: 9.10}, against_at: {brook: {sparsity: 0.21}}", None),
    (
        "{brook: 9.10}",
        "{brook: 9.10}, against_at: {bay: {sparsity: 0.21}}",
        "claims[0].against_at.bay: has no value in `against`; add the value",
    ),
    (
        "{brook: 9.10}",
        '{brook: 9.10}, against_at: {brook: {pattern: "4:4"}}',
        "claims[0].against_at.brook.pattern: 4:4 removes nothing",
    ),
    ("OPT-125M", "OPT", None),
    ("OPT-125M", "OPT-125M-Instruct", None),
    ("OPT-125M", "OPTIMUS-125M", "claims[1].model: 'OPTIMUS-125M' is not a family of vocabulary"),
    (
        "OPT-125M",
        "Opt-125M",
        "claims[1].model: 'Opt-125M' is not a family of vocabulary/",
    ),
    ("{brook: 9.10}", "{brok: 9.10}", "claims[0].against.brok: there is no entry brok; did you"),
    ("{brook: 9.10}", "{river: 9.10}", "claims[0].against.river: is the paper itself"),
]
LISTS = [
    ("ids.ieee, code", "ids.ieee, links.odd", "sources.unverified[1]: the entry has no field"),
    ("ids.ieee, code", "ids.ieee, code.license", None),
    ("[LLaMA, OPT]", "[LLaMA, OPTIMUS]", ValueError),
    ("[LLaMA, OPT]", "[LLaMA, OPT, LLaMA]", "models[2]: repeats 'LLaMA'; remove one of them"),
    ("[activation]", "[activation, activation]", "taxonomy.criterion[1]: repeats 'activation'"),
]
ALL = [*VENUES, *TAXONOMIES, *IDENTIFIERS, *DATES, *CODE, *CLAIMS, *LISTS]


@pytest.mark.parametrize(("old", "new", "problem"), ALL)
def test_one_change_causes_one_problem(
    papers: Path, old: str, new: str, problem: str | type | None
) -> None:
    assert_one_problem(papers, old, new, problem)


@pytest.mark.parametrize("name", ["track: main", "volume", "number", "pages", "published"])
def test_preprint_has_no_venue_fields(papers: Path, change: Change, name: str) -> None:
    change("river", ("status: published", "status: preprint"), ("venue: icml\n", ""))
    field = name.partition(":")[0]
    assert any(
        f" {field}: is given, but the paper is a preprint" in one for one in messages(papers)
    )


def test_accepted_paper_may_have_a_future_date(papers: Path, change: Change) -> None:
    change(
        "river",
        ("status: published", "status: accepted"),
        ("published: 2024-07", "published: 2027-07"),
    )
    assert messages(papers) == []


def test_preprint_has_the_year_of_its_first_version(papers: Path, change: Change) -> None:
    change("brook", ("year: 2023", "year: 2024"))
    assert messages(papers) == [
        "brook.yaml:9: year: 2024 is not the year of the first version, 2023-12;"
        " write 2023 for a preprint"
    ]


def test_earlier_version_needs_a_note(papers: Path, change: Change) -> None:
    change("brook", ("status: preprint\n", "status: preprint\nsubmitted: 2023-06-01\n"))
    assert messages(papers) == [
        "brook.yaml:11: warning: submitted: 2023-06-01 is long before 2023-12, when arXiv assigned"
        " the identifier; explain in `notes` which version was public then"
    ]
    change("brook", ("  from: [invented]\n", "  from: [invented]\nnotes: >-\n  On a wall.\n"))
    assert messages(papers) == []


@pytest.mark.parametrize(
    ("identifier", "month"),
    [
        ("2301.00774", "2023-01"),
        ("0704.0001", "2007-04"),
        ("cs/0601001", "2006-01"),
        ("math.GT/9912001", "1999-12"),
        ("hep-th/9108001", "1991-08"),
    ],
)
def test_month_of_arxiv_identifier(identifier: str, month: str) -> None:
    assert arxiv_month(identifier) == month


def test_compares_dates_at_common_precision() -> None:
    assert later("2024-02", "2024-01-31")
    assert not later("2024", "2024-01-31")
    assert not later("2024-01-31", "2024-01")
    assert not later("2024-01-31", "2024-01-31")


@pytest.fixture
def without_paper(change: Change) -> Change:
    """Turn brook into a baseline without a paper, then apply changes."""
    record = ("authors: [Emmy Noether]\n", "year: 2023\nstatus: preprint\n")
    change("brook", *((part, "") for part in record), ('ids:\n  arxiv: "2312.00001"\n\n', ""))
    return change


@pytest.mark.usefixtures("without_paper")
def test_baseline_needs_no_paper(papers: Path) -> None:
    assert messages(papers) == []
    entry = load_catalog(papers)["brook"]
    assert (entry.has_paper, entry.authors, entry.year, entry.status) == (False, None, None, None)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("venue: icml\n", "venue"),
        ("submitted: 2024-01-02\n", "submitted"),
        ("published: 2024-01-02\n", "published"),
        ('ids:\n  arxiv: "2312.00001"\n', "ids.arxiv"),
        ("links:\n  paper: https://example.org/paper\n", "links.paper"),
        ("fidelity: faithful\n", "fidelity"),
    ],
)
def test_baseline_without_paper_has_no_paper_fields(
    papers: Path, without_paper: Change, given: str, field: str
) -> None:
    without_paper("brook", ("added:", f"{given}added:"))
    problem = f" {field}: is given, but the baseline has no paper; remove it, or add authors, year"
    assert len([line for line in messages(papers) if problem in line]) == 1


@pytest.mark.usefixtures("without_paper")
def test_baseline_without_paper_needs_a_taxonomy(papers: Path, change: Change) -> None:
    change("brook", ("added:", "links:\n  project: https://example.org/\nadded:"))
    found = [line for line in messages(papers) if "canonical layout" not in line]
    assert found == []
    path = papers / "brook.yaml"
    text = re.sub(r"(?s)taxonomy:.*?\n\n", "", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert any("kind: a baseline needs a taxonomy" in one for one in messages(papers))


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("authors: [Emmy Noether]\n", ["status", "year"]),
        ("year: 2023\n", ["authors", "status"]),
        ("kind: method\n", ["authors", "status", "year"]),
    ],
)
def test_paper_fields_are_all_required_except_for_baselines(
    papers: Path, without_paper: Change, line: str, missing: list[str]
) -> None:
    without_paper(
        "brook", ("kind: baseline\n", line if "kind" in line else f"kind: baseline\n{line}")
    )
    messages = sorted(problem.message for problem in read_catalog(papers).problems)
    assert messages == [f"the field {name} is missing" for name in missing]


def test_method_needs_taxonomy_and_identifier(papers: Path) -> None:
    path = papers / "brook.yaml"
    head, rest = path.read_text(encoding="utf-8").split("ids:")
    path.write_text(f"{head}sources:{rest.split('sources:')[1]}", encoding="utf-8")
    assert [one.split("; ")[0] for one in messages(papers)] == [
        "brook.yaml:2: has neither an identifier nor a link",
        "brook.yaml:4: kind: a baseline needs a taxonomy",
    ]

"""Every check beyond the schema finds what it is for, at its line, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.catalog.checks import check, duplicates
from tools.catalog.consistency import arxiv_month, later
from tools.catalog.entries import load_catalog, read_catalog
from tools.catalog.paper import Ids, Paper
from tools.catalog.problems import Level, Problem
from tools.catalog.synthetic import papers as invented
from tools.catalog.synthetic import write_papers

Change = Callable[..., Path]


def checked(papers: Path) -> list[Problem]:
    catalog = read_catalog(papers)
    assert not catalog.problems, catalog.problems
    implementations = papers.parents[1] / "implementations"
    return [p for p in check(catalog, implementations) if "vocabulary" not in p.file.parts]


def told(papers: Path) -> list[str]:
    return [str(problem).replace(f"{papers}/", "") for problem in checked(papers)]


def test_the_real_catalog_has_no_error() -> None:
    catalog = read_catalog()
    problems = [*catalog.problems, *check(catalog)]
    assert [str(p) for p in problems if p.level is Level.ERROR] == []
    assert len(catalog.entries) >= 36


def test_the_invented_catalog_has_no_problem(papers: Path) -> None:
    assert told(papers) == []


def test_a_minimal_entry_stays_below_25_lines(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 25


VENUES = [
    ("venue: icml\n", "", "status: is published, but the entry names no venue"),
    ("track: main", "track: journal", "track: is journal, but icml is no journal"),
    ("track: main", "track: findings", "track: is findings, but the venue is icml"),
    ("venue: icml", "venue: tmlr", "track: is main, but tmlr is a journal; write journal"),
    (
        "venue: icml",
        "venue: acl-findings",
        "track: is main, but the venue is acl-findings; write venue: acl",
    ),
    ("pages: 101-117", "pages: 101-117", None),
]
TAXONOMIES = [
    ("kind: method", "kind: survey", "taxonomy: a survey prunes nothing; remove it"),
    ("kind: method", "kind: analysis", "role: only methods and baselines have one; remove it"),
]
IDENTIFIERS = [
    ("10.1000/example.7", "10.5555/3618408", "ids.doi: is a placeholder of ACM and no DOI"),
    ("10.1000/example.7", "10.48550/arxiv.2401.00007", "ids.doi: is arXiv's own"),
    (
        "10.1000/example.7",
        "10.18653/v1/2024.other-main.7",
        "ids.doi: is that of 2024.other-main.7, but ids.anthology is 2024.example-main.7",
    ),
    ("10.1000/example.7", "10.18653/v1/2024.example-main.7", None),
    ("v235/lovelace24a", "v202/lovelace24a", "ids.pmlr: is in volume 202, but volume is 235"),
    ("10.1109/icnn.1993.298572", "10.5555/1", "relations.builds-on[1].doi: is a placeholder"),
]
DATES = [
    ("year: 2024", "year: 2023", "year: 2023 is before the arXiv identifier 2401.00007"),
    ("submitted: 2024-01-02", "submitted: 2023-12-29", None),
    ("submitted: 2024-01-02", 'submitted: "2024"', None),
    (
        "submitted: 2024-01-02",
        "submitted: 2024-02-01",
        "submitted: 2024-02-01 is after 2024-01, when arXiv gave the identifier",
    ),
    ("published: 2024-07", "published: 2023-07", "published: 2023-07 is before the first public"),
    ("published: 2024-07", "published: 2024-02-30", "published: 2024-02-30 is in no calendar"),
    ("published: 2024-07", "published: 2027-01", "published: 2027-01 is after 2026-11-25"),
    ("submitted: 2024-01-02", "submitted: 2024-01-32", ValueError),
    ("last_commit: 2024-08-01", "last_commit: 2026-11-26", "code[0].last_commit: 2026-11-26 is"),
    ("added: 2026-11-25", "added: 2026-09-31", "added: 2026-09-31 is in no calendar"),
]
CODE = [
    ("Apache-2.0", "Apache 2.0", ValueError),
    ("Apache-2.0", "Apache2", "code[0].license: 'Apache2' is no SPDX licence expression"),
    ("Apache-2.0", "MIT OR Apache-2.0", None),
    ("Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", None),
    ("Apache-2.0", "NONE", None),
    ("Apache-2.0", "unclear", "code[0].license: is unclear without a reason; add `note`"),
    ("code/another-river", "Code/River/", "code[1].url: is listed twice"),
]
CLAIMS = [
    ('pattern: "2:4"', 'sparsity: 0.5, pattern: "2:4"', None),
    ('pattern: "2:4"', 'sparsity: 0.57, pattern: "3:7"', None),
    ('pattern: "2:4"', 'sparsity: 0.6, pattern: "2:4"', "claims[1].sparsity: 0.6 is not what 2:4"),
    ('pattern: "2:4"', 'pattern: "4:4"', "claims[1].pattern: 4:4 removes nothing"),
    ("acc/piqa", "mean/slicegpt-5", None),
    ("acc/piqa", "mean/unheard-of", "claims[1].metric: 'unheard-of' is no suite of vocabulary"),
    ("acc/piqa", "mean", "claims[1].metric: '' is no suite of vocabulary"),
    ("{brook: 9.10}", "{brok: 9.10}", "claims[0].against.brok: there is no entry brok; did you"),
    ("{brook: 9.10}", "{river: 9.10}", "claims[0].against.river: relates the paper to itself"),
]
LISTS = [
    ("ids.ieee, code", "ids.ieee, links.odd", "sources.unverified[1]: the entry has no field"),
    ("ids.ieee, code", "ids.ieee, code.license", None),
    ("[LLaMA, OPT]", "[LLaMA, OPT, LLaMA]", "models[2]: holds 'LLaMA' twice; keep it once"),
    ("[activation]", "[activation, activation]", "taxonomy.criterion[1]: holds 'activation'"),
]
RELATIONS = [
    ("extends: [brook]", "extends: [river]", "relations.extends[0]: relates the paper to itself"),
    ("extends: [brook]", "extends: [brok]", "relations.extends[0]: there is no entry brok"),
    ("extends: [brook]", "extends: [riverprune]", "it is called river now"),
    ("10.1109/icnn.1993.298572", "10.1000/example.7", "is in the catalog; write river"),
    ("aliases: [riverprune]", "aliases: [brook]", "aliases[0]: brook is an entry already"),
    ("aliases: [riverprune]", "aliases: [river]", "aliases[0]: river is an entry already"),
]
ALL = [*VENUES, *TAXONOMIES, *IDENTIFIERS, *DATES, *CODE, *CLAIMS, *LISTS, *RELATIONS]


@pytest.mark.parametrize(("old", "new", "problem"), ALL)
def test_one_change_is_one_problem(
    papers: Path, change: Change, old: str, new: str, problem: str | type | None
) -> None:
    lines = change("river", (old, new)).read_text(encoding="utf-8").splitlines()
    if problem is ValueError:
        assert read_catalog(papers).problems, "the schema should refuse it"
        return
    found = [one for one in told(papers) if problem is None or str(problem) in one]
    if problem is None:
        assert found == []
        return
    assert len(found) == 1, told(papers)
    _, number, field, _ = re.split(r":(\d+): ([^ ]+): ", found[0])
    name = re.findall(r"[a-z-]+", field)[-1]
    assert name in lines[int(number) - 1] or new in lines[int(number) - 1], found


@pytest.mark.parametrize("name", ["track: main", "volume", "number", "pages", "published"])
def test_a_preprint_has_nothing_of_a_venue(papers: Path, change: Change, name: str) -> None:
    change("river", ("status: published", "status: preprint"), ("venue: icml\n", ""))
    field = name.partition(":")[0]
    assert any(f" {field}: is given, but it is a preprint" in one for one in told(papers))


def test_what_is_accepted_may_be_published_later(papers: Path, change: Change) -> None:
    change(
        "river",
        ("status: published", "status: accepted"),
        ("published: 2024-07", "published: 2027-07"),
    )
    assert told(papers) == []


def test_a_preprint_is_of_the_year_of_its_first_version(papers: Path, change: Change) -> None:
    change("brook", ("year: 2023", "year: 2024"))
    assert told(papers) == [
        "brook.yaml:8: year: 2024 is not the year of the first version, 2023-12;"
        " write 2023, as for preprints"
    ]


def test_an_early_version_elsewhere_is_explained(papers: Path, change: Change) -> None:
    change("brook", ("status: preprint\n", "status: preprint\nsubmitted: 2023-06-01\n"))
    assert told(papers) == [
        "brook.yaml:10: warning: submitted: 2023-06-01 is long before 2023-12, when arXiv gave the"
        " identifier; say in the notes what was public then"
    ]
    change("brook", ("  from: [invented]\n", "  from: [invented]\nnotes: >-\n  On a wall.\n"))
    assert told(papers) == []


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
def test_an_identifier_of_arxiv_tells_its_month(identifier: str, month: str) -> None:
    assert arxiv_month(identifier) == month


def test_dates_are_compared_as_far_as_both_are_known() -> None:
    assert later("2024-02", "2024-01-31")
    assert not later("2024", "2024-01-31")
    assert not later("2024-01-31", "2024-01")
    assert not later("2024-01-31", "2024-01-31")


def test_a_method_needs_a_taxonomy_and_a_way_to_the_paper(papers: Path) -> None:
    path = papers / "brook.yaml"
    head, rest = path.read_text(encoding="utf-8").split("ids:")
    path.write_text(f"{head}sources:{rest.split('sources:')[1]}", encoding="utf-8")
    assert [one.split("; ")[0] for one in told(papers)] == [
        "brook.yaml:2: has neither an identifier nor a link",
        "brook.yaml:4: kind: a baseline needs a taxonomy",
    ]


def test_two_entries_of_one_paper_are_found(papers: Path, change: Change) -> None:
    change("river", ("name: River\n", ""), ("fidelity: faithful\n\n", ""))
    text = (papers / "river.yaml").read_text(encoding="utf-8")
    (papers / "stream.yaml").write_text(
        text.replace("aliases: [riverprune]\n", "").replace("the Current Does", "a Current Does"),
        encoding="utf-8",
    )
    (papers.parents[1] / "implementations" / "river" / "river.py").unlink()
    found = [one for one in told(papers) if "hint" not in one]
    for field in ("arxiv", "doi", "openreview", "anthology", "pmlr", "ieee"):
        pattern = rf"stream.yaml:\d+: ids.{field}: .+ is that of river too; one paper has one entry"
        assert any(re.match(pattern, one) for one in found)
    assert any("bibkey: lovelace2024river is that of river too" in one for one in found)
    title = "River Pruning: Removing What the Current Does Not Need"
    # The other titles are equal.
    assert any(f"title: river has the same title, '{title}'" in one for one in found)


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("River pruning - removing what the current does not need", "has the same title"),
        ("Removing What the Current Does Not Need", "has the same title"),
        ("River Pruning: Removing What the Current Doesn't Need", "has nearly the same title"),
        ("River Pruning of Language Models", "has the same title"),
        ("River Pruning of Vision Models", None),
        ("Removing Nothing", None),
    ],
)
def test_titles_are_compared_as_people_do(papers: Path, title: str, reason: str | None) -> None:
    probe = Paper.model_construct(title=title, ids=Ids())
    found = duplicates(probe, load_catalog(papers))
    assert [slug for slug, _ in found] == (["river"] if reason else [])
    assert not reason or found[0][1].startswith(reason)


def test_an_identifier_tells_a_paper_under_any_title(papers: Path) -> None:
    probe = Paper.model_construct(title="Another Title", ids=Ids(doi="10.1000/EXAMPLE.7"))
    assert duplicates(probe, load_catalog(papers)) == [
        ("river", "has the same DOI identifier, 10.1000/example.7")
    ]
    assert duplicates(probe, {}) == []


def test_each_circle_is_told_once(papers: Path, change: Change) -> None:
    change("brook", ("sources:", "relations:\n  builds-on: [river]\n\nsources:"))
    assert told(papers) == [
        "brook.yaml:20: relations: goes round in a circle: brook builds on river builds on brook;"
        " remove the one that is not so"
    ]


def test_circles_of_three_and_several_circles_are_told(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    links = {"aa": "bb", "bb": "cc", "cc": "aa", "dd": "ee", "ee": "dd"}
    for number, (slug, other) in enumerate(links.items()):
        (papers / f"{slug}.yaml").write_text(
            text.replace("A Brook Before the River", f"{slug * 9} {number}")
            .replace("2312.00001", f"2312.1000{number}")
            .replace("sources:", f"relations:\n  extends: [{other}]\n\nsources:"),
            encoding="utf-8",
        )
    circles = [one.split(": ")[3].split(";")[0] for one in told(papers) if "circle" in one]
    assert circles == ["aa builds on bb builds on cc builds on aa", "dd builds on ee builds on dd"]


def test_a_method_folder_and_its_entry_need_each_other(papers: Path, change: Change) -> None:
    implementations = papers.parents[1] / "implementations"
    (implementations / "brook").mkdir()
    (implementations / "brook" / "brook.py").touch()
    (implementations / "pond").mkdir()
    (implementations / "pond" / "pond.py").touch()
    (implementations / "river" / "river.py").unlink()
    assert [one.replace(f"{implementations}/", "") for one in told(papers)] == [
        "brook.yaml:2: implementations/brook/ follows the paper in a way that is not said;"
        " add `fidelity`: faithful, reconstruction or in-the-spirit",
        "river.yaml:75: fidelity: there is no implementations/river/river.py;"
        " remove it until there is",
        "pond/pond.py:1: the catalog has no entry pond; add one: python tools/add_paper.py ID"
        " --slug pond",
    ]


def test_an_entry_with_errors_is_still_an_entry(papers: Path, change: Change) -> None:
    """Its own errors are told, and not that others relate to nothing."""
    change("brook", ("kind: baseline", "kind: base"))
    catalog = read_catalog(papers)
    assert len(catalog.problems) == 1
    found = check(catalog, papers.parents[1] / "implementations")
    assert [p for p in found if "no entry" in p.message] == []


def test_equal_taxonomies_and_rare_words_are_hints(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    text = text.replace("A Brook", "Quite Another Thing").replace("2312.00001", "2312.00002")
    (papers / "canal.yaml").write_text(text, encoding="utf-8")
    assert told(papers) == ["brook.yaml:15: hint: taxonomy: is the same as that of canal"]
    found = check(read_catalog(papers), papers.parents[1] / "implementations")
    rare = {p.field: p for p in found if p.file.name == "criterion.yaml"}
    assert rare["words.magnitude"].message.startswith("is used by 2 of 3 papers")
    assert {problem.level for problem in rare.values()} == {Level.HINT}


def test_a_file_not_laid_out_as_usual_is_told_where(papers: Path, change: Change) -> None:
    change("brook", ("year: 2023\nstatus: preprint", "status: preprint\nyear: 2023"))
    assert told(papers) == [
        "brook.yaml:8: is not laid out as usual: wants 'year: 2023';"
        " run `python tools/check_catalog.py --fix`"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[invented]\n", "[invented]", "23: is not laid out as usual: wants an empty line;"),
        ("[invented]\n", "[invented]\n\n", "24: is not laid out as usual: wants the file to end"),
        ("\n\nids", "\nids", "11: is not laid out as usual: wants an empty line;"),
        ("# yaml", "\ufeff# yaml", "1: is not laid out as usual: wants '# yaml-language"),
        ("\n", "\r\n", None),
    ],
)
def test_ends_and_empty_lines_are_part_of_the_layout(
    papers: Path, old: str, new: str, problem: str | None
) -> None:
    path = papers / "brook.yaml"
    text = path.read_text(encoding="utf-8").replace(old, new)
    path.write_bytes(text.encode())
    found = told(papers)
    assert len(found) == bool(problem)
    assert not problem or found[0].startswith(f"brook.yaml:{problem}")


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\u00ad", "\ufeff"])
def test_what_cannot_be_seen_is_told_in_comments_too(
    papers: Path, change: Change, character: str
) -> None:
    change("brook", ("kind: baseline", f"kind: baseline  # a{character}b"))
    assert len(told(papers)) == 1
    assert f"brook.yaml:4: holds U+{ord(character):04X} (" in told(papers)[0]


def test_invented_papers_are_valid_always_the_same_and_many(tmp_path: Path) -> None:
    folder = tmp_path / "catalog" / "papers"
    folder.mkdir(parents=True)
    write_papers(folder, 60, seed=3)
    assert [one for one in told(folder) if "hint" not in one] == []
    assert load_catalog(folder) == dict(sorted(invented(60, seed=3).items()))
    assert invented(5, seed=1) != invented(5, seed=2)

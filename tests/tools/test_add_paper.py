"""`add_paper.py` without questions."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.sources import replay as sources
from tools.adding import fields
from tools.adding.command import with_fact_options
from tools.adding.fields import FIELDS
from tools.catalog.checks import check
from tools.catalog.documents.diagnostics import CatalogError, Level, Problem
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries import files
from tools.catalog.entries.loader import PAPERS, load_catalog, read_catalog
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Words
from tools.repository import REPOSITORY

Command = Callable[..., tuple[int, str, str]]

HERE = ("magnitude", "flap")
SUMMARY = (
    "Prunes things at once, by a rule that needs neither data nor time to be understood by anybody."
    " Use it when there is no time, and measure what came out of it."
)
TAGLINE = "Prunes things at once."
JUDGED = (
    *("--tagline", TAGLINE),
    *("--summary", SUMMARY, "--kind", "method", "--granularity", "unstructured"),
    *("--criterion", "magnitude", "--calibration", "forward", "--read", "paper"),
)
SURVEY = ("--kind", "survey", "--tagline", TAGLINE, "--summary", SUMMARY, "--read", "paper")
BY_HAND = (
    *("--manual", "2401.01234", "--title", "FooPrune: Pruning by Foo", "--author", "Ann Bee"),
    *("--author", "Céd Dé", "--year", "2024", "--source", "paper", *JUDGED),
)


def added(papers: Path) -> dict[str, Paper]:
    """The new entries of a valid catalog."""
    catalog = load_catalog(papers)
    return {slug: paper for slug, paper in catalog.items() if slug not in HERE}


def errors(papers: Path) -> list[str]:
    """The problems of the small catalog, without those of its initial entries."""
    found = check(read_catalog(papers), papers.parents[1])
    return [str(p) for p in found if p.level is Level.ERROR and p.file.stem not in HERE]


PMLR = "https://proceedings.mlr.press/v267"
NEURIPS = "https://papers.nips.cc/paper_files/paper/2024/file/c1c44e46358e0fb94dc94ec495a7fb1a"
CVF = "https://openaccess.thecvf.com/content/CVPR2023/html/Fang_DepGraph_Towards_Any_Structural"


# Identifiers
@pytest.mark.parametrize(
    ("what", "slug", "ids", "title"),
    [
        ("2301.00774", "sparsegpt", {"arxiv": "2301.00774"}, "SparseGPT: Massive"),
        ("cs/0601001", None, {"arxiv": "cs/0601001"}, ""),
        ("10.1609/aaai.v39i23.34592", None, {"doi": "10.1609/aaai.v39i23.34592"}, "Pruning Large"),
        ("https://openreview.net/forum?id=PxoFut3dWW", None, {"arxiv": "2306.11695"}, "A Simple"),
        ("2024.findings-acl.178", "loraprune", {"anthology": "2024.findings-acl.178"}, "LoRAPrune"),
        (f"{PMLR}/guo25a/guo25a.pdf", "slimllm", {"pmlr": "v267/guo25a"}, "SlimLLM"),
        (f"{NEURIPS}-Paper-Conference.pdf", "slimgpt", {"arxiv": "2412.18110"}, "SlimGPT"),
        (f"{CVF}_Pruning_CVPR_2023_paper.html", "depgraph", {}, "DepGraph"),
    ],
)
def test_adds_paper_by_identifier(
    add: Command, papers: Path, what: str, slug: str | None, ids: dict[str, str], title: str
) -> None:
    code, out, err = add(what, "--yes", *JUDGED)
    assert code == 0, err
    assert out == ""
    ((made, paper),) = added(papers).items()
    assert slug is None or made == slug
    assert paper.title.startswith(title)
    assert ids.items() <= dict(paper.ids).items()
    assert paper.summary == SUMMARY
    assert f"git add {papers / made}.yaml" in err
    assert errors(papers) == []


def test_runs_as_a_script(papers: Path) -> None:
    command = [sys.executable, "tools/add_paper.py", *BY_HAND, "--catalog", str(papers)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(added(papers)) == {"fooprune"}


def test_without_network_suggests_manual(add: Command, replay, papers: Path) -> None:
    replay.say("export.arxiv.org", sources.UNREACHABLE)
    code, out, err = add("2301.00774")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"export\.arxiv\.org cannot be reached \(.*\).* --manual\n", err)
    assert added(papers) == {}


def test_invalid_answer_writes_nothing(add: Command, replay, papers: Path) -> None:
    replay.say("export.arxiv.org", sources.feed(Massive="A **bold**"))
    code, out, err = add("2301.00774", *JUDGED)
    assert (code, out) == (1, "")
    assert "the title of arXiv contains Markdown" in err
    assert added(papers) == {}


def test_other_sources_may_fail(add: Command, replay, papers: Path) -> None:
    replay.refuse(*(set(sources.index()) - {"export.arxiv.org"}))
    code, _, err = add("2301.00774", *JUDGED)
    assert code == 0, err
    assert "Notes:\n" in err
    (paper,) = added(papers).values()
    assert (paper.status, paper.sources.from_) == ("preprint", ("arXiv",))


# Checks before any request


@pytest.mark.parametrize(
    "what",
    ["https://arxiv.org/abs/2312.11983v3", "https://x.org/28960/10.1609/aaai.v38i10.28960"],
)
def test_rejects_known_paper_before_any_request(
    add: Command, replay: sources.Replay, papers: Path, what: str
) -> None:
    code, _, err = add(what, "--yes", *JUDGED)
    assert code == 1
    assert "the catalog already has this paper as flap (has the same" in err
    assert "run tools/update_paper.py flap" in err
    assert replay.requests == []
    assert added(papers) == {}


def test_rejects_known_title(add: Command, papers: Path) -> None:
    entry = papers / "flap.yaml"
    text = re.sub(
        r"(?ms)^ids:.*?(?=^code:)", "links: {paper: https://example.org/}\n", entry.read_text()
    )
    entry.write_text(text)
    code, _, err = add("2312.11983", "--yes", *JUDGED)
    assert code == 1
    assert "as flap (has the same title, 'Fluctuation" in err
    assert added(papers) == {}


def test_similar_title_needs_force(add: Command, papers: Path) -> None:
    title = "Fluctuation-based Adaptive Structured Pruning for Larger Language Models"
    arguments = [*BY_HAND, "--title", title, "--slug", "foo"]
    code, _, err = add(*arguments)
    assert code == 1
    assert "as flap (has nearly the same title" in err
    assert err.endswith("or use --force if it is a different paper\n")
    code, _, err = add(*arguments, "--force")
    assert code == 0, err
    assert re.search(r"Warnings:\n  - title: flap has nearly the same title", err)


def test_rejects_existing_slug_before_any_request(
    add: Command, replay: sources.Replay, papers: Path
) -> None:
    before = (papers / "flap.yaml").read_bytes()
    code, _, err = add("2301.00774", "--slug", "flap", *JUDGED)
    assert (code, err) == (1, f"{papers}/flap.yaml exists already; choose another slug\n")
    assert replay.requests == []
    assert (papers / "flap.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one identifier, title or file, or use --manual"),
        (("2301.00774", "--from-file", "x.bib"), "give one identifier, title or file"),
        (
            ("2301.00774", "--kind", "metod"),
            "--kind: 'metod' is not a term of .*did you mean method",
        ),
        (("2301.00774", "--year", "soon"), "--year: is not a whole number"),
        (("2301.00774", "--criterion", "layer-hesian"), "did you mean layer-hessian"),
        (("2301.00774", "--summary", "a <b>bold</b> one"), "--summary: contains HTML"),
        (("2301.00774", "--arxiv", "12"), "--arxiv: '12' is not an arXiv identifier"),
        (
            ("2301.00774", "--code", "ftp://example.org"),
            "--code: .* is not an http or https",
        ),
        (("2301.00774", "--slug", "Foo-Prune"), "--slug: 'Foo-Prune' is not a slug; use lower"),
        (("2301.00774", "--track", "best"), "--track: 'best' is not 'main'"),
        (("2301.00774", "--venue", "Nowhere"), "see catalog/vocabulary/venues.yaml, and define it"),
        (("2301.00774", "--claim", "OPT is best"), "must have the form `name: value, name: value`"),
        (("2301.00774", "--claim", "model: OPT-125M"), "the field metric is missing"),
    ],
)
def test_wrong_usage_exits_with_2(
    add: Command, replay: sources.Replay, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = add(*arguments)
    assert code == 2
    assert re.search(message, " ".join(err.split()))
    assert replay.requests == []


def test_reports_an_invalid_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    def invalid() -> Mapping[str, Words]:
        raise CatalogError([Problem(Path("venues.yaml"), 3, "", "is not valid YAML")])

    monkeypatch.setattr(fields, "vocabulary", invalid)
    with pytest.raises(SystemExit, match=r"^venues.yaml:3: is not valid YAML\nFix this first\.$"):
        with_fact_options(lambda **facts: None)


# Manual entry


def test_manual_makes_no_request(add: Command, replay: sources.Replay, papers: Path) -> None:
    code, _, err = add(*BY_HAND)
    assert code == 0, err
    text = (papers / "fooprune.yaml").read_text(encoding="utf-8")
    assert replay.requests == []
    assert len(text.splitlines()) < 30
    assert "unverified" not in text
    assert errors(papers) == []
    paper = added(papers)["fooprune"]
    assert paper.authors == ("Ann Bee", "Céd Dé")
    assert (paper.status, paper.sources.from_) == ("preprint", ("paper",))


def test_manual_without_options_lists_missing_facts(add: Command, papers: Path) -> None:
    code, out, err = add("--manual")
    assert (code, out) == (1, "")
    flags = re.findall(r"^  --([a-z]+) ", err, re.MULTILINE)
    assert flags == [
        *("title", "author", "kind", "tagline", "summary", "year"),
        *("granularity", "criterion", "calibration", "arxiv", "source"),
    ]
    assert added(papers) == {}


def test_baseline_needs_no_tagline(add: Command) -> None:
    _, _, err = add("--manual", "--kind", "baseline")
    assert "--summary" in err
    assert "--tagline" not in err


def test_manual_accepts_page_without_identifier(add: Command, papers: Path) -> None:
    page = "https://ojs.example.org/article/view/28960"
    code, _, err = add("--manual", page, *BY_HAND[2:])
    assert code == 0, err
    assert added(papers)["fooprune"].links.paper == page


def test_proceedings_page_becomes_venue_link(add: Command, papers: Path) -> None:
    page = "openaccess.thecvf.com/content/CVPR2023/html/Fang_DepGraph_CVPR_2023_paper.html"
    code, _, err = add("--manual", page, *BY_HAND[2:])
    assert code == 0, err
    assert added(papers)["fooprune"].links.venue == f"https://{page}"


VALUES: dict[str, str | list[str]] = {
    "title": "Another: Title",
    "name": "Another",
    "summary": SUMMARY,
    "status": "published",
    "year": "2024",
    "track": "workshop",
    "tagline": "Removes what nobody needs.",
    "volume": "12",
    "number": "3",
    "pages": "1-9",
    "submitted": "2023-01",
    "published": "2024-05-01",
    "arxiv": "2301.01234",
    "doi": "10.1000/foo",
    "openreview": "abcdefghij",
    "anthology": "2024.acl-long.1",
    "pmlr": "v12/foo24a",
    "ieee": "1234567",
    "venue-page": "https://example.org/venue",
    "paper-page": "https://example.org/paper",
    "code": "https://github.com/example/foo",
    "license": "MIT",
    "fidelity": "faithful",
    "code-note": "A demo only.",
    "note": "Something to know.",
    "claim": ["model: OPT-125M, pattern: 2:4, metric: acc/piqa, value: 61, where: Table 1"],
    "builds-on": ["magnitude"],
    "extends": ["magnitude"],
    "compares-with": ["magnitude", "flap"],
    "author": ["Ann Bee", "Céd Dé"],
    "model": ["LLaMA", "OPT"],
    "source": ["arXiv abstract page", "paper"],
}


def test_every_option_reaches_the_entry(add: Command, papers: Path) -> None:
    values = dict(VALUES)
    values["read"] = "paper"
    for flag, field in FIELDS.items():
        if field.words and flag not in values:
            words = list(field.words.terms)
            values[flag] = words[:2] if field.many else words[0]
    assert values.keys() == FIELDS.keys()
    del values["topic"]  # which methods do not have
    method = papers.parents[1] / "implementations" / "another"
    method.mkdir()
    (method / "another.py").touch()
    arguments = []
    for flag, value in values.items():
        for one in [value] if isinstance(value, str) else value:
            arguments += [f"--{flag}", one]
    code, out, err = add("--manual", *arguments, "--dry-run")
    assert code == 0, err
    written = yaml.load(out, Loader=yaml.BaseLoader)
    for flag, value in values.items():
        found = written
        for step in FIELDS[flag].loc:
            found = found[step]
        if flag == "claim":
            found = [", ".join(f"{name}: {one}" for name, one in each.items()) for each in found]
        assert found == value, flag


# Output


def test_dry_run_prints_the_entry(add: Command, papers: Path) -> None:
    before = sorted(papers.iterdir())
    code, out, _ = add(*BY_HAND, "--dry-run")
    assert code == 0
    assert sorted(papers.iterdir()) == before
    assert add(*BY_HAND)[0] == 0
    assert out == (papers / "fooprune.yaml").read_text(encoding="utf-8")


def test_shows_origin_of_facts(add: Command, papers: Path) -> None:
    code, _, err = add("2301.00774", "--yes", "--slug", "foo", *JUDGED)
    assert code == 0, err
    assert re.search(r"^  - title: SparseGPT: .* \(arXiv\)$", err, re.MULTILINE)
    assert re.search(r"^  - venue: icml \(PMLR\)$", err, re.MULTILINE)
    (paper,) = added(papers).values()
    assert paper.sources.unverified is None
    assert paper.sources.from_ == ("arXiv", "PMLR")


def test_options_win_over_sources_with_a_note(add: Command, papers: Path) -> None:
    code, _, err = add("2301.00774", "--slug", "foo", "--year", "2024", *JUDGED)
    assert code == 0, err
    assert "  - year: PMLR has '2023'; '2024' (you) was kept\n" in err
    assert added(papers)["foo"].year == 2024


def test_shows_disagreements_of_sources(add: Command, replay: sources.Replay, papers: Path) -> None:
    page = sources.stored("anthology/shortgpt.bib").body
    replay.say("aclanthology.org", sources.Answer(page.replace(b"Redundant", b"Replaceable")))
    code, _, err = add("2403.03853", "--slug", "foo", *JUDGED)
    assert code == 0, err
    assert re.search(r"Sources disagree:\n  - title: arXiv has .*Redundant.*Replaceable", err)


def test_lists_all_missing_facts(add: Command, papers: Path) -> None:
    code, _, err = add("2301.00774", "--yes", "--criterion", "layer-hessian")
    assert code == 1
    missing = re.findall(r"^  (--[a-z]+) ", err, re.MULTILINE)
    assert missing == ["--kind", "--tagline", "--summary", "--granularity", "--calibration"]
    assert added(papers) == {}


def test_rejects_texts_from_abstract(add: Command, papers: Path) -> None:
    _, _, err = add("2301.00774", *JUDGED, "--dry-run")
    abstract = err.partition("Abstract (do not copy from it):\n")[2].splitlines()[0].strip()
    for summary in (abstract, abstract[:120].upper()):
        code, _, err = add("2301.00774", "--yes", *JUDGED, "--summary", summary)
        assert code == 1
        assert err.endswith("the summary repeats the abstract; write it in your own words\n")
    code, _, err = add("2301.00774", "--yes", *JUDGED, "--tagline", f"{abstract[:110]}.")
    assert code == 1
    assert err.endswith("the tagline repeats the abstract; write it in your own words\n")
    assert added(papers) == {}


def test_unusable_title_needs_a_slug(add: Command, papers: Path) -> None:
    arguments = [*BY_HAND, "--title", "剪枝", "--name", "剪枝"]
    code, _, err = add(*arguments)
    assert (code, err.splitlines()[-1]) == (
        1,
        "the title suggests no slug; give one with --slug",
    )
    assert add(*arguments, "--slug", "foo")[0] == 0
    assert added(papers)["foo"].title == "剪枝"


def test_survey_can_have_a_topic(add: Command, papers: Path) -> None:
    topic = ("--topic", "multilingual", "--topic", "safety", "--architecture", "moe")
    code, _, err = add("2308.07633", "--yes", *SURVEY, *topic)
    assert code == 0, err
    (paper,) = added(papers).values()
    assert paper.taxonomy.topic == ("multilingual", "safety")
    assert paper.taxonomy.architecture == ("moe",)


def test_replaces_synonyms_by_terms(add: Command, papers: Path) -> None:
    words = ("--venue", "NIPS", "--granularity", "N:M", "--when", "one-shot", "--model", "Llama 2")
    code, _, err = add(*BY_HAND, *words, "--evaluation-data", "WikiText-2")
    assert code == 0, err
    paper = added(papers)["fooprune"]
    assert (paper.venue, paper.taxonomy.when, paper.models) == (
        "neurips",
        ("static",),
        ("LLaMA-2",),
    )
    assert paper.taxonomy.granularity == ("unstructured", "semi-structured")
    assert paper.datasets.evaluation == ("wikitext2",)


def test_writes_fingerprint_of_the_abstract(add: Command, papers: Path) -> None:
    code, _, err = add("2301.00774", "--yes", *JUDGED)
    assert code == 0, err
    marks = papers.parent / "abstracts" / "sparsegpt.txt"
    assert len(marks.read_text(encoding="ascii").split()) > 10
    assert f"git add {papers / 'sparsegpt.yaml'} {marks} LIST.md" in err
    assert "python tools/export.py LIST.md --out ." in err
    assert f"pytest {marks}" not in err


def test_title_lists_candidates(add: Command, papers: Path) -> None:
    title = "A Simple and Effective Pruning Approach for Large Language Models"
    code, _, err = add(title, "--yes", *JUDGED)
    assert code == 1
    assert "2306.11695: A Simple and Effective Pruning Approach" in err
    assert "does not identify a paper; give the identifier of the right one" in err
    assert added(papers) == {}


# Input files


BIBTEX = """
@inproceedings{frantar-sparsegpt,
  title = {{SparseGPT}: Massive Language Models Can Be Accurately Pruned in One-Shot},
  author = {Frantar, Elias and Alistarh, Dan},
  eprint = {2301.00774},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
}
"""


def test_resolves_bibtex_file(add: Command, papers: Path, tmp_path: Path) -> None:
    path = tmp_path / "paper.bib"
    path.write_text(BIBTEX)
    code, _, err = add(path, "--slug", "foo", *JUDGED)
    assert code == 0, err
    paper = added(papers)["foo"]
    assert (paper.venue, paper.ids.pmlr) == ("icml", "v202/frantar23a")
    assert paper.sources.from_[0] == "BibTeX"
    assert "unverified" not in (papers / "foo.yaml").read_text()


def test_facts_of_bibtex_file_alone_are_unverified(
    add: Command, replay: sources.Replay, papers: Path, tmp_path: Path
) -> None:
    path = tmp_path / "paper.bib"
    path.write_text(BIBTEX)
    code, _, err = add("--manual", "--from-file", path, "--slug", "foo", *JUDGED)
    assert code == 0, err
    assert replay.requests == []
    paper = added(papers)["foo"]
    assert {"title", "authors", "year", "venue", "ids.arxiv"} <= set(paper.sources.unverified)
    (papers / "foo.yaml").unlink()
    path.write_text(BIBTEX.replace("Alistarh, Dan", "others"))
    given = ["--author", "Elias Frantar", "--author", "Dan Alistarh"]
    code, _, err = add("--manual", "--from-file", path, "--slug", "foo", *given, *JUDGED)
    assert code == 0, err
    assert "Notes:\n  - the authors of the BibTeX entry end in 'and others'" in err
    assert "authors" not in added(papers)["foo"].sources.unverified


@pytest.mark.parametrize("manual", [(), ("--manual",)])
def test_adds_paper_from_issue_form(
    add: Command, papers: Path, tmp_path: Path, manual: tuple[str, ...]
) -> None:
    path = tmp_path / "issue.md"
    answers = {
        "Identifier": "https://arxiv.org/abs/2301.00774",
        "Title": "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        "Author": "Elias Frantar\nDan Alistarh",
        "Name": "_No response_",
        "Kind": "method",
        "Tagline": TAGLINE,
        "Summary": SUMMARY,
        "Year": "2023",
        "Status": "published",
        "Venue": "icml",
        "Granularity": "unstructured, semi-structured",
        "Criterion": "layer-hessian",
        "Calibration": "none (no data at all)",
        "Read": "paper",
        "Source": "arXiv abstract page\npaper",
    }
    path.write_text("\n\n".join(f"### {name}\n\n{value}" for name, value in answers.items()))
    code, _, err = add("--from-file", path, *manual, "--slug", "foo")
    assert code == 0, err
    paper = added(papers)["foo"]
    assert paper.taxonomy.granularity == ("unstructured", "semi-structured")
    assert paper.taxonomy.calibration == "none"
    assert paper.sources.from_[:2] == ("arXiv abstract page", "paper")
    assert (paper.ids.pmlr is None) == bool(manual)


def test_adds_paper_from_entry_file(
    add: Command, replay: sources.Replay, papers: Path, tmp_path: Path
) -> None:
    text = (PAPERS / "llmpruner.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^fidelity:.*\n\n", "", text)  # foo has no implementation
    text = re.sub(r"(?ms)^relations:.*?(?=^[a-z])", "", text)
    path = tmp_path / "foo.yaml"
    path.write_text(text)
    code, _, err = add("--from-file", path)
    assert code == 0, err
    assert replay.requests == []
    assert (papers / "foo.yaml").read_text(encoding="utf-8") == canonical(parse(text, path).data)


# --force and --scaffold


def test_force_replaces_entry(add: Command, papers: Path) -> None:
    code, _, err = add("2312.11983", "--slug", "flap", "--force", *JUDGED)
    assert code == 0, err
    assert load_catalog(papers)["flap"].summary == SUMMARY


def test_force_replaces_no_entry_with_the_proposed_slug(add: Command, papers: Path) -> None:
    before = (papers / "flap.yaml").read_bytes()
    code, _, err = add(*BY_HAND, "--title", "FLAP: Pruning by Foo", "--force")
    assert code == 0, err
    assert (papers / "flap.yaml").read_bytes() == before
    assert set(added(papers)) == {"bee2024flap"}


def test_force_does_not_allow_duplicate_identifiers(add: Command, papers: Path) -> None:
    code, _, err = add("2312.11983", "--slug", "foo", "--force", *JUDGED)
    assert code == 1
    assert "the entry does not pass the checks" in err
    assert "is also in flap" in err
    assert added(papers) == {}


def test_scaffold_creates_method_folder(add: Command, papers: Path) -> None:
    code, _, err = add(*BY_HAND, "--scaffold", "--fidelity", "faithful")
    assert code == 0, err
    folder = papers.parents[1] / "implementations" / "fooprune"
    assert (folder / "fooprune.py").is_file()
    assert added(papers)["fooprune"].fidelity == "faithful"
    assert errors(papers) == []
    assert f"git add {papers}/fooprune.yaml {folder} LIST.md\n" in err


def test_full_disk_leaves_neither_entry_nor_method_folder(
    add: Command, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(papers.parents[1].rglob("*"))
    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = add(*BY_HAND, "--scaffold", "--fidelity", "faithful")
    assert code == 1
    assert err.endswith(f"{papers}/fooprune.yaml was not written: No space left on device\n")
    assert sorted(papers.parents[1].rglob("*")) == before


@pytest.mark.parametrize("blocked", ["abstracts", "papers/foo.yaml"])
def test_failed_write_leaves_neither_entry_nor_fingerprint(
    add: Command, papers: Path, monkeypatch: pytest.MonkeyPatch, blocked: str
) -> None:
    path = papers.parent / blocked
    if blocked == "abstracts":
        path.touch()  # in the place of the folder
    else:
        write = files.atomic_file

        def fail(target: Path, **options: bool) -> AbstractContextManager[IO[bytes]]:
            if target == path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(target, **options)

        monkeypatch.setattr(files, "atomic_file", fail)
    before = [file for file in papers.parents[1].rglob("*") if file.is_file()]
    code, _, err = add("2301.00774", "--yes", "--slug", "foo", *JUDGED)
    assert code == 1
    assert re.search(rf"{path} was not (created|written): ", err)
    assert [file for file in papers.parents[1].rglob("*") if file.is_file()] == before


def test_scaffold_requires_fidelity(add: Command, papers: Path) -> None:
    code, _, err = add(*BY_HAND, "--scaffold")
    assert code == 1
    assert re.findall(r"^  (--[a-z]+) ", err, re.MULTILINE) == ["--fidelity"]
    assert added(papers) == {}
    assert list((papers.parents[1] / "implementations").iterdir()) == []


def test_ignores_errors_in_other_entries(add: Command, papers: Path) -> None:
    (papers / "broken.yaml").write_text("title: [")
    code, _, err = add(*BY_HAND)
    assert code == 0, err
    assert (papers / "fooprune.yaml").is_file()

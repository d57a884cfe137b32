"""The BibTeX export, read back by an independent library."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import bibtexparser
import pytest
from bibtexparser.bparser import BibTexParser
from pylatexenc.latex2text import LatexNodes2Text

from tests.catalog.invented import baseline
from tools.catalog.entries.loader import load_catalog
from tools.catalog.exports.bibtex import bibliography, bibtex, keys, protect
from tools.catalog.schema.paper import Paper
from tools.sources.lookup.queries import read_bibtex

ENTRY: dict[str, Any] = {
    "title": "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
    "authors": ["Elias Frantar", "Dan Alistarh"],
    "kind": "method",
    "summary": "Prunes by a sparse least-squares solve.",
    "year": 2023,
    "status": "published",
    "added": "2026-11-25",
    "sources": {"checked": "2026-11-25", "from": ["paper text"]},
}
NAMES = (
    *("Ludwig van Beethoven", "Charles Louis de la Vallée Poussin", "Wernher von Braun"),
    *("Jean-François Kagy", "Conan O'Brien", "Đặng Văn Minh", "王伟", "José Ángel Núñez-Ortiz"),
    *("Guy L. Steele Jr.", "Martin Luther King III", "Plato", "Søren Kierkegaard", "İlker Çağlar"),
    *("Smith, Johnson and Sons", "Team and Friends", "others", "Duc N.M Hoang", "Łukasz Błażej"),
    *("Marcelo Gennari do Nascimento", "Jean d'Ormesson", "danah boyd", "J. Zico Kolter", "김민수"),
)
TITLES = (
    *("100 % of N:M at $5 & more_or #less", "ß, ø -- and --- 'quotes' ''twice'' \"thrice\""),
    *("{braces} } unbalanced {", "Über naïve Café’s “Größe” – α × β ≥ ½", "剪枝 for LLMs", "a | b"),
    *("back\\ slash", "What?! Why?", "2SSP: A Two-Stage K-means of vLLM on I/O", "@article{x, y}"),
    *("a ~ b ^ c", "a < b & c > d"),
)


def paper(**changes: Any) -> Paper:
    return Paper.model_validate(ENTRY | changes)


def decode(latex: str) -> str:
    # The library does not know these commands, and reads a circumflex as an accent.
    for command, sign in (("braceleft", r"\{"), ("braceright", r"\}")):
        latex = latex.replace(rf"{{\text{command}}}", sign)
    return unicodedata.normalize("NFC", LatexNodes2Text().latex_to_text(latex)).replace("ˆ", "^")


def parse(text: str) -> dict[str, dict[str, str]]:
    parser = BibTexParser(common_strings=True, ignore_nonstandard_types=False)
    return {entry["ID"]: entry for entry in bibtexparser.loads(text, parser).entries}


@pytest.mark.parametrize("title", TITLES)
def test_titles_read_back_the_same(title: str) -> None:
    (read,) = parse(bibtex("slug", paper(title=title))).values()
    assert decode(read["title"]) == title


@pytest.mark.parametrize("name", NAMES)
def test_names_read_back_the_same(name: str) -> None:
    assert read_bibtex(bibtex("slug", paper(authors=[name, "Ann Bee"]))).authors == (
        name,
        "Ann Bee",
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Elias Frantar", "Frantar, Elias"),
        ("Ludwig van Beethoven", "van Beethoven, Ludwig"),
        ("Charles Louis de la Vallée Poussin", r"de la Vall{\'e}e Poussin, Charles Louis"),
        ("Guy L. Steele Jr.", "Steele, Jr., Guy L."),
        ("Jean-François Kagy", r"Kagy, Jean-Fran{\c{c}}ois"),
        ("Conan O'Brien", "O'Brien, Conan"),
        ("王伟", "{王伟}"),
        ("Smith, Johnson and Sons", "{Smith, Johnson and Sons}"),
        ("danah boyd", "{boyd}, danah"),
        ("Loïc Núñez", r"N{\'u}{\~n}ez, Lo{\"i}c"),
    ],
)
def test_writes_family_name_first(name: str, written: str) -> None:
    assert f"  author = {{{written}}},\n" in bibtex("slug", paper(authors=[name]))


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("SparseGPT: Massive Models in One-Shot", "{SparseGPT}: Massive Models in One-Shot"),
        ("LLM-BIP and 2SSP for N:M", "{LLM}-{BIP} and {2SSP} for {N}:{M}"),
        ("A Simple Approach: A Survey", "A Simple Approach: A Survey"),
        ("Is C4 Optimal? The P2 Law", "Is {C4} Optimal? The {P2} Law"),
        ("50 % -- of {x}", r"50 {\%} -{}- of {\textbraceleft}x{\textbraceright}"),
    ],
)
def test_protects_capitals_with_braces(title: str, written: str) -> None:
    assert protect(title) == written


@pytest.mark.parametrize(
    ("changes", "first", "holds"),
    [
        ({}, "@misc{", "title"),
        ({"venue": "icml"}, "@inproceedings{", "Proceedings of the International Conference on M"),
        ({"venue": "tacl"}, "@article{", "journal = {Transactions of the Association"),
        ({"venue": "acl-findings"}, "@inproceedings{", "Computational Linguistics: ACL 2023}"),
        (
            {"venue": "icml", "track": "workshop"},
            "@inproceedings{",
            "Workshop at the International",
        ),
        ({"venue": "emnlp", "track": "industry"}, "@inproceedings{", "Processing: Industry Track}"),
        ({"venue": "icml", "status": "accepted"}, "@inproceedings{", "note = {To appear}"),
        ({"venue": "aaai", "volume": "38", "number": "10"}, "@article{", "journal = {Proceedings"),
        ({"kind": "baseline", "other_titles": ["Cited Title"]}, "@misc{", "title = {Cited Title}"),
    ],
)
def test_entry_type_and_venue(changes: dict[str, Any], first: str, holds: str) -> None:
    made = bibtex("slug", paper(**changes))
    assert made.startswith(first)
    assert holds in made


@pytest.mark.parametrize(
    ("slug", "changes", "key"),
    [
        ("sparsegpt", {}, "frantar2023sparsegpt"),
        ("sparsegpt", {"bibkey": "mine"}, "mine"),
        ("zhu2023survey", {"authors": ["Xunyu Zhu"]}, "zhu2023survey"),
        ("deaf", {"authors": ["Ludwig van Beethoven"]}, "vanbeethoven2023deaf"),
        ("rune", {"authors": ["Bjørn Müller-Łoś"]}, "mullerlos2023rune"),
        ("cut", {"authors": ["王伟"]}, "2023cut"),
    ],
)
def test_keys_consist_of_family_name_year_and_slug(
    slug: str, changes: dict[str, Any], key: str
) -> None:
    assert bibtex(slug, paper(**changes)).split("{")[1].startswith(f"{key},")


def test_keys_are_unique_without_regard_to_case() -> None:
    mine = {"a": paper(bibkey="Same"), "b": paper(bibkey="same"), "c": paper(bibkey="frantar2023B")}
    made = keys(mine)
    assert made["a"] == "Same"
    assert len({key.lower() for key in made.values()}) == 3
    assert list(parse(bibliography(mine))) == list(made.values())


def test_baselines_without_paper_have_no_entry() -> None:
    mine = {"a": paper(), "chance": baseline(), "z": paper(bibkey="z")}
    assert bibtex("chance", mine["chance"]) == ""
    assert list(keys(mine)) == ["a", "z"]
    assert bibliography(mine) == bibliography({"a": mine["a"], "z": mine["z"]})


def test_names_in_titles_are_protected() -> None:
    title = "The P2 Law for Mamba: A Law of Mambas"
    it = paper(title=title, name="P2 Law", models=["Mamba"])
    assert "title = {The {P2 Law} for {Mamba}: A Law of Mambas}" in bibtex("slug", it)


REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "year"},
}
"""Required fields of each entry type in the data model of biber."""


def test_entries_have_the_required_fields() -> None:
    entries = parse(bibliography(load_catalog())).values()
    assert {entry["ENTRYTYPE"] for entry in entries} == set(REQUIRED)
    for entry in entries:
        assert REQUIRED[entry["ENTRYTYPE"]] - entry.keys() == set(), entry["ID"]
        assert entry["year"].isdigit()


def test_biber_accepts_the_catalog(tmp_path: Path) -> None:
    program = shutil.which("biber")
    if not program:
        pytest.skip("needs biber: install Debian's package")
    (tmp_path / "papers.bib").write_text(bibliography(load_catalog()), encoding="utf-8")
    command = [program, "--tool", "--validate-datamodel", "papers.bib"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Datamodel validation complete" in done.stdout
    assert not re.search("WARN|ERROR", done.stdout), done.stdout


@pytest.mark.full
def test_our_reader_reads_back_the_catalog() -> None:
    papers = load_catalog()
    cited = {slug: paper for slug, paper in papers.items() if paper.has_paper}
    assert len(parse(bibliography(papers))) == len(cited) >= 36
    for slug, it in cited.items():
        facts = read_bibtex(bibtex(slug, it))
        title = it.other_titles[0] if it.kind == "baseline" and it.other_titles else it.title
        assert facts.title == title
        assert facts.authors == it.authors
        assert (facts.year, facts.pages, facts.venue) == (it.year, it.pages, it.venue)
        assert facts.ids.get("arxiv") == it.ids.arxiv
        assert facts.ids.get("doi") == it.ids.doi

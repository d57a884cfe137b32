"""Facts from BibTeX."""

from __future__ import annotations

import pytest

from tools.sources import errors
from tools.sources.lookup.queries import read_bibtex

PLAIN = """@inproceedings{frantar2023sparsegpt,
  title = {{SparseGPT}: Massive Language Models Can be Accurately Pruned in One-Shot},
  author = {Frantar, Elias and Alistarh, Dan},
  booktitle = {International Conference on Machine Learning},
  pages = {10323--10337},
  year = {2023},
  month = jul,
  volume = {202},
  url = {https://proceedings.mlr.press/v202/frantar23a.html},
}
"""
PREPRINT = """@misc{sun2023wanda,
  title={A Simple and Effective Pruning Approach for Large Language Models},
  author={Mingjie Sun and Zhuang Liu and Anna Bair and J. Zico Kolter},
  year={2023}, eprint={2306.11695}, archivePrefix={arXiv}, primaryClass={cs.CL}
}"""


def field(name: str, value: str) -> str:
    return f"@article{{x, title = {{A Title}}, {name} = {{{value}}}}}"


def test_reads_conference_paper() -> None:
    facts = read_bibtex(PLAIN)
    assert facts.title == "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"
    assert facts.authors == ("Elias Frantar", "Dan Alistarh")
    assert (facts.venue, facts.track, facts.year) == ("icml", "main", 2023)
    assert (facts.volume, facts.pages, facts.published) == ("202", "10323-10337", "2023-07")
    assert facts.ids == {"pmlr": "v202/frantar23a"}
    assert facts.source == "BibTeX"


def test_reads_preprint() -> None:
    facts = read_bibtex(PREPRINT)
    assert facts.authors[-1] == "J. Zico Kolter"
    assert facts.ids == {"arxiv": "2306.11695"}
    assert (facts.venue, facts.published, facts.notes) == (None, None, ())


@pytest.mark.parametrize(
    "journal", ["arXiv preprint arXiv:2306.11695", "arXiv:2306.11695v2 [cs.CL]", "ArXiv", "CoRR"]
)
def test_arxiv_is_not_a_journal(journal: str) -> None:
    facts = read_bibtex(field("journal", journal))
    assert (facts.venue, facts.notes) == (None, ())
    assert facts.ids == ({"arxiv": "2306.11695"} if "2306" in journal else {})


NAMES = {
    "Frantar, Elias": ["Elias Frantar"],
    "van den Berg, Jan": ["Jan van den Berg"],
    "King, Jr., Martin Luther": ["Martin Luther King Jr."],
    "Erd{\\H o}s, P{\\'a}l": ["Pál Erdős"],
    "M{\\\"u}ller, J{\\\"o}rg and Gonz{\\'a}lez, Jos\\'e": ["Jörg Müller", "José González"],
    "{The Pruning Team} and {Barnes and Noble}": ["The Pruning Team", "Barnes and Noble"],
    "Men, Xin  and\n      Xu, Mingyu": ["Xin Men", "Mingyu Xu"],
    "Kolter, J. Zico": ["J. Zico Kolter"],
    "": [],
}


@pytest.mark.parametrize(("written", "expected"), NAMES.items())
def test_names_have_the_first_name_first(written: str, expected: list[str]) -> None:
    assert list(read_bibtex(field("author", written)).authors) == expected


def test_notes_and_others() -> None:
    facts = read_bibtex(field("author", "Sun, Mingjie and others"))
    assert facts.authors == ("Mingjie Sun",)
    assert facts.notes == ("the authors of the BibTeX entry end in 'and others'",)


TITLES = {
    "{S}parse{GPT}: {LLM}s": "SparseGPT: LLMs",
    r"Pruning 50\% \& more": "Pruning 50% & more",
    "Pruning 50% of the weights": "Pruning 50% of the weights",
    r"na{\"\i}ve {\ss}": "naïve ß",
    r"The $\ell_1$ norm": "The ℓ_1 norm",
    "A  title\n  on two lines": "A title on two lines",
    r"``Lottery'' Tickets": "“Lottery” Tickets",
}


@pytest.mark.parametrize(("written", "expected"), TITLES.items())
def test_decodes_titles(written: str, expected: str) -> None:
    assert read_bibtex(f"@article{{x, title = {{{written}}}}}").title == expected


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("doi", "https://doi.org/10.1162/tacl_a_00704", {"doi": "10.1162/tacl_a_00704"}),
        ("doi", r"10.1162/tacl\_a\_00704", {"doi": "10.1162/tacl_a_00704"}),
        ("doi", "10.48550/arXiv.2301.00774", {"arxiv": "2301.00774"}),
        ("doi", "10.5555/3618408.3618822", {}),
        ("eprint", "2301.00774", {"arxiv": "2301.00774"}),
        ("url", "https://openreview.net/forum?id=PxoFut3dWW", {"openreview": "PxoFut3dWW"}),
        ("url", "https://example.org/100%25_sure~", {}),
        (
            "doi",
            "10.18653/v1/P19-1001",
            {"doi": "10.18653/v1/p19-1001", "anthology": "P19-1001"},
        ),
    ],
)
def test_reads_identifiers(name: str, value: str, ids: dict[str, str]) -> None:
    assert read_bibtex(field(name, value)).ids == ids


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10--20", "10-20"),
        ("10 - 20", "10-20"),
        ("10–20", "10-20"),
        ("7", "7"),
        ("1:1--1:20", None),
    ],
)
def test_reads_pages(written: str, expected: str | None) -> None:
    assert read_bibtex(field("pages", written)).pages == expected


BROKEN = {
    "nothing": ("", "has 0 readable entries"),
    "prose": ("SparseGPT by Frantar and Alistarh", "has 0 readable entries"),
    "two": (PLAIN + PREPRINT, "has 2 readable entries; keep exactly one entry"),
    "open": ("@article{x, title = {A", "has 0 readable entries"),
    "no title": ("@article{x, year = {2024}}", "the BibTeX entry x has no title; add one"),
    "deep": (f"@article{{x, title = {{{'{' * 9000 + '}' * 9000}}}}}", "BibTeX|LaTeX"),
    # 90 kB of these once took the parser 14 seconds.
    "long": (f"@article{{x, note = {' # '.join(['jan'] * 9000)}}}", "has 5.,... characters; keep"),
    "string": ("@article{x, title = unknown}", "uses the undefined string 'unknown'; define it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_rejects_invalid_entries(case: str) -> None:
    text, message = BROKEN[case]
    with pytest.raises(errors.Malformed, match=message) as caught:
        read_bibtex(text)
    assert "\n" not in str(caught.value)

"""Venue names."""

from __future__ import annotations

import pytest

from tools.catalog.schema.vocabulary import vocabulary
from tools.sources.names.venues import accepted, find_venue, year_in

ACL = "Association for Computational Linguistics"

KNOWN = {
    "Proceedings of the 40th International Conference on Machine Learning": ("icml", "main"),
    "ICML": ("icml", "main"),
    "The Twelfth International Conference on Learning Representations": ("iclr", "main"),
    "NeurIPS 2024 Track Datasets and Benchmarks Poster": ("neurips", "main"),
    "Proceedings of the AAAI Conference on Artificial Intelligence": ("aaai", "main"),
    f"Findings of the {ACL}: ACL 2024": ("acl-findings", "findings"),
    f"Findings of the {ACL}: EMNLP 2023": ("emnlp-findings", "findings"),
    "ACL (Findings)": ("acl-findings", "findings"),
    f"Proceedings of the 62nd Annual Meeting of the {ACL} (Volume 1: Long Papers)": ("acl", "main"),
    f"Proceedings of the 62nd Annual Meeting of the {ACL} (Volume 4: Student Research Workshop)": (
        "acl",
        "workshop",
    ),
    "Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing: "
    "Industry Track": ("emnlp", "industry"),
    f"Proceedings of the 2024 Conference of the North American Chapter of the {ACL}: "
    "Human Language Technologies (Volume 1: Long Papers)": ("naacl", "main"),
    f"Proceedings of the 2025 Conference of the Nations of the Americas Chapter of the {ACL}: "
    "Human Language Technologies (Volume 1: Long Papers)": ("naacl", "main"),
    f"Proceedings of the Eighteenth Conference of the European Chapter of the {ACL}": (
        "eacl",
        "main",
    ),
    "Proceedings of the 31st International Conference on Computational Linguistics": (
        "coling",
        "main",
    ),
    f"Transactions of the {ACL}": ("tacl", "journal"),
    "Trans. Mach. Learn. Res.": ("tmlr", "journal"),
    "ICASSP 2025 - 2025 IEEE International Conference on Acoustics, Speech and Signal Processing "
    "(ICASSP)": ("icassp", "main"),
    "ICLR 2025 Workshop SLLM": ("iclr", "workshop"),
}

UNKNOWN = [
    "International Conference on Computational Linguistics and Intelligent Text Processing",
    "European Conference on Machine Learning",
    "Lecture Notes in Computer Science",
    "Proceedings of Machine Learning Research",
    f"Findings of the {ACL}: AACL 2022",
    "Proceedings of the 7th BlackboxNLP Workshop: Analyzing and Interpreting Neural Networks",
    "LREC/COLING",
    "CoRR",
    "arXiv.org",
    "Neurocomputing",
    "2024",
    "",
]


@pytest.mark.parametrize(("written", "expected"), KNOWN.items())
def test_known_venue_names(written: str, expected: tuple[str, str]) -> None:
    assert find_venue(written) == expected


@pytest.mark.parametrize("written", UNKNOWN)
def test_unknown_venue_names(written: str) -> None:
    assert find_venue(written) is None


def test_finds_every_venue_by_label_and_full_name() -> None:
    for term in vocabulary()["venues"].terms.values():
        for name in (term.label, term.definition, *term.synonyms):
            found = find_venue(name)
            assert found, name
            assert found.venue == term.word, name


@pytest.mark.parametrize(
    ("venue", "venue_id", "expected"),
    [
        ("ICLR 2024 poster", "ICLR.cc/2024/Conference", "iclr"),
        ("ICLR 2023 notable top 5%", "ICLR.cc/2023/Conference", "iclr"),
        ("Accepted by TMLR", "TMLR", "tmlr"),
        ("EMNLP 2023 Findings", "EMNLP/2023/Conference", "emnlp-findings"),
        # Version 1 of the API keeps the venue of rejected papers.
        ("Submitted to ICLR 2023", "ICLR.cc/2023/Conference", None),
        ("ICLR 2025 Conference Withdrawn Submission", "ICLR.cc/2025/Conference", None),
        ("ICLR 2026 poster", "ICLR.cc/2026/Conference/Rejected_Submission", None),
    ],
)
def test_accepted_openreview_records(venue: str, venue_id: str, expected: str | None) -> None:
    found = accepted(venue, venue_id)
    assert (found and found.venue) == expected


def test_years() -> None:
    assert year_in(None, "", "Vol. 12024", "ICLR.cc/2024/Conference 1999") == 2024
    assert year_in("10", None) is None

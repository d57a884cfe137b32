"""Similarity of titles and names."""

from __future__ import annotations

import pytest

from tools.sources.names.similarity import same_names, same_title, similarity

SPARSEGPT = "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SPARSEGPT, SPARSEGPT.upper()),
        (SPARSEGPT, SPARSEGPT.partition(": ")[2]),
        (
            "LoRAPrune: Structured Pruning Meets Low-Rank Parameter-Efficient Fine-Tuning",
            "LoRAPrune: Pruning Meets Low-Rank Parameter-Efficient Fine-Tuning",
        ),
    ],
)
def test_versions_of_a_title_are_similar(one: str, other: str) -> None:
    assert similarity(one, other) == similarity(other, one) >= 90


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "SlimGPT: Layer-wise Structured Pruning for Large Language Models",
            "SlimLLM: Accurate Structured Pruning for Large Language Models",
        ),
        (
            "A Survey on Model Compression for Large Language Models",
            "Model Compression and Efficient Inference for Large Language Models: A Survey",
        ),
        ("OWL: a b", "WOL: a b c d"),
    ],
)
def test_titles_of_other_papers_are_not_similar(one: str, other: str) -> None:
    assert similarity(one, other) < 90


def test_same_title_ignores_case_and_punctuation() -> None:
    assert same_title("Fluctuation-based  Méthod", "fluctuation Based METHOD!")
    assert not same_title("Pruning", "Prunings")


def test_names() -> None:
    assert same_names(["J. Zico Kolter"], ["J Zico Kolter"])
    assert same_names(["Yuezhou Hu"], ["Hu Yuezhou"])
    assert same_names(["Jörg Müller"], ["J. Muller"])
    assert not same_names(["A B", "C D"], ["C D", "A B"])
    assert not same_names(["A B"], ["A B", "C D"])

"""Proposals from titles and abstracts."""

from __future__ import annotations

import pytest

from tools.adding.slugs import (
    propose_name,
    propose_slugs,
)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("SparseGPT: Massive Language Models Can be Pruned", "SparseGPT"),
        ("Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce", "OWL"),
        ("FastForward Pruning: Efficient LLM Pruning", "FastForward Pruning"),
        ("Everybody Prune Now: Structured Pruning", None),
        ("A Simple and Effective Pruning Approach", None),
        (": nothing before the colon", None),
    ],
)
def test_names(title: str, name: str | None) -> None:
    assert propose_name(title) == name


@pytest.mark.parametrize(
    ("title", "author", "slugs"),
    [
        ("SparseGPT: Massive Models", "Elias Frantar", ["sparsegpt", "frantar2023sparsegpt"]),
        ("LLM-Pruner: On Pruning", "Xinyin Ma", ["llmpruner", "ma2023llmpruner"]),
        ("2SSP: A Framework", "Fabrizio Sandri", ["twossp", "sandri20232ssp"]),
        ("A Simple Approach", "Łukasz Müller Jr.", ["muller2023simple"]),
        ("Séparé: Things", "李明", ["separe"]),
        ("剪枝", "李明", []),
    ],
)
def test_slugs(title: str, author: str, slugs: list[str]) -> None:
    assert list(propose_slugs(title, [author], 2023)) == slugs

"""The topic of the catalog, on titles and abstracts."""

from __future__ import annotations

import pytest

from tools.catalog.entries.loader import load_catalog
from tools.discovery.topic import OTHER, on_topic

PRUNED = "We prune a model. Pruning is fast."


@pytest.mark.parametrize(
    ("title", "abstract", "context"),
    [
        ("Structured Pruning of Large Language Models", "", ""),
        ("A Sparse Transformer from a Dense One", "", ""),
        ("DropBERT: Which Layers Can Be Removed?", "Layer dropping beats skipping heads.", ""),
        ("Widths of LLaMA", PRUNED, ""),
        ("Widths", PRUNED + " Mixture-of-experts models.", ""),
        ("Prompt-based Depth Pruning of Language Models", "", ""),
        ("Calibration Data for Pruning Language Models", "", ""),
        ("A Token-wise Pruner with Input Pruning and Caching for LLMs", "", ""),
        ("Which Layers Matter?", "", "Pruning of LLMs"),
    ],
)
def test_papers_on_topic(title: str, abstract: str, context: str) -> None:
    assert on_topic(title, abstract, context)


@pytest.mark.parametrize(
    ("title", "abstract", "context"),
    [
        ("Structured Pruning of Networks", PRUNED, ""),
        ("Training of Language Models", "Unlike pruning, it keeps all weights.", ""),
        ("Language Models with Sparse Rewards", "", ""),
        ("Visual Token Pruning for Multimodal LLMs", PRUNED, "Pruning of LLMs"),
        ("LLMs with a Short Memory", "Token pruning and KV cache pruning of tokens.", ""),
        ("Sparse Attention for LLMs", PRUNED, "Pruning of LLMs"),
        ("LLM Pruning: Data Pruning for Language Models", PRUNED, ""),
        ("Vision Transformer Pruning", PRUNED, ""),
        ("Rounding of Language Models", "", "Quantization"),
    ],
)
def test_other_papers(title: str, abstract: str, context: str) -> None:
    assert not on_topic(title, abstract, context)


def test_most_papers_of_the_catalog_are_on_topic() -> None:
    titles = [paper.title for paper in load_catalog().values() if paper.has_paper]
    assert sum(bool(OTHER.search(title)) for title in titles) < 0.02 * len(titles)
    found = [title for title in titles if on_topic(title, context="language models")]
    assert len(found) > 0.7 * len(titles)  # the abstracts name the topic of the others

"""The topic of the catalog, on titles and abstracts."""

from __future__ import annotations

import pytest

from tools.catalog.entries.declined import load_declined
from tools.catalog.entries.loader import PAPERS, load_catalog
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


def test_no_title_of_the_catalog_is_out_of_scope() -> None:
    titles = {slug: paper.title for slug, paper in load_catalog().items() if paper.has_paper}
    assert [slug for slug, title in titles.items() if OTHER.search(title)] == []
    # Their summaries are shorter than abstracts and rarely name the model.
    found = [slug for slug, title in titles.items() if on_topic(title, context="language models")]
    assert len(found) > 0.75 * len(titles)


def test_half_of_the_declined_papers_are_not_proposed_at_all() -> None:
    declined = [paper.title for paper in load_declined(PAPERS)]
    assert sum(on_topic(title) for title in declined) < 0.5 * len(declined)

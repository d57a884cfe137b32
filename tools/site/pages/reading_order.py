"""Reading order: surveys, the papers that others build on, then the implemented methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas
from tools.site.citation_relations import CitingPapers, citing_papers
from tools.site.paper_facts import first_public, newest_first
from tools.site.render import Front, render

MIN_SUCCESSORS = 3
"""A paper is a foundation if this many papers build on it, directly or indirectly."""
METHODS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Single weights",
        (
            ("magnitude", "The baseline that every other score has to beat, and how it fails."),
            ("wanda", "One extra factor, the input norm, is enough for large models to survive."),
            (
                "sparsegpt",
                "Second-order pruning made fast; the remaining weights absorb the error.",
            ),
            ("ria", "Why magnitude removes whole channels, and a score that prevents it."),
            ("dsnot", "A mask is not final: swap weights until the error is small."),
            ("owl", "Layers differ in sensitivity; outliers tell how much each can lose."),
            ("ast", "2:4 sparsity by training, for cases where one-shot pruning loses too much."),
        ),
    ),
    (
        "Heads and channels",
        (
            ("llmpruner", "Which parts depend on each other and must be removed together."),
            ("flap", "Remove channels that hardly vary and keep their mean as a bias."),
            ("fasp", "Coupled matrices: removing a column removes a row of the previous one."),
            ("slimgpt", "Optimal Brain Surgeon for whole heads and channels."),
            ("bonsai", "Without gradients: switch off random subsets and fit a regression."),
            ("slicegpt", "Rotate the hidden state first, then cut its least important dimensions."),
            ("twossp", "Channels first, then attention, with a formula for the split."),
        ),
    ),
    (
        "Whole blocks",
        (
            ("shortgpt", "Remove the blocks that change the hidden state least."),
            ("evop", "Why greedy selection of blocks misses better sets."),
        ),
    ),
    (
        "Learning what to remove",
        (
            ("loraprune", "Gradients at the cost of LoRA adapters instead of full training."),
            ("displlm", "Train masks under a budget while the weights stay fixed."),
            ("maskprune", "The same, with layer widths that standard kernels run fast."),
        ),
    ),
    (
        "For one purpose",
        (
            ("dpruner", "Keep the knowledge of one domain without losing general ability."),
            ("griffin", "Select channels for each prompt instead of once for all."),
            ("kvpruner", "Shrink the KV cache as well as the weights."),
        ),
    ),
)
"""Headings, and below each the slug of a paper with one sentence on what to learn from it."""
FRONT = Front(
    "learn/reading-order.md",
    "Reading order",
    "Which papers on pruning to read first: surveys, foundations, then method by method.",
    styles=("css/learn.css",),
    sources=("catalog/papers", "tools/site/pages/reading_order.py"),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    selected = methods(atlas)
    text = render(
        "reading-order",
        FRONT,
        atlas,
        surveys=surveys(atlas.papers),
        foundations=foundations(atlas.papers),
        min_successors=MIN_SUCCESSORS,
        methods=selected,
        count=sum(len(papers) for _, papers in selected),
    )
    yield FRONT.path, text


def surveys(papers: Mapping[str, Paper]) -> list[str]:
    """List the surveys, the newest first."""
    return newest_first((slug for slug, one in papers.items() if one.kind == "survey"), papers)


def foundations(papers: Mapping[str, Paper]) -> list[tuple[str, CitingPapers]]:
    """List the papers that most others build on, the oldest first."""
    citing = citing_papers(papers)
    found = [
        slug
        for slug, one in citing.items()
        if one.successors >= MIN_SUCCESSORS and papers[slug].has_paper
    ]
    return [(slug, citing[slug]) for slug in sorted(found, key=lambda s: first_public(papers[s]))]


def methods(atlas: Atlas) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return `METHODS` without the papers that are not in the catalog."""
    groups = [
        (title, [one for one in papers if one[0] in atlas.papers]) for title, papers in METHODS
    ]
    return [(title, papers) for title, papers in groups if papers]

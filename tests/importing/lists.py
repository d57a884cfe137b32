"""Records of papers known to the replayed sources, and the resulting drafts."""

from __future__ import annotations

from pathlib import Path

import yaml

LLM_PRUNER = "44956951349095f74492a5471128a7e0-Abstract-Conference"
SPARSEGPT = {
    "slug": "sparsegpt",
    "title": "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
    "authors": ["Elias Frantar", "Dan Alistarh"],
    "year": 2023,
    "venue": "ICML 2023",
    "arxiv": "2301.00774",
    "kind": "method",
    "granularity": ["unstructured"],
    "sources": ["Awesome-LLM-Pruning"],
}
WANDA = {
    "slug": "wanda",
    "title": "A Simple and Effective Pruning Approach for Large Language Models",
    "authors": ["Mingjie Sun", "Zhuang Liu", "Anna Bair", "J. Zico Kolter"],
    "year": 2024,
    "venue": "ICLR 2024",
    "arxiv": "2306.11695",
}
MINILLM = {
    "slug": "minillm",
    "title": "MINI-LLM: Memory-Efficient Structured Pruning for Large Language Models",
    "year": 2024,
    "venue": "arXiv",
    "arxiv": "2407.11681",
}
FLAP = {
    "slug": "fluctuation",
    "title": "Pruning by Fluctuation",
    "authors": ["Yongqi An"],
    "year": 2024,
    "arxiv": "2312.11983",
}


def dumped(records: list[dict[str, object]]) -> str:
    """Return records as a YAML list, dumped one by one to avoid aliases."""
    return "".join(yaml.safe_dump([record], sort_keys=False) for record in records)


def drafts(out: Path) -> list[str]:
    """The slugs of the drafts in a folder."""
    return sorted(path.stem for path in out.glob("*.yaml"))


def draft(out: Path, slug: str) -> dict[str, object]:
    """The content of a draft."""
    return yaml.safe_load((out / f"{slug}.yaml").read_text(encoding="utf-8"))

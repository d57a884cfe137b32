"""Synthetic entries: shuffled copies of real ones, to test the site with thousands."""

from __future__ import annotations

from random import Random

from tools.catalog.entries.loader import load_catalog
from tools.catalog.entries.writer import as_data
from tools.catalog.schema.paper import Paper

OWN = frozenset({"other_titles", "bibkey", "aliases", "ids", "fidelity", "claims"})
"""Fields that name one paper, its method folder or other entries."""
SUMMARY = (
    "This entry is synthetic. It stands for a method that scores weights on a calibration set and "
    "removes those with the lowest scores in one pass, without any training."
)


def papers(count: int, seed: int = 0) -> dict[str, Paper]:
    """Return `count` synthetic papers by slug; the same seed gives the same papers."""
    random = Random(seed)
    originals = [paper for paper in load_catalog().values() if paper.has_paper]
    made: dict[str, Paper] = {}
    for index in range(count):
        name = f"Paper{index}"
        made[name.lower()] = _copy(random.choice(originals), name, list(made), random)
    return made


def _copy(paper: Paper, name: str, earlier: list[str], random: Random) -> Paper:
    """Return a copy with its own name, title and page, related to earlier copies."""
    words = paper.title.split()
    related = random.sample(earlier, min(3, len(earlier)))
    relations = {"builds-on": related[:1], "compares-with": related[1:]}
    data = {key: value for key, value in as_data(paper).items() if key not in OWN} | {
        "title": f"{name}: {' '.join(random.sample(words, len(words)))}",
        "name": name,
        "summary": SUMMARY,
        "links": {"paper": f"https://example.org/{name.lower()}"},
        "relations": {relation: slugs for relation, slugs in relations.items() if slugs},
    }
    data["sources"].pop("unverified", None)
    return Paper.model_validate(data)

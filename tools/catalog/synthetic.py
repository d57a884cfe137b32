"""Invented entries, valid and plausible, to see how the tools and the site do with very many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from tools.catalog.entries.writer import render
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary

WORDS = {
    part: words.split()
    for part, words in {
        "syllable": "ba ce di fo gu ha jo ka li mo nu pe qui ra so ta u ve wo xi ya zo",
        "given": "Ada Boris Chidi Dalia Émile Fatima Göran Hana Ines Jun Kwame Lin Mei Nils Olga",
        "family": "Abe Brandt Chen Diaz Eriksson Fofana Gao Haddad Ito Kim López Müller Nguyen",
        "what": "Adaptive Balanced Causal Dense Early Fast Gradual Hidden Iterative Joint Local",
        "how": "Budgets Curvature Distances Entropy Flow Geometry Hessians Importance Margins",
        "for": "Answering Coding Dialogue Editing Long Math Mobile Reasoning Retrieval Speech",
        "of": "Attention Blocks Channels Decoders Experts Features Gates Heads Layers Neurons",
        "model": "LLaMA LLaMA-2 LLaMA-3 OPT Mistral Qwen2.5 Phi-3 Gemma-2",
        "data": "c4 wikitext2 ptb pg19 piqa boolq hellaswag winogrande arc-easy mmlu gsm8k",
        "licence": "MIT Apache-2.0 BSD-3-Clause NONE unclear",
    }.items()
}
SENTENCES = (
    "Scores {of} by {how} over a little text and removes the least of them.",
    "One pass and no training are needed; the rest of the weights stays.",
    "The {what} schedule spends the budget where the {how} say so.",
    "Use it for {of} when a smaller model has to be ready within minutes.",
    "It helps most above one half, where the {what} rule matters.",
)


def write_papers(folder: Path, count: int, seed: int = 0) -> None:
    """Write that many invented entries into a folder, as the catalog's files are written."""
    for slug, paper in papers(count, seed).items():
        (folder / f"{slug}.yaml").write_text(render(paper), encoding="utf-8")


def papers(count: int, seed: int = 0) -> dict[str, Paper]:
    """Invent papers by slug, always the same ones of a seed; later ones relate to earlier ones."""
    random = Random(seed)
    made: dict[str, Paper] = {}
    for index, name in zip(range(count), _names(random), strict=False):
        data = _paper(index, name, list(made), random)
        made[name.lower()] = Paper.model_validate(data)
    return made


def _names(random: Random) -> Iterator[str]:
    seen = set()
    while True:
        name = "".join(random.choices(WORDS["syllable"], k=random.randint(3, 5))).capitalize()
        if name.lower() not in seen:
            seen.add(name.lower())
            yield name


def _paper(index: int, name: str, earlier: list[str], random: Random) -> dict[str, Any]:
    kind = random.choices(("method", "survey", "benchmark", "analysis"), (90, 4, 3, 3))[0]
    month = f"{2019 + index % 7}-{1 + index % 12:02}"
    authors = [
        f"{random.choice(WORDS['given'])} {random.choice(WORDS['family'])}" for _ in range(9)
    ]
    return {
        "title": f"{name}: {_phrase(random)} for {_phrase(random)}",
        "name": name,
        "other_titles": [f"{_phrase(random)} with {_phrase(random)} in {name}"],
        "authors": list(dict.fromkeys(authors))[: random.randint(1, 9)],
        "kind": kind,
        "summary": _paragraph(random, 3),
        "bibkey": f"{name.lower()}{month[:4]}paper",
        "added": "2026-11-25",
        "aliases": [f"{name.lower()}old{index}"],
        **_publication(month, random),
        "ids": _ids(index, month, random),
        "links": {"project": f"https://example.org/{name.lower()}"},
        "code": [_code(name, random)],
        "models": random.sample(WORDS["model"], 3),
        "datasets": {"calibration": ["c4"], "evaluation": random.sample(WORDS["data"], 6)},
        "relations": _relations(earlier, random),
        "sources": {
            "checked": "2026-11-25",
            "read": "paper",
            "from": ["invented"],
            "unverified": ["ids.arxiv", "code.license"],
        },
        "notes": "Invented, to try the tools with many entries. " + _paragraph(random, 1),
    } | (_of_a_method(earlier, random) if kind == "method" else {})


def _phrase(random: Random) -> str:
    words = (random.choice(WORDS[part]) for part in ("what", "how", "for", "of"))
    return " ".join([*words, str(random.randint(2, 999))])


def _paragraph(random: Random, count: int) -> str:
    plain = {part: random.choice(WORDS[part]).lower() for part in ("what", "how", "of")}
    return " ".join(text.format(**plain) for text in random.sample(SENTENCES, count))


def _publication(month: str, random: Random) -> dict[str, Any]:
    year = int(month[:4])
    if random.random() < 0.4:
        return {"year": year, "status": "preprint", "submitted": f"{month}-15"}
    venue = random.choice(list(vocabulary()["venues"].terms.values()))
    findings = "findings" if venue.word.endswith("-findings") else "main"
    first = random.randint(1, 9000)
    return {
        "venue": venue.word,
        "year": year + 1,
        "track": "journal" if venue.journal else findings,
        "status": "published",
        "volume": str(random.randint(1, 300)),
        "pages": f"{first}-{first + 14}",
        "submitted": f"{month}-15",
        "published": f"{year + 1}-01",
    }


def _ids(index: int, month: str, random: Random) -> dict[str, str]:
    number = 10_000 + index
    arxiv = f"{month[2:4]}{month[5:]}.{number}"
    rest = {
        "doi": f"10.1234/invented.{number}",
        "openreview": f"Invented{number}",
        "anthology": f"{month[:4]}.invented-main.{number}",
        "ieee": f"9{number}",
    }
    return {"arxiv": arxiv, **{name: rest[name] for name in random.sample(sorted(rest), 2)}}


def _code(name: str, random: Random) -> dict[str, Any]:
    return {
        "url": f"https://example.org/code/{name.lower()}",
        "official": random.random() < 0.8,
        "license": random.choice(WORDS["licence"]),
        "commit": f"{random.getrandbits(28):07x}",
        "last_commit": "2026-01-31",
        "note": "Invented: there is no such repository.",
    }


def _relations(earlier: list[str], random: Random) -> dict[str, Any]:
    number = random.randint(1, 99)
    outside = {"title": f"{_phrase(random)} of Old", "year": 1990, "doi": f"10.1234/old.{number}"}
    known = random.sample(earlier, min(5, len(earlier)))
    parts = {"builds-on": [*known[:1], outside], "compares-with": known[1:]}
    return {name: those for name, those in parts.items() if those}


def _of_a_method(earlier: list[str], random: Random) -> dict[str, Any]:
    words = {
        name: [w for w in words.terms if w != "unknown"] for name, words in vocabulary().items()
    }
    many = {
        name: random.sample(words[name], random.randint(1, 2))
        for name in ("granularity", "prunes", "criterion", "combines")
    }
    one = {
        name: random.choice(words[name])
        for name in ("calibration", "recovery", "allocation", "when")
    }
    return {
        "role": random.choice(words["role"]),
        "taxonomy": many | one,
        "claims": [_claim(sparsity, earlier, random) for sparsity in (0.2, 0.5, 0.7)],
    }


def _claim(sparsity: float, earlier: list[str], random: Random) -> Mapping[str, Any]:
    return {
        "model": f"{random.choice(WORDS['model'])}-7B",
        "sparsity": sparsity,
        "setting": "as invented",
        "metric": "ppl/wikitext2/2048",
        "value": round(random.uniform(6, 60), 2),
        "dense": 5.68,
        "against": {slug: round(random.uniform(6, 60), 2) for slug in earlier[:2]},
        "where": f"Table {random.randint(1, 9)}",
    }

"""The catalog: one table of all papers with filters and sorting, whose state is in the address."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from implementations.harness.results.metric import PERPLEXITY
from tools.catalog.exports.bibtex import keys
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import UNKNOWN, Term, vocabulary
from tools.site.answers import Answer, first_ranking, share_label
from tools.site.atlas import Atlas, Method
from tools.site.glossary import LABELS
from tools.site.licences import GROUPS, licence_group
from tools.site.model_families import family
from tools.site.paper_facts import CODE, FACETS, code, newest_first, words_of
from tools.site.render import Front, render

SHARES = ("20", "50")
"""The sparsities in percent whose ratios to dense have a column of their own."""
STEPS = (1.25, 1.5, 2, 5, PERPLEXITY.collapse)
"""Upper ends of the ranges of ratios to dense."""
UNMEASURED = "not measured"
OURS = "ours"
"""Code of this repository, in the facet of the code."""
UNTRAINED = ("none", "closed-form", "layerwise-solver")
TRAINED = ("layerwise-training", "low-rank", "distillation", "full-training")
"""Kinds of recovery without and with training; merging belongs to neither."""
TRAINING = "training"
RETRAINING = (
    Term(
        "no",
        "no retraining",
        "No recovery, or one by a formula or a solver, and no training to calibrate.",
    ),
    Term("yes", "trains", "Trains masks, adapters or weights, to prune or to recover."),
)
COMMON = (
    ("granularity", "structured", "structured"),
    ("prunes", "experts", "experts"),
    ("retraining", "no", "no retraining"),
    ("code", "official", "official code"),
    ("licence", "permissive", "permissive licence"),
    ("code", "ours", "implemented here"),
)
"""Facet, value and label of the filters that have a button of their own."""
FRONT = Front(
    "catalog.md",
    "Catalog",
    "Papers on pruning large language models: filter, sort, share.",
    styles=("css/controls.css", "css/catalog.css"),
    scripts=("js/catalog.js",),
    sources=("catalog/papers", "catalog/vocabulary"),
    searched=False,
)


@dataclass(frozen=True)
class Choice:
    """One check box of a facet with the number of papers that match it."""

    name: str
    value: str
    label: str
    definition: str
    synonyms: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Facet:
    """A menu of choices in groups, of which only the models have more than one.

    A paper matches if it has one of the chosen values of each group.
    """

    name: str
    label: str
    groups: list[tuple[str, list[Choice]]]
    """Name and choices of each group."""

    @property
    def choices(self) -> list[Choice]:
        """The choices of all groups."""
        return [choice for _, choices in self.groups for choice in choices]


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    slug: str
    paper: Paper
    words: Mapping[str, list[str]]
    """The paper's values by facet."""
    repository: Code | None
    results: tuple[Answer | None, ...]
    """Result of the method at `SHARES` on the first board."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the catalog."""
    lines = list(_lines(atlas))
    found = list(_facets(lines))
    places = _places(found)
    yield (
        FRONT.path,
        render(
            "catalog",
            replace(FRONT, description=f"{atlas.counts.papers} {FRONT.description.lower()}"),
            atlas,
            lines=lines,
            facets=found,
            numbers=_numbers(lines, places),
            common=[
                (label, places[name, value])
                for name, value, label in COMMON
                if (name, value) in places
            ],
            keys=keys(atlas.papers),
            shares=SHARES,
            board=next(iter(atlas.boards), None),
            defined=LABELS,
        ),
    )


def _lines(atlas: Atlas) -> Iterator[Line]:
    """Make the rows, newest first: by year, date of the first public version, and name."""
    ranking = first_ranking(atlas)
    names = {slug: name.casefold() for slug, name in atlas.names.items()}
    by_name = sorted(atlas.papers, key=names.__getitem__)
    by_date = newest_first(by_name, atlas.papers)
    for slug in sorted(by_date, key=lambda slug: -(atlas.papers[slug].year or 0)):
        paper = atlas.papers[slug]
        results = tuple(ranking.answer(slug, share) if ranking else None for share in SHARES)
        words = {field: list(words_of(paper, field)) for field, _ in FACETS}
        words |= _facts(paper, atlas.methods.get(slug))
        words |= {_facet(share): [_range(one)] for share, one in zip(SHARES, results, strict=True)}
        yield Line(slug, paper, words, best_code(paper), results)


def _facts(paper: Paper, method: Method | None) -> dict[str, list[str]]:
    return {
        "retraining": list(_retraining(paper)),
        "kind": [paper.kind],
        "venue": [paper.venue or "preprint"] if paper.has_paper else [],
        "year": [str(paper.year)] if paper.year else [],
        "models": list(paper.models or ()),
        "family": sorted({family(model) for model in paper.models or ()}),
        "code": [code(paper), *([OURS] if method else [])],
        "licence": [group] if (best := best_code(paper)) and (group := licence_group(best)) else [],
        "works": [name for name, refusal in method.families.items() if not refusal]
        if method
        else [],
        "verified": ["in part" if paper.sources.unverified else "every fact"],
    }


def _retraining(paper: Paper) -> Iterator[str]:
    """Yield whether the method trains, if both recovery and calibration are known."""
    about = paper.taxonomy
    if not about or not about.recovery or about.calibration in (None, UNKNOWN):
        return
    if about.recovery in TRAINED or about.calibration == TRAINING:
        yield "yes"
    elif about.recovery in UNTRAINED:
        yield "no"


def _facet(share: str) -> str:
    """Return the name of the facet for the ratio to dense at a sparsity: `loss-20`."""
    return f"loss-{share}"


def _range(result: Answer | None) -> str:
    """Return the upper end of the range of a ratio, which names the range in the address."""
    if result is None or result.ratio is None:
        return UNMEASURED
    if result.row.collapsed:
        return "collapsed"
    return next((f"{step:g}" for step in STEPS if result.ratio <= step), "collapsed")


def _facets(lines: list[Line]) -> Iterator[Facet]:
    """Yield the facets with at least two values that occur."""
    for name, label, terms in _kinds(lines):
        choices = list(_choices(name, terms, lines))
        if len(choices) > 1:
            groups = list(_by_family(choices, lines)) if name == "models" else [("", choices)]
            yield Facet(name, label, groups)


def _choices(name: str, terms: Mapping[str, Term], lines: list[Line]) -> Iterator[Choice]:
    """Yield the values of a facet that occur, in the order of the terms, then alphabetically."""
    counts = Counter(value for line in lines for value in line.words[name])
    others = sorted(counts.keys() - terms.keys(), key=lambda value: (value.casefold(), value))
    for value in (*terms, *others):
        term = terms.get(value, Term(value, value, ""))
        if counts[value]:
            synonyms = (*[term.definition] * (name == "venue"), *term.synonyms)
            yield Choice(name, value, term.label, term.definition, synonyms, counts[value])


def _by_family(models: list[Choice], lines: list[Line]) -> Iterator[tuple[str, list[Choice]]]:
    """Group models by family, the family of most papers first.

    A family of several models starts with a choice that stands for all of them.
    """
    members = defaultdict(list)
    for model in models:
        members[family(model.value)].append(model)
    counts = Counter(name for line in lines for name in line.words["family"])
    for name in sorted(members, key=lambda name: (-counts[name], name.casefold())):
        about = ", ".join(model.label for model in members[name])
        whole = Choice("family", name, f"{name} (any)", about, (), counts[name])
        yield name, [whole] * (len(members[name]) > 1) + members[name]


def _kinds(lines: list[Line]) -> Iterator[tuple[str, str, Mapping[str, Term]]]:
    """Yield name and label of each facet, and the terms that order its values."""
    words = vocabulary()
    years = sorted({year for line in lines for year in line.words["year"]}, reverse=True)
    for field, label in FACETS:
        yield field, label, words[field].terms
        if field == "recovery":
            yield "retraining", "Retraining", {term.word: term for term in RETRAINING}
    tested = (value for line in lines for value in line.words["works"])
    yield "works", "Works with", _terms((value, "tested here") for value in tested)
    yield "models", "Models in the paper", words["models"].terms
    yield "code", "Code", _terms([*CODE.items(), (OURS, "implemented here")])
    yield "licence", "Licence of the code", {group.word: group for group in GROUPS}
    for share in SHARES:
        yield _facet(share), f"× dense at {share_label(share)}", _ranges()
    yield "kind", "Kind", words["kind"].terms
    yield "venue", "Venue", words["venues"].terms
    yield "year", "Year", _terms((year, "") for year in years)
    yield "verified", "Verified", _terms([("every fact", ""), ("in part", "some facts unverified")])


def _terms(pairs: Iterable[tuple[str, str]]) -> dict[str, Term]:
    return {value: Term(value, value, definition) for value, definition in pairs}


def _ranges() -> dict[str, Term]:
    """Return the ranges of ratios to dense, by their upper ends."""
    ends = [f"{step:g}" for step in STEPS]
    labels = [f"up to {ends[0]} × dense"]
    labels += [f"{low} to {high} ×" for low, high in pairwise(ends)]
    terms = {end: Term(end, label, "") for end, label in zip(ends, labels, strict=True)}
    terms["collapsed"] = Term("collapsed", "collapsed", f"over {ends[-1]} times dense perplexity")
    return terms | _terms([(UNMEASURED, "")])


def _places(facets: list[Facet]) -> dict[tuple[str, str], int]:
    """Number all choices in the order of the page; the keys are name and value."""
    every = [(choice.name, choice.value) for facet in facets for choice in facet.choices]
    return {choice: place for place, choice in enumerate(every)}


def _numbers(lines: list[Line], places: dict[tuple[str, str], int]) -> dict[str, str]:
    """Return the numbers of each paper's choices.

    Numbers instead of words halve the size of a page with a thousand rows.
    """
    return {
        line.slug: " ".join(
            f"{places[name, value]:x}"
            for name, values in line.words.items()
            for value in values
            if (name, value) in places
        )
        for line in lines
    }

"""Checks of claims: models, metrics, values, and how closely the paper was read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.paper import Claim, Setting
from tools.catalog.schema.vocabulary import Term, Words, vocabulary

ROUNDING = 0.005
"""Tolerance between a pattern and a share; papers round 3:7 to 57 %."""
SIZE = re.compile(r"(A?(\d+x)?\d+(\.\d+)?[MBT]|tiny|small|base|large|XL|XXL)(-[\w.]+)*")
TABLES_READ = ("tables", "paper")
"""Values of `sources.read` that include the tables of results."""
PARTS = {"ppl": "datasets", "acc": "datasets", "mean": "suites"}
"""Vocabulary of the second part of a metric."""


def claims(entry: Entry) -> Iterator[Problem]:
    """Check that share and pattern agree, terms are defined, and values are in range."""
    for index, claim in enumerate(entry.paper.claims or ()):
        loc = ("claims", index)
        yield from _share(entry, loc, claim)
        for slug, at in (claim.against_at or {}).items():
            if slug not in (claim.against or {}):
                message, advice = (
                    "has no value in `against`",
                    "add the value, or remove the setting",
                )
                yield entry.problem(*loc, "against_at", slug, message=message, advice=advice)
            yield from _share(entry, (*loc, "against_at", slug), at)
        yield from _model(entry, loc, claim)
        yield from _metric(entry, loc, claim)


def tables_read(entry: Entry) -> Iterator[Problem]:
    """Check that claims come from tables that were read, or from the abstract."""
    read = entry.paper.sources.read
    for index, claim in enumerate(entry.paper.claims or ()):
        if read not in TABLES_READ and not claim.where.lower().startswith("abstract"):
            message = f"is from {claim.where}, but only the {read} was read"
            if read is None:
                message = f"is from {claim.where}, but `sources.read` is missing"
            advice = "remove it, or write sources.read: tables if you read them"
            yield entry.problem("claims", index, message=message, advice=advice)


def _share(entry: Entry, loc: Loc, claim: Claim | Setting) -> Iterator[Problem]:
    kept, _, size = (claim.pattern or "0:1").partition(":")
    share = 1 - int(kept) / int(size)
    if share <= 0:
        message = f"{claim.pattern} removes nothing"
        advice = "write N:M, which keeps N of M"
        yield entry.problem(*loc, "pattern", message=message, advice=advice)
    elif claim.pattern and claim.sparsity and abs(claim.sparsity - share) > ROUNDING:
        message = f"{claim.sparsity} contradicts {claim.pattern}, which removes {share:.3g}"
        advice = "remove the one that the paper does not state"
        yield entry.problem(*loc, "sparsity", message=message, advice=advice)


def _model(entry: Entry, loc: Loc, claim: Claim) -> Iterator[Problem]:
    """Check that a model is a known family with a size: `OPT-175B`, `Mistral-7B-v0.1`."""
    words = vocabulary()["models"]
    families = [name for name in words.terms if _of(name, claim.model)]
    if families:
        return
    meant = words.suggest(re.sub(r"[-\s]\d+(\.\d+)?[MBT].*", "", claim.model))
    advice = f"did you mean {meant} with a size?" if meant else "write it as OPT-175B"
    message = f"'{claim.model}' is not a family of vocabulary/models.yaml with a size"
    yield entry.problem(*loc, "model", message=message, advice=advice)


def _of(family: str, model: str) -> bool:
    rest = model.removeprefix(family)
    return not rest or (rest != model and rest[0] == "-" and bool(SIZE.fullmatch(rest[1:])))


def _metric(entry: Entry, loc: Loc, claim: Claim) -> Iterator[Problem]:
    kind, _, rest = claim.metric.partition("/")
    metrics = vocabulary()["metrics"]
    if kind not in metrics.terms:
        message, advice = _undefined(kind, metrics, "metrics", "")
        yield entry.problem(*loc, "metric", message=message, advice=advice)
        return
    if kind in PARTS:
        part, words = rest.partition("/")[0], vocabulary()[PARTS[kind]]
        if part not in words.terms:
            message, advice = _undefined(part, words, PARTS[kind], f"{kind}/")
            yield entry.problem(*loc, "metric", message=message, advice=advice)
    yield from _range(entry, loc, claim, metrics.terms[kind])


def _undefined(part: str, words: Words, name: str, before: str) -> tuple[str, str]:
    meant = words.suggest(part) if part else None
    advice = f"did you mean {before}{meant}?" if meant else "define it there"
    return f"'{part}' is not a term of vocabulary/{name}.yaml", advice


def _range(entry: Entry, loc: Loc, claim: Claim, term: Term) -> Iterator[Problem]:
    """Find values that the metric cannot have."""
    given: dict[Loc, float | None] = {("value",): claim.value, ("dense",): claim.dense}
    given |= {("against", slug): value for slug, value in (claim.against or {}).items()}
    for place, value in given.items():
        low = term.low is not None and value is not None and value < term.low
        high = term.high is not None and value is not None and value > term.high
        if low or high:
            limit = f"below {term.low:g}" if low else f"above {term.high:g}"
            message = f"{value} is {limit}, which is impossible for {term.label}"
            advice = "correct the value or the metric"
            yield entry.problem(*loc, *place, message=message, advice=advice)


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (claims, tables_read)

"""Checks of claims: known models, data and quantities, values that can be, and who read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.paper import Claim
from tools.catalog.schema.vocabulary import Term, Words, vocabulary

ROUNDING = 0.005
"""Papers write 2:4 as 50 %, and 3:7 as 57 %."""
SIZE = re.compile(r"(A?(\d+x)?\d+(\.\d+)?[MBT]|tiny|small|base|large|XL|XXL)(-[\w.]+)*")
OF_TABLES = ("tables", "paper")
"""How deep a work was read whose numbers are known."""
PARTS = {"ppl": "datasets", "acc": "datasets", "mean": "suites"}
"""Where the second part of a metric is defined."""


def claims(entry: Entry) -> Iterator[Problem]:
    """A pattern and a share agree; models, data and suites are defined; values are in range."""
    for index, claim in enumerate(entry.paper.claims or ()):
        loc = ("claims", index)
        yield from _share(entry, loc, claim)
        yield from _model(entry, loc, claim)
        yield from _metric(entry, loc, claim)


def seen(entry: Entry) -> Iterator[Problem]:
    """Numbers come from tables that somebody saw, or from an abstract."""
    read = entry.paper.sources.read
    for index, claim in enumerate(entry.paper.claims or ()):
        if read not in OF_TABLES and not claim.where.lower().startswith("abstract"):
            message = f"is from {claim.where}, but only the {read} was read"
            if read is None:
                message = f"is from {claim.where}, but nothing says what was read"
            advice = "leave it out, or write sources.read: tables if they were seen"
            yield entry.problem("claims", index, message=message, advice=advice)


def _share(entry: Entry, loc: Loc, claim: Claim) -> Iterator[Problem]:
    kept, _, size = (claim.pattern or "0:1").partition(":")
    share = 1 - int(kept) / int(size)
    if share <= 0:
        message = f"{claim.pattern} removes nothing"
        advice = "write N:M, which keeps N of M"
        yield entry.problem(*loc, "pattern", message=message, advice=advice)
    elif claim.pattern and claim.sparsity and abs(claim.sparsity - share) > ROUNDING:
        message = f"{claim.sparsity} is not what {claim.pattern} removes, {share:.3g}"
        advice = "leave out the one that the paper does not state"
        yield entry.problem(*loc, "sparsity", message=message, advice=advice)


def _model(entry: Entry, loc: Loc, claim: Claim) -> Iterator[Problem]:
    """Find a model that is no family and size: `OPT-175B`, `Mistral-7B-v0.1`."""
    words = vocabulary()["models"]
    families = [name for name in words.terms if _of(name, claim.model)]
    if families:
        return
    meant = words.suggest(re.sub(r"[-\s]\d+(\.\d+)?[MBT].*", "", claim.model))
    advice = f"did you mean {meant} and a size?" if meant else "write family and size, as OPT-175B"
    message = f"'{claim.model}' is of no family of vocabulary/models.yaml"
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
    return f"'{part}' is no word of vocabulary/{name}.yaml", advice


def _range(entry: Entry, loc: Loc, claim: Claim, term: Term) -> Iterator[Problem]:
    """Find values that the quantity cannot have."""
    given: dict[Loc, float | None] = {("value",): claim.value, ("dense",): claim.dense}
    given |= {("against", slug): value for slug, value in (claim.against or {}).items()}
    for place, value in given.items():
        low = term.low is not None and value is not None and value < term.low
        high = term.high is not None and value is not None and value > term.high
        if low or high:
            where = f"below {term.low:g}" if low else f"above {term.high:g}"
            message = f"{value} is {where}, which {term.label} never is"
            yield entry.problem(*loc, *place, message=message, advice="correct it, or the metric")


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (claims, seen)

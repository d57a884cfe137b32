"""The canonical layout of an entry: order of fields, groups, quotes, line lengths."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from tools.catalog.documents.yaml_reader import EDITOR_LINE
from tools.catalog.entries.quoting import flow, key_of, scalar
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import (
    Claim,
    Code,
    Datasets,
    Ids,
    Links,
    Outside,
    Paper,
    Relations,
    Sources,
    Taxonomy,
)

SCHEMA = f"{EDITOR_LINE}$schema=../schema.json"
"""The first line of an entry and its only comment."""
WIDTH = 80

FOLDED = frozenset({"summary", "notes"})
LAST_OF_GROUP = frozenset(
    {"bibkey", "aliases", "code", "taxonomy", "datasets", "claims", "relations", "fidelity"}
)
"""Fields that are followed by a blank line."""
MODELS: Mapping[str, type[BaseModel]] = {
    "": Paper,
    "ids": Ids,
    "links": Links,
    "code": Code,
    "taxonomy": Taxonomy,
    "datasets": Datasets,
    "claims": Claim,
    "relations": Relations,
    "builds-on": Outside,
    "extends": Outside,
    "compares-with": Outside,
    "sources": Sources,
}
ORDER = {
    part: {field.alias or name: i for i, (name, field) in enumerate(model.model_fields.items())}
    for part, model in MODELS.items()
}
CANONICAL = {
    "arxiv": re.compile(
        rf"(?:(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf)/|arxiv:\s*)?"
        rf"({SCHEMES['arxiv'].form})(?:v\d+)?(?:\.pdf)?",
        re.ASCII | re.IGNORECASE,
    ),
    "doi": re.compile(
        rf"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/|doi:\s*)?({SCHEMES['doi'].form})",
        re.ASCII | re.IGNORECASE,
    ),
}


def canonical(data: Mapping[str, Any]) -> str:
    """Return fields, as texts, in the canonical layout, with spaces and identifiers corrected."""
    cleaned = _clean(data)
    lines = [SCHEMA]
    group = 0
    for name in _ordered(cleaned, ""):
        if name in ORDER[""]:
            group, before = _group(name), group
            lines += [""] * (group != before)
        lines += _field(name, cleaned[name], "")
    return "\n".join([*lines, ""])


def as_data(paper: Paper) -> dict[str, Any]:
    """Return the fields of an entry as plain data, without missing fields."""
    dumped = paper.model_dump(mode="json", by_alias=True, exclude_none=True)
    if words := dumped.get("taxonomy"):
        # The fields that only methods need are empty tuples in an analysis.
        dumped["taxonomy"] = {name: value for name, value in words.items() if value}
    return {name: value for name, value in dumped.items() if value != {}}


def _clean(value: Any, name: str = "") -> Any:
    """Correct spaces, composed characters and identifiers."""
    if isinstance(value, dict):
        return {key: _clean(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, name) for one in value]
    text = unicodedata.normalize("NFC", " ".join(value.split()))
    found = CANONICAL[name].fullmatch(text) if name in CANONICAL else None
    if not found:
        return text
    return found[1].lower() if name == "doi" else found[1]


def _group(name: str) -> int:
    """Return the number of the group of a field."""
    return sum(ORDER[""][last] < ORDER[""][name] for last in LAST_OF_GROUP)


def _ordered(names: Iterable[str], part: str) -> list[str]:
    """Sort the fields of a part of an entry, unknown ones last."""
    order = ORDER.get(part, {})
    return sorted(names, key=lambda name: order.get(name, len(order)))


def _field(name: str, value: Any, margin: str) -> Iterator[str]:
    key = f"{margin}{key_of(name)}:"
    if isinstance(value, Mapping):
        if not value or (name == "datasets" and len(f"{key} {flow(value)}") <= WIDTH):
            yield f"{key} {flow(value)}"
            return
        yield key
        for inner in _ordered(value, name):
            yield from _field(inner, value[inner], margin + "  ")
    elif isinstance(value, list | tuple):
        if all(isinstance(one, str) for one in value):
            texts = [scalar(one, name, flow=True) for one in value]
            yield from _filled(f"{key} [", texts, margin + "  ")
            return
        yield key
        for one in value:
            yield from _list_item(one, name, margin + "  ")
    elif name in FOLDED and value and value.isprintable():
        yield f"{key} >-"
        yield from _folded(value, margin + "  ")
    else:
        yield f"{key} {scalar(value, name)}"


def _list_item(value: Any, name: str, margin: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = {inner: value[inner] for inner in _ordered(value, name)}
    if name != "code" or not isinstance(value, Mapping) or not value:
        yield f"{margin}- {flow(value, name)}"
        return
    lines = [line for inner in value for line in _field(inner, value[inner], margin + "  ")]
    yield f"{margin}- {lines[0].strip()}"
    yield from lines[1:]


def _filled(opening: str, texts: list[str], margin: str) -> list[str]:
    """Wrap the items of a list, breaking lines only after commas."""
    whole = f"{opening}{', '.join(texts)}]"
    if len(whole) <= WIDTH or not texts:
        return [whole]
    lines = [opening + texts[0]]
    for text in texts[1:]:
        if len(lines[-1]) + len(text) + 3 > WIDTH:
            lines[-1] += ","
            lines.append(margin + text)
        else:
            lines[-1] += f", {text}"
    lines[-1] += "]"
    return lines


def _folded(text: str, margin: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""The entry of a paper from the facts of its sources, with TODO where a person must judge."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tools.adding.slugs import propose_name
from tools.catalog.documents.validation import TODO
from tools.catalog.documents.yaml_reader import field_path
from tools.catalog.entries.loader import Entry
from tools.sources.services.facts import Facts, Resolved

JUDGED: Mapping[str, Any] = {
    "kind": TODO,
    "tagline": TODO,
    "summary": TODO,
    "taxonomy": {"granularity": [TODO], "criterion": [TODO], "calibration": TODO},
}
"""Required fields that no source states."""


def new_entry(resolved: Resolved, today: str) -> dict[str, Any]:
    """Return the fields of a new entry."""
    data = deepcopy(dict(JUDGED)) | fields_of(resolved.facts)
    if name := propose_name(data.get("title", "")):
        data["name"] = name
    data["status"] = "published" if "venue" in data else "preprint"
    data["added"] = today
    sources = [resolved.origin.get(name, resolved.facts.source) for name, _ in resolved.facts]
    data["sources"] = {"checked": today, "read": TODO, "from": list(dict.fromkeys(sources))}
    if resolved.unverified:
        data["sources"]["unverified"] = list(resolved.unverified)
    return data


def fields_of(facts: Facts) -> dict[str, Any]:
    """Return the facts as the fields of an entry; the abstract is under copyright."""
    data: dict[str, Any] = {}
    for name, value in facts:
        *around, last = name.split(".")
        part = data
        for step in around:
            part = part.setdefault(step, {})
        if name == "code":  # the paper names it, so it is that of the authors
            part[last] = [{"url": url, "official": "true"} for url in value]
        elif name != "abstract":
            part[last] = list(value) if isinstance(value, tuple) else str(value)
    return data


def refreshed(entry: Entry, resolved: Resolved) -> dict[str, Any]:
    """Return the fields of an entry as the sources state them now.

    What no source states stays, and so does a value that only an unreliable source contradicts.
    """
    old = entry.document.data
    new = _merged(old, fields_of(resolved.facts), resolved.unverified)
    if "code" in old:  # sources list unofficial repositories, too
        new["code"] = old["code"]
    if "other_titles" in old:
        titles = dict.fromkeys([*old["other_titles"], *new.get("other_titles", ())])
        new["other_titles"] = [title for title in titles if title != new["title"]]
    if entry.paper.status == "preprint" and resolved.facts.venue:
        new["status"] = "published"
    return new


def _merged(
    old: Mapping[str, Any], new: Mapping[str, Any], unverified: tuple[str, ...], *around: str
) -> dict[str, Any]:
    merged = deepcopy(dict(old))
    for name, value in new.items():
        known = old.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            merged[name] = _merged(known, value, unverified, *around, name)
        elif known is None or field_path((*around, name)) not in unverified:
            merged[name] = value
    return merged

"""Validation of documents with pydantic; errors become problems with line, field and advice."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import Document, Loc, field_path

TYPE_PROBLEMS = {
    "string_type": ("is not a text", "write one text, in quotes if it contains a colon"),
    "tuple_type": ("is not a list", "write it as a list: [...]"),
    "dict_type": ("is not a mapping of fields", "write its fields indented below it"),
    "model_type": ("is not a mapping of fields", "write its fields indented below it"),
    "dataclass_type": ("is not a mapping of fields", "write its fields indented below it"),
    "too_short": ("is empty", "remove the field instead"),
    "string_too_short": ("is empty", "remove the field instead"),
    "int_type": ("is not a whole number", "write digits only"),
    "float_type": ("is not a number", "write it as 8.21"),
    "bool_type": ("is neither true nor false", "write true or false"),
}
TODO = "TODO"
"""A value that a person still has to write."""
EMPTY = frozenset({"too_short", "string_too_short"})
M = TypeVar("M", bound=BaseModel)


def validate(
    document: Document, model: type[M], name: str = "an entry"
) -> tuple[M | None, list[Problem]]:
    """Return the validated model, or None and the problems; `name` is used in messages."""
    if document.problems:
        return None, document.problems
    found = set(comments(document))
    todos = {field_path(loc): loc for loc in _places(document.data, TODO)}
    try:
        made = model.model_validate(document.data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            # Pydantic also reports a list as too short if all of its items are invalid.
            if details["type"] != "too_short" or not details["input"]:
                found.add(_problem(document, model, name, details))
    for path, loc in todos.items():
        advice = next((f"write: {p.message}, {p.advice}" for p in found if p.field == path), "")
        found = {problem for problem in found if problem.field != path}
        found.add(document.problem(loc, "is TODO", advice or "write it"))
    return (None, sorted(found)) if found else (made, [])


def _places(value: Any, text: str, *loc: str | int) -> Iterator[Loc]:
    """Yield the path of each text that equals `text`."""
    if isinstance(value, dict | list):
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in steps:
            yield from _places(inner, text, *loc, step)
    elif value == text:
        yield loc


def comments(document: Document) -> Iterator[Problem]:
    """Yield a problem for each comment, because pages and exports do not show comments."""
    for line, comment in document.comments.items():
        advice = "move it to a field, such as `notes`"
        yield Problem(document.path, line, "", f"contains a comment, '{comment}'", advice)


def _problem(
    document: Document, model: type[BaseModel], name: str, details: ErrorDetails
) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    loc = tuple(_present(document, details["loc"], absent=kind == "missing"))
    if kind == "missing":
        message = f"the field {loc[-1]} is missing"
        return document.problem(loc[:-1], message, _example(model, loc))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return document.problem(loc, f"is not a field of {name}", _siblings(model, loc))
    if "advice" in context:
        return document.problem(loc, details["msg"], str(context["advice"]))
    if kind == "string_too_long":
        most, has = context["max_length"], len(details["input"])
        return document.problem(loc, f"has {has:,} characters, more than {most:,}", "shorten it")
    if kind == "too_long":
        message = f"has {context['actual_length']} items, more than {context['max_length']}"
        return document.problem(loc, message)
    if kind in EMPTY and _required(model, loc):
        return document.problem(loc, "is empty", _example(model, loc))
    if kind in TYPE_PROBLEMS:
        return document.problem(loc, *TYPE_PROBLEMS[kind])
    written = f"'{details['input']}' is not"
    return document.problem(loc, details["msg"].replace("Input should be", written))


def _present(document: Document, loc: Loc, absent: bool) -> Iterator[str | int]:
    """Yield the steps of a path that exist in the document, without names added by Pydantic.

    With `absent`, the last step is kept although the field is missing.
    """
    value: Any = document.data
    for index, step in enumerate(loc):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        elif index < len(loc) - 1 or not absent:
            continue
        yield step


def _fields(model: Any, loc: Loc) -> Mapping[str, Any]:
    """Return the fields of the model that contains `loc`."""
    for step in loc[:-1]:
        field = _named(model).get(str(step))
        if field:  # otherwise the step is an index or a key
            model = next(_models(field.annotation), None)
    return _named(model)


def _named(model: Any) -> Mapping[str, Any]:
    fields = getattr(model, "__pydantic_fields__", {})
    return {field.alias or name: field for name, field in fields.items()}


def _models(annotation: Any) -> Iterator[Any]:
    """Yield the models in a type: `Many[Claim] | None` contains `Claim`."""
    if hasattr(annotation, "__pydantic_fields__"):
        yield annotation
    for inside in getattr(annotation, "__args__", ()):
        yield from _models(inside)


def _required(model: Any, loc: Loc) -> bool:
    field = _fields(model, loc).get(str(loc[-1]))
    return bool(field and field.is_required())


def _example(model: Any, loc: Loc) -> str:
    examples = _fields(model, loc)[str(loc[-1])].examples
    return f"add it, for example {loc[-1]}: {_flow(examples[0])}" if examples else "add it"


def _flow(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _siblings(model: Any, loc: Loc) -> str:
    names = list(_fields(model, loc))
    close = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(names)}"

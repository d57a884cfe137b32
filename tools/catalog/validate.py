"""From a document to a paper, or to problems that name line, field and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tools.catalog.paper import Paper
from tools.catalog.problems import Problem
from tools.catalog.reader import Document, Loc

SHAPES = {
    "string_type": ("is not a single text", "write text, in quotes if it holds a colon"),
    "tuple_type": ("is not a list", "write it as a list: [...]"),
    "model_type": ("is not a mapping of fields", "write its fields indented below it"),
    "model_attributes_type": ("is not a mapping of fields", "write its fields indented below it"),
    "too_short": ("is empty", "leave the field out instead"),
    "string_too_short": ("is empty", "leave the field out instead"),
    "int_type": ("is not a whole number", "write digits only"),
    "int_parsing": ("is not a whole number", "write digits only"),
    "float_type": ("is not a number", "write it as 8.21"),
    "float_parsing": ("is not a number", "write it as 8.21"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "bool_parsing": ("is neither true nor false", "write true or false"),
}


def validate(document: Document) -> tuple[Paper | None, list[Problem]]:
    """Make the paper of a document; with any problem there is none."""
    if document.problems:
        return None, document.problems
    try:
        return Paper.model_validate(document.data), []
    except ValidationError as error:
        found = [
            _problem(document, details)
            for details in error.errors(include_url=False)
            # A list whose items are all wrong is counted as empty as well.
            if details["type"] != "too_short" or not details["input"]
        ]
        return None, sorted(set(found))


def _problem(document: Document, details: ErrorDetails) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    loc = tuple(_present(document, details["loc"], absent=kind == "missing"))
    if kind == "missing":
        name = details["loc"][-1]
        message = f"the field {name} is missing"
        return document.problem(loc[:-1], message, _example(loc))
    if kind == "extra_forbidden":
        return document.problem(loc, "is not a field of an entry", _siblings(loc))
    if "advice" in context:
        return document.problem(loc, details["msg"], str(context["advice"]))
    if kind == "string_too_long":
        most, has = context["max_length"], len(details["input"])
        return document.problem(loc, f"has {has:,} characters, more than {most:,}", "shorten it")
    if kind in ("too_long", "greater_than_equal", "less_than_equal", "literal_error"):
        message = details["msg"].replace("Input should be", f"'{details['input']}' is not")
        if kind == "too_long":
            message = f"has {context['actual_length']} items, more than {context['max_length']}"
        return document.problem(loc, message, "")
    if kind in SHAPES:
        return document.problem(loc, *SHAPES[kind])
    return document.problem(loc, details["msg"])


def _present(document: Document, loc: Loc, absent: bool) -> Iterator[str | int]:
    """Follow a path through the document, leaving out the names Pydantic adds for alternatives.

    `absent` keeps the last step of a field that is not there.
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


def _fields(loc: Loc) -> dict[str, Any]:
    """Return the fields of the part of an entry that holds `loc`, with their examples."""
    model: Any = Paper
    for step in loc[:-1]:
        if isinstance(step, int):
            continue
        field = {f.alias or name: f for name, f in model.model_fields.items()}[step]
        model = next(_models(field.annotation), None)
        if model is None:
            return {}
    return {f.alias or name: f.examples for name, f in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Find the models inside a type: `Many[Claim] | None` holds `Claim`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in getattr(annotation, "__args__", ()):
        yield from _models(inside)


def _example(loc: Loc) -> str:
    examples = _fields(loc).get(str(loc[-1]))
    return f"add it, for example {loc[-1]}: {_flow(examples[0])}" if examples else "add it"


def _flow(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _siblings(loc: Loc) -> str:
    names = list(_fields(loc))
    close = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"fields here are {', '.join(names)}"

"""Reports of problems: text, JSON, and annotations of a pull request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tools.catalog.documents.diagnostics import Level, Problem

ANNOTATIONS = {Level.ERROR: "error", Level.WARNING: "warning", Level.HINT: "notice"}


def as_text(problems: Iterable[Problem]) -> list[str]:
    """Return one line per problem."""
    return [escape_unprintable(str(problem)) for problem in problems]


def as_json(problems: Iterable[Problem]) -> str:
    """Return a JSON list of objects with file, line, field, message, advice and level."""
    data = [
        {
            "file": problem.file.as_posix(),
            "line": problem.line,
            "field": problem.field,
            "message": problem.message,
            "advice": problem.advice,
            "level": problem.level,
        }
        for problem in problems
    ]
    return json.dumps(data, indent=1)


def as_annotations(problems: Iterable[Problem]) -> list[str]:
    """Return the workflow commands that make GitHub show problems in a pull request."""
    return [
        f"::{ANNOTATIONS[problem.level]} file={_escape(problem.file.as_posix(), ':,')},"
        f"line={problem.line},title={_escape(problem.field or 'entry', ':,')}::"
        + _escape("; ".join(filter(None, (problem.message, problem.advice))))
        for problem in problems
    ]


def _escape(text: str, more: str = "") -> str:
    shown = escape_unprintable(text)
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in shown)


def escape_unprintable(text: str) -> str:
    """Escape characters that a terminal would not show, such as `\\u200b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def summary(entries: int, problems: Sequence[Problem]) -> str:
    """Return one line with the number of entries and of problems per level."""
    count = Counter(problem.level for problem in problems)
    levels = [_counted(count[level], level.value) for level in Level if count[level]]
    checked = "1 entry" if entries == 1 else f"{entries} entries"
    return f"{checked} checked: {', '.join(levels) or 'no problems'}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)

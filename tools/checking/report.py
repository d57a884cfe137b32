"""Problems for a terminal, for programs, for a pull request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tools.catalog.documents.diagnostics import Level, Problem

ANNOTATIONS = {Level.ERROR: "error", Level.WARNING: "warning", Level.HINT: "notice"}


def as_text(problems: Iterable[Problem]) -> list[str]:
    """Return a line a problem; characters that would act on a terminal are spelt."""
    return [visible(str(problem)) for problem in problems]


def as_json(problems: Iterable[Problem]) -> str:
    """Return a list of objects with file, line, field, message, advice and level."""
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
    """Return the commands by which GitHub shows problems at the lines of a pull request."""
    return [
        f"::{ANNOTATIONS[problem.level]} file={_escape(problem.file.as_posix(), ':,')},"
        f"line={problem.line},title={_escape(problem.field or 'entry', ':,')}::"
        + _escape("; ".join(filter(None, (problem.message, problem.advice))))
        for problem in problems
    ]


def _escape(text: str, more: str = "") -> str:
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in visible(text))


def visible(text: str) -> str:
    """Spell characters that cannot be seen as `\\u200b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def summary(entries: int, problems: Sequence[Problem]) -> str:
    """Return one line: how many entries, and how many problems of each level."""
    count = Counter(problem.level for problem in problems)
    levels = [_counted(count[level], level.value) for level in Level if count[level]]
    checked = "1 entry" if entries == 1 else f"{entries} entries"
    return f"{checked} checked: {', '.join(levels) or 'nothing to mend'}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)

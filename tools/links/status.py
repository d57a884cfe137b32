"""The status of an address after it was asked for, and a file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from implementations.harness.results.files import whole
from implementations.harness.results.reading import parse_json, read_bytes


class State(StrEnum):
    """What is known of an address after it was asked for."""

    DEAD = "dead"
    """The server says that there is no such page."""
    MOVED = "moved"
    """The page is at another address for good."""
    UNREACHABLE = "unreachable"
    """No answer, or an error of the server; it may be back tomorrow."""
    BLOCKED = "blocked"
    """The server does not answer programs, so nothing is known of the page."""
    OK = "ok"


@dataclass(frozen=True)
class Result:
    """One address, what became of it, and when."""

    url: str
    state: State
    detail: str = ""
    """Why, in a few words; of a moved page its new address."""
    checked: str = ""
    """Time in UTC, ISO 8601."""


RESULT = TypeAdapter(Result)


class Store:
    """Results in a file, a line of JSON each, so that a check that was stopped goes on.

    Results older than `age` and such as may change soon are forgotten.
    """

    def __init__(self, path: Path, age: timedelta) -> None:
        self._path = path
        self.results = {result.url: result for result in _read(path) if _fresh(result, age)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write("".join(map(_line, self.results.values())).encode())

    def add(self, result: Result) -> None:
        """Keep a result, also if the program is killed right after."""
        self.results[result.url] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(result))


def _line(result: Result) -> str:
    return json.dumps(asdict(result)) + "\n"


def _read(path: Path) -> Iterable[Result]:
    kept = read_bytes(path) if path.exists() else b""
    for line in kept.decode(errors="replace").splitlines():
        try:
            yield RESULT.validate_python(parse_json(line, "it"))
        except ValueError:
            continue  # the line that was being written when the program was killed


def _fresh(result: Result, age: timedelta) -> bool:
    try:
        checked = datetime.fromisoformat(result.checked).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    lasting = result.state is not State.UNREACHABLE
    return lasting and datetime.now(UTC) - checked < age

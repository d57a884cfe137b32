"""Problems of files, with advice for their authors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """Severity of a problem; only errors fail a check."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True)
class Problem:
    """One problem: its place, a message, and how to fix it."""

    file: Path
    line: int
    """Line number, starting at 1."""
    field: str
    """Path of the field, such as `taxonomy.criterion[0]`; empty for the whole file."""
    message: str
    advice: str = ""
    level: Level = Level.ERROR

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        advice = f"; {self.advice}" if self.advice else ""
        level = "" if self.level is Level.ERROR else f"{self.level}: "
        return f"{self.file}:{self.line}: {level}{field}{self.message}{advice}"


class CatalogError(Exception):
    """Files of the catalog that cannot be used, with all their problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))

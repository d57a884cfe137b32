"""What is wrong with a file, said so that its author can mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How much a problem weighs: only an error fails a check."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong: where, what, and what to do about it."""

    file: Path
    line: int
    """Counted from 1."""
    field: str
    """Path of the field, such as `taxonomy.criterion[0]`; empty for the file as a whole."""
    message: str
    advice: str = ""
    level: Level = Level.ERROR

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        advice = f"; {self.advice}" if self.advice else ""
        level = "" if self.level is Level.ERROR else f"{self.level}: "
        return f"{self.file}:{self.line}: {level}{field}{self.message}{advice}"


class CatalogError(Exception):
    """Files of the catalog that cannot be used, with every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))

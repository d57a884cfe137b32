"""What a method folder says of its method: parameters, abilities, differences from the paper."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get, methods
from implementations.harness.results.record import IMPLEMENTATIONS

DIFFERENCES = re.compile(r"^## Differences from the paper\s*$(.*?)(?=^## |\Z)", re.M | re.S)


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter of a method."""

    name: str
    type: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Description:
    """A method, to read."""

    slug: str
    summary: str
    granularity: tuple[str, ...]
    calibration: str
    refuses: dict[str, str]
    parameters: tuple[Parameter, ...]
    differences: str

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data."""
        return asdict(self)


def describe(slug: str) -> Description:
    """Describe one method; raises `BadInput` with the nearest name when there is none."""
    method = get(slug)
    return Description(
        slug=slug,
        summary=inspect.cleandoc(method.__doc__ or ""),
        granularity=method.capabilities.granularity,
        calibration=method.capabilities.calibration,
        refuses=dict(method.capabilities.refuses),
        parameters=tuple(_parameters(method)),
        differences=differences(IMPLEMENTATIONS / slug / "README.md"),
    )


def describe_all() -> list[Description]:
    """Describe every method, in alphabetical order."""
    return [describe(slug) for slug in methods()]


def differences(readme: Path) -> str:
    """The section "Differences from the paper" of a method's page, empty where there is none."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    found = DIFFERENCES.search(text)
    return found.group(1).strip() if found else ""


def _parameters(method: type[Method]) -> list[Parameter]:
    defaults = method().model_dump(mode="json")
    return [
        Parameter(name, _type(field.annotation), defaults[name], field.description or "")
        for name, field in method.model_fields.items()
    ]


def _type(annotation: Any) -> str:
    """The annotation as one would say it: `float`, `2:4 or none`."""
    words = getattr(annotation, "__name__", None) or str(annotation)
    if "NM" in str(annotation):
        return "pattern or none"
    if "|" in str(annotation) or "Literal" in str(annotation):
        words = str(annotation).replace("typing.", "").replace("NoneType", "none")
    return words

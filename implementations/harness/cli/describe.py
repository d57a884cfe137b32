"""What a method folder says of its method: parameters, abilities, differences from the paper."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get
from implementations.harness.results.store import IMPLEMENTATIONS

if TYPE_CHECKING:
    from implementations.harness.prune.method import Method

DIFFERENCES = re.compile(r"^## Differences from the paper\s*$(.*?)(?=^## |\Z)", re.M | re.S)


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter of a method."""

    name: str
    type: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Overview:
    """What the list of methods shows of one."""

    slug: str
    summary: str
    granularity: tuple[str, ...]
    calibration: str


@dataclass(frozen=True)
class Description(Overview):
    """A method with its parameters."""

    refuses: dict[str, str]
    parameters: tuple[Parameter, ...]
    differences: str

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data."""
        return asdict(self)


def overview(slug: str) -> Overview:
    """Read from the source of a method what the list shows, without importing torch or the method.

    `granularity` and `calibration` must be literals in the class's `capabilities`.
    """
    source = (IMPLEMENTATIONS / slug / f"{slug}.py").read_text(encoding="utf-8")
    for cls in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            match node:
                case ast.Assign([ast.Name("capabilities")], ast.Call(keywords=keywords)):
                    values = {keyword.arg: keyword.value for keyword in keywords}
                    return Overview(
                        slug=slug,
                        summary=ast.get_docstring(cls) or "",
                        granularity=ast.literal_eval(values["granularity"]),
                        calibration=ast.literal_eval(values["calibration"]),
                    )
    raise BadInput(f"{slug}.py has no class with `capabilities = Capabilities(...)`; add it")


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

"""Descriptions of methods: capabilities, parameters, and differences from the paper."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from implementations.harness.errors import AtlasError, BadInput, in_short
from implementations.harness.results.store import IMPLEMENTATIONS

if TYPE_CHECKING:
    from implementations.harness.prune.method import Method

FORMULA = re.compile(r"\$([^$]+)\$")
DIFFERENCES = re.compile(r"^## Differences from the paper\s*$(.*?)(?=^## |\Z)", re.M | re.S)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method."""

    name: str
    type: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Overview:
    """A method in the list of methods."""

    slug: str
    summary: str
    granularity: tuple[str, ...]
    calibration: str


@dataclass(frozen=True)
class Description(Overview):
    """A method with its parameters and differences from the paper."""

    refuses: dict[str, str]
    parameters: tuple[Parameter, ...]
    differences: str
    source: str
    """Its own file, class or registered name if it is not part of the atlas, otherwise ''."""


def description_or_overview(slug: str) -> Overview:
    """Return the description of a method, or its overview, with the reason, if it is broken."""
    try:
        return describe(slug)
    except AtlasError:
        return overview(slug)


def overview(slug: str) -> Overview:
    """Return the overview of a method; those of the atlas are read without importing torch.

    There, `granularity` and `calibration` must be literals in the `capabilities` of the class;
    raises `BadInput` otherwise. A method of an installed package is imported. If that fails, the
    summary gives the reason.
    """
    file = IMPLEMENTATIONS / slug / f"{slug}.py"
    if not file.is_file():
        try:
            return describe(slug)
        except AtlasError as error:
            return Overview(slug, in_short(f"cannot be loaded: {error}"), (), "unknown")
    source = file.read_text(encoding="utf-8")
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
    raise BadInput(f"{slug}.py has no class with `capabilities = Capabilities(...)`; add one")


def describe(slug: str) -> Description:
    """Describe one method; raises `BadInput` with the closest name if it is unknown."""
    from implementations.harness.prune.registry import get_method  # imports torch

    method = get_method(slug)
    return Description(
        slug=method.slug(),
        summary=inspect.cleandoc(method.__doc__ or ""),
        granularity=method.capabilities.granularity,
        calibration=method.capabilities.calibration,
        refuses=dict(method.capabilities.refuses),
        parameters=tuple(_parameters(method)),
        differences="" if method.external else differences(IMPLEMENTATIONS / slug / "README.md"),
        source=method.external.source if method.external else "",
    )


def differences(readme: Path) -> str:
    """Return the section "Differences from the paper" of a README with plain formulas, or ''."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    section = DIFFERENCES.search(text)
    return FORMULA.sub(_plain, section.group(1).strip()) if section else ""


def _plain(formula: re.Match[str]) -> str:
    """Return a TeX formula as plain text."""
    from pylatexenc.latex2text import LatexNodes2Text

    known = formula[1].replace(r"\widehat", r"\hat").replace(r"\bmod", "mod")
    text: str = LatexNodes2Text().latex_to_text(known)
    return " ".join(text.split())


def _parameters(method: type[Method]) -> list[Parameter]:
    defaults = method().model_dump(mode="json")
    return [
        Parameter(name, _type(field.annotation), defaults[name], field.description or "")
        for name, field in method.model_fields.items()
    ]


def _type(annotation: Any) -> str:
    """Return a readable type, such as `float` or `pattern or none`."""
    name = getattr(annotation, "__name__", None) or str(annotation)
    if "NM" in str(annotation):
        return "pattern or none"
    if "|" in str(annotation) or "Literal" in str(annotation):
        name = str(annotation).replace("typing.", "").replace("NoneType", "none")
    return name

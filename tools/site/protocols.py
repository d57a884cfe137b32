"""The named protocols, read from the harness's source without importing it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from implementations.harness.record import Record
from tools.site.atlas import REPOSITORY
from tools.site.code import HARNESS

FILE = HARNESS / "protocol.py"


def protocols(root: Path = REPOSITORY) -> list[Any]:
    """List the named protocols as records hold them, defaults filled in.

    Raises:
        ValueError: the file says them in another way than by calls with literal arguments.
    """
    model: Any = Record.model_fields["protocol"].annotation
    tree = ast.parse((root / FILE).read_text(encoding="utf-8"))
    return [model.model_validate_json(json.dumps(_plain(call))) for call in _calls(tree)]


def _calls(tree: ast.Module) -> list[ast.Call]:
    """Find the calls that make the protocols, in order."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROTOCOLS":
            found = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            return [call for call in found if ast.unparse(call.func) == "Protocol"]
    raise ValueError(f"{FILE} defines no PROTOCOLS")


def _plain(node: ast.expr) -> Any:
    """Turn nested calls with literal arguments into nested objects."""
    if isinstance(node, ast.Call):
        return {str(keyword.arg): _plain(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Tuple):
        return [_plain(part) for part in node.elts]
    return ast.literal_eval(node)

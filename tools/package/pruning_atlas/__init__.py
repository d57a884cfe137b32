"""Pruning methods for large language models: load a model, prune it, measure it, save it.

The public names are listed in `__init__.pyi` and loaded on first use, so that
`import pruning_atlas` imports neither torch nor transformers.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


def _modules() -> dict[str, str]:
    """Read from the stub which module each name comes from."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    modules: dict[str, str] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            if names == ["*"]:
                names = import_module(node.module).__all__
            modules |= dict.fromkeys(names, node.module)
    return modules


_MODULES = _modules()

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a name on first use."""
    if name == "__version__":
        return version("pruning-atlas")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return [*__all__, "__version__"]

"""Find the class of a method by name: a folder of the atlas, a file, or an installed package."""

from __future__ import annotations

import copyreg
import importlib
import importlib.util
import inspect
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from implementations.harness.errors import BadInput, in_short
from implementations.harness.prune.method import Capabilities, Method
from implementations.harness.results.external import (
    check_name,
    file_of,
    installed_methods,
    parse_reference,
    slug_of,
)
from implementations.harness.results.files import file_sha256, short_path, user_path
from implementations.harness.results.record import External
from implementations.harness.results.store import methods


def get_method(name: str) -> type[Method]:
    """Return the class of a method of the atlas or of your own (see `results.external`).

    Raises:
        BadInput: there is no such method (the message suggests a similar name), its file cannot be
            imported, or it does not define one method.
    """
    check_name(name)
    if name in methods():
        return _only_method(importlib.import_module(f"implementations.{name}"), name)
    reference = parse_reference(name) or parse_reference(installed_methods()[name])
    if reference is None:
        raise BadInput(f"{name} is registered without a class; register it as `module:Class`")
    if not reference.file:
        return _external(_module(reference.module, name), reference.class_name, name)
    path = user_path(reference.file, "METHOD").resolve()
    return _external(_module_of_file(path, file_sha256(path)), reference.class_name, name)


def restored(origin: External, parameters: dict[str, Any]) -> Method:
    """Configure a method again in another process; raises `BadInput` if its file changed."""
    method = get_method(origin.source)
    if method.external is None or method.external.sha256 != origin.sha256:
        raise BadInput(f"{origin.source} changed while it was used; start again")
    return method.configure(**parameters)


def _external(module: ModuleType, class_name: str, name: str) -> type[Method]:
    """Select the class and remember where it comes from."""
    if class_name:
        method = getattr(module, class_name, None)
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise BadInput(f"{name}: {in_short(class_name, 100)} is not a subclass of `Method`")
    else:
        method = _only_method(module, name)
    source = inspect.getsourcefile(method)
    if method.__module__.startswith("implementations.") or source is None:
        raise BadInput(f"{name} is a method of the atlas; use {method.slug()}")
    if method.external is None or method.external.source != name:
        if not isinstance(getattr(method, "capabilities", None), Capabilities):
            raise BadInput(
                f"{name}: {method.__name__} has no `capabilities`; add `capabilities = "
                'Capabilities(granularity=("unstructured",), calibration="forward")`'
            )
        for field, details in method.model_fields.items():
            if details.is_required():
                raise BadInput(f"{name}: the field `{field}` has no default; give it one")
        method.known_as = slug_of(name)
        method.external = file_of(source, name)
        copyreg.pickle(method, _reduced)  # its module may not be importable in another process
    return method


def _reduced(method: Method) -> tuple[Any, ...]:
    # Only given fields, because a default sparsity would contradict a pattern.
    return restored, (method.external, method.model_dump(mode="json", exclude_unset=True))


def _only_method(module: ModuleType, name: str) -> type[Method]:
    """Return the only concrete method that the module defines, or its package exports."""
    own = module.__name__
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and (value.__module__ == own or value.__module__.startswith(f"{own}."))
        and not inspect.isabstract(value)
    ]
    if len(classes) != 1:
        names = ", ".join(one.__name__ for one in classes)
        hint = f"name one, as in {name}:{classes[0].__name__}" if classes else "define `prune`"
        raise BadInput(
            f"{name} must define one subclass of `Method`, `WeightMethod` or `UnitMethod` with a "
            f"`prune`, got {names or 'none'}; {hint}"
        )
    return classes[0]


def _module(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise BadInput(f"{name} cannot be imported: {_cause(error)}") from error


@cache  # so that every run of a sweep gets the same class
def _module_of_file(path: Path, sha256: str) -> ModuleType:
    """Import a file like a script: files beside it can be imported, too."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"method_{path.stem}_{sha256[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks up the annotations there
    try:
        # Not by the loader: its bytecode cache misses a change within one second that keeps the
        # size of the file, and then the old code would run.
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise BadInput(f"{short_path(path)} cannot be loaded: {_cause(error, path)}") from error
    return module


def _cause(error: Exception, path: Path | None = None) -> str:
    """Return the error in one line, with the line of the file `path` that raised it."""
    text = in_short(f"{type(error).__name__}: {error}")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if path and frame.filename == str(path)]
    return f"{text} (line {lines[-1]})" if lines else text

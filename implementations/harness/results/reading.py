"""Safe reading of untrusted JSON and YAML files.

A file must be regular, of limited size and in UTF-8. JSON and YAML must not repeat a key or nest
deeper than `DEEPEST` levels, and YAML must not contain aliases or object tags.
"""

from __future__ import annotations

import errno
import json
import math
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from implementations.harness.errors import BadInput

LARGEST = 10_000_000
"""Maximum file size in bytes; a record has about ten thousand."""
DEEPEST = 32
"""Maximum nesting of lists and mappings; a record needs five."""


def read_text(path: Path, largest: int = LARGEST) -> str:
    """Return the text of a file of at most `largest` bytes.

    Raises:
        BadInput: the file is missing, unreadable, too large, not UTF-8 or not a regular file (a
            pipe would block).
    """
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 (byte {error.start}): convert it to UTF-8") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return the bytes of a regular file of at most `largest` bytes; raises `OSError` otherwise."""
    try:
        about = path.stat()
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error)) from error
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, f"it is {kind}")
    if about.st_size > largest:
        raise OSError(errno.EFBIG, f"it has {about.st_size:,} bytes, more than {largest:,}")
    return path.read_bytes()


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """Read a JSON file; raises `BadInput` as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, largest), str(path))


def parse_json(text: str, what: str) -> Any:
    """Parse a JSON text; `what` names it in messages.

    Raises:
        BadInput: the text is not valid JSON, repeats a key, contains NaN, infinity or a lone
            surrogate, or is nested too deeply.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=_finite_float,
            parse_constant=_refuse_constant,
        )
        if "\\ud" in text.lower():  # a lone surrogate cannot be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"{what} is damaged: {error}") from error
    if _depth(value) > DEEPEST:
        raise BadInput(f"{what} is nested too deeply: at most {DEEPEST} levels are allowed")
    return value


def read_yaml(path: Path, largest: int = LARGEST) -> Any:
    """Read a YAML file; raises `BadInput` as `read_text` and `parse_yaml` do."""
    return parse_yaml(read_text(path, largest), str(path))


def parse_yaml(text: str, what: str) -> Any:
    """Parse a YAML text; `what` names it in messages.

    Raises:
        BadInput: the text is not valid YAML, contains an alias, an object tag, a repeated key or a
            key that is not text, or is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # derives from the safe loader, never runs code
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise BadInput(f"{what}{line}: {problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date
        first = str(error).partition("\n")[0]
        raise BadInput(f"{what} is not valid YAML: {first}") from error


class _Loader(yaml.SafeLoader):
    """Safe loader that also refuses aliases, which can expand without bound, and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases."""
        if self.check_event(yaml.AliasEvent):
            self._refuse(self.peek_event(), "uses an alias; repeat the value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a repeated key and a key that is not text."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                self._refuse(key, "has a key that is not text; put it in quotes")
            if key.value in seen:
                self._refuse(key, f"gives {key.value!r} twice; keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _refuse(self, place: Any, message: str) -> None:
        raise yaml.MarkedYAMLError(problem=message, problem_mark=place.start_mark)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it gives {repeated!r} twice")
    return unique


def _finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:60]} is too large")
    return number


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a finite number")


def _depth(value: Any) -> int:
    """Count the nesting levels of a value, iteratively so that deep nesting cannot overflow."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level]
        level = [item for v in inner if isinstance(v, list) for item in v]
    return depth

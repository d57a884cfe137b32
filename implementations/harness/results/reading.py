"""Files of others: what they hold becomes plain checked values here, or one `BadInput`.

Nothing is believed before it is looked at: a file is a regular one of a known largest size, in
UTF-8, and neither JSON nor YAML in it is nested without end or repeats a key.
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
"""Bytes of the largest file that is read for its fields; a record has some ten thousand."""
DEEPEST = 32
"""Lists and mappings inside one another; a record needs five."""


def read_text(path: Path, largest: int = LARGEST) -> str:
    """Return the text of a file of at most `largest` bytes.

    Raises:
        BadInput: it is missing, no regular file (a pipe would be waited for), cannot be read, is
            larger, or not UTF-8.
    """
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 (byte {error.start}): convert it first") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return what a file holds; raises `OSError`, in words, where `read_text` cannot read it."""
    try:
        about = path.stat()
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error)) from error
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
        raise OSError(errno.EINVAL, f"it is {kind}")
    if about.st_size > largest:
        raise OSError(errno.EFBIG, f"it has {about.st_size:,} bytes, more than {largest:,}")
    return path.read_bytes()


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """Return what a JSON file holds; raises `BadInput` as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, largest), str(path))


def parse_json(text: str, what: str) -> Any:
    """Return what a JSON text holds; `what` names it in messages.

    Raises:
        BadInput: not JSON, a key twice, NaN or infinity, half a character, or nested too deeply.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_number
        )
        if "\\ud" in text.lower():  # half of a pair cannot be written anywhere
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"{what} is damaged: {error}") from error
    if _depth(value) > DEEPEST:
        raise BadInput(f"{what} is nested too deeply: {DEEPEST} levels at most")
    return value


def read_yaml(path: Path, largest: int = LARGEST) -> Any:
    """Return what a YAML file holds; raises `BadInput` as `read_text` and `parse_yaml` do."""
    return parse_yaml(read_text(path, largest), str(path))


def parse_yaml(text: str, what: str) -> Any:
    """Return what a YAML text holds; `what` names it in messages.

    Raises:
        BadInput: not YAML, an alias, the tag of an object, a key twice or one that is not text,
            or nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a safe loader, which never runs code
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise BadInput(f"{what}{line}: {problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: the 31st of February
        first = str(error).partition("\n")[0]
        raise BadInput(f"{what} is not valid YAML: {first}") from error


class _Loader(yaml.SafeLoader):
    """The safe loader, without aliases, which let a small file grow, and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases."""
        if self.check_event(yaml.AliasEvent):
            self._refuse(self.peek_event(), "uses an alias; repeat the value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice, or is not text."""
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it gives {twice!r} twice")
    return made


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:60]} is beyond all numbers")
    return number


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _depth(value: Any) -> int:
    """Count the levels of a value, without recursion of our own."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level]
        level = [item for v in inner if isinstance(v, list) for item in v]
    return depth

"""Strict reading of untrusted files: parsers of JSON and YAML, and the types of their fields.

A file must be regular, of limited size and in UTF-8. JSON and YAML must not repeat a key or nest
deeper than `DEEPEST` levels, and YAML must not contain aliases or object tags. Fields that become
part of a path consist of safe characters, fields shown on one line have no control characters, and
every text and number has a maximum size.
"""

from __future__ import annotations

import errno
import json
import math
import stat
import unicodedata
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

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


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `BadInput` as `read_text` and `parse_json` do."""
    return parse_json(read_text(path), str(path))


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
    _check_depth(value, what)
    return value


def read_yaml(path: Path) -> Any:
    """Read a YAML file; raises `BadInput` as `read_text` and `parse_yaml` do."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, what: str) -> Any:
    """Parse a YAML text; `what` names it in messages.

    Raises:
        BadInput: the text is not valid YAML, contains an alias, an object tag, a repeated key or a
            key that is not text, or is nested too deeply.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # derives from the safe loader, never runs code
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise BadInput(f"{what}{line}: {problem}") from error
    # A value that does not fit its tag, such as `!!bool maybe`, raises various errors.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise BadInput(f"{what} is not valid YAML: {first}") from error
    _check_depth(value, what)
    return value


def _check_depth(value: Any, what: str) -> None:
    if _depth(value) > DEEPEST:
        raise BadInput(f"{what} is nested too deeply: at most {DEEPEST} levels are allowed")


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


# Leaves room in 255 bytes for the start of a key, `.json` and the suffix of a temporary file.
LONGEST_NAME = 200
NAMELESS = "model"  # replaces a model name that has no allowed character
UNPRINTABLE = ("Cc", "Cf", "Zl", "Zp")  # control characters, bidirectional marks, line separators
NONCHARACTERS = "\ufffe\uffff"  # invalid in XML, and therefore in SVG
_PRINTABLE = r"[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\uFFFE\uFFFF]"  # excludes both
LARGEST_INTEGER = 2**63 - 1

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=64)]
"""Name of a method, which is also the name of its folder and package."""
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9._-]*$", max_length=LONGEST_NAME)]
Line = Annotated[str, Field(pattern=rf"^{_PRINTABLE}+$", max_length=300)]
"""A name, label or version that is shown on one line."""
Place = Annotated[str, Field(pattern=rf"^{_PRINTABLE}+$", max_length=4096)]
"""Name of a text, or a path."""
Text = Annotated[str, Field(max_length=1_000_000)]
Given = Annotated[str, Field(min_length=1)]
"""A non-empty setting; an empty one must not silently select the default."""
ValueName = Annotated[str, Field(pattern=rf"^[A-Za-z]{_PRINTABLE}*/{_PRINTABLE}+$", max_length=400)]
"""Name of a value: metric, slash, text or task."""
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
"""A hash or a git commit."""
RunName = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]

Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Few = Annotated[int, Field(ge=1, le=10_000_000)]
"""Number of samples, tokens, windows or repeats."""
Seed = Count
"""A seed that every torch generator accepts."""
Command = Annotated[str, Field(pattern=r"^atlas run ", max_length=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


def _in_order(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] >= span[1]:
        raise ValueError("the span ends before it starts")
    return span


Span = Annotated[tuple[Count, Count], AfterValidator(_in_order)]
"""Start and exclusive end."""


def one_line(text: str, instead: str = "unknown") -> str:
    """Reduce `text` to a valid `Line`; return `instead` if nothing remains."""
    printable = "".join(
        c for c in text if unicodedata.category(c) not in UNPRINTABLE and c not in NONCHARACTERS
    )
    return printable[:300].strip() or instead


def _check_numbers(value: JsonValue) -> JsonValue:
    """Raise `ValueError` for a number that is not finite or needs more than 64 bits."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item)
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError("the integer has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


Plain = Annotated[JsonValue, AfterValidator(_check_numbers)]
"""Any JSON value with finite numbers."""


MAX_PROBLEMS = 10
MAX_FIELD_NAME = 60


class StrictModel(BaseModel):
    """Frozen, strictly typed model that rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def validation_problems(error: ValidationError) -> str:
    """Return the first validation errors on one line, as `field: message` joined by semicolons."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [
        ".".join(map(_field, problem["loc"]))
        + ": " * bool(problem["loc"])
        + problem["msg"].removeprefix("Value error, ")
        for problem in errors[:MAX_PROBLEMS]
    ]
    if len(errors) > MAX_PROBLEMS:
        messages.append(f"and {len(errors) - MAX_PROBLEMS:,} more")
    return "; ".join(messages)


def _field(name: int | str) -> str:
    """Make a field name printable; unknown fields have any name that the file gives them."""
    text = str(name)
    return (text if text.isprintable() else ascii(text))[:MAX_FIELD_NAME]

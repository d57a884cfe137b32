"""YAML values: plain if every reader parses them correctly, quoted otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

QUOTED = frozenset({"arxiv", "volume", "number", "commit", "pattern"})
"""Fields that are always quoted, so that all entries look the same."""
BARE = {
    **dict.fromkeys(("year", "sparsity", "value", "dense"), re.compile(r"-?\d+(\.\d+)?")),
    **dict.fromkeys(("official", "withdrawn", "no_code"), re.compile(r"true|false")),
    **dict.fromkeys(
        ("submitted", "published", "added", "last_commit", "checked"),
        re.compile(r"\d{4}-\d\d-\d\d"),
    ),
}
"""Fields with a number, flag or date, and the values that are written without quotes."""

# Plain scalars that readers of YAML 1.1 or 1.2 do not parse as text.
SPECIAL = re.compile(
    r"""~ | null | y | n | yes | no | on | off | true | false | << | =
    | [-+]? ( 0b[01_]+ | 0o?[0-7_]+ | 0x[\da-f_]+ | \.inf | \.nan )
    | [-+]? [\d_.]+ (e[-+]?\d+)?
    | [-+]? \d[\d_]* (:[0-5]?\d)+ (\.[\d_]*)?
    | \d{4}-\d\d?-\d\d? ([t\ ].*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# Texts that are not valid as a plain scalar.
BREAKS = re.compile(r"""[-?:,\[\]{}#&*!|>'"%@`] | .*(:\ |\ \#|:$)""", re.VERBOSE)
FLOW_BREAKS = re.compile(r"[^,\[\]{}?]*[,\[\]{}?]")


def flow(value: Any, name: str = "") -> str:
    """Format the value of the field `name` on one line, in brackets if it is a list or mapping."""
    if isinstance(value, Mapping):
        named = {key: "value" if name == "against" else key for key in value}
        inside = (f"{key_of(key)}: {flow(value[key], named[key])}" for key in value)
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(flow(one, name) for one in value)}]"
    return scalar(value, name, flow=True)


@cache
def key_of(name: str) -> str:
    """Format the name of a field."""
    return scalar(name, flow=True)


def scalar(text: str, name: str = "", *, flow: bool = False) -> str:
    """Format a text; inside brackets (`flow`) more texts need quotes."""
    if name in BARE and BARE[name].fullmatch(text):
        return text
    return text if name not in QUOTED and _plain(text, flow) else _quote(text)


def _plain(text: str, flow: bool) -> bool:
    return (
        text.isprintable()
        and text == text.strip()
        and not SPECIAL.fullmatch(text)
        and not BREAKS.match(text)
        and not (flow and FLOW_BREAKS.match(text))
        and text != ""
    )


def _quote(text: str) -> str:
    plain = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{plain}"' if text.isprintable() else f'"{"".join(map(_escape, plain))}"'


def _escape(character: str) -> str:
    return character if character.isprintable() else f"\\U{ord(character):08X}"

"""Quoting of YAML values."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tools.catalog.entries.quoting import scalar
from tools.catalog.schema.field_types import text_problems

TRAPS = r"""
yes no on off y n true null ~ ~a 0123 0o17 0x1F 0b11 1:30 1:30:59.5 2301.10 1_000 1e5 1e+5 .inf
-.INF .nan + - -- --- ... . = << 2026-11-25 2023-01 2023 1,000 +1 ? : ! !x & * @ % | > # #x a# a:b
:x x: ?x 0? 'x "x" \ x\n {x} [x] x,y a|b 🐙 é 中文字 ﷽ ½
"""
PHRASES = (
    *("a: b", "a #b", "- a", "? a", "a, b", "a: b # c", 'it\'s "so"', "2:4 and 4:8"),
    *(
        "100 % of 7B",
        "Résumé: naïve — “quotes”",
        "2026-11-25 10:00:00",
        "x" * 110,
        "中文 标题：剪枝",
    ),
)
TEXTS = st.lists(
    st.sampled_from([*TRAPS.split(), *PHRASES])
    | st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20),
    min_size=1,
    max_size=5,
).map(lambda words: unicodedata.normalize("NFC", " ".join(" ".join(words).split())))
TEXTS = TEXTS.filter(lambda text: text and not any(text_problems(text)))


@given(TEXTS, st.booleans())
def test_all_yaml_readers_agree_on_any_text(text: str, inside: bool) -> None:
    written = scalar(text, flow=inside)
    entry = f"{{a: [{written}, {written}], b: {written}}}" if inside else f"a: {written}\n"
    expected: Any = {"a": [text, text], "b": text} if inside else {"a": text}
    assert yaml.safe_load(entry) == expected
    assert YAML(typ="safe", pure=True).load(entry) == expected


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("arxiv", "2301.00774", '"2301.00774"'),
        ("arxiv", "cs/0601001", '"cs/0601001"'),
        ("volume", "202", '"202"'),
        ("commit", "147d215", '"147d215"'),
        ("pattern", "2:4", '"2:4"'),
        ("year", "2023", "2023"),
        ("value", "8.30", "8.30"),
        ("value", "43000", "43000"),
        ("official", "true", "true"),
        ("added", "2026-11-25", "2026-11-25"),
        ("submitted", "2023-01", "2023-01"),
        ("submitted", "2023", '"2023"'),
        ("pages", "10323-10337", "10323-10337"),
        ("pages", "17", '"17"'),
        ("title", "Movement Pruning", "Movement Pruning"),
        ("title", "SparseGPT: One-Shot", '"SparseGPT: One-Shot"'),
        ("title", 'The "Lottery"', 'The "Lottery"'),
        ("title", "a\u200bb", '"a\\U0000200Bb"'),
    ],
)
def test_quotes_only_when_needed(name: str, value: Any, written: str) -> None:
    assert scalar(value, name) == written

"""Strategies for texts that are valid in an entry, including those that are difficult in YAML."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

from tools.catalog.schema.field_types import text_problems

TRAPS = r"""
yes no on off y n true null ~ ~a 0123 0o17 0x1F 0b11 1:30 1:30:59.5 2301.10 1_000 1e5 1e+5 .inf
-.INF .nan + - -- --- ... . = << 2026-11-25 2023-01 2023 1,000 +1 ? : ! !x & * @ % | > # #x a# a:b
:x x: ?x 0? 'x "x" \ x\n {x} [x] x,y a|b 🐙 é 中文字 ﷽ ½
"""
EVIL = TRAPS.split()
PHRASES = (
    "a: b", "a #b", "- a", "? a", "a, b", "a: b # c", "it's \"so\"", "Résumé: naïve — “quotes”",
    "2026-11-25 10:00:00", "2:4 and 4:8", "100 % of 7B", "x" * 110, "中文 标题：剪枝", "é" * 60,
)  # fmt: skip
UNSEEN = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")


def texts(longest: int) -> st.SearchStrategy[str]:
    """Any text up to the maximum length."""
    free = st.text(st.characters(exclude_categories=UNSEEN), min_size=1, max_size=20)
    words = st.lists(st.sampled_from([*EVIL, *PHRASES]) | free, min_size=2, max_size=longest // 50)
    return acceptable(
        st.one_of(st.sampled_from(EVIL), st.sampled_from(PHRASES), free, words.map(" ".join)),
        longest,
    )


def acceptable(any_text: st.SearchStrategy[str], longest: int) -> st.SearchStrategy[str]:
    """Turn any text into a valid one."""
    return any_text.map(
        lambda text: " ".join(unicodedata.normalize("NFC", text).split())[:longest].strip()
    ).filter(lambda text: text and not any(text_problems(text)))

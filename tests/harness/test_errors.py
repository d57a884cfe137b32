"""Escaping of untrusted text for terminals and spreadsheets."""

from __future__ import annotations

import json

import pytest

from implementations.harness.errors import csv_cell, escape, escape_json


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain, naïve, 漢字 \u3000\xa0 😀", "plain, naïve, 漢字 \u3000\xa0 😀"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("zero\u200bwidth \ufeff", r"zero\u200bwidth \ufeff"),
        ("a\nb\r\tc\x7f", r"a\nb\r\tc\x7f"),
        ("half \udcff", r"half \udcff"),
        ("two\u2028lines\u2029", r"two\u2028lines\u2029"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_escape_unprintable_characters(text, escaped):
    assert escape(text) == escaped


def test_escape_keeps_newlines_and_tabs_on_request():
    assert escape("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_escaped_json_has_the_same_value_and_fits_the_encoding(encoding):
    value = {"a\x7f\x9b\u202e": ["é漢😀", "\udcff\U000e0041", "\x1b\n", 1.5, None]}
    escaped = escape_json(json.dumps(value, ensure_ascii=False, indent=2), encoding)
    assert json.loads(escaped) == value
    assert all(c == "\n" or c.isprintable() for c in escaped.encode(encoding).decode(encoding))
    assert ("漢" in escaped) == (encoding == "utf-8")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("wanda", "wanda"),
        ("-0.5", "-0.5"),
        ("+1e-9", "+1e-9"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("\t=1", r"\t=1"),
        ("a\n=1", r"a\n=1"),
    ],
)
def test_csv_cell_is_never_a_formula(text, escaped):
    assert csv_cell(text) == escaped

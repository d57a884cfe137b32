"""Any bytes in a JSON or YAML file are read or rejected."""

import json
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import DEEPEST, read_json, read_text, read_yaml
from tests.fuzz.foreign import fuzz, value_or_refusal

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
LETTERS = st.text(alphabet="{}[]:,&*!|>-'\"#%@ \n\tab1.~?=<\\ud8\x00\x1b")
READERS = pytest.mark.parametrize("read", [read_json, read_yaml])


@READERS
@fuzz
@given(content=st.binary() | LETTERS.map(str.encode) | PLAIN.map(lambda v: json.dumps(v).encode()))
def test_any_bytes(tmp_path, read, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    value_or_refusal(lambda: read(path), BadInput)


@fuzz
@given(content=PLAIN)
def test_plain_values_round_trip(tmp_path, content):
    path = tmp_path / "plain"
    path.write_text(json.dumps(content))
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(BadInput, match="damaged"):
            read_json(path)
    else:
        assert read_json(path) == content


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_json, '{"a": 1, "a": 2}', "'a' twice"),
        (read_json, "[NaN]", "NaN is not a finite number"),
        (read_json, "[-1e999]", "the number -1e999 is too large"),
        (read_json, r'["\ud800"]', "damaged"),
        (read_json, "[" * 100_000, "nested too deeply"),
        (read_json, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested too deeply"),
        (read_yaml, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested too deeply"),
        (read_json, "[1", "damaged"),
        (read_json, "9" * 5000, "damaged"),
        (read_yaml, "a: 1\nb: 2\na: 3", "line 3: gives 'a' twice"),
        (read_yaml, "a: &x [1]\nb: *x", "line 2: uses an alias"),
        (read_yaml, "a: !!python/object:os.system x", "line 1: could not determine a constructor"),
        (read_yaml, "[" * 100_000, "nested too deeply"),
        (read_yaml, "1: one", "not text"),
        (read_yaml, "? [a, b]\n: c", "not text"),
        (read_yaml, "day: 2026-02-31", "not valid YAML"),
        (read_yaml, "a: b: c", "line 1"),
    ],
)
def test_errors_name_the_file(tmp_path, read, content, words):
    path = tmp_path / "foreign"
    path.write_text(content)
    with pytest.raises(BadInput, match=words) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


def test_does_not_wait_for_pipes(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match="not a regular file"):
        read_text(pipe)


def test_checks_size_before_reading(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # holes: nothing is stored
    with pytest.raises(BadInput, match="1,000,000,000,000 bytes"):
        read_json(path)


@pytest.mark.parametrize("name", ["missing", ".", "null\0byte", "x" * 300])
def test_errors_name_folders_and_devices(tmp_path, name):
    with pytest.raises(BadInput, match="cannot read"):
        read_text(tmp_path / name)


def test_yaml_numbers_dates_and_words(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("a: 0.5\nb: [1, two, '2:4', null]\nc: {d: true}\n")
    assert read_yaml(path) == yaml.safe_load(path.read_text())

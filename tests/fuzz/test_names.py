"""Any name of a path or model is read or rejected."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import BadInput
from implementations.harness.model.loading import locate
from implementations.harness.results.files import user_path
from tests.fuzz.foreign import fuzz, value_or_refusal

LETTERS = st.text(alphabet="ab/.-_~\0\n\\:é \ud800\x1b?%", max_size=30)
LONG = st.builds(lambda text, times: text * times, LETTERS, st.integers(1, 1000))
NAMES = LETTERS | LONG | st.text()


@fuzz
@given(name=NAMES)
def test_any_name_of_a_path(name):
    path = value_or_refusal(lambda: user_path(name, "it"), BadInput)
    if isinstance(path, Path):
        assert "\0" not in str(path)
        str(path).encode()


@fuzz
@given(name=NAMES | st.from_regex(r"[ab._-]{1,50}/[ab._-]{1,50}"))
def test_any_name_of_a_model(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("implementations.harness.model.loading.hub_folder", Path)
        origin = value_or_refusal(lambda: locate(name), BadInput)
    if isinstance(origin, BadInput):
        assert str(origin).isprintable()
    elif origin.name == name:
        assert re.fullmatch("[^/]+/[^/]+", name)

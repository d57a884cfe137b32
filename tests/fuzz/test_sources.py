"""Any local file or name of a text is read or rejected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.data.samples import Text, tokenize
from implementations.harness.data.sources import read_documents, read_text
from implementations.harness.errors import BadInput
from tests.conftest import byte_tokenizer
from tests.fuzz.foreign import fuzz, value_or_refusal

READERS = pytest.mark.parametrize("read", [read_text, read_documents])
TEXTS = st.text() | st.text(alphabet="a\ud800\udfff\0\u2028\r\n\x1b\ufeff")
ROWS = st.one_of(
    st.builds(lambda text: json.dumps({"text": text}), TEXTS),
    st.builds(lambda text: json.dumps({"text": text, "more": [{}]}, ensure_ascii=False), st.text()),
    st.builds(lambda depth: '{"text": "a", "more": ' + "[" * depth, st.integers(0, 5000)),
    st.builds(lambda depth: f'{{"text": {"[" * depth}1{"]" * depth}}}', st.integers(0, 100)),
    st.text(alphabet='{}[]:,"text\\ud8 \t1.e-NaInfity\x00'),
    TEXTS,
)
LINES = st.lists(ROWS, max_size=4).map("\n".join)
CONTENTS = st.binary() | LINES.map(lambda text: text.encode(errors="surrogatepass"))


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@READERS
@fuzz
@given(suffix=st.sampled_from([".txt", ".jsonl", ".parquet", "", ".json"]), content=CONTENTS)
def test_any_bytes_of_a_file(tmp_path, tokenizer, read, suffix, content):
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    found = value_or_refusal(lambda: read(str(path)), BadInput)
    for text in [found] if isinstance(found, str) else found if isinstance(found, list) else []:
        text.encode()
        value_or_refusal(lambda text=text: tokenize(Text("foreign", text), tokenizer), BadInput)


@READERS
@fuzz
@given(texts=st.lists(st.text(), min_size=1, max_size=4))
def test_written_texts_round_trip(tmp_path, read, texts):
    path = tmp_path / "rows.jsonl"
    rows = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    path.write_text("\n".join(rows), newline="")
    assert read(str(path)) == (texts if read is read_documents else "\n\n".join(texts))

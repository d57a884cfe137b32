"""Any text pasted as BibTeX becomes facts of one paper or one sentence, and takes its time only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.foreign import fuzz, value_or_refusal
from tools.sources.lookup.queries import read_bibtex
from tools.sources.services.bibtex import SIZE
from tools.sources.services.facts import Facts
from tools.sources.web.errors import Malformed, SourceError

LETTERS = st.text(alphabet="@{}(),=#\"\\%$~^_&-' \n\tab1é\u0301\u200b\x00\ud800")
WORDS = st.sampled_from(
    ["{Bee, Ann}", "\\'e", "$x$", "{\\o}", "10--20", "9" * 5000, "\\frac", "and"]
)
VALUE = st.lists(LETTERS | WORDS, max_size=4).map(" ".join)
NAMES = st.sampled_from(
    ["title", "author", "year", "month", "pages", "journal", "booktitle", "url", "doi", "abstract"]
)
MACRO = st.sampled_from(["a", "b", "jan"])
PIECE = VALUE.map("{{{}}}".format) | VALUE.map('"{}"'.format) | MACRO
FIELD = st.tuples(NAMES, st.lists(PIECE, min_size=1, max_size=3).map(" # ".join)).map(" = ".join)
STRING = st.tuples(MACRO, st.lists(PIECE, min_size=1, max_size=3).map(" # ".join)).map(
    lambda pair: f"@string{{{pair[0]} = {pair[1]}}}"
)
ENTRY = st.lists(FIELD, max_size=5).map(
    lambda fields: f"@article{{x, title = {{A T}}, {', '.join(fields)}}}"
)
TEXT = st.lists(STRING | ENTRY | LETTERS, max_size=5).map("\n".join)


@fuzz
@given(text=LETTERS | ENTRY | TEXT)
def test_any_text(text):
    found = value_or_refusal(lambda: read_bibtex(text), SourceError)
    assert isinstance(found, (Facts, SourceError))


@fuzz
@given(
    piece=st.sampled_from([" ", "\n", "{", "}", "{}", "\\", "$", "%", "#", ",", "@", "a ", "é"])
    | st.text(min_size=1, max_size=3),
    place=st.integers(0, 80),
)
def test_the_same_over_and_over(piece, place):
    """Nothing here takes the square of its length."""
    whole = "@article{x, title = {A Title}, pages = {1 - 2}, author = {Bee, Ann}, month = jan}"
    text = whole[:place] + piece * (2_000 // len(piece)) + whole[place:]
    value_or_refusal(lambda: read_bibtex(text), SourceError)


def doubling(times, first):
    """Strings each of which is twice the one before."""
    rows = [f"@string{{a0 = {{{first}}}}}"]
    rows += [f"@string{{a{n} = a{n - 1} # a{n - 1}}}" for n in range(1, times + 1)]
    return "\n".join([*rows, f"@article{{x, title = {{A Title}}, note = a{times}}}"])


def test_strings_that_double_are_refused_before_they_grow():
    with pytest.raises(Malformed, match=f"make more than {SIZE:,} characters; write them out"):
        read_bibtex(doubling(60, "ha"))
    assert read_bibtex(doubling(60, "")).title == "A Title"


@pytest.mark.parametrize(
    "value",
    [" # ".join(["a"] * 20_000), "{" + "{}" * 20_000 + "}", ", ".join(["{}"] + ["b = {}"] * 9_000)],
    ids=["concatenations", "braces", "fields"],
)
def test_values_that_take_the_parser_seconds_are_refused(value):
    with pytest.raises(Malformed, match=r"more than 3,000 of the characters \{ = # @"):
        read_bibtex(f"@string{{a = {{x}}}}@article{{x, title = {{A Title}}, note = {value}}}")


def test_a_few_strings_are_read():
    text = '@string{p = "Proceedings of the "}\n@string{i = p # {International Conference on }}\n'
    text += '@article{x, title = {A Title}, booktitle = i # "Machine Learning", month = jul # "~1"}'
    facts = read_bibtex(text)
    assert (facts.title, facts.venue) == ("A Title", "icml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("month", "9" * 5000),
        ("year", "9" * 5000),
        ("author", "Ann Bee\\"),
        ("author", " and ".join(["A B"] * 6000)),
        ("pages", "1" + " " * 90_000 + "x"),
        ("author", "{" * 2000 + "}" * 2000),
    ],
)
def test_what_once_ended_in_a_traceback(field, value):
    text = f"@article{{x, title = {{A Title}}, {field} = {{{value}}}}}"
    value_or_refusal(lambda: read_bibtex(text), SourceError)

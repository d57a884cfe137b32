"""Any answer of a service becomes facts or one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.foreign import fuzz, value_or_refusal
from tests.sources.server import DATA
from tools.sources.lookup.identification import identify
from tools.sources.lookup.normalization import normalize
from tools.sources.names.references import Reference, Unidentified
from tools.sources.services.table import SERVICES
from tools.sources.web.client import Limits
from tools.sources.web.errors import Malformed, SourceError
from tools.sources.web.hosts import read_hosts
from tools.sources.web.page import JSON, Page

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 10**18])
WORDS = st.text(max_size=30) | st.sampled_from(
    [
        *("9" * 5000, "[" * 500, "\\frac", "arxiv", "\x1b[2J", "2024", " " * 9000, "<b>&amp;"),
        "x" * 30_000,
    ]
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
FOLDERS = {"ACL Anthology": "anthology", "NeurIPS proceedings": "neurips", "CVF open access": "cvf"}
STORED = {
    name: [path.read_bytes() for path in sorted((DATA / folder).iterdir())]
    for name in (service.name for service in SERVICES)
    for folder in [FOLDERS.get(name, name.lower().replace(" ", "_"))]
}
VALUES = {
    "arxiv": "2301.00774",
    "anthology": "2024.findings-acl.178",
    "pmlr": "v202/frantar23a",
    "neurips": "2023/hash/44956951349095f74492a5471128a7e0-Abstract-Conference.html",
    "cvf": "content/CVPR2023/html/Fang_DepGraph_CVPR_2023_paper.html",
    "openreview": "PxoFut3dWW",
    "doi": "10.1609/aaai.v38i10.28960",
}
MOST = Limits().size  # bytes of a body; the client reads no more


def read(service, body, type="application/json"):
    """All that a service reads of one answer, made fit for an entry."""
    page = Page(service.name, "https://example.org/x", 200, type, body)
    for paper in (Reference(scheme, VALUES[scheme]) for scheme in service.schemes):
        value_or_refusal(lambda paper=paper: normalize(service.read(page, paper)), SourceError)
    if service.finds:
        value_or_refusal(lambda: [normalize(facts) for facts in service.found(page)], SourceError)


def paths(value, here=()):
    """Yield the path of every value inside one."""
    yield here
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from paths(inner, (*here, step))
        else:
            yield (*here, step)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
@fuzz
@given(data=st.data())
def test_any_bytes(service, data):
    body = data.draw(st.sampled_from([b"", *STORED[service.name]]))
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 30)))
    new = data.draw(st.binary(max_size=20) | WORDS.map(lambda word: word.encode(errors="replace")))
    new *= data.draw(st.sampled_from([1, 500]))
    read(service, (body[:start] + new + body[end:])[:MOST])


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_largest_body(service):
    # In the clean run as well, to whose memory the others are held.
    for body in STORED[service.name]:
        for middle in (len(body) // 3, len(body) // 2):
            read(service, (body[:middle] + b"x" * MOST)[: MOST - len(body)] + body[middle:])


@pytest.mark.parametrize(
    "service", [one for one in SERVICES if one.kind is JSON], ids=lambda service: service.name
)
@fuzz
@given(data=st.data())
def test_any_values(service, data):
    body = json.loads(data.draw(st.sampled_from(STORED[service.name])))
    *outer, last = data.draw(st.sampled_from([path for path in paths(body) if path]))
    inner = body
    for step in outer:
        inner = inner[step]
    inner[last] = data.draw(PLAIN)
    read(service, json.dumps(body).encode())


@fuzz
@given(
    type=st.sampled_from(["", "utf-7", "punycode", "idna", "undefined", "unicode_escape", "hex"])
    | st.text(max_size=20),
    body=st.binary(max_size=50),
)
def test_any_encoding(type, body):
    page = Page("X", "https://example.org", 200, f"text/html; charset={type}", body)
    value_or_refusal(lambda: page.text, Malformed)


@fuzz
@given(text=st.text(max_size=80))
def test_any_name_of_a_paper(text):
    value_or_refusal(lambda: identify(text), Unidentified)
    value_or_refusal(lambda: read_hosts(text), SourceError)

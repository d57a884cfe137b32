"""Invalid answers of sources end with one message, exit code 1 and no file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources import server
from tests.sources.server import Answer
from tests.tools.invented import SUMMARY
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper

Command = Callable[..., tuple[int, str, str]]

ARXIV = "export.arxiv.org"
ATOM = "application/atom+xml"
JUDGED = (
    *("--summary", SUMMARY, "--kind", "method", "--granularity", "unstructured"),
    *("--criterion", "magnitude", "--calibration", "forward", "--slug", "foo"),
)


def atom(**changes: str) -> Answer:
    """The answer of arXiv about SparseGPT, with some elements replaced."""
    answer = server.stored("arxiv/sparsegpt.xml")
    text = answer.body.decode("utf-8")
    for element, content in changes.items():
        text, count = re.subn(
            rf"(?s)(<entry>.*<{element}>).*?(</{element}>)",
            lambda found, content=content: found[1] + content + found[2],
            text,
        )
        assert count, element
    return answer._replace(body=text.encode("utf-8"))


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE feed [
  <!ENTITY a "aaaaaaaaaa"> <!ENTITY b "&a;&a;&a;&a;"> <!ENTITY c "&b;&b;&b;&b;">
  <!ENTITY x SYSTEM "file:///etc/passwd">
]>
<feed><entry><title>&c;&x;</title></entry></feed>"""


def moved(target: str) -> Answer:
    """A redirect."""
    return Answer(b"", ATOM, 302, (("Location", target),))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(b"gone", "text/plain", 404), "has no /api/query (HTTP 404)"),
        (
            Answer(b"", "text/plain", 429, (("Retry-After", "600"),)),
            "no requests for 600 s (HTTP 429)",
        ),
        (Answer(b"", "text/plain", 500), "(HTTP 500)"),
        (Answer(server.silence), "did not answer in time"),
        (Answer(b"<html>no</html>", "text/html"), "sent text/html instead of XML"),
        (Answer(b"<feed", ATOM), "is not valid XML"),
        (Answer(BOMB, ATOM), "is not valid XML"),
        (Answer(b"\xff\xfe\x00", ATOM), "cannot be read"),
        (server.stored("arxiv/error.xml"), "arXiv rejects the request (incorrect id"),
        (server.stored("arxiv/error.xml", status=400), "arXiv rejects the request (incorrect id"),
        (server.stored("arxiv/empty.xml"), "arXiv has no paper 2301.00774"),
        (server.stored("arxiv/wanda.xml"), "was asked for 2301.00774 and answered about 2306"),
        (moved("/api/query?again"), "redirects too often"),
        (moved("https://example.org/x"), "redirects to 'https://example.org/x'"),
        (moved("file:///etc/passwd"), "redirects to 'file://"),
        (atom(title="A **bold** title"), "the title of arXiv contains Markdown"),
        (atom(title="T" * 500), "has 500 characters"),
    ],
)
def test_invalid_answer_of_arxiv_writes_nothing(
    add: Command, replay: server.Replay, papers: Path, answer: Answer, message: str
) -> None:
    replay.say(ARXIV, answer)
    assert_refused(add("2301.00774", *JUDGED), message, papers)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(server.trickle_body), "did not answer in time"),
        (Answer(server.flood), "sent more than 5 MB"),
        (Answer(server.break_off), "is incomplete or not HTTP"),
        (Answer(b'{"message": '), "cannot be read"),
        (Answer(b"[]"), "does not have the documented form"),
    ],
)
def test_invalid_answer_of_crossref_writes_nothing(
    add: Command, replay: server.Replay, papers: Path, answer: Answer, message: str
) -> None:
    replay.say("api.crossref.org", answer)
    assert_refused(add("10.1609/aaai.v39i23.34592", *JUDGED), message, papers)


def assert_refused(ended: tuple[int, str, str], message: str, papers: Path) -> None:
    """Assert one message with advice and no new file."""
    code, out, err = ended
    assert (code, out) == (1, ""), err
    assert message in err
    assert err.endswith("enter the paper by hand with --manual\n")
    assert err.strip().isprintable()
    assert [path.name for path in sorted(papers.iterdir())] == ["flap.yaml", "magnitude.yaml"]


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("A &lt;script&gt;bad&lt;/script&gt; title", "A bad title"),
        ("A \u202etitle\u200b that turns", "A title that turns"),
        ("On $N{:}M$ sparsity", "On N:M sparsity"),
    ],
)
def test_removes_markup_and_invisible_characters(
    add: Command, replay: server.Replay, papers: Path, title: str, kept: str
) -> None:
    replay.say(ARXIV, atom(title=title))
    code, _, err = add("2301.00774", *JUDGED)
    assert code == 0, err
    assert made(papers).title == kept


def test_retries_a_source_that_recovers(add: Command, replay: server.Replay, papers: Path) -> None:
    replay.say(ARXIV, Answer(b"", "text/plain", 500), server.stored("arxiv/sparsegpt.xml"))
    code, _, err = add("2301.00774", *JUDGED)
    assert code == 0, err
    assert made(papers).title.startswith("SparseGPT")


def test_other_sources_may_fail(add: Command, replay: server.Replay, papers: Path) -> None:
    others = set(replay.hosts) - {ARXIV}
    replay.refuse(*others)
    code, _, err = add("2301.00774", *JUDGED)
    assert code == 0, err
    assert "Notes:\n" in err
    assert (made(papers).status, made(papers).sources.from_) == ("preprint", ("arXiv",))


def test_accepts_three_thousand_authors(add: Command, replay: server.Replay, papers: Path) -> None:
    answer = server.stored("arxiv/sparsegpt.xml")
    names = [f"Ann Bee{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{i}" for i in range(3000)]
    authors = "".join(f"<author><name>{name}</name></author>" for name in names)
    text = re.sub(r"(?s)<author>.*</author>", authors, answer.body.decode("utf-8"))
    replay.say(ARXIV, answer._replace(body=text.encode("utf-8")))
    others = set(replay.hosts) - {ARXIV}
    replay.refuse(*others)
    code, _, err = add("2301.00774", *JUDGED)
    assert code == 0, err
    assert made(papers).authors == tuple(names)
    assert max(map(len, err.splitlines())) < 1000


def made(papers: Path) -> Paper:
    """The entry that was written."""
    return load_catalog(papers)["foo"]

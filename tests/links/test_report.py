"""What a check of links says, and who uses an address."""

from __future__ import annotations

import json

from tests.catalog.invented import paper
from tools.links.report import as_json, as_markdown, as_text, uses
from tools.links.status import Result, State

PAPER = paper(
    ids={},
    links={"paper": "http://127.0.0.1:9/ok"},
    code=[{"url": "http://127.0.0.1:9/dead", "official": True}],
)


def test_reports_name_what_to_look_at_first() -> None:
    where = {"http://a.org": ["a: ids.arxiv"], "http://b.org/x_y": ["b: code[0].url", "c: links"]}
    results = [
        Result("http://a.org", State.OK),
        Result("http://b.org/x_y", State.MOVED, "http://n.org/*_*"),
    ]
    text = as_text(results, where)
    assert text.startswith("2 addresses were asked for; 1 lead where they should.\nMoved for good")
    assert "http://b.org/x_y: http://n.org/*_* (b: code[0].url, c: links)" in text
    assert (
        "## Moved for good: write the new address\n\n- <http://b.org/x_y>: http://n.org/\\*\\_\\*"
        in (as_markdown(results, where))
    )
    data = json.loads(as_json(results, where))
    assert [(one["state"], one["used_by"]) for one in data] == [
        ("moved", where["http://b.org/x_y"]),
        ("ok", where["http://a.org"]),
    ]


def test_an_address_of_several_entries_is_asked_for_once() -> None:
    assert uses({"b": PAPER, "a": PAPER}) == {
        "http://127.0.0.1:9/ok": ["a: links.paper", "b: links.paper"],
        "http://127.0.0.1:9/dead": ["a: code[0].url", "b: code[0].url"],
    }

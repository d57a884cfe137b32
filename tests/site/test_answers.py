"""All pages answer the same question alike."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from implementations.harness.results.ranking import ONE_SHOT, TRAINS
from tests.keyed import changed
from tests.site.conftest import sample
from tools.site.answers import Question, Ranking, first_ranking
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.pages import catalog, choose, home

QUESTIONS = [
    Question("10", structured=True),
    Question("20", structured=True),
    Question("30", structured=True),
    Question("50", structured=True),
    Question("50", structured=False),
    Question("70", structured=False),
    Question("2:4", structured=False),
    Question("4:8", structured=False),
    Question("20", structured=True, kind=TRAINS),
    Question("2:4", structured=False, kind=TRAINS),
]


@pytest.fixture(scope="module")
def ranking(real: Atlas) -> Ranking:
    found = first_ranking(real)
    assert found
    return found


@pytest.fixture(scope="module")
def board(real_pages: dict[str, str]) -> Any:
    """The rows that the script of the first leaderboard loads."""
    address = re.search(r'data-rows="([^"]+)"', real_pages["leaderboard.md"])
    assert address
    return json.loads(real_pages[address[1]])


@pytest.fixture(scope="module")
def pages(real_pages: dict[str, str]) -> dict[str, str]:
    return real_pages


def cells_of(text: str, slug: str, heading: str) -> str:
    """Return the cell of a method in the column of the last table whose heading ends as given."""
    text = text[text.rindex("<table") :]
    heads = [unescape(head) for head in re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", text)]
    place = next(i for i, head in enumerate(heads) if head.replace("\u00a0", " ").endswith(heading))
    row = next(
        row
        for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)
        if f'scope="row"><a href="papers/{slug}.html"' in row
    )
    cells = re.findall(r"<t[hd].*?(?=<td|</tr>)", row, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", cells[place].partition(">")[2]).split())


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.label)
def test_every_page_gives_the_same_answer(
    question: Question, real: Atlas, ranking: Ranking, board: Any, pages: dict[str, str]
) -> None:
    answers = ranking.best(question)
    assert answers
    # The leaderboard: the same methods in the same order with the same ranks.
    group = [label for label, _ in board["groups"]].index(question.label)
    rows = [row for row in board["rows"] if row["group"] == group]
    # Other settings of the methods come last.
    assert [(row["method"], row["rank"]) for row in rows[: len(answers)]] == [
        (answer.method, str(answer.rank or "")) for answer in answers
    ]
    for answer in answers:
        assert answer.ratio is not None
        shown = number(answer.ratio)
        if question.share in catalog.SHARES:
            assert shown in cells_of(pages["catalog.md"], answer.method, f"at {question.share} %")
        if question.share in choose.AMOUNTS and real.papers[answer.method].has_paper:
            label = f"at {question.share}{'' if ':' in question.share else ' %'}"
            cell = cells_of(pages["choose.md"], answer.method, label)
            assert cell.startswith(shown)
            if answer.rank and answer.competitors > 1:
                assert f"#{answer.rank} of {answer.competitors}" in cell
        if question.share in ("20", "50", "2:4"):
            page = pages[f"papers/{answer.method}.md"]
            assert f">{shown}</a>" in page
            if answer.rank and answer.competitors > 1:
                assert f"rank {answer.rank} of {answer.competitors}" in page


def test_choose_orders_methods_as_the_board_does(ranking: Ranking, pages: dict[str, str]) -> None:
    table = pages["choose.md"][pages["choose.md"].rindex("<table") :]
    for share in choose.AMOUNTS:
        label = f"at {share}{'' if ':' in share else ' %'}"
        heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
        place = next(i for i, h in enumerate(heads) if h.replace("\u00a0", " ").endswith(label))
        orders = {}
        for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", table, re.DOTALL):
            slug = re.search(r"papers/(\w+)\.html", row)
            order = re.search(
                r'data-order="(\d+)"', re.findall(r"<td.*?(?=<td|</tr>)", row, re.DOTALL)[place - 1]
            )
            if slug and order:
                orders[slug[1]] = int(order[1])
        assert len(orders) > 5
        for structured in (True, False):
            for kind in (ONE_SHOT, TRAINS):
                wanted = [
                    answer.method
                    for answer in ranking.best(Question(share, structured, kind))
                    if answer.method in orders
                ]
                assert wanted == sorted(wanted, key=orders.__getitem__)


def test_home_shows_the_best_and_use_opens_with_the_best(
    ranking: Ranking, pages: dict[str, str]
) -> None:
    for question in home.QUESTIONS:
        section = pages["index.md"].partition(f"<h3>{question.label}</h3>")[2].partition("</ol>")[0]
        ranked = [answer.method for answer in ranking.best(question) if answer.rank]
        assert re.findall(r"papers/(\w+)\.html", section) == ranked[: home.SHOWN]
    first = ranking.best(Question("2:4", structured=False))[0].method
    command = re.search(r"atlas run (\w+)", pages["use.md"])
    assert command
    assert command[1] == first


def test_a_method_stands_with_the_row_closest_to_its_defaults(atlas: Atlas) -> None:
    def searched(ratio: float, **settings: Any) -> Any:
        plain = sample("evop", 0.2, ratio, granularity=("blocks",))
        return changed(
            plain,
            configuration=plain.configuration | settings,
            changed=tuple(settings),
            command=f"atlas run evop {settings}",
        )

    ablation = searched(1.5, random=140)
    small = searched(2.0, population=20, generations=10)
    large = searched(2.2, population=40, generations=50)
    records = (ablation, small, large)
    ranking = first_ranking(Atlas(atlas.papers, atlas.methods, records))
    assert ranking
    # `random` is a switch, and of two runs with as many changes the larger budget stands.
    (answer,) = ranking.best(Question("20", structured=True))
    assert answer.row.first == large
    assert answer.budget == "50 of 100 generations, 40 of 50 population"
    assert len(ranking.groups[0][1]) == 3
    # A number set to 0 turns a part off, although it changes fewer fields.
    off = searched(1.4, generations=0)
    ranking = first_ranking(Atlas(atlas.papers, atlas.methods, (off, large)))
    assert ranking
    assert [one.row.first for one in ranking.best(Question("20", structured=True))] == [large]


def test_a_method_that_trained_on_the_ranking_text_is_listed_without_a_rank(atlas: Atlas) -> None:
    from tests.harness.results.test_ranking import COURSE, read

    trained = changed(sample("atp", 0.2, 1.2, granularity=("channels",)), course=COURSE)
    domain = read(trained, "domain", "wikipedia")
    other = changed(sample("loraprune", 0.2, 1.6, granularity=("channels",)), course=COURSE)
    made = Atlas(atlas.papers, atlas.methods, (domain, other))
    answers = Ranking(made.boards[0], made).best(Question("20", structured=True, kind=TRAINS))
    assert [(one.method, str(one.rank)) for one in answers] == [("loraprune", "1"), ("atp", "None")]
    assert answers[1].note == f"{TRAINS}; trained on Wikipedia"

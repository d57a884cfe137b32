"""What a closer look buys: who looks at what, and the best row of each at one share."""

from __future__ import annotations

import pytest

from implementations.harness.results.boards import boards
from tests.site.conftest import sample
from tools.site.atlas import Atlas
from tools.site.looks import CHANCE, FORWARD, GRADIENTS, LOOKS, TRIALS, WEIGHTS, look_of, looks
from tools.site.pages import learn

HEADS = ("kv-groups", "channels")


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.mark.parametrize(
    ("slug", "look"),
    [
        ("random", CHANCE),
        ("unitmagnitude", WEIGHTS),
        ("flap", FORWARD),
        ("slimgpt", FORWARD),
        ("evop", TRIALS),
        ("bonsai", TRIALS),
        ("twossp", TRIALS),
        ("llmpruner", GRADIENTS),
        ("minillm", GRADIENTS),
    ],
)
def test_the_words_of_the_entry_decide(atlas: Atlas, slug: str, look: object) -> None:
    taxonomy = atlas.papers[slug].taxonomy
    assert taxonomy is not None
    assert look_of(taxonomy) == look


def test_each_method_has_its_best_row_at_the_share(atlas: Atlas) -> None:
    records = [
        sample("flap", 0.2, 1.8, granularity=HEADS),
        sample("flap", 0.3, 1.1, granularity=HEADS),
        sample("fasp", 0.2, 1.7, granularity=HEADS),
        sample("fasp", 0.2, 1.5, granularity=HEADS, seed=1),
        sample("random", 0.2, 9.0, granularity=HEADS),
        sample("llmpruner", 0.2, 1.6, granularity=HEADS),
        sample("wanda", 0.2, 1.0),
        sample("nobody", 0.2, 1.0, granularity=HEADS),
    ]
    (board,) = boards(records)
    found = [(look, [row.method for row in rows]) for look, rows in looks(board, atlas.papers)]
    assert found == [(CHANCE, ["random"]), (FORWARD, ["fasp", "flap"]), (GRADIENTS, ["llmpruner"])]
    assert [look for look, _ in found] == [look for look in LOOKS if look in dict(found)]


def test_what_only_follows_prompts_is_left_out(atlas: Atlas) -> None:
    follows = sample("griffin", 0.2, 1.2, granularity=("channels",))
    kept = {"values": {"after_prompt/wikipedia/1024": 20.0}}
    follows = follows.model_copy(update=kept)
    records = [sample("flap", 0.2, 1.8, granularity=HEADS), follows]
    board, behind = boards(records)
    assert (behind.title, behind.metrics) == (
        f"{board.title}, after prompts",
        tuple(kept["values"]),
    )
    assert [row.method for _, rows in looks(board, atlas.papers) for row in rows] == ["flap"]
    found = learn.samples(Atlas({}, {}, tuple(records)))
    assert [record.method for record in found] == ["flap"]
    assert learn.fastest(Atlas({}, {}, (follows,))) is None


def test_the_page_shows_them(atlas: Atlas) -> None:
    records = (
        sample("flap", 0.2, 1.82, granularity=HEADS),
        sample("random", 0.2, 9.0, granularity=HEADS),
    )
    page = dict(learn.pages(Atlas(atlas.papers, atlas.methods, records)))["learn/index.md"]
    section = page.partition('id="looks"')[2] or page.partition("{ #looks }")[2]
    section = section.partition("What gets faster")[0]
    assert (
        section.index("Chance") < section.index("papers/random.html") < section.index("Activations")
    )
    assert "1.82" in section
    without = dict(learn.pages(Atlas(atlas.papers, atlas.methods)))["learn/index.md"]
    assert "What a closer look buys" not in without

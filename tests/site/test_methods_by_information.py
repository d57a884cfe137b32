"""Methods by the information they use, each with its best row at one sparsity."""

from __future__ import annotations

import pytest

from implementations.harness.results.boards import boards
from tests.site.conftest import sample
from tools.site.atlas import Atlas
from tools.site.methods_by_information import (
    ACTIVATIONS,
    ALL,
    GRADIENTS,
    RANDOM,
    TRIALS,
    WEIGHTS,
    information_used,
    methods_by_information,
)
from tools.site.pages import learn

HEADS = ("kv-groups", "channels")


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.mark.parametrize(
    ("slug", "information"),
    [
        ("random", RANDOM),
        ("unitmagnitude", WEIGHTS),
        ("flap", ACTIVATIONS),
        ("slimgpt", ACTIVATIONS),
        ("evop", TRIALS),
        ("bonsai", TRIALS),
        ("twossp", TRIALS),
        ("llmpruner", GRADIENTS),
        ("minillm", GRADIENTS),
    ],
)
def test_information_follows_from_the_entry(atlas: Atlas, slug: str, information: object) -> None:
    taxonomy = atlas.papers[slug].taxonomy
    assert taxonomy is not None
    assert information_used(taxonomy) == information


def test_each_method_has_one_row_at_the_sparsity(atlas: Atlas) -> None:
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
    found = [
        (information, [answer.method for answer in answers])
        for information, answers in methods_by_information(board, atlas)
    ]
    assert found == [
        (RANDOM, ["random"]),
        (ACTIVATIONS, ["fasp", "flap"]),
        (GRADIENTS, ["llmpruner"]),
    ]
    assert [one for one, _ in found] == [one for one in ALL if one in dict(found)]


def test_per_prompt_methods_are_left_out(atlas: Atlas) -> None:
    follows = sample("griffin", 0.2, 1.2, granularity=("channels",))
    kept = {"values": {"after_prompt/wikipedia/1024": 20.0}}
    follows = follows.model_copy(update=kept)
    records = [sample("flap", 0.2, 1.8, granularity=HEADS), follows]
    board, behind = boards(records)
    assert (behind.title, behind.metrics) == (
        f"{board.title}, after prompts",
        tuple(kept["values"]),
    )
    assert [
        answer.method for _, answers in methods_by_information(board, atlas) for answer in answers
    ] == ["flap"]
    found = learn.samples(Atlas({}, {}, tuple(records)))
    assert [record.method for record in found] == ["flap"]
    assert learn.fastest(Atlas({}, {}, (follows,))) is None


def test_the_page_shows_the_groups(atlas: Atlas) -> None:
    records = (
        sample("flap", 0.2, 1.82, granularity=HEADS),
        sample("random", 0.2, 9.0, granularity=HEADS),
    )
    page = dict(learn.pages(Atlas(atlas.papers, atlas.methods, records)))["learn/index.md"]
    section = page.partition("{ #information }")[2]
    section = section.partition("What gets faster")[0]
    assert (
        section.index("Nothing")
        < section.index("papers/random.html")
        < section.index("Activations")
    )
    assert "1.82" in section
    without = dict(learn.pages(Atlas(atlas.papers, atlas.methods)))["learn/index.md"]
    assert "{ #information }" not in without

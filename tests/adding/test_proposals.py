"""Proposals from titles and abstracts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.adding.draft import Draft
from tools.adding.fields import FIELDS
from tools.adding.phrases import PHRASES
from tools.adding.proposals import (
    offer_proposals,
    propose,
    propose_ancestors,
    propose_name,
    propose_slugs,
)
from tools.catalog.schema.identifiers import SLUG
from tools.catalog.schema.vocabulary import vocabulary

ABSTRACT = (
    "We propose a training-free method for structured pruning that deletes redundant decoder "
    "blocks by cosine similarity, measured on calibration data in forward passes, without "
    "gradients. It also helps 2:4 sparsity and can be combined with quantization."
)


def proposed(title: str, abstract: str) -> dict[str, tuple[str, ...]]:
    return {each.flag: each.words for each in propose(title, abstract)}


def test_every_term_with_phrases_is_in_the_vocabulary() -> None:
    for flag, phrases in PHRASES.items():
        assert set(phrases) <= set(vocabulary()[FIELDS[flag].vocabulary].terms), flag


def test_proposes_terms_with_their_phrases() -> None:
    found = {each.flag: dict(each.matches) for each in propose("FooPrune: a title", ABSTRACT)}
    assert found == {
        "kind": {"method": "We propose"},
        "granularity": {"semi-structured": "2:4", "structured": "structured"},
        "prunes": {"weights": "2:4", "blocks": "deletes redundant decoder blocks"},
        "criterion": {"similarity": "cosine similarity"},
        "calibration": {"forward": "calibration"},
        "recovery": {"none": "training-free"},
        "combines": {"quantization": "quantization"},
        "topic": {"calibration-data": "calibration data"},
    }


@pytest.mark.parametrize(
    ("abstract", "flag", "words"),
    [
        ("unstructured sparsity", "granularity", ("unstructured",)),
        ("semi-structured N:M sparsity", "granularity", ("semi-structured",)),
        ("structurally removes channels", "granularity", ("structured",)),
        ("an infrastructured approach", "granularity", ()),
        ("uses gradients of the loss", "calibration", ("gradients",)),
        ("gradient-free pruning with activations", "calibration", ("forward",)),
        ("without gradients, a data-free score", "calibration", ("none",)),
        ("learns masks by gradient descent", "calibration", ("training",)),
        ("the inverse Hessian", "criterion", ("layer-hessian",)),
        (
            "weight magnitudes and input activations",
            "criterion",
            ("magnitude", "weight-activation"),
        ),
        ("followed by LoRA fine-tuning", "recovery", ("low-rank",)),
        ("an evolutionary search", "allocation", ("searched",)),
        ("non-uniform sparsity over layers", "allocation", ("layerwise",)),
        ("input-dependent pruning", "when", ("per-prompt",)),
        ("contextual sparsity for each token", "when", ("per-token",)),
        ("experts by router scores", "prunes", ("experts",)),
        ("a plug-and-play module", "role", ("plug-in",)),
    ],
)
def test_phrases(abstract: str, flag: str, words: tuple[str, ...]) -> None:
    assert proposed("A title", abstract).get(flag, ()) == words


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("A Survey on Model Compression", "survey"),
        ("A Comprehensive Review of Pruning", "survey"),
        ("Understanding Pruned Models: An Empirical Study", "analysis"),
        ("LLMBench: A Benchmark for Compression", "benchmark"),
        ("FooPrune: Pruning by Foo", "method"),
    ],
)
def test_recognises_studies_by_their_title(title: str, kind: str) -> None:
    abstract = "We propose things. A survey of benchmarks and an empirical study follow."
    assert proposed(title, abstract)["kind"] == (kind,)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("SparseGPT: Massive Language Models Can be Pruned", "SparseGPT"),
        ("Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce", "OWL"),
        ("FastForward Pruning: Efficient LLM Pruning", "FastForward Pruning"),
        ("Everybody Prune Now: Structured Pruning", None),
        ("A Simple and Effective Pruning Approach", None),
        (": nothing before the colon", None),
    ],
)
def test_names(title: str, name: str | None) -> None:
    assert propose_name(title) == name


@pytest.mark.parametrize(
    ("title", "author", "slugs"),
    [
        ("SparseGPT: Massive Models", "Elias Frantar", ["sparsegpt", "frantar2023sparsegpt"]),
        ("LLM-Pruner: On Pruning", "Xinyin Ma", ["llmpruner", "ma2023llmpruner"]),
        ("2SSP: A Framework", "Fabrizio Sandri", ["twossp", "sandri20232ssp"]),
        ("A Simple Approach", "Łukasz Müller Jr.", ["muller2023simple"]),
        ("Séparé: Things", "李明", ["separe"]),
        ("剪枝", "李明", []),
    ],
)
def test_slugs(title: str, author: str, slugs: list[str]) -> None:
    assert list(propose_slugs(title, [author], 2023)) == slugs


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), max_size=3), st.none() | st.integers(1950, 2100))
def test_proposed_slugs_are_valid(title, authors, year) -> None:
    for slug in propose_slugs(title, authors, year):
        assert re.fullmatch(SLUG, slug, re.ASCII)
        assert len(slug) <= 40


@settings(deadline=None)
@given(st.text(), st.text())
def test_proposed_terms_are_in_the_vocabulary(title, abstract) -> None:
    for proposal in propose(title, abstract):
        words = vocabulary()[FIELDS[proposal.flag].vocabulary].terms
        assert set(proposal.words) <= set(words)


def test_guesses_replace_no_known_facts() -> None:
    draft = Draft(
        {"title": "FooPrune: a title", "taxonomy": {"calibration": "none"}}, abstract=ABSTRACT
    )
    made = offer_proposals(draft, {"granularity", "calibration"})
    assert draft.data["taxonomy"] == {
        "calibration": "none",
        "granularity": ["semi-structured", "structured"],
    }
    assert draft.guessed == {("taxonomy", "granularity")}
    assert "recovery" in {each.flag for each in made}
    assert draft.data["name"] == "FooPrune"


def test_proposes_no_taxonomy_for_surveys() -> None:
    draft = Draft({"title": "A Survey", "kind": "survey"}, abstract=ABSTRACT)
    assert [str(each) for each in offer_proposals(draft, FIELDS)] == [
        'calibration-data ("calibration data")'
    ]
    assert draft.data["taxonomy"] == {"topic": ["calibration-data"]}


def test_proposes_no_topic_for_methods() -> None:
    draft = Draft({"title": "FooPrune: a title", "kind": "method"}, abstract=ABSTRACT)
    assert "topic" not in {each.flag for each in offer_proposals(draft, FIELDS)}


@pytest.mark.parametrize(
    ("title", "slugs"),
    [
        ("Wanda++: Pruning by Regional Gradients", ("wanda",)),
        ("Beyond SparseGPT and Wanda", ("sparsegpt", "wanda")),
        ("Wandering through Models", ()),
        ("A wanda of another kind", ()),
    ],
)
def test_proposes_methods_named_in_the_title_as_ancestors(
    title: str, slugs: tuple[str, ...]
) -> None:
    names = {"sparsegpt": "SparseGPT", "wanda": "Wanda"}
    assert [each.words for each in propose_ancestors(title, names)] == [slugs] * bool(slugs)

"""Choosing a method: which answers exclude which methods, and why."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from implementations.harness.results.record import NO_SPEED_UP
from tests.site.conftest import CODELESS, UNWRITTEN
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas, Method, Source
from tools.site.pages import choose
from tools.site.paper_facts import words_of
from tools.site.usage import only_per_input


def ruled_out(atlas: Atlas, **given: str) -> dict[str, list[str]]:
    """Return the reasons to exclude each method, by slug, combined as the script does."""
    found = choose.candidates(atlas, list(choose.AMOUNTS))
    made: dict[str, list[str]] = {one.slug: [] for one in found}
    for rule in choose.rules(choose.questions(found, list(choose.AMOUNTS)), found):
        if all(given.get(name, "") in values for name, values in rule["when"].items()):
            for reason, places in rule["out"].items():
                for place in places:
                    made[found[place].slug].append(reason)
    return made


def written(atlas: Atlas) -> set[str]:
    """Return the methods that can be chosen; random baselines are not among them."""
    return {slug for slug in atlas.methods if atlas.papers[slug].has_paper}


def fitting(atlas: Atlas, **given: str) -> set[str]:
    return {slug for slug, reasons in ruled_out(atlas, **given).items() if not reasons}


def test_without_answers_no_method_is_excluded(atlas: Atlas) -> None:
    pruning = {slug for slug, paper in atlas.papers.items() if paper.is_method and paper.has_paper}
    assert fitting(atlas) == pruning
    assert {"wanda", "slicegpt"} <= pruning
    # Not candidates: a baseline, a survey, a study with a taxonomy, kernels for pruned models.
    assert not {"random", "zhu2024survey", "bewarecalib", "flashllm"} & pruning


def test_size_needs_structured_pruning_and_speed_may_depend_on_the_input(atlas: Atlas) -> None:
    size, speed = fitting(atlas, gain="size"), fitting(atlas, gain="speed")
    assert {"flap", "shortgpt"} <= size
    assert not {"wanda", "sparsegpt", "magnitude"} & speed
    per_input = speed - size
    assert "griffin" in per_input
    assert all(only_per_input(atlas.papers[slug]) for slug in per_input)
    (reason,) = ruled_out(atlas, gain="speed")["wanda"]
    assert reason == f"unstructured and semi-structured: {NO_SPEED_UP}"
    assert "stays in memory" in ruled_out(atlas, gain="size")["griffin"][0]


def test_kernels_let_patterns_count_as_speed(atlas: Atlas) -> None:
    assert "wanda" in fitting(atlas, gain="speed", kernels="yes")
    assert "flap" in fitting(atlas, gain="speed", kernels="yes")
    assert "wanda" not in fitting(atlas, gain="speed", kernels="no")
    only = fitting(atlas, kernels="only")
    assert "wanda" in only
    assert "flap" not in only
    assert ruled_out(atlas, kernels="only")["flap"] == ["supports no N:M pattern"]
    # The paper of OWL has patterns, our implementation does not.
    assert "semi-structured" in words_of(atlas.papers["owl"], "granularity")
    assert ruled_out(atlas, kernels="only")["owl"] == ["supports no N:M pattern"]


def test_block_sparse_methods_are_faster_only_with_their_kernels(atlas: Atlas) -> None:
    assert "teal" not in fitting(atlas, gain="speed", kernels="yes")
    assert "teal" in fitting(atlas, gain="speed", kernels="own")
    assert "teal" not in fitting(atlas, gain="size", kernels="own")
    (reason,) = ruled_out(atlas, gain="speed")["teal"]
    assert reason == "activation: faster only with its own kernels"
    assert "stays in memory" in ruled_out(atlas, gain="size")["teal"][0]
    # A method that also removes whole units permanently makes the model smaller.
    assert atlas.papers["naee"].taxonomy.granularity == ("structured", "activation")  # type: ignore[union-attr]
    assert "naee" in fitting(atlas, gain="size")


def test_vocabulary_lists_costs_in_ascending_order() -> None:
    dear = ["none", "input", "synthetic", "forward", "task-data", "gradients", "training"]
    repair = ["none", "closed-form", "layerwise-solver", "merging", "layerwise-training"]
    repair += ["low-rank", "distillation"]
    words = vocabulary()
    assert [word for word in words["calibration"].terms if word != "unknown"] == dear
    assert list(words["recovery"].terms) == [*repair, "full-training"]
    asked = {one.name: one for one in choose.questions([], [])}
    assert [option.value for option in asked["data"].options] == dear[:-1]
    assert [option.value for option in asked["repair"].options] == repair


@pytest.mark.parametrize("word", ["none", "forward", "gradients"])
def test_every_answer_excludes_methods_with_unknown_values(atlas: Atlas, word: str) -> None:
    unsaid = {
        slug
        for slug in fitting(atlas)
        if atlas.papers[slug].taxonomy.calibration == "unknown"  # type: ignore[union-attr]
    }
    assert unsaid
    for slug in unsaid:
        assert ruled_out(atlas, data=word)[slug] == ["the source does not say"]
    silent = {slug for slug in fitting(atlas) if not atlas.papers[slug].taxonomy.recovery}  # type: ignore[union-attr]
    assert silent
    for slug in silent:
        assert "the source does not say" in ruled_out(atlas, repair="distillation")[slug]


def test_an_unknown_granularity_has_no_known_gain(atlas: Atlas) -> None:
    paper = atlas.papers["flap"]
    assert paper.taxonomy is not None
    unknown = paper.taxonomy.model_copy(update={"granularity": ("unknown",)})
    changed = paper.model_copy(update={"taxonomy": unknown})
    made = Atlas({"flap": changed}, {})
    for answers in ({"gain": "size"}, {"gain": "speed"}, {"kernels": "only"}, {"amount": "2:4"}):
        assert ruled_out(made, **answers)["flap"] == ["the source does not say"]
    ((_, page),) = choose.pages(made)
    assert "<td>unknown</td>" in page


def test_at_most_includes_cheaper_methods(atlas: Atlas) -> None:
    none, forward, gradients = (
        fitting(atlas, data=word) for word in ("none", "forward", "gradients")
    )
    assert none < forward < gradients < fitting(atlas)
    assert "magnitude" in none
    assert ruled_out(atlas, data="forward")["llmpruner"] == ["needs gradients"]
    assert ruled_out(atlas, repair="closed-form")["llmpruner"] == ["needs recovery by low-rank"]
    assert "sparsegpt" in fitting(atlas, repair="closed-form")


def test_untested_methods_are_excluded(atlas: Atlas) -> None:
    assert fitting(atlas, family="llama") <= written(atlas)
    assert ruled_out(atlas, family="llama")[UNWRITTEN] == ["not tested here with llama"]


def test_an_unsupported_model_is_the_reason(atlas: Atlas) -> None:
    code = (
        'capabilities = Capabilities(granularity=("unstructured",), calibration="none", '
        'refuses={"opt": "its biases are in the way"})'
    )
    method = Method("wanda", "", Source("Wanda", "", (), code), ())
    made = Atlas(atlas.papers, {"wanda": method})
    assert ruled_out(made, family="opt")["wanda"] == [
        "does not support opt: its biases are in the way"
    ]
    assert ruled_out(made, family="llama")["wanda"] == []


def test_code_anywhere_and_code_here(atlas: Atlas) -> None:
    here, any_ = fitting(atlas, code="here"), fitting(atlas, code="any")
    assert here == written(atlas)
    assert here < any_
    assert "no code is known" in ruled_out(atlas, code="any")[CODELESS]


def test_collapsed_methods_are_excluded_with_their_ratio(atlas: Atlas) -> None:
    assert ruled_out(atlas, amount="2:4")["magnitude"] == ["collapsed at 2:4: 68.20 × dense"]
    assert "wanda" in fitting(atlas, amount="2:4")


def test_common_answers_are_valid_and_leave_methods(atlas: Atlas) -> None:
    found = choose.candidates(atlas, list(choose.AMOUNTS))
    links = list(choose.common(choose.questions(found, list(choose.AMOUNTS))))
    assert len(links) == len(choose.COMMON)
    for label, link in links:
        given = dict(parse_qsl(urlsplit(link).query))
        assert fitting(atlas, **given), label


def test_without_records_there_is_no_question_about_sparsity(atlas: Atlas) -> None:
    ((_, page),) = choose.pages(Atlas(atlas.papers, atlas.methods))
    assert 'name="amount"' not in page
    assert "amount=" not in page
    assert 'name="gain"' in page


def test_the_table_is_complete_without_javascript(atlas: Atlas) -> None:
    ((_, page),) = choose.pages(atlas)
    rows = dict(re.findall(r'<tr><th scope="row"><a href="papers/(\w+)\.html">(.*?)</tr>', page))
    assert set(rows) == fitting(atlas)
    cells = {slug: re.sub(r"<[^>]*>", "|", html.unescape(row)) for slug, row in rows.items()}
    assert "size, speed" in cells["flap"]
    assert "1.82" in cells["flap"]
    assert "2:4 kernels" in cells["wanda"]
    assert "llama, mistral, qwen2, qwen3, gemma3, opt" in cells["wanda"]
    assert "llama" not in cells[UNWRITTEN]

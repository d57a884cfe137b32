"""The table and the chart of `atlas compare`."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import boards
from implementations.harness.results.comparison import compared, to_latex, to_markdown
from implementations.harness.results.comparison_chart import draw, to_svg
from implementations.harness.results.protocol import Course
from implementations.harness.results.record import External

WIKIPEDIA = "ppl/wikipedia/1024"


@pytest.fixture
def seeds(at):
    """Return a function that makes three runs of a method whose perplexities spread by 1."""

    def make(method, share, wikipedia, spread=1.0, **more):
        return [
            at(
                method,
                share,
                value,
                seed=seed,
                values={WIKIPEDIA: value, "ppl/c4/1024": value}
                | {"kl/wikipedia/1024": value / 100, "agreement/wikipedia/1024": 0.75},
                **more,
            )
            for seed, value in enumerate((wikipedia - spread, wikipedia, wikipedia + spread))
        ]

    return make


@pytest.fixture
def tables(seeds):
    records = [
        *seeds("wanda", 0.5, 41.5),
        *seeds("sparsegpt", 0.5, 40.0),
        *seeds("magnitude", 0.5, 90.0),
        *seeds("ria", 0.7, 200.0),
        *seeds("random", 0.5, 5000.0),
    ]
    return compared(boards(records))


def test_methods_of_one_sparsity_are_ranked_and_ties_share_a_rank(tables):
    (table,) = tables
    assert [(line.method, str(line.rank)) for line in table.lines] == [
        ("dense", "None"),
        ("sparsegpt", "1–2"),  # 40.0 ± 1 and 41.5 ± 1 overlap
        ("wanda", "1–2"),
        ("magnitude", "3"),
        ("random", "None"),  # collapsed
        ("ria", "1"),
    ]
    assert not any(line.best for line in table.lines)  # a tie, and one without a competitor


def test_a_row_that_is_clearly_better_than_all_others_is_the_best(seeds):
    (table,) = compared(boards([*seeds("wanda", 0.5, 41.5), *seeds("alps", 0.5, 30.0)]))
    assert [line.method for line in table.lines if line.best] == ["alps"]
    assert "| **1** | **alps** | **50 %** |" in to_markdown([table])
    assert r"\textbf{alps} & \textbf{50 \%}" in to_latex([table])


def test_a_row_that_missed_the_sparsity_shows_the_achieved_one_and_has_no_rank(at):
    (table,) = compared(boards([at("slicegpt", 0.5, 25.0, achieved=0.31), at("wanda", 0.5, 40.0)]))
    assert [(line.method, line.sparsity, str(line.rank)) for line in table.lines[1:]] == [
        ("wanda", "50 %", "1"),
        ("slicegpt", "50 % (31.0 % achieved)", "None"),
    ]


def test_markdown_has_a_row_for_the_dense_model_and_each_method(tables):
    lines = to_markdown(tables).splitlines()
    assert lines[0].startswith("| Rank | Method | Sparsity | Perplexity | × dense | KL | Agreement")
    assert lines[2].startswith("|  | dense |  | 20.00 | 1.00 |  |")
    assert lines[3].startswith(
        "| 1–2 | sparsegpt | 50 % | 40.00 ± 1.00 | 2.00 ± 0.05 | 0.400 ± 0.010 | 75.0 ± 0.0 %"
    )
    assert lines[6].startswith("| collapsed | random | 50 % | 5,000.00 ± 1.00 |")
    assert "mean ± standard deviation over 3 seeds. The dense perplexity is 20.00" in lines[-1]
    assert (
        "Rows that share a rank differ by at most 5 % of the loss in nats per token, or, if "
        "both have 3 seeds or more, by at most the sum of their standard deviations."
    ) in lines[-1]


def test_only_rows_of_one_sparsity_and_class_are_ranked_with_each_other(at):
    heads = {"granularity": ("kv-groups", "channels")}
    course = Course(steps=10, read=1000, epochs=0.1, losses=(4.0, 3.0))
    records = [
        at("flap", 0.5, 60.0, **heads),
        at("wanda", 0.5, 30.0),
        at("ria", 0.5, 40.0),
        at("displlm", 0.5, 50.0, course=course, **heads),
        at("sparsegpt", 0.7, 70.0),
    ]
    (table,) = compared(boards(records))
    assert [(line.method, line.kind, str(line.rank)) for line in table.pruned] == [
        ("wanda", "unstructured, one-shot", "1"),
        ("ria", "unstructured, one-shot", "2"),
        ("flap", "structured, one-shot", "1"),
        ("displlm", "structured, trained while pruning", "1"),
        ("sparsegpt", "unstructured, one-shot", "1"),
    ]
    assert "Only rows of the same sparsity and class are ranked with each other." in table.caption
    text = to_markdown([table])
    assert "| Rank | Method | Sparsity | Class | Perplexity |" in text
    assert "| 2 | ria | 50 % | unstructured, one-shot | 40.00 |" in text
    assert r"flap & 50 \% & structured, one-shot" in to_latex([table])
    (axes,) = draw([table]).axes
    assert axes.get_yticklabels()[2].get_text() == "flap  50 %  structured, one-shot"


def test_chart_has_room_for_long_labels(at):
    settings = {f"parameter{i}": 0.125 for i in range(8)}
    record = at(
        "wanda", 0.5, 30.0, configuration={"sparsity": 0.5} | settings, changed=tuple(settings)
    )
    with warnings.catch_warnings(action="error"):  # matplotlib warns if no room is left
        to_svg(draw(compared(boards([record]))))


def test_class_is_shown_only_where_it_separates_rows_of_one_sparsity(tables, at):
    assert "Class" not in to_markdown(tables)
    heads = at("flap", 0.2, 30.0, granularity=("kv-groups", "channels"))
    (table,) = compared(boards([heads, at("wanda", 0.5, 30.0)]))
    assert [line.kind for line in table.lines] == ["", "", ""]
    assert "same sparsity and class" not in table.caption


def test_latex_is_escaped(tables):
    text = to_latex(tables)
    assert r"  1--2 & sparsegpt & 50 \% & 40.00 $\pm$ 1.00" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    (columns,) = {line.count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert text.partition(r"\begin{tabular}{")[2].partition("}")[0].count("r") == columns - 1


def test_one_seed_has_no_spread_and_names_the_limit_of_a_tie(at):
    (table,) = compared(boards([at("wanda", 0.5, 40.0), at("sparsegpt", 0.5, 41.0)]))
    assert "Wikipedia: one seed, without a standard deviation. The" in table.caption
    assert "5 %" in table.caption
    assert "KL |" not in to_markdown([table])  # no run has it
    assert "±" not in to_markdown([table]).partition("\n\n")[0]


def test_caption_and_chart_name_what_was_measured_after_a_prompt(at):
    values = {"after_prompt/wikipedia/1024": 30.0}
    dense = at("dense", 0.0, 20.0).dense.model_copy(update={"values": values})
    tables = compared(boards([at("griffin", 0.2, 30.0, values=values, dense=dense)]))
    assert ", protocol smol, after prompts, " in to_markdown(tables)
    (axes,) = draw(tables).axes
    assert axes.get_title() == "smollm2-135m, smol, after prompts"


def test_own_method_stands_beside_the_others(at):
    origin = External(source="./mine.py", sha256="ab" * 32)
    records = [at("wanda", 0.5, 40.0), at("mine", 0.5, 30.0, external=origin)]
    (table,) = compared(boards(records))
    assert [(line.method, line.sparsity, line.settings, line.labels) for line in table.pruned] == [
        ("mine", "50 %", "", ("external",)),
        ("wanda", "50 %", "", ()),
    ]
    changed = External(source="./mine.py", sha256="cd" * 32)
    (table,) = compared(boards([*records, at("mine", 0.5, 29.0, external=changed)]))
    settings = [line.settings for line in table.pruned if line.method == "mine"]
    assert settings == ["file=cdcdcd", "file=ababab"]


def test_chart_has_a_point_and_a_label_per_method(tables):
    figure = draw(tables)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "sparsegpt  50 %",
        "wanda  50 %",
        "magnitude  50 %",
        "random  50 %",
        "ria  70 %",
    ]
    assert axes.get_xscale() == "log"  # 2 to 250 times dense
    assert ET.fromstring(to_svg(figure)).tag.endswith("svg")


def test_nothing_to_compare_is_refused(at):
    for alone in ([], [at("dense", 0.0, 20.0)]):
        with pytest.raises(BadInput, match="no method has a record"):
            compared(boards(alone))

"""Recovery results on Learn: before and after training, next to the dense model."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from implementations.harness.results.boards import boards
from implementations.harness.results.protocol import Course, Recovered, Recovery
from implementations.harness.results.record import Record, TextInfo
from tests.site.conftest import sample
from tools.site.atlas import Atlas
from tools.site.pages import learn
from tools.site.recovery_results import (
    RecoveryResults,
    _ticks,
    compare_training,
    draw_before_after,
    methods_that_train,
    recovery_results,
)
from tools.site.svg_figures import NARROW, WIDE

HEADS = ("kv-groups", "channels")


def text_info(role: str, source: str) -> TextInfo:
    """Make a text of a record; sources of one name are the same."""
    own = source[0] * 64
    return TextInfo(
        role=role,
        source=source,
        source_sha256=own,
        text_sha256=own,
        ids_sha256=own,
        samples=4,
        length=512,
        spans=((0, 2048),),
    )


C4 = text_info("training", "c4")
DOMAIN = text_info("domain", "encyclopedia")


def measured(records: Iterable[Record]) -> Atlas:
    """Make an atlas without papers."""
    return Atlas({}, {}, tuple(records))


def recovered(
    method: str, asked: float, before: float, after: float, tokens: int = 25_600
) -> Record:
    """Make a record whose perplexities were `before` and are `after` times the dense ones."""
    plain = sample(method, asked, after, granularity=HEADS)
    course = Recovered(
        recovery=Recovery.by("lora", tokens),
        steps=tokens // 1024,
        read=tokens,
        epochs=0.1,
        losses=(4.0, 3.5),
        before={name: value * before / after for name, value in plain.values.items()},
    )
    record = plain.model_copy(update={"recovered": course, "texts": (C4,)})
    return record.model_copy(update={"key": record.key_with(record.seed)})


def records(*methods: tuple[str, float, float]) -> list[Record]:
    """Make records at 20 %, and the dense model that each names as its own."""
    made = [recovered(method, 0.2, before, after) for method, before, after in methods]
    dense = recovered("dense", 0.0, 1.1, 1.0)
    dense = dense.model_copy(update={"method": "dense", "run": made[0].dense.run})
    return [*made, dense]


def found(*methods: tuple[str, float, float]) -> RecoveryResults:
    made = records(*methods)
    (results,) = recovery_results(measured(made))
    assert results is not None
    return results


def test_methods_are_sorted_by_perplexity_after_training() -> None:
    results = found(("flap", 1.8, 1.5), ("random", 40.0, 1.4), ("fasp", 1.7, 1.6))
    assert [method.row.method for method in results.methods] == ["random", "flap", "fasp"]
    first = results.methods[0]
    assert first.ratio == pytest.approx(1.4)
    assert first.before / first.after == pytest.approx(40 / 1.4)
    assert results.dense_before / results.dense_after == pytest.approx(1.1)


def test_other_sparsities_are_left_out() -> None:
    made = [*records(("flap", 1.8, 1.5)), recovered("fasp", 0.3, 2.0, 1.6)]
    (results,) = recovery_results(measured(made))
    assert results is not None
    assert [method.row.method for method in results.methods] == ["flap"]


def test_without_recovered_models_there_are_no_results() -> None:
    plain = [sample("flap", 0.2, 1.8, granularity=HEADS)]
    assert recovery_results(measured(plain)) == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_larger_values_are_drawn_further_right(width: object) -> None:
    results = found(("flap", 1.8, 1.5), ("random", 4000.0, 1.4))
    drawn = draw_before_after(results, {"flap": "FLAP"}, width)
    ways = [
        tuple(map(float, way)) for way in re.findall(r'is-way" d="M([\d.]+) [\d.]+H([\d.]+)', drawn)
    ]
    (random_before, random_after), (flap_before, flap_after) = ways
    assert random_after < flap_after < flap_before < random_before <= width.pixels
    # Lines start to the right of the longest name.
    longer = draw_before_after(results, {"flap": "FLAP by another name"}, width)
    (end,) = re.findall(r'x="([\d.]+)"[^>]*>FLAP by', longer)
    assert float(end) >= len("FLAP by another name") * width.font * 0.55
    assert re.findall(r">(FLAP|random)<", drawn) == ["random", "FLAP"]


def test_the_page_shows_the_results_with_links_to_records() -> None:
    made = records(("flap", 1.8, 1.5), ("random", 40.0, 1.9))
    page = dict(learn.pages(Atlas({}, {}, tuple(made))))["learn/index.md"]
    section = page.partition("{ #training }")[2].partition("{ #speed }")[0]
    assert "LoRA on 25,600 tokens" in section
    rows = re.findall(r'<a href="../(papers/[^"]+#[^"]+)">(\w+)</a>.*?× dense">([\d.]+)', section)
    assert [(name, ratio) for _, name, ratio in rows] == [("flap", "1.50"), ("random", "1.90")]
    without = dict(learn.pages(Atlas({}, {}, (sample("flap", 0.2, 1.8, granularity=HEADS),))))
    assert "{ #training }" not in without["learn/index.md"]


def test_methods_that_train_are_listed_apart_from_recovered_ones() -> None:
    course = Course(steps=100, read=51_200, epochs=0.2, losses=(4.0, 3.5))
    trains = sample("maskprune", 0.2, 2.5, granularity=HEADS).model_copy(update={"course": course})
    plain = sample("flap", 0.2, 1.8, granularity=HEADS)
    after = recovered("loraprune", 0.2, 1.8, 1.5).model_copy(update={"course": course})
    made = boards([trains, plain, after])
    assert [[row.method for row in rows] for _, rows in methods_that_train(made)] == [["maskprune"]]
    page = dict(learn.pages(Atlas({}, {}, (trains, plain))))["learn/index.md"]
    row = page.partition("{ #training }")[2].partition(">maskprune<")[2].partition("</tr>")[0]
    assert re.findall(r'number"[^>]*>([^<]+)<', row)[:3] == ["2.50", "100", "51.2 k"]


def training(method: str, ratio: float, read: int, **more: object) -> Record:
    """Make a record of a method that trains on `read` tokens to prune."""
    course = Course(steps=read // 512, read=read, epochs=0.2, losses=(4.0, 3.5))
    made = sample(method, 0.2, ratio, granularity=HEADS, **{"texts": (C4,)} | more)
    return made.model_copy(update={"course": course})


def test_training_while_pruning_is_compared_with_the_best_trained_on_no_more_tokens() -> None:
    made = measured(
        [
            training("maskprune", 1.4, 51_200),
            training("loraprune", 1.26, 102_400),
            training("loraprune", 1.9, 204_800, configuration={"sparsity": 0.2, "steps": 400}),
            training("atp", 1.2, 512),
            sample("random", 0.2, 1.1, granularity=HEADS),
            recovered("flap", 0.2, 1.8, 1.5),
            recovered("fasp", 0.2, 1.8, 1.6),
            recovered("fasp", 0.3, 1.8, 1.0),
            recovered("flap", 0.2, 1.8, 1.25, tokens=102_400),
            recovered("loraprune", 0.2, 1.3, 1.1).model_copy(
                update={"course": training("loraprune", 1.3, 1024).course}
            ),
        ]
    )
    ((board, met),) = compare_training(made)
    assert board.recovery is None
    rivals = [(d.other.method, d.other.first.recovery.tokens) if d.other else None for d in met]
    assert [duel.row.method for duel in met] == ["atp", "loraprune", "maskprune"]
    assert rivals == [None, ("flap", 102_400), ("flap", 25_600)]
    assert [duel.better for duel in met] == [True, False, True]
    assert [duel.level for duel in met] == [False, True, False]  # 1.26 and 1.25 count as equal
    assert met[1].other_value / met[1].value == pytest.approx(1.25 / 1.26)


def test_other_protocols_and_models_are_not_compared() -> None:
    other = recovered("flap", 0.2, 1.8, 1.5)
    for part, change in (("model", {"sha256": "1" * 64}), ("hardware", {"accelerator": "GPU"})):
        changed = getattr(other, part).model_copy(update=change)
        foreign = other.model_copy(update={part: changed})
        assert not compare_training(measured([training("maskprune", 1.4, 51_200), foreign]))
    assert not compare_training(measured([other]))
    assert compare_training(measured([training("maskprune", 1.4, 51_200), other]))


def test_the_page_counts_comparisons_on_the_same_text() -> None:
    made = (
        training("maskprune", 1.4, 51_200),
        training("loraprune", 1.9, 51_200),
        training("displlm", 1.2, 512),
        recovered("flap", 0.2, 1.8, 1.5),
    )

    def section(*records: Record) -> str:
        page = dict(learn.pages(Atlas({}, {}, records)))["learn/index.md"]
        found = page.partition("Is it better to train")[2].partition("{ #speed }")[0]
        return " ".join(found.split())

    text = section(*made)
    counted = (
        "Of 2 comparisons on the same text, training while pruning is better in 1 and level in 0."
    )
    assert counted in text
    assert "are not counted" not in text
    assert text.count(">flap</a>, LoRA on 25,600 tokens of c4<") == 2
    assert "none measured with so few tokens" in text
    # It decides on the general text, but trains its weights on the domain text.
    text = section(training("atp", 1.1, 51_200, texts=(C4, DOMAIN)), *made)
    assert counted in text
    assert "are not counted" in text
    assert "51.2 k of encyclopedia<" in text


def test_all_boards_of_recovered_models_are_shown(real: Atlas, real_pages: dict[str, str]) -> None:
    page = real_pages["learn/index.md"]
    titles = [one.board.title for one in recovery_results(real)]
    assert any("102,400" in title for title in titles)
    assert all(f"<figcaption>{title}:" in page for title in titles)


def test_the_axis_starts_with_a_number() -> None:
    assert _ticks(20.0, 240_000.0, 30)[0] == 20

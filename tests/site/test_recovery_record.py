"""What a record's page says of a recovery: before and after, the course, and beside what."""

from __future__ import annotations

import re

from implementations.harness.results.recovery import Course, Recovered, Recovery
from tests.site.conftest import sample
from tools.site import figures
from tools.site.atlas import Atlas
from tools.site.pages import leaderboard, records


def recovered():
    plain = sample("flap", 0.2, 1.5, granularity=("kv-groups", "channels"))
    course = Recovered(
        recovery=Recovery.by("lora", 102_400),
        steps=100,
        read=102_400,
        epochs=0.37,
        losses=(4.0, 3.5, 3.25),
        before={name: 2 * value for name, value in plain.values.items()},
    )
    after = plain.model_copy(update={"recovered": course})
    return after.model_copy(update={"key": after.key_with(after.seed)})


def test_the_page_tells_before_after_and_the_course() -> None:
    record = recovered()
    (_, (_, page)) = records.pages(Atlas({}, {}, (record,)))
    section = page.partition("<h2>Recovery</h2>")[2].partition("<details>")[0]
    assert "LoRA on 102,400 tokens" in page.partition("<h2>")[0]
    for name, before in record.recovered.before.items():
        row = section.partition(f"<code>{name}</code>")[2].partition("</tr>")[0]
        assert re.findall(r">([\d.,]+)</td>", row)[-1] == "0.50", before
    assert "Loss from 4.00 to 3.25 nats a token in 100 steps" in section
    assert "the dense model after the same" in section


def test_the_page_draws_the_training_of_a_method_that_trains() -> None:
    course = Course(steps=200, read=102_400, epochs=0.5, losses=(5.0, 4.25))
    plain = sample("flap", 0.2, 1.5, granularity=("kv-groups", "channels"))
    (_, (_, page)) = records.pages(Atlas({}, {}, (plain.model_copy(update={"course": course}),)))
    section = page.partition("<h2>Training</h2>")[2].partition("<dl")[0]
    assert "200 steps, 102.4 k tokens, 0.50 times through" in section
    assert "Loss from 5.00 to 4.25 nats a token in 200 steps" in section
    assert "Recovery" not in page


def test_without_a_recovery_the_page_says_nothing_of_it() -> None:
    (_, (_, page)) = records.pages(Atlas({}, {}, (sample("wanda", 0.5, 1.9),)))
    assert "Recovery" not in page
    assert "<h2>Training</h2>" not in page
    assert "after LoRA" not in page


def test_the_course_ends_where_the_axes_say() -> None:
    drawn = figures.course([4.0, 3.0, 2.0], 50)
    points = re.search(r'is-course" d="M([^"]+)"', drawn)
    assert points is not None
    places = [tuple(map(float, point.split())) for point in points[1].split("L")]
    assert [y for _, y in places] == [26, 96, 166]
    assert places[0][0] == 46
    assert places[-1][0] == 712
    assert "50 steps" in drawn
    assert "nan" not in figures.course([2.0], 1)


def test_it_stands_on_a_board_of_its_own() -> None:
    both = (sample("flap", 0.2, 1.5, granularity=("kv-groups", "channels")), recovered())
    page = dict(leaderboard.pages(Atlas({}, {}, both)))["leaderboard.md"]
    labels = re.findall(r"<li><a [^>]*>([^<]+), float32([^<]*)</a>", page)
    assert [after for _, after in labels] == ["", ", after LoRA on 102,400 tokens"]
    assert Atlas({}, {}, both).boards[0].recovery is None

"""How we measure: the page matches the source of the harness and the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from implementations.harness.results.metric import ACHIEVED, PERPLEXITY, TASK
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import NO_SPEED_UP, Record
from tests.keyed import with_divergence
from tests.site.conftest import sample
from tools.site.addresses import record_address
from tools.site.atlas import Atlas, read
from tools.site.formatting import number, percent
from tools.site.pages import how_we_measure
from tools.site.svg_figures import picture


@pytest.fixture(scope="module")
def page(real_pages: dict[str, str]) -> str:
    return real_pages["learn/how-we-measure.md"]


def test_every_protocol_is_shown_with_its_settings(page: str) -> None:
    for protocol in PROTOCOLS.values():
        body = page.partition(f'id="protocol-{protocol.name}"')[2].partition("</section>")[0]
        assert protocol.fingerprint[:12] in body
        assert f"{protocol.calibration.samples} samples" in body
        for evaluation in protocol.evaluations:
            assert evaluation.metric in body
            assert f"{evaluation.length:,} tokens" in body


def test_tolerances_and_labels_match_the_records(page: str) -> None:
    for metric in (PERPLEXITY, ACHIEVED, TASK):
        row = page.partition(metric.label[1:] + "</th>")[2].partition("</tr>")[0]
        for value in (metric.tolerance.same_machine, metric.tolerance.elsewhere):
            assert f">{how_we_measure.tolerance(value)}</td>" in row
    assert f"above {PERPLEXITY.collapse} times" in page
    assert NO_SPEED_UP in page


@pytest.mark.parametrize(
    ("value", "said"), [(1e-4, "0.01 %"), (1e-2, "1 %"), (5e-2, "5 %"), (1e-9, "equal")]
)
def test_tolerances_are_formatted(value: float, said: str) -> None:
    assert how_we_measure.tolerance(value) == said


def test_the_example_is_a_command_of_a_published_record(repository: Path, page: str) -> None:
    record = next(r for r in read(repository).records if r.method != "dense")
    assert record.command in page
    path = page.partition("atlas verify implementations/")[2].partition("<")[0]
    assert (repository / "implementations" / path).is_file()


def test_a_multi_line_command_is_not_the_example(repository: Path, records: list[Record]) -> None:
    """A line break could end the Markdown block that shows the command."""
    command = "atlas run wanda --model 'x\n```\n<script>alert(1)</script>'"
    odd = records[0].model_copy(update={"command": command})
    atlas = Atlas({}, {}, (odd,), root=repository)
    assert "<script>alert" not in dict(how_we_measure.pages(atlas))["learn/how-we-measure.md"]


def test_a_record_is_explained_field_by_field(page: str, repository: Path) -> None:
    names = {field.name for field in how_we_measure.fields(repository)}
    assert {"tolerance", "values", "key", "seed"} <= names
    assert names <= set(Record.model_fields)
    for name in names:
        assert f"<code>{name}: " in page


def test_ties_are_explained_if_magnitude_is_compared(
    repository: Path, page: str, sample_pages: dict[str, str]
) -> None:
    measured = picture("ties", repository)
    page = page.partition("{ #weights }")[2]
    for value in measured["values"].values():
        assert f">{number(value)}</td>" in page
    assert f"In {percent(measured['tied'])} of the groups of\n4" in page
    assert f"gives between {number(min(measured['values'].values()))} and" in page
    made = sample_pages
    note = "how-we-measure.html#weights"
    for path in ("leaderboard.md", "papers/magnitude.md"):
        assert note in made[path], path
    assert "how-we-measure.md#weights" in made["learn/index.md"].partition("#score-magnitude")[2]
    assert note not in made["papers/wanda.md"]


def test_orders_by_perplexity_and_by_divergence_are_compared(
    real: Atlas, records: list[Record]
) -> None:
    def page(*found: Record) -> str:
        made = dict(how_we_measure.pages(replace(real, records=found)))["learn/how-we-measure.md"]
        return made.partition("{ #orders }")[2].partition("\n## ")[0]

    assert "no orders to compare" in page()
    assert "no orders to compare" in page(*records)
    one = sample("flap", 0.2, 1.5, granularity=("channels",))
    other = sample("wanda", 0.2, 2.0, granularity=("channels",))
    assert "no orders to compare" in page(with_divergence(one, 0.5, 0.7), other)
    text = page(with_divergence(one, 0.5, 0.7), with_divergence(other, 0.4, 0.7))
    assert "1 pair of methods" in text
    assert "20 % removed, structured, one-shot: 1 pair, 1 in opposite order" in text
    assert f'{record_address(one)}">FLAP</a> 1.50 × dense, KL 0.500 |' in text
    assert f'{record_address(other)}">Wanda</a> 2.00 × dense, KL 0.400 |' in text


def test_machines_are_counted(records: list[Record]) -> None:
    (machine,) = how_we_measure.machines(tuple(records))
    assert (machine.cpu, machine.runs, machine.accelerator) == ("a test", len(records), "none")


def test_renders_without_records() -> None:
    assert (
        "atlas verify runs/" in dict(how_we_measure.pages(Atlas({}, {})))["learn/how-we-measure.md"]
    )

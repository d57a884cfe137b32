"""The order of two methods: judged where it stands out, in the papers and here, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from implementations.harness.results.record import Record
from tests.catalog.invented import paper
from tests.site.conftest import sample
from tools.catalog.schema.paper import Claim
from tools.site.atlas import Atlas, read
from tools.site.orders import NOISE, Order, deviations, orders
from tools.site.pages import how_we_measure
from tools.site.pages import paper as page


def claim(value: float, against: dict[str, float], **more: Any) -> Claim:
    about = {"model": "LLaMA-7B", "sparsity": 0.5, "where": "Table 1"}
    about |= {"metric": "ppl/wikitext2/128", "value": value, "against": against}
    return Claim.model_validate(about | more)


def entry(*claims: Claim, **more: Any) -> Any:
    return paper(**more).model_copy(update={"claims": claims})


def runs(**ratios: tuple[float, ...]) -> tuple[Record, ...]:
    """One record a seed, all at one share."""
    return tuple(
        sample(method, 0.5, ratio, seed=seed)
        for method, several in ratios.items()
        for seed, ratio in enumerate(several)
    )


def order(atlas: Atlas) -> Order:
    (found,) = orders("mine", atlas)
    return found


def atlas(*claims: Claim, records: tuple[Record, ...] = (), **more: Any) -> Atlas:
    return Atlas({"mine": entry(*claims), "other": paper(), **more}, {}, records)


AHEAD = claim(8.0, {"other": 10.0})


@pytest.mark.parametrize(
    ("mine", "other", "verdict"),
    [
        ((2.0,), (2.5,), "holds"),
        ((2.5,), (2.0,), "does not hold"),
        ((2.0,), (2.0 / (1 - 0.9 * NOISE),), "too close here"),
        ((2.0, 2.0, 2.6), (2.5, 2.5, 2.5), "too close here"),  # one seed among the others
        ((60.0,), (90.0,), "too close here"),  # both collapsed
        ((2.0,), (90.0,), "holds"),
        ((), (), "not measured"),
    ],
)
def test_an_order_holds_where_ours_is_clear_and_the_same(
    mine: tuple[float, ...], other: tuple[float, ...], verdict: str
) -> None:
    found = order(atlas(AHEAD, records=runs(mine=mine, other=other)))
    assert (found.papers, found.verdict) == ("ahead", verdict)


def test_margin_and_seeds_are_told() -> None:
    found = order(atlas(AHEAD, records=runs(mine=(2.0, 2.2), other=(4.2,)))).here
    assert found
    assert (round(found.gap, 6), found.seeds) == (0.5, (2, 1))


def test_a_small_lead_in_a_paper_is_none() -> None:
    close = claim(8.0, {"other": 8.0 / (1 - 0.9 * NOISE)})
    records = runs(mine=(2.0,), other=(3.0,))
    assert order(atlas(close, records=records)).verdict == "too close in papers"
    # Beside a table in which it stands out it says nothing against that.
    assert order(atlas(close, claim(4.0, {"other": 2.0}), records=records)).papers == "behind"


def test_tables_that_disagree_are_mixed_whoever_has_them() -> None:
    records = runs(mine=(2.0,), other=(3.0,))
    theirs = entry(claim(5.0, {"mine": 9.0, "other": 7.0}))
    found = order(atlas(AHEAD, records=records, third=theirs))
    assert (found.papers, found.verdict) == ("mixed", "mixed")
    assert [(one.by, one.gap > 0) for one in found.told] == [("mine", True), ("third", False)]
    near = claim(8.0, {"other": 8.1}), claim(8.1, {"other": 8.0}, model="LLaMA-13B")
    assert order(atlas(*near, records=records)).verdict == "mixed"


def test_higher_is_better_where_the_metric_says_so() -> None:
    found = order(atlas(claim(60.0, {"other": 50.0}, metric="acc/piqa")))
    assert found.papers == "ahead"
    assert found.told[0].gap == pytest.approx(1 / 6)


def test_a_pair_of_values_that_papers_copy_counts_once() -> None:
    found = order(atlas(AHEAD, third=entry(claim(5.0, {"mine": 8.0, "other": 10.0}))))
    assert len(found.told) == 1


def test_what_depends_on_a_setting_is_not_judged() -> None:
    records = runs(mine=(3.0,), other=(2.0,))
    own = claim(8.0, {"other": 10.0}, setting="with Wanda")
    found = order(atlas(own, records=records))
    assert found.verdict == "depends on the setting"
    assert found.here is not None
    # The setting of a third paper is that of its own method, unless one of the two needs a host.
    third = entry(claim(5.0, {"mine": 8.0, "other": 11.0}, setting="with SparseGPT"))
    assert order(atlas(own, records=records, third=third)).verdict == "does not hold"
    host = paper(role="plug-in")
    papers = {"mine": entry(own), "other": host, "third": third}
    assert order(Atlas(papers, {}, records)).verdict == "depends on the setting"


def test_other_shares_are_other_orders() -> None:
    claims = AHEAD, claim(9.0, {"other": 8.0}, sparsity=0.7)
    found = orders("mine", atlas(*claims, records=runs(mine=(2.0,), other=(3.0,))))
    assert [(one.share, one.verdict) for one in found] == [
        ("50 %", "holds"),
        ("70 %", "not measured"),
    ]


def test_the_page_says_margin_seeds_and_noise(repository: Path, records: list[Record]) -> None:
    here = read(repository)
    made = dict(page.pages(Atlas(here.papers, here.methods, tuple(records))))
    text = made["papers/wanda.md"].partition("### Does the order hold?")[2]
    assert f"more than {100 * NOISE:g} % apart" in text
    (row,) = (row for row in text.split("<tr>") if "now behind" in row and "at 50 %" in row)
    assert ">mixed</span>" in row
    assert "LLaMA-7B: behind by 0.6 %" in row
    assert "LLaMA-2-7B: ahead by 1.4 %" in row
    assert "behind by 7.1 %; 3 seeds each" in row


def test_the_noise_is_told_beside_what_seeds_differ_by(records: list[Record]) -> None:
    atlas = Atlas({}, {}, tuple(records))
    found = deviations(atlas.boards[0])
    assert found == pytest.approx([0.02 / 1.97, 0.02 / 1.83])  # Wanda and SparseGPT, three seeds
    assert found[-1] < NOISE
    text = dict(how_we_measure.pages(atlas))["learn/how-we-measure.md"]
    assert "here is 1.02 % to 1.09 % of its mean" in text

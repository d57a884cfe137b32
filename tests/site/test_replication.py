"""The order of two methods is judged only where it exceeds the noise, in the papers and here."""

from __future__ import annotations

from typing import Any

import pytest

from implementations.harness.results.metric import tie
from implementations.harness.results.record import Record
from tests.catalog.invented import paper
from tests.keyed import changed as altered
from tests.site.conftest import sample
from tools.catalog.schema.paper import Claim
from tools.site.atlas import Atlas
from tools.site.pages import how_we_measure, replication
from tools.site.replication import (
    NO_BASE,
    NOISE,
    Comparison,
    Tally,
    all_comparisons,
    comparisons,
    seed_deviations,
)


def claim(value: float, against: dict[str, float], **more: Any) -> Claim:
    about = {"model": "LLaMA-7B", "sparsity": 0.5, "where": "Table 1"}
    about |= {"metric": "ppl/wikitext2/128", "value": value, "against": against}
    return Claim.model_validate(about | more)


def entry(*claims: Claim, **more: Any) -> Any:
    return paper(**more).model_copy(update={"claims": claims})


def runs(**ratios: tuple[float, ...]) -> tuple[Record, ...]:
    """Make one record per seed, all at one sparsity."""
    return tuple(
        sample(method, 0.5, ratio, seed=seed)
        for method, several in ratios.items()
        for seed, ratio in enumerate(several)
    )


def order(atlas: Atlas) -> Comparison:
    """Return the pair of `mine` and `other`."""
    found = comparisons("mine", all_comparisons(atlas))
    (pair,) = (one for one in found if one.other == "other")
    return pair


def atlas(*claims: Claim, records: tuple[Record, ...] = (), **more: Any) -> Atlas:
    return Atlas({"mine": entry(*claims), "other": paper(), **more}, {}, records)


AHEAD = claim(8.0, {"other": 10.0})


@pytest.mark.parametrize(
    ("mine", "other", "verdict"),
    [
        ((2.0,), (2.5,), "holds"),
        ((2.5,), (2.0,), "does not hold"),
        ((2.0,), (2.0 / (1 - 0.9 * tie(2)),), "too close here"),
        ((2.0, 2.0, 2.6), (2.5, 2.5, 2.5), "too close here"),  # one seed among the others
        ((60.0,), (90.0,), "too close here"),  # both collapsed
        ((2.0,), (90.0,), "holds"),
        ((), (), "not measured"),
    ],
)
def test_an_order_holds_if_ours_is_clear_and_the_same(
    mine: tuple[float, ...], other: tuple[float, ...], verdict: str
) -> None:
    found = order(atlas(AHEAD, records=runs(mine=mine, other=other)))
    assert (found.order, found.verdict) == ("ahead", verdict)


def test_margin_and_seeds_are_reported() -> None:
    found = order(atlas(AHEAD, records=runs(mine=(2.0, 2.2), other=(4.2,)))).measured
    assert found
    assert (round(found.lead, 6), found.seeds) == (0.5, (2, 1))


def test_a_small_lead_in_a_paper_is_too_close() -> None:
    close = claim(8.0, {"other": 8.0 / (1 - 0.9 * NOISE)})
    records = runs(mine=(2.0,), other=(3.0,))
    assert order(atlas(close, records=records)).verdict == "too close in papers"
    # It does not contradict a table with a clear lead.
    assert order(atlas(close, claim(4.0, {"other": 2.0}), records=records)).order == "behind"


def test_disagreeing_tables_are_mixed_in_one_paper_or_several() -> None:
    records = runs(mine=(2.0,), other=(3.0,))
    theirs = entry(claim(5.0, {"mine": 9.0, "other": 7.0}))
    found = order(atlas(AHEAD, records=records, third=theirs))
    assert (found.order, found.verdict) == ("mixed", "papers disagree")
    assert [(one.paper, one.lead > 0) for one in found.reported] == [
        ("mine", True),
        ("third", False),
    ]
    near = claim(8.0, {"other": 8.1}), claim(8.1, {"other": 8.0}, model="LLaMA-13B")
    assert order(atlas(*near, records=records)).verdict == "too close in papers"


def test_higher_is_better_for_metrics_that_say_so() -> None:
    found = order(atlas(claim(60.0, {"other": 50.0}, metric="acc/piqa")))
    assert found.order == "ahead"
    assert found.reported[0].lead == pytest.approx(1 / 6)


def test_a_copied_pair_of_values_counts_once() -> None:
    found = order(atlas(AHEAD, third=entry(claim(5.0, {"mine": 8.0, "other": 10.0}))))
    assert len(found.reported) == 1


def test_orders_that_depend_on_a_setting_are_not_judged() -> None:
    records = runs(mine=(3.0,), other=(2.0,))
    own = claim(8.0, {"other": 10.0}, setting="with Wanda")
    found = order(atlas(own, records=records))
    assert found.verdict == "depends on the setting"
    assert found.measured is not None
    # The setting of a third paper concerns its own method, unless one of the pair is a plug-in.
    third = entry(claim(5.0, {"mine": 8.0, "other": 11.0}, setting="with SparseGPT"))
    assert order(atlas(own, records=records, third=third)).verdict == "does not hold"
    trained = entry(claim(5.0, {"mine": 8.0, "other": 11.0}, setting="after LoRA"))
    found = order(Atlas({"mine": paper(), "other": paper(), "third": trained}, {}, records))
    assert found.verdict == "depends on the setting"
    host = paper(role="plug-in")
    papers = {"mine": entry(own), "other": host, "third": third}
    assert order(Atlas(papers, {}, records)).verdict == "depends on the setting"
    papers = {"mine": entry(AHEAD), "other": host}
    found = order(Atlas(papers, {}, records))
    assert (found.verdict, found.reported[0].setting) == ("depends on the setting", NO_BASE)


@pytest.mark.parametrize("setting", ["with Wanda", "from a Wanda mask", "on a Wanda mask"])
def test_a_plug_in_is_judged_on_the_base_that_the_papers_name(setting: str) -> None:
    def run(ratio: float, base: str, *changed: str) -> Record:
        made = sample("mine", 0.5, ratio)
        configuration = made.configuration | {"base": base, "spread": len(changed)}
        command = f"atlas run mine {base} {changed}"
        return altered(made, configuration=configuration, changed=changed, command=command)

    def judged(setting: str) -> Comparison:
        mine = entry(claim(8.0, {"other": 10.0}, setting=setting), role="plug-in")
        wanda = paper(name="Wanda")
        return order(Atlas({"mine": mine, "other": paper(), "wanda": wanda}, {}, records))

    records = (
        run(3.0, "sparsegpt"),  # the default
        run(1.5, "wanda", "base"),
        run(1.0, "wanda", "base", "spread"),
        *runs(other=(2.0,)),
    )
    found = judged(setting)
    assert (found.verdict, found.measured and found.measured.lead) == ("holds", 0.25)
    assert judged("with RIA").verdict == "depends on the setting"


def test_without_a_run_with_defaults_only_the_same_order_is_judged() -> None:
    def run(ratio: float, steps: int, *changed: str) -> Record:
        made = sample("mine", 0.5, ratio)
        configuration = made.configuration | {"steps": steps}
        command = f"atlas run mine {steps}"
        return altered(made, configuration=configuration, changed=changed, command=command)

    def judged(*records: Record) -> tuple[str, tuple[str, str]]:
        found = order(atlas(AHEAD, records=(*records, *runs(other=(2.0,)))))
        assert found.measured
        return found.verdict, found.measured.settings

    assert judged(run(1.5, 40, "steps")) == ("holds", ("steps=40", ""))
    assert judged(run(3.0, 40, "steps")) == ("depends on the setting", ("steps=40", ""))
    assert judged(run(1.5, 40, "steps"), run(3.0, 100)) == ("does not hold", ("", ""))
    pair = order(atlas(AHEAD, records=(run(1.5, 40, "steps"), *runs(other=(2.0,)))))
    assert pair.seen_from("other").measured.settings == ("", "steps=40")


def test_each_sparsity_has_its_own_order() -> None:
    claims = AHEAD, claim(9.0, {"other": 8.0}, sparsity=0.7)
    found = comparisons(
        "mine", all_comparisons(atlas(*claims, records=runs(mine=(2.0,), other=(3.0,))))
    )
    assert [(one.removed, one.verdict) for one in found] == [
        ("50 %", "holds"),
        ("70 %", "not measured"),
    ]


def test_the_page_shows_values_seeds_and_noise(sample_pages: dict[str, str]) -> None:
    text = sample_pages["papers/wanda.md"].partition("## Does the order hold?")[2]
    assert f"differ by more than {100 * NOISE:g} %" in text
    here = "40.36 and 37.49, perplexity on Wikipedia; 3 seeds each"
    (row,) = (row for row in text.split("<tr>") if here in row)
    assert "LLaMA-7B: 7.26 and 7.22, perplexity on WikiText-2" in row


def test_the_noise_is_shown_next_to_the_deviation_over_seeds(records: list[Record]) -> None:
    atlas = Atlas({}, {}, tuple(records))
    found = seed_deviations(atlas.boards[0])
    assert found == pytest.approx([0.02 / 1.97, 0.02 / 1.83])  # Wanda and SparseGPT, three seeds
    assert found[-1] < NOISE
    text = dict(how_we_measure.pages(atlas))["learn/how-we-measure.md"]
    assert "of our results is 1.02 % to 1.09 % of the mean" in text


def test_the_page_has_each_pair_once_and_counts_the_verdicts() -> None:
    both = Atlas(
        {"mine": entry(AHEAD), "other": entry(claim(10.0, {"mine": 8.0, "third": 9.0}))},
        {},
        runs(mine=(2.0,), other=(2.5,)),
    )
    found = all_comparisons(both)
    assert [(one.method, one.other, one.verdict) for one in found] == [
        ("mine", "other", "holds"),
        ("mine", "third", "not measured"),  # both in the table of the other paper
        ("other", "third", "not measured"),
    ]
    text = dict(replication.pages(both))["replication.md"]
    assert "compare 3 pairs of methods" in text
    assert "We measured 1 of them" in text
    assert "1 holds, 0 do not hold, and 0 cannot be judged" in text
    table, missing = text.split("Not measured</h3>")
    assert table.count("<tr id=") == 1
    assert missing.count("<li ") == 2
    nothing = dict(replication.pages(Atlas({}, {})))["replication.md"]
    assert "0 hold, 0 do not hold, and 0 cannot be judged" in nothing


def test_a_pair_reads_the_same_from_both_methods() -> None:
    pairs = all_comparisons(atlas(AHEAD, records=runs(mine=(2.0, 2.1), other=(2.5,))))
    (mine,), (other,) = (comparisons(slug, pairs) for slug in ("mine", "other"))
    assert (mine.order, other.order) == ("ahead", "behind")
    assert mine.measured
    assert other.measured
    assert other.measured.lead == -mine.measured.lead
    assert other.measured.seeds == (1, 2)
    assert mine.verdict == other.verdict == "holds"
    assert comparisons("third", pairs) == []


def test_values_that_an_entry_quotes_belong_to_the_paper_with_the_table() -> None:
    quoted = claim(20.0, {"mine": 10.0}, where="Table 1 of the MINE paper")
    papers = {"mine": entry(name="MINE"), "baseline": entry(quoted)}
    (pair,) = all_comparisons(Atlas(papers, {}, runs(mine=(2.0,), baseline=(2.5,))))
    (report,) = pair.reported
    assert (report.entry, report.paper) == ("baseline", "mine")


@pytest.mark.parametrize(
    ("at", "removals", "verdict"),
    [
        ({}, ("50 %", "50 %"), "holds"),
        ({"sparsity": 0.7}, ("50 %", "70 %"), "does not hold"),
        ({"pattern": "2:4"}, ("50 %", "2:4"), "not measured"),
        ({"setting": "after LoRA"}, ("50 %", "50 %"), "depends on the setting"),
    ],
)
def test_each_value_of_a_table_keeps_its_own_setting(
    at: dict[str, Any], removals: tuple[str, str], verdict: str
) -> None:
    beside = claim(8.0, {"other": 10.0}, against_at={"other": at} if at else None)
    records = (*runs(mine=(2.0,), other=(2.5,)), sample("other", 0.7, 1.5))
    found = order(atlas(beside, records=records))
    assert (found.removals, found.verdict) == (removals, verdict)


def test_pairs_of_two_other_methods_have_the_setting_of_their_values() -> None:
    at = {slug: {"pattern": "2:4"} for slug in ("other", "third")}
    found = all_comparisons(atlas(claim(8.0, {"other": 10.0, "third": 9.0}, against_at=at)))
    assert [one.removed for one in found] == ["50 % and 2:4", "50 % and 2:4", "2:4"]


def test_a_pair_is_judged_within_one_kind_of_metric() -> None:
    records = runs(mine=(2.0,), other=(2.5,))
    accuracy = claim(50.0, {"other": 60.0}, metric="acc/piqa")
    assert order(atlas(accuracy, records=records)).verdict == "metrics differ"
    assert order(atlas(accuracy)).verdict == "not measured"
    # The published perplexity decides, and the accuracy does not contradict it.
    assert order(atlas(AHEAD, accuracy, records=records)).verdict == "holds"


def test_home_claims_and_method_pages_have_the_numbers_of_the_page(
    real: Atlas, real_pages: dict[str, str]
) -> None:
    pairs = all_comparisons(real)
    tally = str(Tally.of(pairs))
    for path in ("index.md", "claims.md", "replication.md"):
        assert tally in real_pages[path]
    for slug in real.methods:
        own = Tally.of(comparisons(slug, pairs))
        if own.measured:
            assert f"that we also measured: {own}." in real_pages[f"papers/{slug}.md"]
            row = real_pages["replication.md"].partition(f'href="papers/{slug}.html#does')[2]
            assert f">{own.holds} of {own.measured} hold" in row.partition("</tr>")[0]

"""The base classes of methods: selection, maximum sparsity, validation, and `apply`."""

from __future__ import annotations

import os
import random
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from implementations.harness import (
    AtlasWarning,
    BadInput,
    Capabilities,
    LanguageModel,
    NumericsError,
    cheapest,
    get_method,
    keep_channels,
    keep_kv_groups,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.prune.method import Count, Method
from implementations.harness.prune.unit_method import UnitMethod
from tests.harness.contract.toys import First, Narrow, Reading, Shallow, Thin, Trained

NAN = float("nan")
pytestmark = pytest.mark.filterwarnings("ignore:somebody else")


def chosen(scores: list[list[float]], within: Any = "row", **settings: Any) -> list[list[int]]:
    """Return the removed columns of each row."""
    removed = First(**settings).choose(torch.tensor(scores), within)
    return [row.nonzero().flatten().tolist() for row in removed]


# Single weights


def test_choose_compares_within_rows_or_the_matrix():
    scores = [[4.0, 1.0, 3.0, 2.0], [40.0, 10.0, 30.0, 20.0]]
    assert chosen(scores) == [[1, 3], [1, 3]]
    assert chosen(scores, "matrix") == [[0, 1, 2, 3], []]


@pytest.mark.parametrize(
    ("sparsity", "row", "matrix"),
    [(0.0, 0, 0), (0.19, 0, 1), (0.2, 1, 2), (0.39, 1, 3), (0.5, 2, 5), (0.99, 4, 9), (1, 5, 10)],
)
def test_rounds_number_of_weights_down(sparsity, row, matrix):
    scores = [[1.0, 2.0, 3.0, 4.0, 5.0]] * 2
    assert [len(removed) for removed in chosen(scores, sparsity=sparsity)] == [row, row]
    assert sum(len(removed) for removed in chosen(scores, "matrix", sparsity=sparsity)) == matrix


def test_count_is_spread_over_rows_with_the_remainder_at_the_lowest_scores():
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0], [40.0, 10.0, 30.0, 20.0], [8.0, 7.0, 5.0, 0.0]])
    by_row = [int(row.sum()) for row in First().choose(scores, count=7)]
    assert by_row == [3, 2, 2]  # the third lowest is 3, 30 and 7
    assert First().choose(scores, count=8).sum(dim=1).tolist() == [3, 2, 3]
    assert First().choose(scores, count=12).all()
    assert not First().choose(scores, count=0).any()
    assert First().choose(scores, "matrix", count=8).sum(dim=1).tolist() == [4, 0, 4]


def test_layers_lose_in_proportion_to_the_shares_of_their_blocks():
    model = tiny_model(blocks=3)
    shares = torch.tensor([0.2, 0.3, 0.4])
    counts = First(sparsity=0.3).counts(model, shares)
    sizes = [{r: x.weight.numel() for r, x in b.linears().items()} for b in model.blocks]
    assert [list(block) for block in counts] == [list(block) for block in sizes]
    total = sum(sum(block.values()) for block in sizes)
    assert sum(sum(block.values()) for block in counts) == int(0.3 * total + 1e-9)
    for share, block, size in zip(shares.tolist(), counts, sizes, strict=True):
        assert all(abs(block[role] - share * size[role]) <= 1 for role in size)


@pytest.mark.parametrize("within", ["row", "matrix"])
def test_pattern_replaces_sparsity(within):
    scores = [[1.0, 2.0, 3.0, 4.0, 8.0, 7.0, 6.0, 5.0]]
    assert chosen(scores, within, pattern="1:4") == [[0, 1, 2, 5, 6, 7]]
    assert First(pattern="1:4").target == 0.75
    assert First(sparsity=0.3).target == 0.3


def test_refuses_sparsity_that_contradicts_the_pattern():
    with pytest.raises(BadInput, match=r"toy: .*0\.5 contradicts pattern 1:4, which removes 0\.75"):
        First.configure(pattern="1:4", sparsity=0.5)  # the default, but said
    assert First.configure(pattern="1:4", sparsity=0.75).target == 0.75


# Whole units


def test_costs_of_units():
    model = tiny_model("llama")  # hidden 32, heads of 8, two query heads a KV head, 48 channels
    group, channel = (16 + 8 + 8 + 16) * 32, 3 * 32
    block = [group] * 2 + [channel] * 48
    assert Narrow().costs(model).tolist() == block * 2
    assert Thin().costs(model).tolist() == [channel] * 96
    assert Shallow().costs(model).tolist() == [sum(block)] * 2
    assert [toy().largest_unit(model) for toy in (Narrow, Thin, Shallow)] == [
        group,
        channel,
        sum(block),
    ]


def test_maximum_sparsity_leaves_half_of_the_largest_unit():
    model = tiny_model("llama", blocks=4)
    assert Shallow().max_sparsity(model) == 0.875
    assert Narrow().max_sparsity(model) == 1 - 1536 / 2 / (4 * 7680)
    assert Thin().max_sparsity(model) == 48 * 96 / 7680  # the attention stays
    for block in model.blocks:
        keep_channels(block.feed_forward, [])
    assert Thin().max_sparsity(model) == Thin().largest_unit(model) == 0
    assert Shallow().max_sparsity(model) == 0.875


def test_budget_is_a_share_of_all_weights():
    model = tiny_model("llama")  # 2 x 7,680 weights; the channels, of 96 each, hold 60 % of them
    removed = Thin(sparsity=0.3).choose(model, torch.arange(96).flip(0))
    assert removed.tolist() == [False] * 48 + [True] * 48  # half of the channels, the lowest scores
    assert Shallow(sparsity=0.5).choose(model, torch.tensor([2.0, 1.0])).tolist() == [False, True]
    for block in model.blocks:
        keep_channels(block.feed_forward, [])
    assert Thin(sparsity=0.0).choose(model, torch.empty(0)).tolist() == []


def test_rate_is_the_budget_as_a_share_of_removable_weights():
    model = tiny_model("llama")  # the channels hold 60 % of the weights
    assert Shallow(sparsity=0.3).rate(model) == pytest.approx(0.3)
    assert Thin(sparsity=0.3).rate(model) == pytest.approx(0.5)
    assert Thin(sparsity=0.9).rate(model) == pytest.approx(1.5)


class Coarse(Thin):
    """Keep multiples of 16 channels, at least 16."""

    least = 1

    def together(self, model: LanguageModel) -> int:
        return 16


def test_units_removed_together_count_as_one():
    model = tiny_model("llama", blocks=4)  # each 48 channels of 96 weights, 7,680 weights in all
    assert Coarse().largest_unit(model) == 16 * 96
    assert Coarse().max_sparsity(model) == 2 * 16 * 96 / 7680
    assert Thin(sparsity=0.1).widths(model, [0, 1, 0, 2]) == [[0], [11], [0], [21]]
    assert Coarse(sparsity=0.1).widths(model, [0, 1, 0, 2]) == [[0], [16], [0], [16]]
    assert Coarse(sparsity=0.4).widths(model, [0, 1, 0, 2]) == [[32]] * 4
    keep_channels(model.blocks[0].feed_forward, range(40))  # the channels beyond 32 stay
    assert Coarse(sparsity=0.0).widths(model, [1] * 4) == [[0]] * 4
    total = 4 * 7680 - 8 * 96
    assert Coarse().max_sparsity(model) == (1 + 3 * 2) * 16 * 96 / total


class Inner(Thin):
    """Remove channels of all blocks except the first, at most all but one."""

    least = 1

    def taking_part(self, model: LanguageModel) -> torch.Tensor:
        return torch.arange(len(model.blocks)) > 0


def test_excluded_blocks_lose_nothing_at_any_sparsity():
    model = tiny_model("llama", blocks=4)
    limit = Inner().max_sparsity(model)
    assert limit == 3 * 47 * 96 / (4 * 7680)
    assert Inner(sparsity=0.1).widths(model, [1] * 4) == [[0], [11], [10], [11]]  # of 96 weights
    assert Inner(sparsity=limit).widths(model, [1] * 4) == [[0], [47], [47], [47]]
    assert Inner(sparsity=0.1).widths(model, [9, 0, 0, 1]) == [[0], [0], [0], [32]]
    with pytest.raises(BadInput, match=r"at most 0\.44"):
        Inner(sparsity=0.45).apply(model)


def test_error_names_the_maximum_sparsity():
    message = r"sparsity 0\.7 is too high for this model: toy can remove at most 0\.6 of its"
    with pytest.raises(BadInput, match=message):
        Thin(sparsity=0.7).apply(tiny_model("llama"))


UNITS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**9)), min_size=1, max_size=6)


@given(units=UNITS, part=st.floats(0, 1))
@example(units=[(0.0, 834), (1.0, 1706522)], part=1.0)  # rounding must not take the last one
def test_accepted_sparsity_leaves_a_unit(units, part):
    scores, costs = (torch.tensor(column) for column in zip(*units, strict=True))
    limit = (int(costs.sum()) - int(costs.max()) / 2) / int(costs.sum())
    assert not bool(cheapest(scores, costs, part * limit).all())


def test_refuses_unknown_kind_of_units():
    class Headed(UnitMethod):
        capabilities = Capabilities(granularity=("hidden",), calibration="none")

        def prune(self, model: LanguageModel, calibration: Any) -> None: ...

    with pytest.raises(BadInput, match="unknown kind of units 'hidden'"):
        Headed().costs(tiny_model())


# `apply`


class Looking(First):
    """Record how it is called, and draw from every generator."""

    def prune(self, model: LanguageModel, calibration: Any) -> dict[str, Any]:
        warnings.warn("nothing was removed", AtlasWarning, stacklevel=1)
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
        return {
            "training": any(module.training for module in model.hf.modules()),
            "gradients": torch.is_grad_enabled(),
            "drawn": (random.random(), np.random.rand(), float(torch.rand(()))),
        }


def looked(seed: int = 0) -> Any:
    model = tiny_model()
    model.hf.train()
    with pytest.warns(AtlasWarning, match="nothing"):
        return Looking(sparsity=0).apply(model, None, seed)


def test_pruning_runs_in_evaluation_mode_and_without_gradients():
    with torch.enable_grad():
        details = looked().details
        assert torch.is_grad_enabled()
    assert not details["training"]
    assert not details["gradients"]


@pytest.mark.parametrize("value", [torch.ones(2), np.int64(3), {1, 2}])
def test_refuses_details_that_a_record_cannot_hold(value: Any):
    class Telling(Looking):
        def prune(self, model: LanguageModel, calibration: Any) -> dict[str, Any]:
            return {"found": value}

    with pytest.raises(BadInput, match=r"must return plain numbers.*\.tolist\(\)"):
        Telling(sparsity=0).apply(tiny_model())


def test_outcome_has_the_harness_warnings_and_all_are_shown():
    with pytest.warns(AtlasWarning, match="nothing") as caught:
        outcome = Looking(sparsity=0).apply(tiny_model())
    assert outcome.warnings == ["nothing was removed"]
    assert [str(w.message) for w in caught] == ["nothing was removed", "somebody else's"]


def test_warns_if_sparsity_is_missed():
    def warnings_of(method: Method, **shape: Any) -> list[str]:
        return method.apply(tiny_model(**shape), random_tokens()).warnings

    # Rows of 32 and 48 weights lose 31 and 47; one KV group is removed completely or not at all.
    assert warnings_of(First(sparsity=0.999)) == [
        "toy achieved a sparsity of 0.9708 where 0.999 was asked for; compare it with other "
        "methods at the sparsity it achieved"
    ]
    flap = get_method("flap").configure(sparsity=0.5)
    (one,) = warnings_of(flap, num_key_value_heads=1)
    assert "0.442 where 0.5 was asked for (its largest unit holds 18 % of the weights)" in one
    assert warnings_of(First(sparsity=0.5)) == warnings_of(First(pattern="1:4")) == []


class Failing(Looking):
    """Warn, then fail."""

    def prune(self, model: LanguageModel, calibration: Any) -> dict[str, Any]:
        super().prune(model, calibration)
        raise NumericsError("on purpose")


def test_warnings_of_a_failing_method_are_shown():
    with (
        pytest.warns(AtlasWarning, match="nothing") as caught,
        pytest.raises(NumericsError, match="on purpose"),
    ):
        Failing(sparsity=0).apply(tiny_model())
    assert [str(w.message) for w in caught] == ["nothing was removed", "somebody else's"]


def test_refuses_invalid_input():
    model, tokens = tiny_model(), random_tokens()
    with pytest.raises(BadInput, match="toy needs a calibration set"):
        Reading().apply(model)
    with pytest.raises(BadInput, match="toy needs training text; give a Calibration"):
        Trained().apply(model, tokens)
    with pytest.raises(BadInput, match="toy: sparsity: Input should be less than or equal to 1"):
        First.configure(sparsity=2)
    with pytest.raises(BadInput, match="unknown toy parameter 'steps'; choose one of sparsity, "):
        First.configure(steps=1)


class Numbers(First):
    """Has a field of each type."""

    share: float = 0.5
    size: Count = 1
    switch: bool = False
    maybe: bool | None = None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"share": NAN}, "share: Input should be a finite number"),
        ({"share": True}, "share: must not be a boolean, got true"),
        ({"size": 2**31}, "size: Input should be less than 2147483648"),
        ({"pattern": ["2", "4"]}, "is not KEEP:GROUP"),
    ],
)
def test_refuses_invalid_numbers(parameters, message):
    with pytest.raises(BadInput, match=message) as refusal:
        Numbers.configure(**parameters)
    assert len(str(refusal.value)) < 500


def test_reports_methods_that_overflow_or_empty_the_model():
    class Exploding(First):
        def prune(self, model: LanguageModel, calibration: Any) -> None:
            for block in model.visit():
                block.attention.o.weight.mul_(float("inf"))

    class Emptying(Narrow):
        def prune(self, model: LanguageModel, calibration: Any) -> None:
            for block in model.visit():
                keep_kv_groups(block.attention, [])
                keep_channels(block.feed_forward, [])

    with pytest.raises(NumericsError, match=r"block 0, o: .*toy overflowed; load the model in a"):
        Exploding().apply(tiny_model())
    with pytest.raises(BadInput, match="would empty the model"):
        Emptying().apply(tiny_model())


def test_structured_method_without_patterns_says_so():
    with pytest.raises(BadInput, match="flap has no `pattern`, because it removes kv-groups, chan"):
        get_method("flap").configure(pattern="2:4")


@pytest.mark.parametrize("leave", [lambda code: os._exit(code), sys.exit])
def test_a_method_cannot_end_the_process(leave):
    class Leaving(First):
        def prune(self, model, calibration):
            leave(0)

    before = os._exit
    with pytest.raises(BadInput, match=r"ended the process \(0\)"):
        Leaving().apply(tiny_model())
    assert os._exit is before

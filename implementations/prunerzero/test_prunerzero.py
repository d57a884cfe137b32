"""Pruner-Zero: formulas, the released score, gradients of the dense model, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import BadInput, NumericsError, get_method, keep_kv_groups
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.prunerzero import PrunerZero
from implementations.prunerzero import prunerzero as module
from implementations.prunerzero.formula import FUNCTIONS, parse_formula
from implementations.prunerzero.prunerzero import RELEASED
from tests.observation import sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

OFFICIAL = {
    "data": "mul",
    "left": {
        "data": "abs",
        "left": {"data": "mul", "left": {"data": "W"}, "right": {"data": "W"}},
    },
    "right": {"data": "mms", "left": {"data": "G"}},
}


def matrices(rows: int = 6, columns: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    W, G = torch.rand(2, rows, columns, generator=generator)
    return {"W": W, "G": G + 0.1, "X": torch.rand(1, columns, generator=generator)}


def removed(values: dict[str, Tensor], formula: object = RELEASED) -> Tensor:
    return PrunerZero().choose(parse_formula(formula)(values))


def masks(model) -> list[Tensor]:
    return [linear.weight == 0 for _, _, linear in model.linears()]


def same(ours, theirs) -> bool:
    return all(map(torch.equal, masks(ours), masks(theirs)))


# Formulas


def test_tree_of_the_official_file_is_the_default():
    assert str(parse_formula(OFFICIAL)) == RELEASED == PrunerZero().formula
    formula = parse_formula(" div( sub(G,W) ,log(X))")
    assert str(formula) == "div(sub(G, W), log(X))"
    assert parse_formula(str(formula)) == parse_formula(formula) == formula


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "sqr": [9.0, 0, 4],
        "pow": [9.0, 0, 4],
        "neg": [3.0, 0, -2],
        "abs": [3.0, 0, 2],
        "log": [1.0989456, -6.9077554, 0.6936471],
        "exp": [0.0497871, 1, 7.3890561],
        "sqrt": [1.7320508, 0, 1.4142136],
        "tanh": [-0.9950548, 0, 0.9640276],
        "skp": [-3.0, 0, 2],
        "mms": [0.0, 0.6, 1],
        "zsn": [-1.0596259, 0.1324532, 0.9271726],  # mean -1/3, variance 19/3
    }.items(),
)
def test_functions_of_one_matrix(name, expected):
    W = torch.tensor([[-3.0, 0, 2]])
    torch.testing.assert_close(parse_formula(f"{name}(W)")({"W": W}), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "add": [[4.0, 2], [3, 8]],
        "sub": [[-2.0, 6], [-3, 0]],
        "mul": [[3.0, -8], [0, 16]],
        "div": [[1 / 50**0.5, 4 / 50**0.5], [0, 4 / 50**0.5]],  # norm of [[3, -2 -> 4], ...]
    }.items(),
)
def test_functions_of_two_matrices(name, expected):
    values = {"W": torch.tensor([[1.0, 4], [0, 4]]), "X": torch.tensor([[3.0, 4]])}
    if name != "div":
        values["X"] = torch.tensor([[3.0, -2], [3, 4]])
    found = parse_formula(f"{name}(W, X)")(values)  # div repeats the row of X
    torch.testing.assert_close(found, torch.tensor(expected))


def test_every_function_has_an_example():
    tests = (test_functions_of_one_matrix, test_functions_of_two_matrices)
    names = [name for test in tests for name, _ in test.pytestmark[0].args[1]]
    assert sorted(names) == sorted(FUNCTIONS)


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("", "parsed"),
        ("mul(W", "parsed"),
        ("-" * 100_000 + "W", "parsed"),  # too deep for the parser
        ("W" + ".a" * 100_000, "parsed"),
        ("W * W", "function calls"),
        ("mul(W, 2)", "function calls"),
        ("abs(x=W)", "function calls"),
        ("W.abs()", "function calls"),
        ("mul(W, Y)", "'Y'"),
        ("print(W)", "'print'"),
        ("mul(W)", "1 arguments instead of 2"),
        ("abs(W, W)", "2 arguments instead of 1"),
        ("W(G)", "1 arguments instead of 0"),
    ],
)
def test_other_formulas_are_refused(formula, problem):
    with pytest.raises(BadInput, match="formula") as refusal:
        PrunerZero.configure(formula=formula)
    assert problem in str(refusal.value)
    assert "mul(abs(W), sqrt(X))" in str(refusal.value)


@pytest.mark.parametrize(
    "tree",
    [
        3,
        {"left": {"data": "W"}},
        {"data": "abs", "left": {"data": "W"}, "middle": {}},
        {"data": "abs", "right": None},
    ],
)
def test_other_trees_are_refused(tree):
    with pytest.raises(ValueError, match="objects with"):
        parse_formula(tree)


# The released score


def test_released_score_by_hand():
    values = {"W": torch.tensor([[1.0, 2, 3, 4]]), "G": torch.tensor([[4.0, 3, 2, 1]])}
    torch.testing.assert_close(parse_formula(RELEASED)(values), torch.tensor([[1, 8 / 3, 3, 0]]))
    assert removed(values).tolist() == [[True, False, False, True]]


def test_shift_and_scale_of_the_gradients_cancel():
    values = matrices()
    moved = values | {"G": 7 * values["G"] + 0.3}
    assert torch.equal(removed(values), removed(moved))
    product = "mul(mul(W, W), G)"
    assert not torch.equal(removed(values), removed(values, product))
    shifted = values | {"G": values["G"] + 3}
    assert not torch.equal(removed(shifted, product), removed(values, product))


def test_scales_of_rows_cancel_and_those_of_columns_do_not():
    values = matrices()
    rows, columns = torch.arange(1.0, 7)[:, None], torch.arange(1.0, 9)
    assert torch.equal(removed(values), removed(values | {"W": values["W"] * rows}))
    assert not torch.equal(removed(values), removed(values | {"W": values["W"] * columns}))


def test_equal_gradients_leave_the_order_of_magnitudes():
    values = matrices()
    equal = values | {"G": torch.full_like(values["G"], 0.7)}
    assert torch.equal(removed(equal), removed(equal, "W"))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_masks_by_the_definition(norm):
    """Gradients are those of the dense model in every block, and the minimum is the matrix's."""
    tokens, dense = random_tokens(5), tiny_model(blocks=3)
    model, order = copy.deepcopy(dense), int(norm[1])
    PrunerZero(norm=norm).apply(model, tokens)
    gradients = sample_gradients(dense, tokens)
    for before, after in zip(dense.blocks, model.blocks, strict=True):
        for role, linear in before.linears().items():
            each = gradients[before.index][role].double()
            G = torch.linalg.vector_norm(each, order, dim=0)
            score = linear.weight.double().square() * (G - G.min())
            lowest = score.argsort(dim=1)[:, : linear.in_features // 2]
            removed = torch.zeros_like(score, dtype=torch.bool).scatter_(1, lowest, True)
            assert torch.equal(removed, after.linears()[role].weight == 0)


def test_norms_differ():
    models = [tiny_model(), tiny_model()]
    for model, norm in zip(models, ("l1", "l2"), strict=True):
        PrunerZero(norm=norm).apply(model, random_tokens(5))
    assert not same(*models)


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}])
@pytest.mark.parametrize(
    ("formula", "slug", "options"),
    [
        ("mul(abs(W), sqrt(X))", "wanda", {}),
        ("mul(W, G)", "gblmpruner", {"alpha": 1e12}),
        ("add(mul(W, sqrt(X)), mul(W, G))", "gblmpruner", {"alpha": 1}),
    ],
)
def test_formulas_of_other_methods(formula, slug, options, settings):
    tokens, ours, theirs = random_tokens(4), tiny_model(blocks=3), tiny_model(blocks=3)
    PrunerZero(formula=formula, norm="l1", **settings).apply(ours, tokens)
    get_method(slug).configure(**options, **settings).apply(theirs, tokens)
    assert same(ours, theirs)


def test_released_formula_needs_no_walk(monkeypatch):
    monkeypatch.setattr(module, "walk", None)
    PrunerZero().apply(tiny_model(), random_tokens())


@pytest.mark.parametrize("formula", ["div(sub(W, W), sub(W, W))", "mms(div(sub(W, W), sub(W, W)))"])
def test_formula_that_gives_nan_is_refused(formula):
    with pytest.raises(NumericsError, match="formula contain NaN"):
        PrunerZero(formula=formula).apply(tiny_model(), random_tokens())


def test_parts_that_were_removed_before_are_skipped():
    model = tiny_model()
    keep_kv_groups(model.blocks[0].attention, [])
    assert PrunerZero().apply(model, random_tokens()).achieved == pytest.approx(0.5)


@pytest.mark.model
@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}])
def test_on_the_real_model_it_beats_magnitude(first_blocks, settings):
    def error(slug: str) -> float:
        model = copy.deepcopy(first_blocks.dense)
        get_method(slug).configure(**settings).apply(model, first_blocks.short)
        return float((first_blocks.run(model) - first_blocks.outputs).square().sum())

    assert error("prunerzero") < error("magnitude")

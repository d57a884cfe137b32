"""DISP-LLM: budget and cut by hand, sets that differ from part to part, masks worth training."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from implementations.displlm import DispLLM, displlm
from implementations.displlm.displlm import (
    VECTORS,
    Budget,
    cut,
    on_both_branches,
)
from implementations.displlm.network import OPEN, HyperNetwork, Logits, reinmax
from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Plan,
    Stream,
    Tokens,
    keep_channels,
    keep_kv_groups,
    load_model,
    masked,
    off_budget,
    perplexity,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.modeling_pruned import held_indices
from implementations.harness.model.units import count_weights

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def random_logits(budget: Budget, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, generator=generator) for count in budget.counts]


def counted(parts: list[Tensor]) -> list[list[int]]:
    sums = [int(part.sum()) for part in parts]
    return [sums[i : i + 5] for i in range(0, len(sums), 5)]


def own_text(model: LanguageModel, windows: int = 32, length: int = 24) -> Tokens:
    """Return text that the model itself wrote, so that it knows what comes next."""
    torch.manual_seed(0)
    with torch.no_grad():
        start = torch.randint(3, model.vocabulary_size, (windows, 1))
        ids = model.hf.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            temperature=0.3,
            min_new_tokens=length - 1,
            max_new_tokens=length - 1,
        )
    return Tokens.from_ids(ids, "its own")


# The budget


@every_family
def test_open_gates_keep_what_the_layers_hold(family: str):
    model = tiny_model(family)
    assert Budget(model).all == count_weights(model).all


def test_a_block_by_hand():
    # 4 query and 2 KV heads of 8, 32 dimensions, 48 channels.
    budget = Budget(tiny_model(blocks=1))
    rows = [(3, 5, 7, 11, 13)]
    assert budget.kept(rows) == 3 * (32 + 16 + 16) + 5 * 32 + 2 * 7 * 11 + 11 * 13
    assert Budget(tiny_model("opt", blocks=1)).kept(rows) == 3 * 96 + 5 * 32 + 7 * 11 + 11 * 13


def test_a_channel_is_gated_on_both_branches():
    budget = Budget(tiny_model())
    drawn = torch.zeros(sum(budget.counts), requires_grad=True)
    on_both_branches(drawn, budget).sum().backward()
    closed = drawn.grad
    opened = torch.ones(sum(budget.counts), requires_grad=True)
    on_both_branches(opened, budget).sum().backward()
    assert closed is not None
    assert opened.grad is not None
    for number, (low, high) in enumerate(
        zip(closed.split(budget.counts), opened.grad.split(budget.counts), strict=True)
    ):
        channels = VECTORS[number % 5] == "channels"
        assert low.unique().tolist() == [0.0 if channels else 1.0]
        assert high.unique().tolist() == [2.0 if channels else 1.0]


# The cut


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@every_family
def test_the_cut_keeps_the_highest_logits_and_meets_the_budget(family: str, share: float):
    budget = Budget(tiny_model(family))
    scores = random_logits(budget)
    target = (1 - share) * budget.all
    kept = cut(scores, range(10), budget, target)
    largest = int(DispLLM().costs(tiny_model(family)).max())
    assert abs(budget.kept(counted(kept)) - target) <= largest / 2
    stay = torch.cat([part[mask] for part, mask in zip(scores, kept, strict=True)])
    go = torch.cat([part[~mask] for part, mask in zip(scores, kept, strict=True)])
    if len(go):
        alone = [int(mask.sum()) == 1 for mask in kept]  # a last one stays, however low
        assert any(alone) or float(stay.min()) > float(go.max())


def test_the_highest_of_each_vector_stays_however_low_it_is():
    budget = Budget(tiny_model())
    scores = random_logits(budget)
    scores[2] -= 100
    kept = cut(scores, range(10), budget, 0.6 * budget.all)
    assert kept[2].nonzero().flatten().tolist() == [int(scores[2].argmax())]
    fewest = cut(scores, range(10), budget, 0)
    assert all(int(part.sum()) == 1 for part in fewest)


def test_equal_logits_do_not_go_together():
    budget = Budget(tiny_model())
    kept = cut([torch.zeros(count) for count in budget.counts], range(10), budget, budget.all / 2)
    assert abs(budget.kept(counted(kept)) - budget.all / 2) <= 96  # half of the largest unit


# Where the logits come from


def test_a_vector_has_its_own_layer_and_the_noise_is_not_trained():
    torch.manual_seed(0)
    network = HyperNetwork([4, 6, 5])
    trained = dict(network.named_parameters())
    assert "noise" not in trained
    assert [trained[f"heads.{i}.weight"].shape for i in range(3)] == [(4, 128), (6, 128), (5, 128)]
    assert [vector.shape for vector in network()] == [(4,), (6,), (5,)]
    assert {name for name in trained if "reverse" in name}  # both ways
    assert "heads.0.bias" not in trained
    # What one vector becomes depends on all others: the network sees them in a row.
    before = network()[0]
    network.noise[2] += 1
    assert not torch.equal(network()[0], before)


def test_the_network_is_a_gru_a_layer_norm_and_gelu_over_noise_that_is_drawn_once():
    torch.manual_seed(0)
    network = HyperNetwork([4, 6, 5])
    assert len(network.noise.unique(dim=0)) == 3  # a vector of noise for each gate vector
    torch.nn.init.uniform_(network.norm.weight, 0.5, 2.0)
    states, _ = network.gru(network.noise)
    rows = gelu(layer_norm(states, (128,), network.norm.weight)).squeeze(1)
    expected = [head.weight @ row for head, row in zip(network.heads, rows, strict=True)]
    for _ in range(2):  # the same in every pass
        torch.testing.assert_close(network(), expected)


def test_nearly_all_gates_are_open_in_the_beginning():
    torch.manual_seed(0)
    assert torch.sigmoid(torch.tensor(OPEN)) == pytest.approx(0.953, abs=1e-3)
    sizes = [[32, 32, 32, 48, 32]] * 4
    assert float(torch.sigmoid(Logits(sizes, True, None)().detach()).mean()) > 0.93
    assert Logits(sizes, False, None)().unique().tolist() == [OPEN]


def test_tied_parts_share_their_dimensions_and_nothing_else():
    model = tiny_model()
    DispLLM(sparsity=0.4, steps=20, learning_rate=0.05, tied=True).apply(model, text_for(model))
    read = [part for block in model.blocks for part in sets(block) if part is not None]
    assert len(read) == 8
    assert all(torch.equal(part, read[0]) for part in read)
    assert len(read[0]) < 32
    channels = [block.feed_forward.channels for block in model.blocks]
    assert any(count < 48 for count in channels)


def sets(block) -> list[Tensor | None]:
    """Return the dimensions that the parts of a block read and write."""
    attention, feed_forward = block.attention, block.feed_forward
    assert torch.equal(held_indices(attention.q, 1), held_indices(attention.v, 1))
    assert torch.equal(held_indices(feed_forward.gate, 1), held_indices(feed_forward.up, 1))
    return [
        held_indices(attention.k, 1),
        held_indices(attention.o, 0),
        held_indices(feed_forward.up, 1),
        held_indices(feed_forward.down, 0),
    ]


# The whole


def text_for(model: LanguageModel) -> Calibration:
    text = own_text(model)
    return Calibration(**vars(text), training=Stream(text))


@every_family
def test_the_slices_compute_what_the_gates_did(family: str):
    model = tiny_model(family)
    dense, text = copy.deepcopy(model), text_for(model)
    outcome = DispLLM(sparsity=0.4, steps=20, learning_rate=0.05).apply(model, text)
    gone = []
    for before, after in zip(dense.blocks, model.blocks, strict=True):
        held = [
            held_indices(after.attention.q, 1),
            held_indices(after.attention.o, 0),
            held_indices(after.feed_forward.up, 1),
            None,
            held_indices(after.feed_forward.down, 0),
        ]
        # No weight changed, so that the channels left are found by the rows of `up`.
        rows = before.feed_forward.up.weight
        rows = rows if held[2] is None else rows[:, held[2]]
        same = (rows[:, None] == after.feed_forward.up.weight[None]).all(-1)
        assert bool(same.any(0).all())
        for places, size in zip(held, Budget(dense).sizes[before.index], strict=True):
            off = torch.ones(size, dtype=torch.bool)
            off[slice(None) if places is None else places] = False
            gone.append(off)
        gone[-2] = ~same.any(dim=1)
    with masked(dense, torch.cat(gone), *VECTORS):
        torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    told = outcome.details["widths"]
    rows_ = [[told[kind][index] for kind in VECTORS] for index in range(len(dense.blocks))]
    assert Budget(dense).kept(rows_) == count_weights(model).all
    differ = [tuple(part.tolist()) for block in model.blocks for part in sets_of(block)]
    assert len(set(differ)) > 2  # another set for each part


def sets_of(block) -> list[Tensor]:
    parts = (held_indices(block.attention.o, 0), held_indices(block.feed_forward.down, 0))
    return [part for part in parts if part is not None]


@pytest.mark.parametrize("hypernetwork", [True, False])
def test_training_reaches_the_budget_before_anything_is_cut(hypernetwork: bool):
    text = text_for(tiny_model())
    for share in (0.2, 0.5):
        method = DispLLM(sparsity=share, steps=250, learning_rate=0.02, hypernetwork=hypernetwork)
        outcome = method.apply(tiny_model(), text)
        drawn = outcome.details["open_before_the_cut"]["drawn"]
        assert drawn == pytest.approx(1 - share, abs=0.06)


def test_one_draw_serves_both_terms_at_a_steady_rate(monkeypatch):
    """What is trained, on what, and by which plan: seen at the loop itself."""
    seen: dict = {}
    penalised: list[Tensor] = []

    @contextmanager
    def gated(model, *kinds):
        seen["gates"] = SimpleNamespace(values=None)
        yield seen["gates"]

    def optimise(parameters, loss, stream, plan):
        seen["plan"], seen["trained"] = plan, sum(p.numel() for p in parameters)
        seen["frozen"] = not any(p.requires_grad for p in model.hf.parameters())
        with torch.enable_grad():
            seen["loss"] = float(loss(next(stream.batches(1))).detach())
        return [1.0]

    def twice(drawn: Tensor, budget: Budget) -> Tensor:
        seen["drawn"] = drawn
        return 2 * drawn

    def watched(kept: Tensor, target: float) -> Tensor:
        penalised.append(kept)
        return off_budget(kept, target)

    for name, fake in (("gated", gated), ("optimise", optimise), ("off_budget", watched)):
        monkeypatch.setattr(displlm, name, fake)
    monkeypatch.setattr(displlm, "on_both_branches", twice)
    model = tiny_model()
    DispLLM(steps=7, sparsity=0.2, hypernetwork=False).apply(model, text_for(model))
    assert torch.equal(seen["gates"].values, 2 * seen["drawn"])
    assert seen["plan"] == Plan(7, 1e-3, 1, decay="none", weight_decay=0.05, clip=None)
    budget = Budget(tiny_model())
    assert seen["trained"] == sum(budget.counts)
    assert seen["frozen"]
    assert int(penalised[0]) == budget.kept(counted(list(seen["drawn"].split(budget.counts))))


def test_trained_sets_beat_drawn_ones_and_tied_ones():
    text = own_text(tiny_model())

    def left(**settings) -> float:
        model = tiny_model()
        method = DispLLM(sparsity=0.3, learning_rate=0.05, **settings)
        method.apply(model, Calibration(**vars(text), training=Stream(text)))
        return perplexity(model, text).value

    trained = left(steps=150, hypernetwork=False)
    untrained = left(steps=1)
    assert trained < 0.8 * untrained
    assert trained < left(steps=150, hypernetwork=False, tied=True)


def test_a_block_without_channels_is_refused():
    model, tokens = tiny_model(), random_tokens()
    given = Calibration(**vars(tokens), training=Stream(tokens))
    keep_kv_groups(model.blocks[0].attention, [])
    keep_channels(model.blocks[1].feed_forward, [])
    with pytest.raises(BadInput, match="one block of tiny-llama has none"):
        DispLLM(steps=1).apply(model, given)


@pytest.mark.model
def test_on_the_real_model_trained_gates_beat_those_by_lot(first_blocks, monkeypatch):
    # All of its blocks: of four the loss says nothing.
    ahead = Tokens.from_ids(first_blocks.ahead.ids[:2, :64])
    windows = first_blocks.short.training.windows.ids
    text = Calibration(**vars(ahead), training=Stream(Tokens.from_ids(windows[:, :64])))

    def left() -> float:
        model = load_model("smollm2-135m")
        DispLLM(sparsity=0.1, steps=8, learning_rate=0.1, hypernetwork=False).apply(model, text)
        return perplexity(model, ahead).value

    def by_lot(parameters, *_) -> list[float]:
        for vector in parameters:
            vector.data.normal_()
        return [0.0]

    trained = left()
    monkeypatch.setattr(displlm, "optimise", by_lot)
    assert trained < 0.6 * left()


@pytest.mark.parametrize("logit", [-2.0, 0.0, 0.5, 3.0])
def test_the_gradient_of_a_draw(logit: float):
    torch.manual_seed(0)
    logits_ = torch.full((4096,), logit, requires_grad=True)
    drawn = reinmax(logits_)
    drawn.sum().backward()
    likely = torch.sigmoid(torch.tensor(logit))
    assert logits_.grad is not None
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert float(drawn.detach().mean()) == pytest.approx(float(likely), abs=0.03)
    expected = torch.where(drawn.detach() == 1, (1 - likely) / 2, likely / 2)
    torch.testing.assert_close(logits_.grad, expected, rtol=1e-4, atol=1e-6)
    # p (1 - p), which a straight-through of the draw alone has in no single draw.
    assert float(logits_.grad.mean()) == pytest.approx(float(likely * (1 - likely)), rel=0.1)


def test_the_draw_is_exact_for_a_quadratic_loss():
    torch.manual_seed(0)
    x = torch.full((200_000,), 0.7, dtype=torch.float64, requires_grad=True)
    drawn = reinmax(x)
    (gradient,) = torch.autograd.grad((3 * drawn.square() - drawn).sum(), x)
    likely = torch.sigmoid(x[0].detach())
    exact = float(likely * (1 - likely) * ((3 - 1) - 0))  # of p (loss of 1 - loss of 0)
    assert float(gradient.mean()) == pytest.approx(exact, rel=0.01)


def test_a_temperature_flattens_the_guess_and_not_the_draw():
    torch.manual_seed(0)
    cold = torch.full((512,), 2.0, requires_grad=True)
    torch.manual_seed(1)
    one = reinmax(cold)
    torch.manual_seed(1)
    two = reinmax(cold, temperature=2.0)
    assert torch.equal(one, two)
    (first,) = torch.autograd.grad(one.sum(), cold)
    (second,) = torch.autograd.grad(two.sum(), cold)
    assert float(second[two == 1].mean()) > 1.3 * float(first[one == 1].mean())

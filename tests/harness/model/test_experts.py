"""Mixtures of experts: routing, surgery, masks, counts and checkpoints of every family."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from implementations.harness import BadInput, keep_experts, keep_units, load_model, masked
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MIXTURE_TYPES, tiny_model
from implementations.harness.measure.memory import footprint
from implementations.harness.model.gguf_export import export_gguf
from implementations.harness.model.saving import save_model
from implementations.harness.model.streaming import open_streamed
from implementations.harness.model.surgery import set_expert_count
from implementations.harness.model.units import (
    count_weights,
    cuts,
    experts_left,
    refuse_emptied,
    unit_costs,
)
from implementations.harness.results.protocol import Recovery
from implementations.harness.train import recovery

pytestmark = pytest.mark.usefixtures("without_gradients")
every_mixture = pytest.mark.parametrize("family", list(MIXTURE_TYPES))


@pytest.fixture(scope="module")
def without_gradients():
    with torch.no_grad():
        yield


def routed_inputs(tokens=40, width=32):
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(0))


def cut_to(model, keep):
    """Keep the experts `keep` of every block that has some."""
    for block in model.visit():
        if block.experts:
            keep_experts(block, keep)
    set_expert_count(model)


@every_mixture
def test_route_chooses_as_the_router_does(family):
    experts, x = tiny_model(family).blocks[1].experts, routed_inputs()
    raw, gates, chosen = experts.router(x)
    routing = experts.route(raw)
    assert torch.equal(routing.gates, gates)
    assert torch.equal(routing.chosen, chosen)
    sums_to_one = torch.allclose(gates.sum(dim=1), torch.ones(len(x)))
    assert sums_to_one == (family in ("mixtral", "qwen3moe"))


@every_mixture
def test_output_is_that_of_the_expert_alone(family):
    experts, x = tiny_model(family).blocks[1].experts, routed_inputs()
    for j in range(experts.count):
        alone = experts.module(x, torch.full((len(x), 1), j), torch.ones(len(x), 1))
        torch.testing.assert_close(experts.output(j, x), alone)


@every_mixture
def test_next_expert_moves_up_where_one_is_removed(family):
    experts = tiny_model(family).blocks[1].experts
    raw = torch.tensor([[3.0, 2.0, 1.0, *[-9.0] * 5]])
    raw[:, 0] = -math.inf
    gates, chosen = experts.route(raw)
    assert chosen.tolist() == [[1, 2]]
    assert gates.tolist()[0] == pytest.approx([0.731, 0.269], abs=1e-3)


@every_mixture
def test_removed_experts_equal_masked_ones(family):
    model = tiny_model(family, blocks=3)
    dense, keep = copy.deepcopy(model), [6, 1, 3]
    cut_to(model, keep)
    blocks = sum(1 for block in dense.blocks if block.experts)
    off = torch.ones(blocks, 8, dtype=torch.bool)
    off[:, keep] = False
    before = logits(dense)
    with masked(dense, off.flatten(), "experts"):
        assert torch.allclose(logits(model), logits(dense), atol=1e-5)
    assert torch.equal(logits(dense), before)
    assert not torch.allclose(logits(model), before, atol=1e-2)


@every_mixture
def test_stock_checkpoint_of_transformers_round_trips(family, tmp_path):
    dense = tiny_model(family)
    dense.hf.save_pretrained(tmp_path / "dense")
    loaded = load_model(tmp_path / "dense", tokenizer=False)
    assert loaded.family.name == family
    assert torch.equal(logits(loaded), logits(dense))
    cut_to(loaded, [0, 2, 5, 6, 7])
    save_model(loaded, tmp_path / "pruned")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned").eval()
    assert type(stock) is type(dense.hf)
    assert stock.config.num_experts == 5
    assert torch.equal(
        stock(input_ids=torch.arange(3, 20)[None]).logits,
        loaded.hf(input_ids=torch.arange(3, 20)[None]).logits,
    )
    again = load_model(tmp_path / "pruned", tokenizer=False)
    assert torch.equal(logits(again), logits(loaded))
    assert count_weights(again) == count_weights(loaded)
    assert "5 experts of 48" in (tmp_path / "pruned" / "README.md").read_text()


@every_mixture
def test_auxiliary_loss_works_with_fewer_experts(family):
    model = tiny_model(family)
    cut_to(model, range(5))
    output = model.hf(input_ids=torch.arange(3, 20)[None], output_router_logits=True)
    assert output.aux_loss.isfinite()


ATTENTION = {  # weights of q, k, v and o
    "mixtral": 1024 + 512 + 512 + 1024,
    "olmoe": 1024 + 512 + 512 + 1024,
    "qwen3moe": 2048 + 512 + 512 + 2048,
    "qwen2moe": 1024 + 512 + 512 + 1024,
}
EXPERT = 3 * 48 * 32 + 32


@every_mixture
def test_counts_equal_those_computed_by_hand(family):
    model = tiny_model(family, blocks=2)
    shared = 3 * 24 * 32 + 32 if family == "qwen2moe" else 0  # and its gate
    experts = shared + 8 * EXPERT
    active = shared + 8 * 32 + 2 * (EXPERT - 32)
    if family == "qwen3moe":  # the first block has no experts
        dense = 3 * 48 * 32
        weights = 2 * ATTENTION[family] + dense + experts
        macs = 2 * ATTENTION[family] + dense + active
        left = [0, 8]
    else:
        weights, macs = (2 * (ATTENTION[family] + part) for part in (experts, active))
        left = [8, 8]
    assert count_weights(model) == (weights, weights)
    assert footprint(model).macs == macs + 96 * 32
    assert experts_left(model) == {"experts": left}
    for block, count in zip(model.blocks, left, strict=True):
        assert unit_costs(block, "experts").tolist() == [EXPERT] * count
    cut_to(model, [0, 3, 4])
    assert weights - count_weights(model).all == sum(1 for n in left if n) * 5 * EXPERT
    refuse_emptied(model.blocks)


def test_zeros_and_nan_in_experts_are_counted():
    model = tiny_model("mixtral")
    weight = model.blocks[1].experts.weights()["down_proj"]
    dense = count_weights(model)
    weight[2, :, :10] = 0
    assert dense.nonzero - count_weights(model).nonzero == 32 * 10
    weight[0, 0, 0] = math.nan
    with pytest.raises(Exception, match="block 1, down_proj: the weights contain NaN"):
        count_weights(model)


def test_refuses_to_keep_fewer_experts_than_a_token_uses():
    model = tiny_model("olmoe")
    before = copy.deepcopy(model)
    with pytest.raises(BadInput, match="1 experts would remain in block 0, which uses 2"):
        keep_units(model.blocks[0], "experts", [4])
    off = torch.arange(16) > 0
    with pytest.raises(BadInput, match="1 experts would remain in block 0, which uses 2"):
        masked(model, off, "experts").__enter__()
    assert torch.equal(logits(model), logits(before))


def test_refuses_experts_that_do_not_exist_and_uneven_blocks(tmp_path):
    model = tiny_model("qwen3moe", blocks=3)
    with pytest.raises(BadInput, match="there is no expert 8; there are 8"):
        keep_experts(model.blocks[1], [0, 8])
    with pytest.raises(BadInput, match="block 0 has no experts"):
        keep_experts(model.blocks[0], [0, 1])
    with pytest.raises(BadInput, match="unknown kind of units inside a block: 'experts'"):
        cuts(model.blocks[1], "experts")
    keep_experts(model.blocks[1], range(4))
    with pytest.raises(BadInput, match=r"the blocks have \[4, 8\] experts"):
        set_expert_count(model)
    with pytest.raises(BadInput, match="shapes that no checkpoint can express"):
        save_model(model, tmp_path / "uneven")


def test_uses_without_support_for_mixtures_are_refused(tmp_path):
    model = tiny_model("mixtral")
    save_model(model, tmp_path / "dense")
    with pytest.raises(BadInput, match="--stream does not support mixtral"):
        open_streamed(str(tmp_path / "dense"), tokenizer=False)
    with pytest.raises(BadInput, match="mixtral models cannot be exported"):
        export_gguf(model, tmp_path / "mixtral.gguf")
    with pytest.raises(BadInput, match="--recover does not support mixtral"):
        recovery.check(model, Recovery(how="full", tokens=48, rate=1e-4))

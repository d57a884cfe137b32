"""Methods and models on an accelerator: equal to the CPU, with little memory.

Block by block, the weights stay on the host and one block at a time is moved. A whole model has all
its weights on the accelerator.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from implementations.harness import (
    LanguageModel,
    get_method,
    keep_units,
    methods,
    perplexity,
    unit_costs,
    walk,
)
from implementations.harness.cli.commands import app
from implementations.harness.contract.helpers import (
    calibration_for,
    configured,
    first_family,
    shares,
)
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Stream
from implementations.harness.measure import perplexity as evaluation
from implementations.harness.measure.generation import greedy
from implementations.harness.measure.memory import peak_memory
from implementations.harness.model import execution
from implementations.harness.model.checkpoint import load_checkpoint
from implementations.harness.model.execution import on_device_read_only, seeded
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import Kind, count_weights, total_weights, weights_of
from implementations.harness.prune.method import Method
from implementations.harness.prune.statistics import Gram
from implementations.harness.results.protocol import Recovery
from implementations.harness.train.recovery import recover

pytestmark = pytest.mark.gpu

ACTING = [slug for slug in methods() if get_method(slug).capabilities.when == "input-dependent"]
TRAINED = [slug for slug in methods() if get_method(slug).capabilities.trains]
CALCULATED = [slug for slug in methods() if slug not in (*ACTING, *TRAINED)]


each_way = pytest.mark.parametrize("block_by_block", [True, False], ids=["blocks", "whole"])


def device() -> torch.device:
    return torch.accelerator.current_accelerator()


def on_accelerator(model: LanguageModel, block_by_block: bool = False) -> LanguageModel:
    """Return a model that computes on the accelerator, with its weights there or on the host."""
    if block_by_block:
        return LanguageModel(model.hf, accelerator=device())
    model.hf.to(device())
    model.hf.tie_weights()  # `to` unties them on some devices
    return LanguageModel(model.hf)


def places(model: LanguageModel) -> set[str]:
    return {tensor.device.type for tensor in model.hf.state_dict().values()}


def prune_half(method: type[Method], model: LanguageModel) -> float:
    """Prune half, or what the method reaches; return the difference from that."""
    (share,) = shares(method, model, 0.5)
    half = configured(method, sparsity=share)
    added = half.added_weights(model) / total_weights(model)
    outcome = half.apply(model, calibration_for(method))
    return abs(outcome.achieved + added - share)


@each_way
@pytest.mark.parametrize("slug", CALCULATED)
def test_weights_equal_those_of_the_cpu(slug: str, block_by_block: bool) -> None:
    blocks = 2 if slug == "alps" else 4  # its iterations amplify rounding until another mask wins
    family = first_family(get_method(slug))
    here, there = (tiny_model(family, blocks=blocks) for _ in range(2))
    there = on_accelerator(there, block_by_block)
    before = places(there)
    for model in (here, there):
        prune_half(get_method(slug), model)
    assert places(there) == before
    assert count_weights(here) == count_weights(there)
    for block, other in zip(here.blocks, there.blocks, strict=True):
        weights = weights_of(other)
        for name, own in weights_of(block).items():
            where, weight = f"block {block.index}, {name}", weights[name].cpu()
            assert own.shape == weight.shape, where
            agree = (own == 0) == (weight == 0)
            assert (~agree).sum() <= 0.01 * agree.numel(), where  # of a few hundred weights
            torch.testing.assert_close(own * agree, weight * agree, rtol=1e-2, atol=1e-3, msg=where)


@each_way
@pytest.mark.parametrize("slug", CALCULATED)
def test_bf16_models_meet_the_sparsity(slug: str, block_by_block: bool) -> None:
    method = get_method(slug)
    dense = tiny_model(first_family(method), blocks=4, dtype=torch.bfloat16)
    model = on_accelerator(dense, block_by_block)
    assert prune_half(method, model) < 0.13  # half of the largest unit, one block of four
    assert {p.dtype for p in model.hf.parameters()} == {torch.bfloat16}
    ids = random_tokens(2, 16, seed=1).ids
    with torch.no_grad():
        assert bool(model.hf(ids.to(model.device)).logits.isfinite().all())


@pytest.mark.parametrize("slug", TRAINED)
def test_training_prunes_on_the_accelerator(slug: str) -> None:
    model = on_accelerator(tiny_model("llama", blocks=4))
    drawn = torch.get_device_module(device()).get_rng_state(device())
    before = state(model)
    assert prune_half(get_method(slug), model) < 0.02
    assert state(model) == before
    assert torch.equal(torch.get_device_module(device()).get_rng_state(device()), drawn)
    assert places(model) == {device().type}
    with torch.no_grad():
        logits = model.hf(random_tokens(2, 16, seed=1).ids.to(device())).logits
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("slug", ACTING)
def test_acting_methods_equal_the_cpu(slug: str) -> None:
    ids, method = random_tokens(2, 16).ids, configured(get_method(slug), sparsity=0.2)
    written = []
    for model in (tiny_model("llama"), on_accelerator(tiny_model("llama"))):
        method.apply(model, calibration_for(get_method(slug)))
        with method.active(model, 16):
            written.append(torch.cat([tokens.cpu() for tokens in greedy(model, ids, 8)]))
    assert torch.equal(*written)


@pytest.mark.parametrize("how", ["lora", "full"])
def test_recovery_trains_on_the_accelerator(how: str) -> None:
    if how == "lora":
        pytest.importorskip("peft")
    model = on_accelerator(tiny_model("llama"))
    get_method("wanda")(sparsity=0.5).apply(model, random_tokens())
    zeros = [linear.weight == 0 for _, _, linear in model.linears()]
    stream = Stream(random_tokens(4, 64))
    asked = Recovery.by(how, 10 * 64).model_copy(update={"rate": 1e-3, "step": 64})
    before = perplexity(model, stream.windows).value
    with seeded(0):
        recover(model, asked, stream, masked=True)
    assert perplexity(model, stream.windows).value < before
    assert places(model) == {device().type}
    for zero, (_, _, linear) in zip(zeros, model.linears(), strict=True):
        assert torch.equal(linear.weight == 0, zero)


def test_saved_models_are_loaded_to_the_accelerator(tmp_path: Path) -> None:
    model = on_accelerator(tiny_model("llama"))
    prune_half(get_method("flap"), model)
    save_model(model, tmp_path / "pruned")
    again = load_checkpoint(tmp_path / "pruned", device=device())
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    ids = random_tokens(2, 16).ids.to(device())
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model.hf(ids).logits)


@each_way
def test_runs_are_verified(block_by_block: bool, world: Any, tmp_path: Path) -> None:
    place = ("--device", "cpu", "--accelerator") if block_by_block else ("--device",)

    def atlas(*arguments: object) -> str:
        done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    runs = ("--protocol", world.protocol, "--runs", tmp_path)
    record = json.loads(
        atlas("run", "flap", "--sparsity", 0.3, *place, device().type, *runs, "--json")
    )
    assert record["model"]["device"] == ("cpu" if block_by_block else device().type)
    assert record["model"]["accelerator"] == device().type
    assert record["hardware"]["accelerator"]
    assert "allocated" in record["peak"]["how"]
    (path,) = tmp_path.glob("tiny/flap/*.json")
    atlas("verify", path)


@pytest.mark.parametrize("kind", ["query-heads", "value-dims", "rotary-pairs"])
def test_removed_units_equal_those_of_the_cpu(kind: Kind) -> None:
    here = tiny_model("llama", blocks=4)
    there = on_accelerator(tiny_model("llama", blocks=4), block_by_block=True)
    for model in (here, there):
        for block in walk(model, random_tokens(8, 64)):
            keep_units(block, kind, range(0, len(unit_costs(block, kind)), 3))
            block.observe(Gram, "o")
    expected, found = here.hf.state_dict(), there.hf.state_dict()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name  # on the CPU, as it was


@pytest.mark.parametrize(("samples", "blocks"), [(8, 4), (16, 8)])
def test_memory_is_bounded_by_two_blocks_and_one_micro_batch(samples: int, blocks: int) -> None:
    hidden, channels, length = 256, 1024, 64
    model = tiny_model(
        "llama", blocks=blocks, hidden_size=hidden, intermediate_size=channels, head_dim=64
    )
    model = on_accelerator(model, block_by_block=True)
    tokens = random_tokens(samples, length, batch_size=2)
    block = sum(p.numel() * p.element_size() for p in model.layers[0].parameters())
    grams = 4 * (3 * hidden**2 + channels**2)  # inputs of q, o, gate and down, fp32
    working = 4 * 2 * length * (8 * hidden + 4 * channels)  # activations alive inside a block
    for _ in range(2):  # the first time libraries take workspaces, which stay
        with peak_memory(model.accelerator) as watch:
            for seen in walk(model, tokens):
                seen.observe(Gram)
    assert watch.peak.above_start <= 2 * block + grams + working


def test_weights_return_to_the_host_while_a_graph_uses_their_copies() -> None:
    model = tiny_model("llama")
    own = {id(parameter) for parameter in model.hf.parameters()}

    def interrupted() -> None:
        with on_device_read_only(model.hf, device()):
            loss = model.hf(random_tokens().ids.to(device())).logits.sum()
            assert loss.requires_grad
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # its traceback keeps the loss
        interrupted()
    assert {id(parameter) for parameter in model.hf.parameters()} == own
    assert places(model) == {"cpu"}


def rotary_embeddings_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "send_to_device", lambda value, device: value)


def statistics_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Gram.__init__
    monkeypatch.setattr(Gram, "__init__", lambda self, features, device: real(self, features))


def head_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_blocks(module: Any, place: torch.device, without: Any = ()) -> Any:
        return nullcontext() if without else on_device_read_only(module, place)

    monkeypatch.setattr(evaluation, "on_device_read_only", only_blocks)


@pytest.mark.parametrize(
    "mistake", [rotary_embeddings_on_the_host, statistics_on_the_host, head_on_the_host]
)
def test_tensors_left_on_the_host_are_an_error(
    mistake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_accelerator(tiny_model("llama"), block_by_block=True)

    def work() -> None:
        get_method("sparsegpt")(sparsity=0.5).apply(model, random_tokens())
        perplexity(model, random_tokens())

    work()
    mistake(monkeypatch)
    with pytest.raises(RuntimeError, match="device"):
        work()
    assert places(model) == {"cpu"}

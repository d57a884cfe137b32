from contextlib import contextmanager

import pytest
import torch

from implementations.harness.contract.tiny import tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.measure import speed as module
from implementations.harness.measure.speed import speed
from implementations.harness.results.record import Rate


@pytest.fixture
def settings():
    return {"prompt": 16, "tokens": 4, "batch": 2, "repeats": 3}


def test_a_smaller_model_is_faster_in_both_phases():
    # Very different sizes and many repeats, so that a busy machine cannot reverse the medians.
    dense, pruned = tiny_model(blocks=24, hidden_size=64), tiny_model(blocks=2, hidden_size=64)
    result = speed(dense, pruned, prompt=64, tokens=8, repeats=9)
    assert result.prefill.ratio > 1.5
    assert result.decode.ratio > 1.5
    for rate in (result.prefill, result.decode):
        assert 0 < rate.low <= rate.ratio <= rate.high
        assert 0 < rate.dense < rate.pruned


def test_ratios_are_computed_pair_by_pair(monkeypatch, settings):
    dense, pruned = tiny_model(), tiny_model()
    seconds = {dense: [(9, 9), (1, 2), (2, 4), (4, 8)], pruned: [(9, 9), (1, 1), (1, 1), (8, 4)]}
    order = []

    def scripted(model, ids, tokens):
        assert ids.shape == (2, 16)
        assert tokens == 4
        order.append(model)
        return seconds[model].pop(0)

    monkeypatch.setattr(module, "_seconds", scripted)
    result = speed(dense, pruned, **settings, attempts=1)
    assert order == [dense, pruned] * 4  # the first pair is the warm-up
    # 2 x 16 tokens read in 1, 2, 4 s and pruned in 1, 1, 8 s
    assert result.prefill == Rate(dense=16.0, pruned=32.0, ratio=1.0, low=0.5, high=2.0)
    # 2 x 4 tokens written in 2, 4, 8 s and pruned in 1, 2, 4 s
    assert result.decode == Rate(dense=2.0, pruned=8.0, ratio=2.0, low=2.0, high=4.0)


def test_a_disturbed_measurement_is_repeated(monkeypatch, settings):
    dense, pruned = tiny_model(), tiny_model()
    left = [1, 1, 1, 2, 1, 1, 1, 1.25]  # two attempts of a warm-up and three repeats
    times = {dense: lambda: 1, pruned: lambda: left.pop(0)}
    monkeypatch.setattr(module, "_seconds", lambda model, *_: (times[model](), 1))
    assert speed(dense, pruned, **settings).prefill.low == 0.8
    assert left == []


def test_the_steadiest_of_the_attempts_is_returned(monkeypatch, settings):
    dense, pruned = tiny_model(), tiny_model()
    left = [1, 1, 4, 1, 1, 2, 1, 1, 3]
    times = {dense: lambda: 1, pruned: lambda: left.pop(0)}
    monkeypatch.setattr(module, "_seconds", lambda model, *_: (times[model](), 1))
    result = speed(dense, pruned, **settings, warmups=0, attempts=3)
    assert result.prefill.spread == 2
    assert not result.steady


def test_decoding_runs_one_cached_step_per_token(settings):
    model = tiny_model()
    lengths = []
    hook = model.hf.base_model.layers[0].register_forward_pre_hook(
        lambda _, args: lengths.append(args[0].shape[1])
    )
    speed(model, model, **settings | {"repeats": 1}, warmups=0)
    hook.remove()
    assert lengths == [16, 1, 1, 1, 1] * 2


def test_note_states_the_settings(settings):
    result = speed(tiny_model(), tiny_model(), **settings)
    assert result.note == (
        "measured in turn with the dense model, 3 repeats, batch 2, prefill of 16 tokens and "
        "decoding of 4, cpu, float32"
    )


@pytest.mark.parametrize("name", ["prompt", "tokens", "batch", "repeats"])
def test_refuses_settings_below_one(settings, name):
    with pytest.raises(BadInput, match=f"{name} must be at least 1, got 0"):
        speed(tiny_model(), tiny_model(), **settings | {name: 0})


def test_refuses_models_that_cannot_be_compared(settings):
    dense = tiny_model()
    with pytest.raises(BadInput, match="same device and dtype"):
        speed(dense, tiny_model(dtype=torch.bfloat16), **settings)
    with pytest.raises(BadInput, match="128 positions"):
        speed(dense, dense, **settings | {"prompt": 125})
    offloaded = tiny_model()
    offloaded.accelerator = torch.device("meta")
    with pytest.raises(BadInput, match="block by block"):
        speed(dense, offloaded, **settings)


@pytest.mark.gpu
def test_model_with_half_the_blocks_is_faster_on_an_accelerator():
    device = torch.accelerator.current_accelerator()
    shape = {"hidden_size": 512, "head_dim": 64, "intermediate_size": 2048}
    dense, pruned = tiny_model(blocks=16, **shape), tiny_model(blocks=4, **shape)
    for model in (dense, pruned):
        model.hf.to(device)
        model.accelerator = model.device
    result = speed(dense, pruned, prompt=64, tokens=8, repeats=3)
    assert f"decoding of 8, {device.type}" in result.note
    assert result.prefill.ratio > 1.5
    assert result.decode.ratio > 1.5


def test_only_the_pruned_model_is_timed_within_the_context(monkeypatch, settings):
    dense, pruned, within, seen = tiny_model(), tiny_model(), [], []

    @contextmanager
    def opened():
        within.append(1)
        yield
        within.pop()

    def scripted(model, ids, tokens):
        seen.append((model, bool(within)))
        return 1, 1

    monkeypatch.setattr(module, "_seconds", scripted)
    speed(dense, pruned, **settings, pruned_within=opened)
    assert seen == [(dense, False), (pruned, True)] * 4

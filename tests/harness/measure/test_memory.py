import time

import pytest
import torch

from implementations.harness.measure import memory
from implementations.harness.measure.memory import (
    HighWaterMark,
    Sampling,
    best_instrument,
    peak_memory,
)

MEGABYTE = 2**20
SIZE = 200 * MEGABYTE
NEARLY = 0.99 * SIZE  # the kernel counts pages in small batches


@pytest.fixture(params=[HighWaterMark, Sampling])
def instrument(request, monkeypatch):
    if request.param is HighWaterMark and not HighWaterMark.available():
        pytest.skip("the high-water mark cannot be reset here")
    made = []
    monkeypatch.setattr(
        memory, "best_instrument", lambda _: made.append(request.param()) or made[-1]
    )
    return made


def wait_for_sample(made):
    """Wait until a sampling instrument has seen the current memory."""
    while isinstance(made[-1], Sampling) and made[-1].highest < made[-1]._resident():
        time.sleep(memory.INTERVAL)


def touch(size):
    """Allocate and write `size` bytes, because untouched pages are not resident."""
    return torch.ones(size, dtype=torch.uint8)


def test_peak_includes_memory_that_was_freed_again(instrument):
    with peak_memory("cpu") as watch:
        held = touch(SIZE)
        wait_for_sample(instrument)
        del held
    assert NEARLY <= watch.peak.above_start <= 1.2 * SIZE
    assert watch.peak.how == instrument[-1].how


def test_second_measurement_excludes_the_first(instrument):
    with peak_memory("cpu"):
        touch(SIZE)
    with peak_memory("cpu") as watch:
        touch(20 * MEGABYTE)
        wait_for_sample(instrument)
    assert watch.peak.above_start < SIZE / 2


def test_peak_above_start_excludes_earlier_memory(instrument):
    held = touch(SIZE)
    with peak_memory("cpu") as watch:
        pass
    assert watch.peak.above_start < SIZE / 10
    assert watch.peak.start > 0.99 * len(held)


@pytest.mark.skipif(not HighWaterMark.available(), reason="the mark cannot be reset here")
def test_high_water_mark_includes_short_peaks():
    with peak_memory("cpu") as watch:
        touch(SIZE)
    assert watch.peak.above_start >= NEARLY


def test_peak_is_available_after_an_exception(instrument):
    def fail():
        _held = touch(SIZE)
        wait_for_sample(instrument)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), peak_memory("cpu") as watch:
        fail()
    assert watch.peak.above_start >= NEARLY


def test_resident_set_is_used_for_devices_without_counter():
    for device in ("cpu", "mps"):
        assert "resident set" in best_instrument(torch.device(device)).how


@pytest.mark.gpu
def test_peak_on_an_accelerator_counts_its_tensors():
    device = torch.accelerator.current_accelerator()
    with peak_memory(device) as watch:
        held = torch.ones(SIZE, dtype=torch.uint8, device=device)
        del held
    assert watch.peak.above_start == SIZE
    assert device.type in watch.peak.how

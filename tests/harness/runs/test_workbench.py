"""A run holds one model: what it prunes is the model it loaded, and speed loads another one."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import LlamaForCausalLM

from implementations.harness.errors import AtlasWarning, BadInput, NumericsError
from implementations.harness.progress import reporting
from implementations.harness.prune.registry import get
from implementations.harness.results.record import NO_SPEED_UP
from implementations.harness.results.recovery import Recovery
from implementations.harness.runs import workbench
from implementations.harness.runs.job import Job
from implementations.harness.runs.workbench import Workbench


def living() -> set[int]:
    """The models that are alive, of the class of the tiny one."""
    return {id(thing) for thing in gc.get_objects() if type(thing) is LlamaForCausalLM}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the models that the `with` block made and holds, by the work that begins."""
    gc.collect()
    before: set[int] = living()
    most: dict[str, int] = {}

    class Counting:
        def start(self, description, total):
            most[description] = max(most.get(description, 0), len(living() - before))
            return 0

        def advance(self, task, steps): ...

        def stop(self, task): ...

    with reporting(Counting()):
        yield most


def test_a_run_holds_one_model(setup):
    with counted() as most:
        bench = Workbench(setup)
        _, pruned = bench.measure(Job(get("wanda").configure()))
    assert {"pruning by wanda", "walking the blocks", "measuring ppl/evaluation/32"} <= most.keys()
    assert max(most.values()) == 1
    assert bench.dense() is not pruned


def test_the_pruned_model_is_the_one_that_was_loaded(setup):
    bench = Workbench(setup)
    dense = bench.dense()
    assert bench.measure(Job(get("magnitude").configure()))[1] is dense


def test_a_footprint_has_the_bits_that_the_method_tells(setup):
    bench = Workbench(setup)
    found, _ = bench.measure(Job(get("pbs2p").configure()))
    assert found.footprint.bits == found.outcome.bits > 0
    assert bench.measure(Job(get("magnitude").configure()))[0].footprint.bits is None


def test_runs_one_after_the_other_hold_one_model(setup):
    with counted() as most:
        bench = Workbench(setup)
        bench.measure(Job(None))
        for seed in (0, 1):
            bench.measure(Job(get("wanda").configure(), seed))
    assert max(most.values()) == 1


def test_speed_loads_the_dense_model_beside_the_pruned_one(setup):
    with counted() as most:
        bench = Workbench(setup)
        found, pruned = bench.measure(Job(get("shortgpt").configure(sparsity=0.5)))
    assert most["pruning by shortgpt"] == most["writing the sample"] == 1
    assert most["measuring speed"] == max(most.values()) == 2
    assert found.speed is not None
    assert len(bench.dense().blocks) == 2 * len(pruned.blocks)


def test_without_room_for_a_second_model_speed_is_not_measured(setup, monkeypatch):
    bench = Workbench(setup)
    room = int(workbench.ROOM * bench.footprint.bytes)
    shallow = get("shortgpt").configure(sparsity=0.5)
    for free, measured in ((room - 1, False), (room + 1, True)):
        monkeypatch.setattr(workbench, "free_memory", lambda device, free=free: free)
        found, _ = bench.measure(Job(shallow))
        assert (found.speed is not None) is measured
        assert ("no room for the dense model" in found.untimed) is not measured
    assert bench.measure(Job(get("magnitude").configure()))[0].untimed == NO_SPEED_UP


def test_what_is_refused_costs_no_model(setup):
    bench = Workbench(setup)
    dense = bench.dense()
    with pytest.raises(BadInput, match="does not divide"):
        bench.measure(Job(get("wanda").configure(pattern="2:5")))
    for seed in (-1, 2**63):
        with pytest.raises(BadInput, match=f"seed {seed} is not from 0 to"):
            bench.measure(Job(get("wanda").configure(), seed))
    assert bench.dense() is dense


def test_after_a_run_that_broke_off_the_model_is_whole(setup, monkeypatch):
    bench = Workbench(setup)
    before = {name: tensor.clone() for name, tensor in bench.dense().hf.state_dict().items()}
    method = get("wanda")

    def broken(self, model, calibration):
        for _, _, linear in model.linears():
            linear.weight.zero_()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(method, "prune", broken)
        with pytest.raises(KeyboardInterrupt):
            bench.measure(Job(method.configure()))
    after = bench.dense().hf.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_warnings_of_a_run_that_fails_reach_the_user_for_no_record_has_them(setup, monkeypatch):
    method = get("wanda")

    def broken(self, model, calibration):
        warnings.warn("first this", AtlasWarning, stacklevel=1)
        raise NumericsError("then that")

    monkeypatch.setattr(method, "prune", broken)
    with pytest.warns(AtlasWarning, match="first this"), pytest.raises(NumericsError):
        Workbench(setup).measure(Job(method.configure()))


def test_a_job_reads_well_and_says_what_it_trains_on(setup):
    assert str(Job(None)) == "dense"
    assert str(Job(get("wanda").configure(pattern="2:4"), 3)) == "wanda 2:4 seed 3"
    recovery = Recovery.by("lora", 1024)
    assert Job(get("wanda").configure()).streams == set()
    assert Job(get("wanda").configure(), recovery=recovery).streams == {"training"}
    assert Job(get("dpruner").configure()).streams == {"domain"}
    assert Job(get("dpruner").configure(), recovery=recovery).streams == {"training", "domain"}
    key = Workbench(setup).key
    assert key(Job(get("wanda").configure())) != key(Job(get("wanda").configure(), 1))

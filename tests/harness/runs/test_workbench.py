"""The workbench: only one model in memory, except for the speed measurement."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from tokenizers import processors
from transformers import LlamaForCausalLM

from implementations.harness.errors import AtlasWarning, BadInput, NumericsError
from implementations.harness.progress import reporting
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Recovery
from implementations.harness.results.record import NO_SPEED_UP
from implementations.harness.runs import workbench
from implementations.harness.runs.job import Job
from implementations.harness.runs.workbench import Workbench


def living() -> set[int]:
    """Return the ids of all tiny models in memory."""
    return {id(thing) for thing in gc.get_objects() if type(thing) is LlamaForCausalLM}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the models that the `with` block has in memory at the start of each task."""
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


def test_loaded_model_is_pruned_in_place(setup):
    bench = Workbench(setup)
    dense = bench.dense()
    assert bench.measure(Job(get_method("magnitude").configure()))[1] is dense


def test_footprint_has_the_bits_that_the_method_returns(setup):
    bench = Workbench(setup)
    result, _ = bench.measure(Job(get_method("pbs2p").configure()))
    assert result.footprint.bits == result.outcome.bits > 0
    result, _ = bench.measure(Job(get_method("magnitude").configure()))
    assert result.footprint.bits is None


def test_successive_runs_have_one_model_in_memory(setup):
    with counted() as most:
        bench = Workbench(setup)
        bench.measure(Job(None))
        for seed in (0, 1):
            bench.measure(Job(get_method("wanda").configure(), seed))
    assert {
        "pruning with wanda",
        "walking the blocks",
        "measuring ppl/evaluation/32",
    } <= most.keys()
    assert max(most.values()) == 1


def test_speed_measurement_loads_a_second_model(setup):
    with counted() as most:
        bench = Workbench(setup)
        result, pruned = bench.measure(Job(get_method("shortgpt").configure(sparsity=0.5)))
    assert most["pruning with shortgpt"] == most["generating the sample"] == 1
    assert most["measuring speed"] == max(most.values()) == 2
    assert result.speed is not None
    assert len(bench.dense().blocks) == 2 * len(pruned.blocks)


def test_speed_is_not_measured_without_memory_for_a_second_model(setup, monkeypatch):
    bench = Workbench(setup)
    room = int(workbench.ROOM * bench.footprint.bytes)
    shallow = get_method("shortgpt").configure(sparsity=0.5)
    for free, measured in ((room - 1, False), (room + 1, True)):
        monkeypatch.setattr(workbench, "free_memory", lambda device, free=free: free)
        result, _ = bench.measure(Job(shallow))
        assert (result.speed is not None) is measured
        assert ("no room for the dense model" in result.no_speed_reason) is not measured
    assert bench.measure(Job(get_method("magnitude").configure()))[0].no_speed_reason == NO_SPEED_UP


def test_refused_job_leaves_the_model_loaded(setup):
    bench = Workbench(setup)
    dense = bench.dense()
    with pytest.raises(BadInput, match="does not divide"):
        bench.measure(Job(get_method("wanda").configure(pattern="2:5")))
    for seed in (-1, 2**63):
        with pytest.raises(BadInput, match=f"seed must be between 0 and .*, got {seed}"):
            bench.measure(Job(get_method("wanda").configure(), seed))
    assert bench.dense() is dense


def test_dense_model_is_intact_after_an_interrupted_run(setup, monkeypatch):
    bench = Workbench(setup)
    before = {name: tensor.clone() for name, tensor in bench.dense().hf.state_dict().items()}
    method = get_method("wanda")

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


def test_prompt_is_counted_with_the_token_at_its_beginning(setup, monkeypatch):
    bench, counts, positions = Workbench(setup), [], []
    tokenizer = bench.dense().tokenizer
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )

    def active(job, model, prompt=0):
        counts.append(prompt)
        return nullcontext()

    monkeypatch.setattr(workbench, "active", active)
    monkeypatch.setattr(
        workbench, "check_positions", lambda model, *tokens: positions.append(tokens)
    )
    bench.measure(Job(None))
    read = len(f"<{setup.protocol.generation.prompt}")  # one token per character
    assert counts[-1] == read
    assert positions[-1] == (read, setup.protocol.generation.tokens)


def test_warnings_of_a_failed_run_are_shown(setup, monkeypatch):
    method = get_method("wanda")

    def broken(self, model, calibration):
        warnings.warn("first this", AtlasWarning, stacklevel=1)
        raise NumericsError("then that")

    monkeypatch.setattr(method, "prune", broken)
    with pytest.warns(AtlasWarning, match="first this"), pytest.raises(NumericsError):
        Workbench(setup).measure(Job(method.configure()))


def test_job_has_a_readable_name_and_lists_its_training_texts(setup):
    assert str(Job(None)) == "dense"
    assert str(Job(get_method("wanda").configure(pattern="2:4"), 3)) == "wanda 2:4 seed 3"
    recovery = Recovery.by("lora", 1024)
    assert Job(get_method("wanda").configure()).streams == set()
    assert Job(get_method("wanda").configure(), recovery=recovery).streams == {"training"}
    assert Job(get_method("dpruner").configure()).streams == {"domain"}
    assert Job(get_method("dpruner").configure(), recovery=recovery).streams == {
        "training",
        "domain",
    }
    key = Workbench(setup).key
    assert key(Job(get_method("wanda").configure())) != key(Job(get_method("wanda").configure(), 1))

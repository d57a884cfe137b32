"""Pytest hooks that test every method folder by the contract, and fixtures of method tests."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

for _group in ("budgets", "pruned_model", "side_effects", "prompts", "refusals"):
    pytest.register_assert_rewrite(f"implementations.harness.contract.{_group}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the contract of a method for its file `<slug>/<slug>.py`."""
    if file_path.stem == file_path.parent.name and file_path.suffix == ".py":
        return Contract.from_parent(parent, path=file_path)
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave tests of the real model and of further families to `make test-all`."""
    from tests.selection import leave_further_families

    leave_further_families(item)
    if item.get_closest_marker("model"):
        item.add_marker("full")


class Contract(pytest.File):
    """The contract of one method folder."""

    def collect(self) -> Iterator[pytest.Item]:
        from implementations.harness import get_method
        from implementations.harness.contract.cases import cases
        from tests.selection import is_further_family

        method = get_method(self.path.stem)
        if method.missing:
            yield NotWritten.from_parent(self, name="contract", method=method)
            return
        for case in cases(method):
            item = ContractCase.from_parent(self, name=f"contract::{case.name}", case=case)
            if is_further_family(case.family):
                item.add_marker("full")
            yield item


class NotWritten(pytest.Item):
    """A single failing test for a method that is not written yet."""

    def __init__(self, *, method, **arguments):  # type: ignore[no-untyped-def]
        super().__init__(**arguments)
        self.method = method

    def runtest(self) -> None:
        """Fail with the method's error message."""
        from implementations.harness import BadInput

        with pytest.raises(BadInput) as refusal:
            self.method.configure()
        pytest.fail(str(refusal.value), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the contract in pytest's output."""
        return self.path, 0, f"contract of {self.path.stem}"


class ContractCase(pytest.Item):
    """One clause of the contract for one family."""

    def __init__(self, *, case, **arguments):  # type: ignore[no-untyped-def]
        super().__init__(**arguments)
        self.case = case

    def runtest(self) -> None:
        """Check the clause."""
        self.case.check()

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the case in pytest's output."""
        return self.path, 0, f"contract of {self.path.stem}: {self.case.name}"


@pytest.fixture(scope="session")
def first_blocks() -> FirstBlocks:
    """Return two real blocks, dense and pruned by any method, for tests marked `model`."""
    return FirstBlocks(2)


@pytest.fixture(scope="session")
def four_blocks() -> FirstBlocks:
    """Return four real blocks for tests of differences between blocks."""
    return FirstBlocks(4)


@pytest.fixture(scope="module")
def without_gradients() -> Iterator[None]:
    """Disable gradients for a test module, as `apply` does."""
    import torch

    with torch.no_grad():
        yield


class FirstBlocks:
    """The first blocks of the embedded model, with the beginning of the texts of `quick`.

    The vocabulary has only the tokens of these texts. The whole one would take most of the time of
    tests that train. `original` is the calibration set with the token ids of the whole model.
    """

    def __init__(self, number: int) -> None:
        from implementations.harness import Stream, load_model, remove_blocks
        from implementations.harness.data.samples import Sampler
        from implementations.harness.results.protocol import STREAMS, get_protocol

        self.dense = load_model("smollm2-135m")
        remove_blocks(self.dense, range(number, len(self.dense.blocks)))
        samples = Sampler(get_protocol("quick"), self.dense).samples(0, STREAMS)
        held_out = samples.evaluations["ppl/wikipedia/512"].ids[:4]
        self.original = first = samples.calibration
        windows = {name: getattr(first, name).windows.pick(range(16)) for name in STREAMS}
        new_id = self.keep_tokens([first.ids, held_out, *(w.ids for w in windows.values())])
        self.held_out = new_id[held_out]
        streams = {name: Stream(replace(w, ids=new_id[w.ids])) for name, w in windows.items()}
        self.calibration = replace(first, ids=new_id[first.ids], **streams)

    def keep_tokens(self, texts: list[Any]) -> Any:
        """Remove all other tokens from the vocabulary; return the new ids of the old ones."""
        import torch

        size = self.dense.vocabulary_size
        used = torch.cat([ids.flatten() for ids in texts]).unique()
        weight = self.dense.hf.get_input_embeddings().weight.detach()[used]
        self.dense.hf.set_input_embeddings(torch.nn.Embedding.from_pretrained(weight, freeze=False))
        self.dense.hf.tie_weights()
        self.dense.config.vocab_size = len(used)
        return torch.zeros(size, dtype=torch.long).index_copy(0, used, torch.arange(len(used)))

    def pruned(self, slug: str, **settings: Any) -> Any:
        """Return a pruned copy."""
        from implementations.harness import get_method

        model = copy.deepcopy(self.dense)
        get_method(slug).configure(**settings).apply(model, self.calibration)
        return model

    @functools.cached_property
    def short(self) -> Any:
        """Return four calibration windows of 128 tokens and sixteen of each training text.

        The texts do not overlap.
        """
        from implementations.harness import Calibration, Stream, Tokens

        def cut(ids: Any) -> Tokens:
            return Tokens.from_ids(ids.reshape(-1, 128))

        texts = (self.calibration.training, self.calibration.domain)
        training, domain = (Stream(cut(stream.windows.ids[:4])) for stream in texts)
        windows = vars(cut(self.calibration.ids[:1]))
        return Calibration(**windows, training=training, domain=domain)

    @property
    def ahead(self) -> Any:
        """The first 128 tokens of each held-out window."""
        from implementations.harness import Tokens

        return Tokens.from_ids(self.held_out[:, :128])

    def divergence(self, model: Any, ids: Any = None) -> float:
        """Return the KL divergence between a model and the dense blocks on `ids`, else `ahead`."""
        import torch

        from implementations.harness import distillation_loss, logits_of

        with torch.no_grad():
            ids = self.ahead.ids if ids is None else ids
            student, teacher = (logits_of(one, ids) for one in (model, self.dense))
            return float(distillation_loss(student, teacher))

    @functools.cached_property
    def outputs(self) -> Any:
        """Outputs of the dense blocks on the held-out text, `[samples, length, hidden]`."""
        return self.run(self.dense)

    @functools.cache  # noqa: B019  # lives as long as the session
    def error(self, slug: str, **settings: Any) -> float:
        """Return the relative squared error of the pruned outputs on the held-out text."""
        moved = self.run(self.pruned(slug, **settings)) - self.outputs
        return float(moved.square().sum() / self.outputs.square().sum())

    def run(self, model: Any) -> Any:
        """Run a model on the held-out text."""
        import torch

        with torch.no_grad():
            return model.hf.base_model(self.held_out, use_cache=False).last_hidden_state

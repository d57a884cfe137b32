"""The training loop: equal to a plain one, and resumable after any step."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Stream
from implementations.harness.errors import NumericsError, Unavailable
from implementations.harness.model.execution import seeded
from implementations.harness.prune.journal import journal, open_journal
from implementations.harness.train import loop
from implementations.harness.train.loop import optimise, thinned
from implementations.harness.train.schedule import Plan

STREAM = Stream(random_tokens(6, 8, seed=4), seed=5)


class Killed(BaseException):
    """Simulates the end of the process."""


class RandomModel:
    """A model that uses every generator in each pass, and a hook that changes a tensor."""

    def __init__(self, life: int = 10**9) -> None:
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(96, 8), nn.Linear(8, 96)
        self.mask, self.life, self.seen = torch.ones(8), life, []

    def loss(self, ids: Tensor) -> Tensor:
        noise = random.random() + np.random.rand() + torch.rand(())
        hidden = dropout(self.embedding(ids), 0.2) * self.mask * noise
        return cross_entropy(self.head(hidden[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    def after(self, step: int) -> None:
        if len(self.seen) >= self.life:
            raise Killed
        self.seen.append(step)
        self.mask[torch.randint(8, ())] *= 0.9

    def run(self, steps: int = 9, **settings: Any) -> tuple[list[float], list[Tensor]]:
        plan = Plan(steps, 0.05, batch=2, warmup=0.2, weight_decay=0.01)
        parameters = [*self.embedding.parameters(), *self.head.parameters()]
        with seeded(3):
            state = {"mask": self.mask}
            losses = optimise(
                parameters, self.loss, STREAM, plan, after=self.after, state=state, **settings
            )
        return losses, [*parameters, self.mask]


@pytest.fixture
def saved_every_step(monkeypatch) -> Iterator[None]:
    """Save the state after every step."""
    monkeypatch.setattr(loop, "EVERY", 0.0)
    monkeypatch.setattr(loop, "SHARE", math.inf)
    return


def same(first: tuple[list[float], list[Tensor]], second: tuple[list[float], list[Tensor]]) -> bool:
    tensors = zip(first[1], second[1], strict=True)
    return first[0] == second[0] and all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.usefixtures("saved_every_step")
@pytest.mark.parametrize("life", [0, 1, 4, 8])
def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, life: int):
    whole = RandomModel().run()
    with pytest.raises(Killed), open_journal(tmp_path / ".one"):
        RandomModel(life).run()
    with open_journal(tmp_path / ".one"):
        again = RandomModel()
        assert same(again.run(), whole)
    assert again.seen == list(range(life, 9))
    assert not list(tmp_path.iterdir())


def flipped(content: bytes) -> bytes:
    """Return the content with one bit of a weight changed, which `torch.load` accepts."""
    weight = torch.load(io.BytesIO(content))["trained"][0]
    at = content.index(weight.numpy().tobytes()) + 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.usefixtures("saved_every_step")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        flipped,
    ],
    ids=["empty", "half", "flipped"],
)
def test_discards_damaged_state_with_a_warning(tmp_path: Path, damage: Any):
    path = tmp_path / ".one.1"
    with pytest.raises(Killed), open_journal(tmp_path / ".one"):
        RandomModel(4).run()
    path.write_bytes(damage(path.read_bytes()))
    again = RandomModel()
    with (
        pytest.warns(UserWarning, match=r"\.one\.1 is damaged"),
        open_journal(tmp_path / ".one"),
    ):
        assert same(again.run(), RandomModel().run())
    assert again.seen == list(range(9))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("saved_every_step")
def test_counts_the_seconds_of_killed_runs(tmp_path: Path):
    spent = [0.0]
    for life in (3, 2):  # steps before it is killed
        with pytest.raises(Killed), open_journal(tmp_path / ".one"):
            RandomModel(life).run()
        spent.append(torch.load(tmp_path / ".one.1")["seconds"])
    with open_journal(tmp_path / ".one"):
        RandomModel().run()
        assert journal().saved == spent[-1]
    assert spent == sorted(set(spent))


@pytest.mark.usefixtures("saved_every_step")
def test_two_trainings_of_one_run_have_separate_states(tmp_path: Path):
    def both(life: int = 10**9):
        first, second = RandomModel(), RandomModel(life)
        return [first.run(4), second.run(6)], first.seen

    whole, _ = both()
    with pytest.raises(Killed), open_journal(tmp_path / ".one"):
        both(2)
    with open_journal(tmp_path / ".one"):
        again, seen = both()
    assert seen == []  # the first training was complete
    assert all(same(a, b) for a, b in zip(again, whole, strict=True))


def test_writes_nothing_without_a_journal(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RandomModel().run()
    assert not list(tmp_path.iterdir())


def test_saves_state_at_the_end_and_at_intervals(tmp_path: Path, monkeypatch):
    written: list[int] = []
    monkeypatch.setattr(
        loop, "_write", lambda path, content: written.append(len(content["losses"]))
    )
    with open_journal(tmp_path / ".one"):
        RandomModel().run()
        assert written == [9]
        monkeypatch.setattr(loop, "EVERY", 0.0)
        monkeypatch.setattr(loop, "SHARE", math.inf)
        RandomModel().run()
        assert written[1:] == list(range(1, 10))
        # After a save that took a second, the next one waits for twenty.
        clock = iter(float(second) for second in itertools.count())
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=clock.__next__))
        monkeypatch.setattr(loop, "SHARE", 0.05)
        RandomModel().run()
    assert written[10:] == [1, 9]


@pytest.mark.usefixtures("saved_every_step")
def test_reports_full_disk(tmp_path: Path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Unavailable, match="free some space"), open_journal(tmp_path / ".one"):
        RandomModel().run()
    assert not list(tmp_path.iterdir())


def plainly(model, plan: Plan) -> list[float]:
    """Train all of a model on the same batches with the formula of AdamW."""
    parameters = [p for p in model.hf.parameters() if p.requires_grad]
    means = [torch.zeros_like(p) for p in parameters]
    squares = [torch.zeros_like(p) for p in parameters]
    batches, losses = STREAM.batches(plan.batch), []
    for step in range(plan.steps):
        ids = next(batches)
        logits = model.hf(input_ids=ids, use_cache=False).logits[:, :-1]
        value = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        gradients = torch.autograd.grad(value, parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        scale = min(1.0, float(plan.clip / (norm + 1e-6)))
        rate = plan.rate * plan.factor(step)
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, means, squares, strict=True):
                m.lerp_(g * scale, 0.1)
                v.mul_(0.999).add_((g * scale) ** 2, alpha=0.001)
                p.mul_(1 - rate * plan.weight_decay)
                corrected = m / (1 - 0.9 ** (step + 1))
                p.sub_(rate * corrected / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8))
        losses.append(float(value.detach()))
    return losses


@pytest.mark.parametrize("at_once", [1, 4])
def test_equals_a_plain_loop(at_once: int):
    plan = Plan(5, 1e-2, batch=4, at_once=at_once, warmup=0.4, weight_decay=0.1, clip=0.5)
    ours, theirs = tiny_model(), tiny_model()

    def loss(ids: Tensor) -> Tensor:
        logits = ours.hf(input_ids=ids, use_cache=False).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    losses = optimise(ours.hf.parameters(), loss, STREAM, plan)
    assert losses == pytest.approx(plainly(theirs, plan), rel=1e-4)
    assert losses[-1] < losses[0]
    for a, b in zip(ours.hf.parameters(), theirs.hf.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
    assert all(p.grad is None for p in ours.hf.parameters())


@pytest.mark.parametrize("clip", [0.5, None])
def test_before_hook_sees_complete_clipped_gradients(clip: float | None):
    weight, seen = nn.Parameter(torch.tensor([1.0, 2.0])), []

    def before(step: int) -> None:
        assert not torch.is_grad_enabled()
        assert weight.grad is not None
        seen.append((step, weight.grad.tolist(), weight.tolist()))

    plan = Plan(2, 0.1, batch=4, at_once=2, decay="none", clip=clip)
    optimise([weight], lambda _: 3 * weight[0] + 4 * weight[1], STREAM, plan, before=before)
    gradient = [3.0, 4.0] if clip is None else [0.3, 0.4]
    assert [step for step, _, _ in seen] == [0, 1]
    for _, found, _ in seen:
        assert found == pytest.approx(gradient, rel=1e-4)
    assert [at for _, _, at in seen] == [[1.0, 2.0], pytest.approx([0.9, 1.9])]
    assert weight.grad is None


def test_groups_have_their_own_learning_rates():
    fast, slow, still = (nn.Parameter(torch.zeros(3)) for _ in range(3))
    groups = [{"params": [fast]}, {"params": [slow], "lr": 0.01}, {"params": [still], "lr": 0.0}]
    plan = Plan(2, 0.1, decay="none", clip=None)
    optimise(groups, lambda _: -(fast + slow + still).sum(), STREAM, plan)
    # With a constant gradient, AdamW changes parameters by the learning rate.
    assert [float(p[0]) for p in (fast, slow, still)] == pytest.approx([0.2, 0.02, 0.0], abs=1e-6)


def test_ignores_gradients_from_before():
    parameter, left = nn.Parameter(torch.zeros(1)), torch.full((1,), 7.0)
    parameter.grad = left
    plan = Plan(1, 0.1, batch=1, clip=None)
    optimise([parameter], lambda _: -parameter.sum(), STREAM, plan, by=momentum)
    assert float(parameter.detach()) == pytest.approx(0.1)
    assert float(left) == 7  # not changed in place, so that its owner can restore it


def momentum(parameters: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.5)


def test_other_optimisers_use_the_rates_of_the_plan():
    quick, slow = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    groups = [{"params": [quick]}, {"params": [slow], "lr": 0.01}]
    plan = Plan(2, 0.1, batch=1, decay="linear", clip=None)
    optimise(groups, lambda _: -(quick + slow), STREAM, plan, by=momentum)
    # Momentum gives steps of 1 and 1.5 for gradients of -1, at the full and half the rate.
    assert [float(quick), float(slow)] == pytest.approx([0.1 + 0.05 * 1.5, 0.01 + 0.005 * 1.5])


@pytest.mark.usefixtures("saved_every_step")
def test_consecutive_plans_continue_the_text(tmp_path: Path):
    parameter, read = nn.Parameter(torch.ones(1)), []

    def both(life: int) -> None:
        def loss(ids: Tensor) -> Tensor:
            if len(read) == life:
                raise Killed
            read.append(ids)
            return parameter.sum()

        optimise([parameter], loss, STREAM, Plan(2, 0.1, batch=2, total=5))
        optimise([parameter], loss, STREAM, Plan(3, 0.1, batch=2, before=2))

    with pytest.raises(Killed), open_journal(tmp_path / ".one"):
        both(life=7)  # in the second step of the second plan
    with open_journal(tmp_path / ".one"):
        both(life=100)
    batches = [ids for ids, _ in zip(STREAM.batches(1), range(10), strict=False)]
    assert torch.equal(torch.cat(read), torch.cat(batches[:7] + batches[6:]))


def test_error_names_the_step_of_a_loss_that_is_not_finite():
    parameter, losses = nn.Parameter(torch.ones(1)), iter([1.0, 2.0, float("nan")])
    with pytest.raises(NumericsError, match="training step 2 is nan"):
        optimise(
            [parameter], lambda _: parameter.sum() * next(losses), STREAM, Plan(5, 0.1, batch=1)
        )


def test_thinned_curve_has_means():
    assert thinned([1.0, 2.0, 3.0], 3) == [1.0, 2.0, 3.0]
    assert thinned([float(i) for i in range(10)], 5) == [0.5, 2.5, 4.5, 6.5, 8.5]
    curve = thinned([1.0] * 1234, 100)
    assert curve == [1.0] * 100

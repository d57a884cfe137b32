"""A resumed search reuses the losses of the killed one and gives the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.harness import Candidates, LanguageModel, Unavailable, random_search
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.prune.journal import Journal, open_journal


class Killed(BaseException):
    """Simulates the end of the process."""


class Weighing(Candidates):
    """Candidates whose loss is the sum of the removed indices, times a sign."""

    def __init__(self, model: LanguageModel, sign: int, measured: list[float], life: int) -> None:
        self.sign, self.measured, self.life = sign, measured, life
        super().__init__(model, self.weigh, "blocks")

    def __call__(self, removed: Tensor) -> float:
        self.removed = removed
        return super().__call__(removed)

    def weigh(self) -> float:
        if len(self.measured) >= self.life:
            raise Killed
        self.measured.append(self.sign * 0.1 * int((self.removed * torch.arange(1, 7)).sum()))
        return self.measured[-1]


def searched(life: int = 10**9) -> tuple[list[float], list[Any]]:
    """Search at random for the lightest, then the heaviest mask; stop after `life` measurements.

    Returns what was measured, and what both searches found.
    """
    model, found = tiny_model(blocks=6), []
    measured: list[float] = []
    for sign in (1, -1):
        loss = Weighing(model, sign, measured, life)
        torch.manual_seed(1)  # the same masks, of another loss
        random_search(loss, lambda: torch.rand(6) < 0.5, 20)
        assert loss.best is not None
        found.append((loss.best.tolist(), loss.least, loss.evaluations))
    return measured, found


@pytest.mark.parametrize("life", [0, 1, 19, 20, 33])
def test_killed_search_resumes(tmp_path: Path, life: int) -> None:
    path = tmp_path / "runs" / ".one.journal"
    everything, expected = searched()
    with pytest.raises(Killed), open_journal(path):
        searched(life)
    assert path.exists() == (life > 0)
    with open_journal(path):
        assert searched() == (everything[life:], expected)
    assert not path.exists()


def test_evaluates_incomplete_last_line_again(tmp_path: Path) -> None:
    path = tmp_path / ".one.journal"
    with pytest.raises(Killed), open_journal(path):
        searched(5)
    text = path.read_text()
    names = [line.split()[0] for line in text.splitlines()]
    assert list(Journal(path).known) == names
    for cut in (1, 20, 45):
        path.write_text(text[:-cut])
        assert list(Journal(path).known) == names[:4]


def test_journal_continues_after_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / ".one.journal"
    with pytest.raises(Killed), open_journal(path):
        searched(5)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Killed), open_journal(path):
        searched(3)
    everything, expected = searched()
    with open_journal(path):
        assert searched() == (everything[7:], expected)


def flipped(content: bytes) -> bytes:
    """Return the content with one byte of the second loss changed, still a number."""
    at = content.index(b" 0x1.", content.index(b"\n")) + len(" 0x1.")
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: bytes(range(256)),
        lambda content: content[100:],
        flipped,
    ],
    ids=["empty", "binary", "headless", "flipped"],
)
def test_discards_damaged_journal_with_a_warning(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / ".one.journal"
    with pytest.raises(Killed), open_journal(path):
        searched(5)
    path.write_bytes(damage(path.read_bytes()))
    expected = searched()
    with pytest.warns(UserWarning, match=r"\.one\.journal is damaged"), open_journal(path):
        assert searched() == expected
    assert not list(tmp_path.iterdir())


def test_counts_the_seconds_of_the_killed_run(tmp_path: Path) -> None:
    path = tmp_path / ".one.journal"
    Journal(path).write(9, b"mask", 1.0, 8.0)
    first = Journal(path)
    first.write(first.begin(), b"mask", 2.5, 3.0)
    first.write(first.begin(), b"mask", 4.5, 1.0)
    second = Journal(path)
    assert [second.loss(second.begin(), b"mask"), second.saved] == [2.5, 3.0]
    assert [second.loss(second.begin(), b"mask"), second.saved] == [4.5, 4.0]
    assert [second.loss(1, b"another"), second.saved] == [None, 4.0]


def test_saves_nothing_without_a_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    everything = searched()
    with open_journal(None):
        assert searched() == everything
    assert searched() == everything
    assert not list(tmp_path.iterdir())


def test_error_names_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / ".one.journal"
    with pytest.raises(Unavailable, match=r"\.one\.journal"), open_journal(path):
        searched()

"""Base class of methods that drop activations while the model runs and remove no weights.

    method.apply(model, calibration)          # finds thresholds
    with method.active(model, prompt=256):    # later tokens read fewer columns of the weights
        model.hf(ids)

A column of a weight that meets a zero input need not be read. Every token drops its own entries.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.model.execution import replaced_forward
from implementations.harness.model.units import total_weights
from implementations.harness.model.view import Block, LanguageModel, require_whole_layers
from implementations.harness.prune.acting import acting
from implementations.harness.prune.activation_masks import Kept, MaskedLinear, Masker
from implementations.harness.prune.method import FAR, Method, Outcome, Ratio
from implementations.harness.prune.walk import WalkedBlock, walk

DIGITS = 4
"""Digits of the counted shares; the last bits of activations differ from machine to machine."""


class Drop(NamedTuple):
    """The entries that one layer drops."""

    limit: float
    """The threshold, or the number of kept entries."""
    share: float
    """Share of the entries that are dropped, on the calibration set."""


@dataclass
class CalibrationResult:
    """Drops that a method chose on the calibration set, and entries counted since then."""

    method: Method
    drops: list[dict[str, Drop]]
    """The drops of every block, by role."""
    counts: list[dict[str, list[int]]]
    """Dropped and all entries of every block, by role."""


class ActivationMethod(Method):
    """A method that drops activations of each token and removes no weights."""

    sparsity: Ratio = 0.5
    """Share of the weights in the decoder's linear layers that a token does not need."""
    dense_prompt: bool = True
    """Leave the prompt dense and measure only the text after it; otherwise act on all tokens."""

    @abstractmethod
    def calibrate(self, block: WalkedBlock, share: float) -> dict[str, Drop]:
        """Run the dense block once and return its drops, by role; `share` is the `layer_share`."""

    @abstractmethod
    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        """Return the function that marks the kept inputs of a layer."""

    def layer_share(self, model: LanguageModel) -> float:
        """Return the share of the affected layers' weights that a token does not need."""
        return self.sparsity

    @property
    def prompted(self) -> bool:
        """Whether only the text after a prompt is measured."""
        return self.dense_prompt

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that it does not support, with reasons."""
        reasons = {
            "save": "it acts only while the model runs; the record has its thresholds (details)",
            "recover": "it removes no weights that training could compensate for",
            "tasks": "lm-eval does not mark the end of a prompt; set dense_prompt=false",
        }
        return reasons if self.dense_prompt else {k: reasons[k] for k in ("save", "recover")}

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the layers hold all of their rows and columns."""
        super().check(model, calibration)
        require_whole_layers(model, self.slug())

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Calibrate block by block on the dense model; return the drops and their shares."""
        samples, share = replace(calibration, batch_size=1), self.layer_share(model)
        drops = [self.calibrate(block, share) for block in walk(model, samples, edits=False)]
        model.calibrated = CalibrationResult(self, drops, [{} for _ in drops])
        shares = [{role: drop.share for role, drop in of_block.items()} for of_block in drops]
        return {
            "unused": unread(model, shares),
            "limits": [{role: drop.limit for role, drop in of_block.items()} for of_block in drops],
            "shares": shares,
        }

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        """Drop activations inside the `with` block, after the `prompt` if that stays dense.

        Raises `BadInput` if the model was not calibrated by `apply` of this method, and as
        `acting`.
        """
        found = model.calibrated
        if not isinstance(found, CalibrationResult) or found.method != self:
            raise BadInput(
                f"{self.slug()} has no thresholds for {model.name}; call `apply` of this method, "
                "with the same settings, on the model first"
            )
        after = prompt if self.dense_prompt else None
        with acting(model, self.slug(), after) as position, ExitStack() as changes:
            for block, drops, counts in zip(model.blocks, found.drops, found.counts, strict=True):
                for module, forward in self.forwards(block, drops, Masker(position, counts)):
                    changes.enter_context(replaced_forward(module, forward))
            yield

    def forwards(
        self, block: Block, drops: Mapping[str, Drop], masker: Masker
    ) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        """Yield the modules of a block that drop activations, with their forward passes."""
        for role, linear in block.linears().items():
            kept = self.kept(block, role, drops[role])
            yield linear, MaskedLinear(linear, kept, masker, role)

    def counted(self, model: LanguageModel, outcome: Outcome) -> Outcome:
        """Return the outcome with the shares that were dropped in all passes since `apply`."""
        counts = model.calibrated.counts
        if not any(counts):
            return outcome
        shares = [
            {role: round(dropped / max(every, 1), DIGITS) for role, (dropped, every) in c.items()}
            for c in counts
        ]
        unused, weights = unread(model, shares), total_weights(model)
        achieved = 1 - (weights - unused) / max(weights - self.added_weights(model), 1)
        if abs(achieved - outcome.achieved) > FAR:
            self.warn_of_miss(achieved)
        details = outcome.details | {"counted": shares}
        return outcome.model_copy(
            update={"unused": unused, "achieved": achieved, "details": details}
        )


def unread(model: LanguageModel, shares: Sequence[Mapping[str, float]]) -> int:
    """Return the number of weights that a token does not read, for dropped `shares` by role."""
    dropped = 0.0
    for block, of_block in zip(model.blocks, shares, strict=True):
        linears = block.linears()
        dropped += sum(share * linears[role].weight.numel() for role, share in of_block.items())
    return round(dropped)

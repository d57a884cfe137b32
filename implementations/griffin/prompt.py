"""Methods that select MLP channels for each prompt, without changing weights.

with method.active(model, prompt=512):
    model.hf(ids)                        # the first 512 positions are the prompt

The whole model computes the positions of the prompt. In every block, the activations of the prompt
select the channels that compute later positions, in the same pass or in later ones with the
key/value cache. A pass that begins at position 0 starts a new prompt.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as multiply

from implementations.harness import (
    BadInput,
    Block,
    LanguageModel,
    Position,
    UnitMethod,
    acting,
    replaced_forward,
    unit_costs,
)


class PromptMethod(UnitMethod):
    """A method that selects channels for each prompt and removes none."""

    least: ClassVar[int] = 1

    @abstractmethod
    def evidence(self, inner: Tensor) -> Tensor:
        """Return a contribution of each prompt token to each channel, which is summed over tokens.

        `inner` is the input of `down`, fp32 `[samples, tokens, channels]`, like the result.
        """

    def scores(self, block: Block, evidence: Tensor, generator: torch.Generator) -> Tensor:
        """Return the scores of channels, `[samples, channels]`; the largest are kept.

        `evidence [samples, channels]` is summed over the prompt. A result of one row, `[1,
        channels]`, selects the same channels for all samples. `generator` gives the same random
        numbers for every prompt.
        """
        return evidence

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that need pruned weights, with reasons."""
        return {
            "save": "it selects channels for each prompt and does not change the weights",
            "recover": "it removes no weights that training could compensate for",
            "tasks": "lm-eval does not mark the end of a prompt",
        }

    def prune(self, model: LanguageModel, calibration: Any) -> dict[str, Any]:
        """Return the number of kept channels and of unused weights; the model does not change."""
        return {"channels": self.kept(model), "unused": self.unused(model)}

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        """Select channels by the first `prompt` positions of every text, for the later positions.

        Each sample of a batch has its own selection; padding (`attention_mask` 0) is ignored. The
        model is restored at the end. Raises `BadInput` for input that `check` refuses, a `prompt`
        below 1, and inside another `active`.
        """
        self.check(model, None)
        with acting(model, self.slug(), prompt) as position, ExitStack() as changes:
            for block, kept in zip(model.blocks, self.kept(model), strict=True):
                choose = partial(self._choose, block, kept, seed)
                part = PromptedFeedForward(block, position, self.evidence, choose)
                for linear, forward in part.forwards():
                    changes.enter_context(replaced_forward(linear, forward))
            yield

    def kept(self, model: LanguageModel) -> list[int]:
        """Return the number of channels of every block that are kept, `[blocks]`."""
        lost = self.widths(model, torch.ones(len(model.blocks)))
        return [
            block.feed_forward.channels - removed
            for block, (removed,) in zip(model.blocks, lost, strict=True)
        ]

    def unused(self, model: LanguageModel) -> int:
        """Return the number of weights that are not used after the prompt."""
        return sum(
            int(unit_costs(block, "channels")[kept:].sum())  # all channels of a block cost the same
            for block, kept in zip(model.blocks, self.kept(model), strict=True)
        )

    def _choose(self, block: Block, kept: int, seed: int, evidence: Tensor) -> Tensor:
        """Return the indices of the kept channels, `[samples or 1, kept]`."""
        # A factor above the number of blocks of any model, so that no two seeds share draws.
        generator = torch.Generator().manual_seed(seed * 2**20 + block.index)
        scores = self.scores(block, evidence, generator)
        return scores.topk(kept, dim=-1).indices


class PromptedFeedForward:
    """The MLP of one block, which uses the channels selected by the prompt."""

    def __init__(
        self,
        block: Block,
        position: Position,
        evidence: Callable[[Tensor], Tensor],
        choose: Callable[[Tensor], Tensor],
    ) -> None:
        self.block, self.position = block, position
        self.evidence, self.choose = evidence, choose
        self.gathered: Tensor | None = None  # [samples, channels]
        self.kept: Tensor | None = None  # [samples or 1, kept], once the prompt is read
        self.narrow: dict[str, tuple[Tensor, Tensor | None]] = {}

    def forwards(self) -> Iterator[tuple[nn.Linear, Callable[[Tensor], Tensor]]]:
        """Yield each linear layer with the function that replaces its forward pass."""
        for role, linear in self.block.linears().items():
            if role in ("gate", "up"):
                yield linear, partial(self.enter, role, linear.forward)
            elif role == "down":
                yield linear, partial(self.leave, linear.forward)

    def enter(self, role: str, dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute gate or up, after the prompt only for the kept channels."""
        return multiply(x, *self.sliced(role)) if self.after_prompt else dense(x)

    def leave(self, dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute down; in the prompt collect evidence, afterwards mask the other channels."""
        if self.after_prompt:
            return multiply(x, *self.sliced("down"))
        chosen = self.position.chosen
        inner = x.view(*self.position.shape, x.shape[-1])  # [samples, tokens, channels]
        if chosen:
            self.gather(inner[:, :chosen])
        if chosen < inner.shape[1]:
            inner = torch.cat([inner[:, :chosen], self.masked(inner[:, chosen:])], dim=1)
        return dense(inner.view_as(x))

    @property
    def after_prompt(self) -> bool:
        """Whether all of this pass is after the prompt and all samples use the same channels."""
        one = self.kept is not None and len(self.kept) == 1
        return one and self.position.start >= self.position.prompt

    @torch.no_grad()
    def gather(self, inner: Tensor) -> None:
        """Add the evidence of a part of the prompt, and select channels after the last part."""
        evidence = self.evidence(inner.float())
        if self.position.counted is not None:
            # Filled instead of multiplied, because padding may give NaN.
            padding = self.position.counted[:, : inner.shape[1], None] == 0
            evidence = evidence.masked_fill(padding, 0)
        if self.position.start == 0:
            self.gathered, self.kept, self.narrow = None, None, {}
        total = evidence.sum(dim=1)
        self.gathered = total if self.gathered is None else self.gathered + total
        if self.position.start + inner.shape[1] == self.position.prompt:
            self.kept = self.choose(self.gathered)

    def masked(self, inner: Tensor) -> Tensor:
        """Zero the channels of `inner [samples, tokens, channels]` that were not selected."""
        if self.kept is None:
            raise BadInput(
                f"the cache has {self.position.start} tokens that were read elsewhere, so no "
                "channels were selected; read the prompt inside `active`"
            )
        rows = self.kept.expand(len(inner), -1)
        silent = torch.ones(len(inner), inner.shape[-1], dtype=torch.bool, device=inner.device)
        return inner.masked_fill(silent.scatter(1, rows, value=False)[:, None], 0)

    def sliced(self, role: str) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a layer for the kept channels; computed once per prompt."""
        assert self.kept is not None  # implied by `after_prompt`
        if role not in self.narrow:
            linear, kept = self.block.linears()[role], self.kept[0]
            if role == "down":
                self.narrow[role] = linear.weight[:, kept], linear.bias
            else:
                bias = None if linear.bias is None else linear.bias[kept]
                self.narrow[role] = linear.weight[kept], bias
        return self.narrow[role]

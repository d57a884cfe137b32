"""Methods by which each prompt chooses the channels that write what follows; no weight changes.

with method.active(model, prompt=512):
    model.hf(ids)                        # in every pass the first 512 positions choose

Positions of the prompt are computed by the whole model. What they put into the feed-forward parts
chooses, in every block, the channels by which later positions are computed, in the same pass or in
later ones with the key/value cache. A pass that begins at position 0 is a new prompt.
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

from implementations.harness.data.activations import replaced_forward
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.model.view import Block, LanguageModel, refuse_block_by_block
from implementations.harness.prune.method import UnitMethod


class PromptMethod(UnitMethod):
    """A method that removes nothing and lets every prompt choose its channels."""

    least: ClassVar[int] = 1

    @abstractmethod
    def evidence(self, inner: Tensor) -> Tensor:
        """Return what each token of a prompt says for each channel, to be added up over tokens.

        `inner` is what enters `down`, `[samples, tokens, channels]`, fp32, as is the result.
        """

    def scores(self, block: Block, evidence: Tensor, generator: torch.Generator) -> Tensor:
        """Return by what channels are chosen, the largest stay: `[samples, channels]`.

        `evidence [samples, channels]` is added up over the prompt. A single row, `[1, channels]`,
        is one choice for all samples. `generator` is for what is drawn: it gives the same anew for
        every prompt.
        """
        return evidence

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that need a model whose weights were pruned."""
        return {
            "save": "it chooses with every prompt and leaves the weights as they are",
            "recover": "it removes nothing that training could make up for",
            "tasks": "lm-eval does not say where the prompt of a question ends",
        }

    def prune(self, model: LanguageModel, calibration: Any) -> dict[str, Any]:
        """Count what every prompt leaves unused; the weights stay as they are."""
        return {"channels": self.kept(model), "unused": self.unused(model)}

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        """Let the first `prompt` positions of every text choose what computes the later ones.

        Samples of a batch choose each for themselves; padding, where the `attention_mask` of a
        call is 0, has no say. The model is as before at the end, whatever happens. Raises
        `BadInput` for what `check` refuses, a prompt of no token, and inside another `active`.
        """
        self.check(model, None)
        if prompt < 1:
            raise BadInput(f"a prompt of {prompt} tokens chooses nothing: give at least 1")
        if model.follows:
            raise BadInput(f"the model follows the prompt already, by {model.follows}; end that")
        position = Position(prompt)
        with ExitStack() as changes:
            model.follows = self.slug()
            changes.callback(setattr, model, "follows", "")
            hook = model.decoder.register_forward_pre_hook(position.enter, with_kwargs=True)
            changes.callback(hook.remove)
            for block, kept in zip(model.blocks, self.kept(model), strict=True):
                choose = partial(self._choose, block, kept, seed)
                follower = Follower(block, position, self.evidence, choose)
                for linear, forward in follower.forwards():
                    changes.enter_context(replaced_forward(linear, forward))
            yield

    def kept(self, model: LanguageModel) -> list[int]:
        """Count the channels of every block that write, `[blocks]`."""
        lost = self.widths(model, torch.ones(len(model.blocks)))
        return [
            block.feed_forward.channels - gone
            for block, (gone,) in zip(model.blocks, lost, strict=True)
        ]

    def unused(self, model: LanguageModel) -> int:
        """Count the weights of the blocks' linear layers that have no part in writing."""
        channels = zip(model.blocks, self.kept(model), strict=True)
        return sum(
            (block.feed_forward.channels - kept) * int(cost)
            for (block, kept), cost in zip(channels, self._counted(model)[1][0], strict=True)
        )

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a model that is not whole where it computes."""
        super().check(model, calibration)
        refuse_block_by_block(model, self.slug())

    def _choose(self, block: Block, kept: int, seed: int, evidence: Tensor) -> Tensor:
        """Return the channels that stay, `[samples or 1, kept]`."""
        generator = torch.Generator().manual_seed(seed + block.index)
        scores = self.scores(block, evidence, generator)
        return scores.topk(kept, dim=-1).indices


class Position:
    """Where in its text the pass stands that a model is in."""

    def __init__(self, prompt: int) -> None:
        self.prompt = prompt
        self.start = 0
        """Tokens that the cache holds."""
        self.shape = (0, 0)
        """Samples and tokens of this pass."""
        self.counted: Tensor | None = None
        """Marks tokens that are no padding, `[samples, tokens]`; None where none is."""

    @property
    def chosen(self) -> int:
        """How many tokens of this pass belong to the prompt."""
        return min(max(self.prompt - self.start, 0), self.shape[1])

    def enter(self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        """Read what the decoder is called with; raises `BadInput` for a mask of another shape."""
        cache = given.get("cache", given.get("past_key_values"))
        entering = next(
            x for x in (*args, given.get("input_ids"), given.get("inputs_embeds")) if x is not None
        )
        mask = given.get("attention_mask")
        self.start = cache.get_seq_length() if cache is not None else 0
        self.shape = (entering.shape[0], entering.shape[1])
        until = self.start + self.shape[1]
        if mask is not None and mask.shape != (self.shape[0], until):
            raise BadInput(
                f"an attention mask {list(mask.shape)} does not say which tokens of the prompt are "
                f"padding; give one of [samples, tokens], here [{self.shape[0]}, {until}]"
            )
        self.counted = None if mask is None else mask[:, self.start :]


class Follower:
    """The feed-forward part of one block, which goes by what the prompt has chosen."""

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
        """Yield each linear layer with what answers for it."""
        for role, linear in self.block.linears().items():
            if role in ("gate", "up"):
                yield linear, partial(self.enter, role, linear.forward)
            elif role == "down":
                yield linear, partial(self.leave, linear.forward)

    def enter(self, role: str, dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute gate or up: after the prompt only the channels that stay."""
        return multiply(x, *self.sliced(role)) if self.writes else dense(x)

    def leave(self, dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute down, and on the way gather and choose, or silence what was not chosen."""
        if self.writes:
            return multiply(x, *self.sliced("down"))
        chosen = self.position.chosen
        inner = x.view(*self.position.shape, x.shape[-1])  # [samples, tokens, channels]
        if chosen:
            self.gather(inner[:, :chosen])
        if chosen < inner.shape[1]:
            inner = torch.cat([inner[:, :chosen], self.silenced(inner[:, chosen:])], dim=1)
        return dense(inner.view_as(x))

    @property
    def writes(self) -> bool:
        """Whether all of this pass comes after the prompt, and by one choice for all samples."""
        one = self.kept is not None and len(self.kept) == 1
        return one and self.position.start >= self.position.prompt

    @torch.no_grad()
    def gather(self, inner: Tensor) -> None:
        """Take what a stretch of the prompt says, and choose where it was the last."""
        said = self.evidence(inner.float())
        if self.position.counted is not None:
            # Filled, not multiplied: what padding computes may be NaN.
            padding = self.position.counted[:, : inner.shape[1], None] == 0
            said = said.masked_fill(padding, 0)
        if self.position.start == 0:
            self.gathered, self.kept, self.narrow = None, None, {}
        total = said.sum(dim=1)
        self.gathered = total if self.gathered is None else self.gathered + total
        if self.position.start + inner.shape[1] == self.position.prompt:
            self.kept = self.choose(self.gathered)

    def silenced(self, inner: Tensor) -> Tensor:
        """Zero what was not chosen in `inner [samples, tokens, channels]`."""
        if self.kept is None:
            raise BadInput(
                f"the cache holds {self.position.start} tokens that were read elsewhere, so nothing"
                " was chosen by them; read the prompt inside `active`"
            )
        rows = self.kept.expand(len(inner), -1)
        silent = torch.ones(len(inner), inner.shape[-1], dtype=torch.bool, device=inner.device)
        return inner.masked_fill(silent.scatter(1, rows, value=False)[:, None], 0)

    def sliced(self, role: str) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a layer without the channels that do not write, made once."""
        assert self.kept is not None  # `writes` asked before
        if role not in self.narrow:
            linear, kept = self.block.linears()[role], self.kept[0]
            if role == "down":
                self.narrow[role] = linear.weight[:, kept], linear.bias
            else:
                bias = None if linear.bias is None else linear.bias[kept]
                self.narrow[role] = linear.weight[kept], bias
        return self.narrow[role]

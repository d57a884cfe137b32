"""Methods that act while the model runs: one at a time, and where a forward pass is in its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from implementations.harness.errors import BadInput
from implementations.harness.model.view import LanguageModel


class Position:
    """The position of the current forward pass in its text."""

    def __init__(self, prompt: int) -> None:
        self.prompt = prompt
        self.start = 0
        """Tokens in the cache."""
        self.shape = (0, 0)
        """Samples and tokens of the pass."""
        self.counted: Tensor | None = None
        """Marks tokens that are not padding, `[samples, tokens]`; None without a mask."""

    @property
    def chosen(self) -> int:
        """Number of tokens of the pass that belong to the prompt."""
        return min(max(self.prompt - self.start, 0), self.shape[1])

    def enter(self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        """Read the arguments of the decoder; raises `BadInput` for a mask of another shape."""
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
                "`attention_mask` must have the shape [samples, tokens], here "
                f"[{self.shape[0]}, {until}], got {list(mask.shape)}"
            )
        self.counted = None if mask is None else mask[:, self.start :]


@contextmanager
def acting(model: LanguageModel, name: str, prompt: int | None) -> Iterator[Position]:
    """Mark the method `name` as active inside the `with` block; yield the position of each pass.

    `prompt` is the number of tokens at the start of every text that form its prompt, or None if
    the method acts on all tokens. Raises `BadInput` for a `prompt` below 1, and inside another
    `acting`.
    """
    if prompt is not None and prompt < 1:
        raise BadInput(f"`prompt` must be at least 1 token, got {prompt}")
    if model.active_method:
        raise BadInput(
            f"{model.active_method} is already active on this model; end its `with` block first"
        )
    position = Position(prompt or 0)
    hook = model.decoder.register_forward_pre_hook(position.enter, with_kwargs=True)
    model.active_method, model.active_prompt = name, position.prompt
    try:
        yield position
    finally:
        hook.remove()
        model.active_method, model.active_prompt = "", 0

"""How far the predictions of a pruned model are from those of the dense model, without labels.

Both models predict a distribution of the next token at each position, `p` dense and `q` pruned.

- **Divergence**: `KL(p || q) = sum p (log p - log q)`, the mean over the positions.
- **Agreement**: the share of positions at which both have the same most likely token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss
from transformers.modeling_outputs import MoeModelOutputWithPast

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.measure.perplexity import (
    CHUNK,
    Perplexity,
    check_finite,
    head,
    outputs,
    predictions,
    total,
)
from implementations.harness.model.view import LanguageModel


@dataclass(frozen=True)
class Quality:
    """Perplexity, KL divergence and agreement of a pruned model on one text."""

    perplexity: Perplexity
    divergence: float
    """Mean KL divergence from the dense model's distribution, in nats per token."""
    agreement: float
    """Share of positions with the same most likely next token."""


class DensePredictions:
    """Predictions of the dense model on some texts, kept as its final hidden states and its head.

    Logits would need `vocabulary / hidden` times that memory.
    """

    def __init__(self, model: LanguageModel, texts: Iterable[Tokens]) -> None:
        """Read the texts; `model` may be pruned afterwards."""
        self.head: nn.Module = copy.deepcopy(model.hf.get_output_embeddings())
        # Of each text: hidden states [windows, length, hidden], on the host.
        self.states = {
            tokens.sha256: torch.cat(
                [output.decoder.last_hidden_state.cpu() for output in outputs(model, tokens)]
            )
            for tokens in texts
        }

    @contextmanager
    def lent_to(self, model: LanguageModel) -> Iterator[None]:
        """Let `model` use the head of the dense model inside the `with` block."""
        own = model.hf.get_output_embeddings()
        model.hf.set_output_embeddings(self.head.to(model.accelerator))
        try:
            yield
        finally:
            model.hf.set_output_embeddings(own)

    def logits(self, model: LanguageModel, ids: Tensor, states: Tensor) -> Tensor:
        """Return the dense logits `[windows, positions, vocabulary]`, on the accelerator.

        `ids [windows, positions]` are the tokens, `states [windows, positions, hidden]` the dense
        model's output for them. `model`, which may be pruned, only applies what follows its head,
        such as a soft cap.
        """
        ids, hidden = (piece.to(model.accelerator) for piece in (ids, states))
        with self.lent_to(model):
            output = MoeModelOutputWithPast(last_hidden_state=hidden)  # right for all families
            return head(model, ids, output, slice(0, ids.shape[1]))

    def compare(
        self,
        model: LanguageModel,
        tokens: Tokens,
        *,
        prompt: int = 0,
        batch_size: int | None = None,
    ) -> Quality:
        """Measure perplexity, divergence and agreement of a pruned `model` in one pass.

        `tokens` must be one of the texts. With a `prompt`, only the predictions after that many
        tokens of each window count. Raises as `perplexity`, and `BadInput` for another text.
        """
        if tokens.sha256 not in self.states:
            raise BadInput(
                f"the dense model has not read these tokens of {tokens.source}; pass them to "
                "DensePredictions as well"
            )
        states = self.states[tokens.sha256]
        nats, divergence, same = (torch.zeros((), dtype=torch.float64) for _ in range(3))
        for piece, following in predictions(model, tokens, batch_size, prompt):
            values, windows, positions = piece
            ids = tokens.ids[windows, positions]
            expected = self.logits(model, ids, states[windows, positions])
            losses, divergences = _losses_and_divergences(values, expected, following)
            for terms in (losses, divergences):
                check_finite(terms, tokens.source, piece)
            nats += losses.sum()
            divergence += divergences.sum()
            same += (values.argmax(-1) == expected.argmax(-1)).sum().cpu()
            del piece, values, expected  # frees their memory before the next ones are computed
        result = total(float(nats), tokens, prompt)
        number = result.predictions
        # Of equal models, rounding can leave a sum below 0.
        return Quality(result, max(float(divergence) / number, 0.0), float(same) / number)


def _losses_and_divergences(
    pruned: Tensor, dense: Tensor, following: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `-log q` of each next token and `KL(p || q)`, `[windows, positions]`, in fp64.

    The logits `pruned` and `dense` are `[windows, positions, vocabulary]`.
    """
    rows = max(1, CHUNK // pruned.shape[-1])
    chunks = zip(
        pruned.flatten(0, 1).split(rows),
        dense.flatten(0, 1).split(rows),
        following.flatten().split(rows),
        strict=True,
    )
    losses, divergences = [], []
    for other, own, targets in chunks:
        log_q = other.double().log_softmax(-1)
        log_p = own.double().log_softmax(-1)
        losses.append(nll_loss(log_q, targets, reduction="none"))
        p = log_p.exp()
        terms = p * (log_p - log_q)
        divergences.append(terms.masked_fill_(p == 0, 0).sum(-1))  # 0 log 0 = 0
    shape = following.shape
    return torch.cat(losses).view(shape).cpu(), torch.cat(divergences).view(shape).cpu()

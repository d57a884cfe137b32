"""Training losses: next-token prediction and distillation."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from implementations.harness.model.view import LanguageModel


def logits_of(model: LanguageModel, ids: Tensor) -> Tensor:
    """Return the logits of `ids [windows, length]`, `[windows, length, vocabulary]`."""
    logits: Tensor = model.hf(input_ids=ids.to(model.device), use_cache=False).logits
    return logits


def next_token_loss(model: LanguageModel, ids: Tensor) -> Tensor:
    """Return the mean loss of predicting each next token of `ids [windows, length]`, in nats."""
    return cross_entropy_of(logits_of(model, ids), ids)


def cross_entropy_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the mean next-token loss, in nats, of `logits [windows, length, vocabulary]`."""
    following = ids[:, 1:].to(logits.device)
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), following.flatten())


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the mean over tokens of `T^2 KL(teacher || student)`.

    Both logits, `[windows, length, vocabulary]`, are divided by the temperature `T`. The factor
    `T^2` keeps the size of the gradients (Hinton et al., arXiv:1503.02531, section 2).
    """
    student_log, teacher_log = (
        log_softmax(x.flatten(0, 1).float() / temperature, -1) for x in (logits, teacher)
    )
    return temperature**2 * kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)

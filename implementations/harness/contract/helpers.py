"""Helpers of clauses and tests: prune tiny models, compare them, and catch error messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from implementations.harness.contract.tiny import (
    MIXTURE_TYPES,
    MODEL_TYPES,
    random_tokens,
    tiny_model,
)
from implementations.harness.data.tokens import Calibration, Stream, Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Method, Outcome

PATTERNS = ("1:4", "2:4", "4:8")


def takes_patterns(method: type[Method]) -> bool:
    """Return whether the method supports N:M patterns."""
    return "semi-structured" in method.capabilities.granularity


def removes_experts(method: type[Method]) -> bool:
    """Return whether the method removes experts, and so needs a mixture."""
    return "experts" in method.capabilities.granularity


def families_of(method: type[Method]) -> dict[str, str]:
    """Return the model types by family on which the method is tested: dense models, or mixtures."""
    return MIXTURE_TYPES if removes_experts(method) else MODEL_TYPES


def first_family(method: type[Method]) -> str:
    """Return the family for tests that need only one: llama, or mixtral to remove experts."""
    return next(iter(families_of(method)))


def reads_text(method: type[Method]) -> bool:
    """Return whether the method needs a calibration set."""
    return method.capabilities.calibration != "none"


def configured(method: type[Method], **settings: Any) -> Method:
    """Configure the method with its `tiny_settings`."""
    return method.configure(**(method.tiny_settings | settings))


def within_reach(method: type[Method], model: LanguageModel, **settings: Any) -> Method:
    """Configure the method, with half of its maximum sparsity if its default is higher.

    Raises `BadInput` if the method does not support the family of the model.
    """
    asked = configured(method, **settings)
    asked.check_family(model)
    limit = asked.max_sparsity(model)
    if asked.target <= limit or {"sparsity", "pattern"} & settings.keys():
        return asked
    return configured(method, **settings, sparsity=limit / 2)


def calibration_for(method: type[Method], **changes: Any) -> Tokens | None:
    """Return random tokens if the method needs a calibration set, otherwise None."""
    if not reads_text(method):
        return None
    tokens = random_tokens(**changes)
    if not method.capabilities.streams:
        return tokens
    streams = {name: Stream(random_tokens(16, seed=2)) for name in method.capabilities.streams}
    training, domain = streams.get("training"), streams.get("domain")
    return Calibration(**vars(tokens), training=training, domain=domain)


def apply(
    method: type[Method], model: LanguageModel, calibration: Tokens | None = None, **settings: Any
) -> Outcome:
    """Prune `model` by the method with `settings`."""
    given = calibration_for(method) if calibration is None else calibration
    return within_reach(method, model, **settings).apply(model, given)


def pruned(method: type[Method], family: str, **settings: Any) -> LanguageModel:
    """Return a tiny model of `family` pruned by the method with `settings`."""
    model = tiny_model(family)
    apply(method, model, **settings)
    return model


def shares(method: type[Method], model: LanguageModel, *wanted: float) -> list[float]:
    """Return the wanted sparsities; those above the method's maximum become half of it."""
    limit = configured(method).max_sparsity(model)
    return list(dict.fromkeys(share if share <= limit else limit / 2 for share in wanted))


def logits(model: LanguageModel, tokens: Tokens | None = None) -> Tensor:
    """Return the logits of tokens outside the calibration, `[samples, length, vocabulary]`."""
    ids = (tokens or random_tokens(3, 20, seed=1)).ids
    with torch.no_grad():
        return cast(Tensor, model.hf(input_ids=ids, use_cache=False).logits)


def pruned_logits(method: type[Method], model: LanguageModel, **settings: Any) -> Tensor:
    """Prune a model and return its logits; the prompt is the first 8 tokens."""
    asked = within_reach(method, model, **settings)
    asked.apply(model, calibration_for(method))
    with asked.active(model, 8):
        return logits(model)


def fingerprint(model: LanguageModel) -> dict[str, Tensor]:
    """Copy every parameter and buffer by name, opening one block at a time."""
    tensors = {name: tensor.clone() for name, tensor in model.outside().items()}
    for block in model.visit():
        state = block.module.state_dict(prefix=f"{block.index}.")
        tensors |= {name: tensor.clone() for name, tensor in state.items()}
    return tensors


class Reference(NamedTuple):
    """A tiny model pruned by a method with its defaults, and the outcome."""

    model: LanguageModel
    outcome: Outcome


@lru_cache(maxsize=32)
def reference(method: type[Method], family: str) -> Reference:
    """Prune a tiny model once for all clauses, which must not change it."""
    model = tiny_model(family)
    return Reference(model, apply(method, model))


def same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Return whether two fingerprints are equal bit for bit, with NaN equal to NaN."""
    return before.keys() == after.keys() and all(
        before[name].shape == after[name].shape
        and torch.equal(before[name].nan_to_num(7.0), after[name].nan_to_num(7.0))
        for name in before
    )


def difference(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    """Name the first tensors that differ between two fingerprints."""
    names = [
        name
        for name in {**before, **after}
        if not same(*({name: one[name]} if name in one else {} for one in (before, after)))
    ]
    return f"{len(names)} of {len(before)} tensors differ, the first is {names[0]}" if names else ""


def refusal(action: Callable[..., Any], *arguments: Any, **settings: Any) -> str:
    """Return the error message of `action`; raises `AssertionError` if it raises no error."""
    try:
        action(*arguments, **settings)
    except (BadInput, NumericsError) as error:
        message = str(error)
    else:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise AssertionError(f"{given or 'invalid input'} was not refused")
    assert len(message) > 20, f"an error message is too short to help: {message}"
    return message

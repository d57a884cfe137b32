"""Clauses about invalid input: it is refused with a helpful message, before the model changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from implementations.harness.contract.clause import clause
from implementations.harness.contract.helpers import (
    calibration_for,
    configured,
    fingerprint,
    reads_text,
    refusal,
    same,
    takes_patterns,
    within_reach,
)
from implementations.harness.contract.tiny import (
    VOCABULARY,
    ShutModel,
    random_tokens,
    tiny_model,
)
from implementations.harness.model.units import weights_of
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Method

INVALID_SETTINGS: tuple[dict[str, Any], ...] = (
    {"sparsity": 1.5},
    {"sparsity": -0.1},
    {"sparsity": float("nan")},
    {"no_such_parameter": 1},
)
TOKENS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
INVALID_PATTERNS = ("5:4", "0:4", "x")


@clause("every method", kinds="all")
def invalid_settings_and_weights_are_refused(method: type[Method], family: str) -> None:
    """Invalid settings and damaged weights are refused, and the model does not change."""
    for settings in INVALID_SETTINGS:
        refusal(method.configure, **settings)
    if takes_patterns(method):
        for text in INVALID_PATTERNS:
            assert text in refusal(method.configure, pattern=text)
        refusal(method.configure, pattern="2:4", sparsity=0.7)
    else:
        assert "pattern" in refusal(method.configure, pattern="2:4")
    for damage in damaged(family):
        before = fingerprint(damage)
        valid = within_reach(method, damage)
        message = refusal(valid.apply, damage, calibration_for(method))
        assert "block 1" in message
        assert same(before, fingerprint(damage))


@clause("methods that read calibration text", when=reads_text)
def invalid_calibration_is_refused(method: type[Method], family: str) -> None:
    """Missing or empty calibration or training text, and ids beyond the vocabulary, are refused."""
    model = tiny_model(family)
    before = fingerprint(model)
    refusal(random_tokens, 0)  # empty samples cannot be created
    bad = [None, calibration_for(method, vocabulary=VOCABULARY * 9)]
    if method.capabilities.calibration == "training":
        bad.append(random_tokens())
    for calibration in bad:
        refusal(within_reach(method, model).apply, model, calibration)
        assert same(before, fingerprint(model))


@clause("methods that train", when=lambda method: method.capabilities.trains is not None)
def training_block_by_block_is_refused(method: type[Method], family: str) -> None:
    """Training a model that is moved block by block is refused, naming the model and the option."""
    shut = ShutModel(tiny_model(family))
    before = fingerprint(shut)
    message = refusal(within_reach(method, shut).apply, shut, calibration_for(method))
    assert shut.name in message
    assert "--accelerator" in message
    assert same(before, fingerprint(shut))


@clause(
    "methods that train the weights themselves",
    when=lambda method: method.capabilities.trains == "weights",
)
def training_in_half_precision_is_refused(method: type[Method], family: str) -> None:
    """Training a bf16 model is refused, naming the option."""
    model = tiny_model(family, dtype=torch.bfloat16)
    before = fingerprint(model)
    message = refusal(within_reach(method, model).apply, model, calibration_for(method))
    assert "--dtype float32" in message
    assert same(before, fingerprint(model))


@clause("models of unsupported families", families="unknown", kinds="all")
def unsupported_family_is_refused(method: type[Method], family: str) -> None:
    """An unsupported family is refused, naming the supported ones."""
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=8, **TOKENS)
    message = refusal(LanguageModel, GPT2LMHeadModel(config))
    assert family in message
    assert "llama" in message


@clause("families that a method refuses", families="refused", kinds="all", every=True)
def refused_family_names_the_reason(method: type[Method], family: str) -> None:
    """A family that the method refuses is refused with the reason."""
    model = tiny_model(family)
    before = fingerprint(model)
    message = refusal(configured(method).apply, model, calibration_for(method))
    assert method.capabilities.refusal(model.family) in message
    assert family in message
    assert same(before, fingerprint(model))


def damaged(family: str) -> Iterator[LanguageModel]:
    """Yield models with one NaN and one infinite weight in their second block."""
    for value in (float("nan"), float("inf")):
        model = tiny_model(family)
        with torch.no_grad():
            list(weights_of(model.blocks[1]).values())[-1][3, 5] = value
        yield model

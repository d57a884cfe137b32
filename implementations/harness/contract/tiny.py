"""Tiny random models of every family, and random tokens, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from implementations.harness.data.tokens import Tokens
from implementations.harness.model.execution import seeded
from implementations.harness.model.surgery import PER_BLOCK
from implementations.harness.model.view import FAMILIES, Block, LanguageModel

VOCABULARY = 96

# Widths are multiples of 8 for the patterns 2:4 and 4:8, with two query heads per KV head.
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TYPES = {family.name: model_type for model_type, family in FAMILIES.items()}
MODEL_TYPES = {name: kind for name, kind in TYPES.items() if not FAMILIES[kind].experts}
"""The model types of dense families, by the family's name."""
MIXTURE_TYPES = {name: kind for name, kind in TYPES.items() if FAMILIES[kind].experts}
"""The model types of mixtures of experts, by the family's name."""


def tiny_config(family: str, **overrides: Any) -> PreTrainedConfig:
    """Return the configuration of a tiny two-block model of `family`, changed by `overrides`."""
    model_type = (MODEL_TYPES | MIXTURE_TYPES)[family]
    shape = SHAPE | dict(FAMILIES[model_type].tiny) | overrides
    channels = shape.pop("intermediate_size")
    shape[FAMILIES[model_type].channels] = channels
    if FAMILIES[model_type].experts:
        shape["intermediate_size"] = channels  # also of blocks without experts
    blocks = shape["num_hidden_layers"]
    for name in PER_BLOCK:
        if name in shape:  # repeated for all blocks
            shape[name] = list(islice(cycle(shape[name]), blocks))
    entries = {name: value for name, value in shape.items() if value is not None}
    config: PreTrainedConfig = AutoConfig.for_model(model_type, **entries)
    return config


def tiny_model(
    family: str = "llama",
    *,
    blocks: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **overrides: Any,
) -> LanguageModel:
    """Return a random model of `family` with weights so large that all blocks matter."""
    config = tiny_config(family, num_hidden_layers=blocks, **overrides)
    with seeded(seed):
        hf: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in hf.parameters():  # the default initialisation is almost zero
                if parameter.ndim >= 2:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(noise / parameter.shape[-1] ** 0.5)
                else:  # norms and biases
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for parameter in hf.parameters():  # not the rotary buffers, which stay fp32 in any model
            parameter.data = parameter.data.to(dtype)
    return LanguageModel(hf, name=f"tiny-{family}")


class ShutModel(LanguageModel):
    """A model whose blocks have weights only while they are opened, one at a time.

    It simulates a model on disk. The parameters of a shut block are on the meta device, and the
    original ones contain NaN. Raises `AssertionError` if two blocks are open at once or a shut one
    was written to.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model.hf, model.tokenizer, name=model.name)
        self.away: dict[nn.Module, list[tuple[nn.Module, str, nn.Parameter, Tensor]]] = {}
        self.open: nn.Module | None = None
        for block in self.blocks:
            self._shut(block.module)

    @property
    def whole(self) -> bool:
        """Return False, because only the open block is in memory."""
        return False

    @contextmanager
    def opened(self, block: Block, *, walked: bool = False) -> Iterator[Block]:
        """Restore the weights of one block inside the `with` block."""
        if self.open is block.module:
            yield block
            return
        assert self.open is None, "two blocks are open at once"
        self._open(block.module)
        try:
            yield block
        finally:
            self._shut(block.module)

    def _open(self, module: nn.Module) -> None:
        assert all(p.is_meta for p in module.parameters()), "a shut block was given weights"
        for owner, name, parameter, values in self.away.pop(module):
            assert bool(parameter.isnan().all()), f"{name} of a shut block was written to"
            parameter.data.copy_(values)
            owner._parameters[name] = parameter
        self.open = module

    def _shut(self, module: nn.Module) -> None:
        self.away[module] = [
            (owner, name, parameter, parameter.detach().clone())
            for owner in module.modules()
            for name, parameter in owner._parameters.items()
            if parameter is not None
        ]
        for owner, name, parameter, _ in self.away[module]:
            parameter.data.fill_(float("nan"))
            nothing = torch.empty_like(parameter, device="meta")
            owner._parameters[name] = nn.Parameter(nothing, requires_grad=parameter.requires_grad)
        self.open = None


def random_tokens(
    samples: int = 6,
    length: int = 24,
    *,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    batch_size: int = 2,
) -> Tokens:
    """Return `samples` random sequences of `length` token ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (samples, length), generator=generator)
    return Tokens.from_ids(ids, f"random-{seed}", batch_size)

"""Toy methods that break one promise each, by the clause that must detect it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from implementations.harness import (
    Block,
    Capabilities,
    ColumnNorm,
    Drop,
    Kept,
    LanguageModel,
    Method,
    Tokens,
    share_of,
    smallest,
)
from implementations.harness.prune.method import Outcome
from tests.harness.contract.toys import (
    Dropping,
    Fewer,
    First,
    Narrow,
    Prompted,
    Reading,
    Rounding,
    Thin,
    Trained,
)

Act = Callable[[LanguageModel], Any]


def also(act: Act, base: type[Method] = First) -> type[Method]:
    """Return a method whose `prune` also runs `act` on the model."""

    class Toy(base):
        def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
            super().prune(model, calibration)
            act(model)

    return Toy


def leaving(act: Act) -> type[Method]:
    """Return a method that runs `act` on the model after `apply`."""

    class Toy(First):
        def apply(self, model: LanguageModel, *given: Any) -> Outcome:
            outcome = super().apply(model, *given)
            act(model)
            return outcome

    return Toy


def declared(calibration: str, base: type[Method] = First, **capabilities: Any) -> type[Method]:
    """Return a method with wrong capabilities."""

    class Toy(base):
        pass

    entries = vars(base.capabilities) | {"calibration": calibration} | capabilities
    Toy.capabilities = Capabilities(**entries)
    return Toy


# Sparsity


class OneTooMany(First):
    def choose(self, scores: Tensor, *within: Any) -> Tensor:
        removed = super().choose(scores, *within)
        if self.sparsity:
            removed[0, int((~removed[0]).nonzero()[0]) :][:1] = True
        return removed


class Embellishing(First):
    def apply(self, model: LanguageModel, *given: Any) -> Outcome:
        outcome = super().apply(model, *given)
        return outcome.model_copy(update={"achieved": outcome.achieved * 1.01})


class Secretive(Rounding):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        super().prune(model, calibration)


class Bragging(First):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        super().prune(model, calibration)
        return {"bits": 1.0} if self.target else {}


class Boastful(Thin):
    def max_sparsity(self, model: LanguageModel) -> float:
        return 1.0


class Unbounded(Thin):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        pass


class Regardless(Trained):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        details = super().prune(model, calibration)
        model.blocks[0].attention.q.weight[0, 0] = 0  # although the sparsity is zero
        return details


class Unpatterned(First):
    def choose(self, scores: Tensor, *within: Any) -> Tensor:
        return smallest(scores, share_of(self.target, scores.shape[1]))


class Undividing(First):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        Method.check(self, model, calibration)


# The pruned model


def louder_norms(model: LanguageModel) -> None:
    for block in model.visit():
        next(iter(block.norms.values())).weight.mul_(2)


def untied(model: LanguageModel) -> None:
    model.hf.lm_head.weight = nn.Parameter(model.embedding.clone())


class Ticking(First):
    def scores(self, weight: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(time.perf_counter_ns())
        return torch.rand(weight.shape, generator=generator)


class LastBatch(ColumnNorm):
    def update(self, x: Tensor) -> None:
        self.total.zero_()
        super().update(x)


class Forgetful(Reading):
    statistic = LastBatch


def reading_outside(model: LanguageModel) -> None:
    float(model.blocks[1].attention.q.weight.sum())


def writing_outside(model: LanguageModel) -> None:
    model.blocks[1].attention.q.weight.zero_()


def misaligned(model: LanguageModel) -> None:
    for block in model.visit():
        gate = block.feed_forward.gate
        gate.weight.copy_(gate.weight.roll(1, dims=0))


def misrouted(model: LanguageModel) -> None:
    for block in model.visit():
        router = block.experts.weights()["router"]
        router.copy_(router.roll(1, dims=0))


def weakened(model: LanguageModel) -> None:
    for block in model.visit():
        block.experts.weights()["down_proj"].mul_(0.5)


def inattentive(model: LanguageModel) -> None:
    model.blocks[0].attention.o.weight[0, 0] += 1


def scaled(model: LanguageModel) -> None:
    for block in model.visit():
        block.attention.module.scaling *= 2  # not in the configuration


# Side effects


def hook(*_: Any) -> None: ...


def patched(model: LanguageModel) -> None:
    model.layers[0].forward = model.layers[0].forward


def thawed(model: LanguageModel) -> None:
    model.hf.requires_grad_(True)


def with_gradients(model: LanguageModel) -> None:
    weight = model.blocks[0].attention.q.weight
    weight.grad = torch.ones_like(weight)


SIDE_EFFECTS: dict[str, Act] = {
    "hook": lambda model: model.layers[0].register_forward_hook(hook),
    "pre-hook": lambda model: model.layers[0].register_forward_pre_hook(hook),
    "backward hook": lambda model: model.layers[0].register_full_backward_hook(hook),
    "hook on a parameter": lambda model: model.embedding.register_hook(hook),
    "patched forward": patched,
    "training mode": lambda model: model.layers[0].train(not model.layers[0].training),
    "use_cache": lambda model: setattr(model.config, "use_cache", not model.config.use_cache),
    "dtype": lambda model: model.layers[0].double(),
    "gradients": with_gradients,
    "lost gradient": lambda model: model.hf.zero_grad(),
    "thawed": thawed,
    "frozen": lambda model: model.hf.requires_grad_(False),
    "gradients off": lambda _: torch.set_grad_enabled(False),
    "torch's generator": lambda _: torch.rand(1),
    "Python's generator": lambda _: random.random(),
    "NumPy's generator": lambda _: np.random.rand(),
    "generation config": lambda model: setattr(model.hf.generation_config, "max_length", 7),
    "tokenizer": lambda model: setattr(model.tokenizer, "padding_side", "left"),
    "global hook": lambda _: register_module_forward_hook(hook),
    "linear": lambda _: setattr(nn.functional, "linear", torch.matmul),
    "default dtype": lambda _: torch.set_default_dtype(torch.float64),
    "threads": lambda _: torch.set_num_threads(torch.get_num_threads() + 1),
    "matmul precision": lambda _: torch.set_float32_matmul_precision("medium"),
    "working directory": lambda _: os.chdir(".."),
}


class Zeroing(Reading):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        super().prune(model, calibration)
        calibration.ids.zero_()


class Undone(First):
    """Sets the weights once, but takes part in the measuring as well."""

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        yield


class Retold(First):
    def counted(self, model: LanguageModel, outcome: Outcome) -> Outcome:
        return outcome.model_copy(update={"achieved": 0.9})


class Skipped(First):
    def execute(self, model: LanguageModel, *given: Any) -> Outcome:
        return Outcome(requested=self.sparsity, achieved=self.sparsity)


class Clinging(Reading):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        handle = model.layers[0].register_forward_hook(hook)
        super().prune(model, calibration)
        handle.remove()


class Silent(Trained):
    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        super().prune(model, calibration)


# Invalid input


class Modest(First):
    def max_sparsity(self, model: LanguageModel) -> float:
        return 0.01


class Boundless(First):
    sparsity: float = 0.5


class Blind(First):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        pass

    def apply(self, model: LanguageModel, *given: Any) -> Outcome:
        with torch.no_grad():
            self.prune(model, None)
        return Outcome(requested=self.sparsity, achieved=self.sparsity)


class Hasty(First):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        with torch.no_grad():
            model.blocks[0].attention.q.weight.zero_()
        super().check(model, calibration)


class Unasking(declared("forward")):
    def _check_calibration(self, model: LanguageModel, calibration: Tokens | None) -> None:
        pass


class Untrained(Trained):
    def _check_calibration(self, model: LanguageModel, calibration: Tokens | None) -> None:
        if calibration is not None and calibration.ids.max() < model.vocabulary_size:
            return
        super()._check_calibration(model, calibration)

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        return None


class Undaunted(Trained):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        pass

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        return None


class Willing(declared("none", refuses={"llama": "its blocks are not thought of"})):
    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        pass


# Prompts


class OneTooFew(Prompted):
    def kept(self, model: LanguageModel) -> list[int]:
        return [channels - 1 for channels in super().kept(model)]


class Early(Prompted):
    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        with super().active(model, prompt - 1, seed):
            yield


class Fickle(Prompted):
    """Selects differently in every call."""

    _asked: ClassVar[list[int]] = []

    def evidence(self, inner: Tensor) -> Tensor:
        self._asked.append(0)
        return super().evidence(inner).roll(len(self._asked) * 7, dims=-1)


class Counting(Prompted):
    """Uses the position of a token in the batch, which padding shifts."""

    def evidence(self, inner: Tensor) -> Tensor:
        places = torch.arange(1.0, inner.shape[1] + 1)[None, :, None]
        return super().evidence(inner) * places.square()


class Staying(Prompted):
    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        with super().active(model, prompt, seed):
            yield
        model.decoder.register_forward_pre_hook(lambda *_: None)


class Widening(Prompted):
    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        model.hf.float()
        with super().active(model, prompt, seed):
            yield


class Uncounted(Prompted):
    def prune(self, model: LanguageModel, calibration: Any) -> Any:
        return None


class Idle(Prompted):
    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        yield


# Activations


class Unread(Dropping):
    def prune(self, model: LanguageModel, calibration: Any) -> Any:
        return super().prune(model, calibration) | {"unused": 0}


class Unwatched(Dropping):
    def counted(self, model: LanguageModel, outcome: Outcome) -> Outcome:
        return outcome


class Together(Dropping):
    """Drops the same inputs for all tokens of a pass."""

    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        return lambda x: (x.abs().mean(dim=1, keepdim=True) > drop.limit).expand_as(x)


class AfterAll(Dropping):
    """Leaves the prompt dense although it was told not to."""

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        asked = self.model_copy(update={"dense_prompt": True})
        model.calibrated.method = asked
        with super(AfterAll, asked).active(model, prompt, seed):
            yield


class Careless(Dropping):
    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        yield


BREAKING: dict[str, dict[str, type[Method]]] = {
    "zero_sparsity_changes_nothing": {
        "one bit": also(lambda model: model.embedding[0, 0].mul_(1 + 2**-22)),
    },
    "zero_sparsity_removes_nothing": {"one weight": Regardless},
    "sparsity_is_met": {
        "one weight too many": OneTooMany,
        "overstated sparsity": Embellishing,
        "bits not reported": Secretive,
        "bits reported without quantising": Bragging,
    },
    "maximum_sparsity_is_met_and_more_is_refused": {
        "overstated maximum": Boastful,
        "understated maximum": Modest,
        "unbounded": Unbounded,
    },
    "patterns_hold_in_every_group": {"ignored": Unpatterned},
    "layers_have_few_distinct_values": {
        "not quantised": declared("none", Bragging, quantises=True)
    },
    "pattern_that_does_not_divide_is_refused": {"no message": Undividing},
    "only_declared_parts_change": {
        "norms": also(louder_norms),
        "embedding": also(lambda model: model.embedding.mul_(2)),
        "untied": also(untied),
    },
    "equal_seeds_give_equal_results": {"by the clock": Ticking},
    "batch_size_does_not_matter": {"the last batch": Forgetful},
    "training_course_is_reported": {"not reported": Silent},
    "blocks_are_opened_one_at_a_time": {
        "reading": also(reading_outside),
        "writing": also(writing_outside),
    },
    "slicing_equals_masking": {
        "misaligned": also(misaligned, Narrow),
    },
    "remaining_experts_are_unchanged": {
        "misrouted": also(misrouted, Fewer),
        "weakened": also(weakened, Fewer),
        "attention": also(inattentive, Fewer),
    },
    "half_precision_works": {"wider": also(lambda model: model.hf.float())},
    "reloads_with_the_same_logits": {"not saved": also(scaled)},
    "measured_as_pruned": {"active": Undone, "counted": Retold, "execute": Skipped},
    "state_is_restored": {name: leaving(act) for name, act in SIDE_EFFECTS.items()}
    | {"zeroed calibration": Zeroing},
    "state_is_restored_after_an_exception": {"clinging": Clinging},
    "invalid_settings_and_weights_are_refused": {
        "boundless": Boundless,
        "blind to NaN": Blind,
        "edits before it checks": Hasty,
    },
    "invalid_calibration_is_refused": {"missing": Unasking, "no training text": Untrained},
    "training_block_by_block_is_refused": {"undaunted": Undaunted},
    "training_in_half_precision_is_refused": {"undaunted": Undaunted},
    "zero_sparsity_is_the_dense_model": {"one too few": OneTooFew},
    "dense_model_reads_the_prompt": {"early": Early},
    "decoding_equals_a_single_pass": {"fickle": Fickle},
    "equal_prompts_select_equal_units": {"fickle": Fickle},
    "padding_does_not_matter": {"by place": Counting},
    "generate_equals_greedy_decoding": {"fickle": Fickle},
    "requested_share_of_weights_is_unused": {"uncounted": Uncounted},
    "requested_share_of_weights_is_not_read": {"not told": Unread, "not counted": Unwatched},
    "without_a_dense_prompt_all_tokens_act": {"one mask": Together, "a prompt": AfterAll},
    "cache_from_outside_is_refused": {"idle": Idle},
    "uncalibrated_models_are_refused": {"careless": Careless},
    "dense_model_is_restored": {"staying": Staying},
    "half_precision_works_with_prompts": {"wider": Widening},
    "unsupported_uses_are_refused": {"idle": Idle},
    "refused_family_names_the_reason": {"willing": Willing},
}

"""What a pruning method is: a validated configuration, declared capabilities and one `prune`."""

from __future__ import annotations

import difflib
import importlib
import math
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from implementations.harness.data.text import Tokens
from implementations.harness.errors import AtlasWarning, BadInput, NumericsError
from implementations.harness.model.surgery import refuse_emptied
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.results.store import IMPLEMENTATIONS

Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class NM(NamedTuple):
    """An N:M pattern: `keep` weights survive in every aligned group of `group` inputs."""

    keep: int
    group: int

    @property
    def sparsity(self) -> float:
        """The share it removes."""
        return 1 - self.keep / self.group

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"


def parse_pattern(value: object) -> NM:
    """Read "2:4" as keep 2 of every 4; raises `ValueError` with the form expected."""
    if isinstance(value, NM):
        return value
    numbers = str(value).split(":")
    if len(numbers) == 2 and all(n.isascii() and n.isdigit() for n in numbers):
        keep, group = map(int, numbers)
        if 1 <= keep <= group:
            return NM(keep, group)
    raise ValueError(
        f"pattern {value!r} is not KEEP:GROUP with 1 <= KEEP <= GROUP, such as 2:4, "
        "which keeps 2 of every 4"
    )


Pattern = Annotated[NM, BeforeValidator(parse_pattern), PlainSerializer(str, return_type=str)]

Granularity = Literal["unstructured", "semi-structured", "kv-groups", "channels", "blocks"]


class Capabilities(BaseModel):
    """What a method removes, what it needs, and the families it refuses, each with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    granularity: tuple[Granularity, ...]
    calibration: Literal["none", "forward", "gradient", "training"]
    refuses: dict[str, str] = {}

    @property
    def structured(self) -> bool:
        """Whether units are really removed, so that the model shrinks."""
        return not {"unstructured", "semi-structured"} & set(self.granularity)


class Outcome(BaseModel):
    """What one pruning did: the share asked for and achieved, and what the method tells."""

    model_config = ConfigDict(frozen=True)

    asked: float
    achieved: float
    seconds: float
    details: dict[str, Any] = {}
    warnings: list[str] = []


class Method(BaseModel, ABC):
    """A pruning method: the fields are the paper's hyper-parameters, `prune` is its algorithm.

    Every method has a field `sparsity`, the share to remove: of the weights of the decoder
    blocks' linear layers. One that knows N:M has a field `pattern`, which then says the share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    capabilities: ClassVar[Capabilities]
    """What it removes, what it needs of data, and which families it refuses."""
    missing: ClassVar[str] = ""
    """What is still to be written, in a folder fresh from its template."""
    sparsity: Ratio = 0.5
    """Share to remove; a method says of what."""

    @abstractmethod
    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any] | None:
        """Prune `model` in place and return what is worth recording, JSON-able.

        Called by `apply` with checked input, in evaluation mode, and without gradients unless
        the capabilities name them.
        """

    @model_validator(mode="after")
    def _one_share(self) -> Method:
        pattern: NM | None = getattr(self, "pattern", None)
        given = "sparsity" in self.model_fields_set
        if pattern and given and not math.isclose(self.sparsity, pattern.sparsity):
            raise ValueError(
                f"sparsity {self.sparsity} contradicts pattern {pattern}, which removes "
                f"{pattern.sparsity:g}; leave one of them out"
            )
        return self

    @property
    def target(self) -> float:
        """The share to remove, by the pattern where there is one."""
        pattern: NM | None = getattr(self, "pattern", None)
        return pattern.sparsity if pattern else self.sparsity

    @classmethod
    def slug(cls) -> str:
        """The name of the method's folder, which is its name everywhere."""
        return cls.__module__.rpartition(".")[0].rpartition(".")[2]

    @classmethod
    def configure(cls, **parameters: Any) -> Method:
        """Build the method from `parameters`.

        Raises:
            BadInput: a wrong parameter, by name, or a method that is not written yet.
        """
        if cls.missing:
            raise BadInput(f"{cls.slug()} is not written yet: {cls.missing}")
        unknown = [name for name in parameters if name not in cls.model_fields]
        if unknown:
            known = list(cls.model_fields)
            raise BadInput(unknown_name(unknown[0], known, f"{cls.slug()} parameter"))
        try:
            return cls(**parameters)
        except ValidationError as error:
            problems = [
                ".".join(map(str, problem["loc"])) + ": " * bool(problem["loc"]) + problem["msg"]
                for problem in error.errors()
            ]
            raise BadInput(f"{cls.slug()}: " + "; ".join(problems)) from error

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse before any work what cannot be done; raises `BadInput` or `NumericsError`."""
        reason = self.capabilities.refuses.get(model.family.name)
        if reason:
            raise BadInput(f"{self.slug()} does not support {model.family.name}: {reason}")
        pattern: NM | None = getattr(self, "pattern", None)
        for block, role, linear in model.linears():
            if pattern and linear.in_features % pattern.group:
                raise BadInput(
                    f"pattern {pattern} does not divide the {linear.in_features} inputs of "
                    f"block {block.index}, {role}; choose a group that does"
                )
        check_weights(model, "the checkpoint is damaged or was loaded in too narrow a dtype")
        if self.capabilities.calibration != "none":
            check_calibration(calibration, model, self.slug())

    def apply(self, model: LanguageModel, calibration: Tokens | None = None) -> Outcome:
        """Check, prune in place and count; flags and hooks are restored also after an exception.

        Raises `BadInput` for what cannot be asked and `NumericsError` for NaN or infinity; the
        first kind leaves the model as it was.
        """
        self.check(model, calibration)
        before = count_weights(model)
        gradients = self.capabilities.calibration in ("gradient", "training")
        start = time.perf_counter()
        with (
            preserved(model),
            torch.set_grad_enabled(gradients),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always", AtlasWarning)
            details = self.prune(model, calibration)  # type: ignore[arg-type]  # checked above
            check_weights(model, f"{self.slug()} overflowed; load the model in a wider dtype")
            refuse_emptied(model.blocks)
        seconds = time.perf_counter() - start
        for warning in caught:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        left = count_weights(model)
        removed = 1 - left.all / before.all
        zeros = 1 - left.nonzero / left.all if left.all else 0.0
        return Outcome(
            asked=self.target,
            achieved=removed if self.capabilities.structured else zeros,
            seconds=seconds,
            details=details or {},
            warnings=[str(w.message) for w in caught if issubclass(w.category, AtlasWarning)],
        )


class Weights(NamedTuple):
    """Weights of the decoder blocks' linear layers, norms and biases not counted."""

    all: int
    nonzero: int


def count_weights(model: LanguageModel) -> Weights:
    """Count what budgets are counted in: the weights of the decoder blocks' linear layers."""
    weights = [linear.weight for _, _, linear in model.linears()]
    return Weights(
        all=sum(w.numel() for w in weights),
        nonzero=sum(int(torch.count_nonzero(w)) for w in weights),
    )


def check_weights(model: LanguageModel, reason: str) -> None:
    """Raise `NumericsError` naming the first layer whose weights are not finite, and the reason."""
    for block, role, linear in model.linears():
        if not bool(linear.weight.isfinite().all()):
            raise NumericsError(
                f"block {block.index}, {role}: the weights contain NaN or infinity; {reason}"
            )


def check_calibration(calibration: Tokens | None, model: LanguageModel, slug: str) -> None:
    """Refuse missing or empty calibration and token ids beyond the vocabulary with `BadInput`."""
    if calibration is None or calibration.ids.numel() == 0:
        raise BadInput(f"{slug} needs calibration text and got none; give at least one sample")
    highest = int(calibration.ids.max())
    if highest >= model.vocabulary_size or int(calibration.ids.min()) < 0:
        raise BadInput(
            f"token id {highest} of the calibration is beyond the model's vocabulary of "
            f"{model.vocabulary_size}; was it made with another tokenizer?"
        )


def unknown_name(name: str, known: list[str], what: str) -> str:
    """Say that `name` is not a `what`, with the nearest known one."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(known) + "."
    return f"unknown {what} {name!r}; {hint}"


def methods(folder: Path = IMPLEMENTATIONS) -> list[str]:
    """List the slugs of all method folders: those that hold `<slug>/<slug>.py`."""
    return sorted(p.parent.name for p in folder.glob("*/*.py") if p.stem == p.parent.name)


def get(slug: str) -> type[Method]:
    """Return the method class of a folder; raises `BadInput` with the nearest name."""
    if slug not in methods():
        raise BadInput(unknown_name(slug, methods(), "method"))
    module = importlib.import_module(f"implementations.{slug}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value is not Method
    ]
    if len(found) != 1:
        raise BadInput(
            f"implementations/{slug}/__init__.py must export one Method, not {len(found)}"
        )
    return found[0]

"""The base class of pruning methods: configuration, capabilities and `prune`.

`WeightMethod` is the base of methods that zero single weights, `UnitMethod` of those that remove
whole units. Tests, records and the site use the declared `capabilities`.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, cast, get_args

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from implementations.harness.data.tokens import Calibration, Tokens, check_vocabulary
from implementations.harness.errors import AtlasWarning, BadInput, in_short, unknown_name
from implementations.harness.model.execution import seeded
from implementations.harness.model.units import (
    Kind,
    count_weights,
    refuse_emptied,
    rotated,
    total_weights,
)
from implementations.harness.model.view import (
    FAMILIES,
    Family,
    LanguageModel,
    preserved,
    require_precise_weights,
    require_whole_model,
)
from implementations.harness.results.protocol import Course
from implementations.harness.results.reading import Share, validation_problems
from implementations.harness.results.record import External

Ratio = Share
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]

Granularity = Kind | Literal["unstructured", "semi-structured", "hidden", "activations"]
Place = Literal["linears", "norms", "embedding", "head"]


DAMAGED = "the checkpoint is damaged or was loaded in too narrow a dtype"
"""The likely reason for NaN or infinity in an unpruned model."""


FAR = 0.01
"""Difference between requested and achieved sparsity above which a run warns."""


class Capabilities(BaseModel):
    """What a method removes, needs and changes, and which families it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    granularity: tuple[Granularity, ...]
    """What it removes: single weights, weights in N:M groups, units, or activations."""
    calibration: Literal["none", "forward", "gradient", "training"]
    """The data it needs; `training` needs training text as well as the calibration set."""
    trains: Literal["gates", "scores", "factors", "weights"] | None = None
    """What it trains: gates; scores, with weight updates that are undone; low-rank factors; or the
    weights themselves. The last two also change weights where nothing is pruned."""
    texts: tuple[Literal["training", "domain"], ...] = ("training",)
    """The texts it trains on, if it trains: a general one, one of a single domain, or both."""
    when: Literal["static", "input-dependent"] = "static"
    """Whether it selects what to remove once or for each input."""
    prompted: bool = False
    """Whether it acts after the prompt, so that only the continuation is measured; see also
    `Method.prompted`."""
    changes: tuple[Place, ...] = ("linears",)
    """The parts of the model that it changes; all others stay the same bit for bit. `linears` are
    the blocks' linear layers and experts. Empty for methods that act while the model runs."""
    parallel: bool = False
    """Whether it reads the calibration set only through statistics and `token_mean` of the walk, or
    sums with `add_up`, so that several processes can share it."""
    quantises: bool = False
    """Whether it also quantises the remaining weights of the blocks, and returns `bits`."""
    refuses: dict[str, str] = {}
    """Families that it does not support, each with the reason. Only methods that remove experts
    support mixtures, and they support nothing else."""

    @model_validator(mode="after")
    def _training_needs_text(self) -> Self:
        if (self.calibration == "training") != (self.trains is not None):
            raise ValueError("`calibration` must be `training` exactly if `trains` is set")
        return self

    def refusal(self, family: Family) -> str:
        """Return why the method does not support a family, or nothing if it does."""
        removes_experts = "experts" in self.granularity
        if family.experts and not removes_experts:
            return (
                "the method is not tested on mixtures of experts, most of whose weights are not in "
                "linear layers; use a method that removes experts (see `atlas methods`)"
            )
        if removes_experts and not family.experts:
            mixtures = ", ".join(one.name for one in FAMILIES.values() if one.experts)
            return f"the model has no experts; use a model of one of these families: {mixtures}"
        return self.refuses.get(family.name, "")

    @property
    def changes_all_weights(self) -> bool:
        """Whether training also changes weights where nothing is pruned."""
        return self.trains in ("factors", "weights")

    @property
    def streams(self) -> tuple[str, ...]:
        """The texts that it trains on; none if it does not train."""
        return self.texts if self.trains else ()

    @property
    def sets_weights(self) -> bool:
        """Whether it sets the weights once, so that it has no part in measuring the model."""
        return self.when == "static"

    @property
    def structured(self) -> bool:
        """Whether it removes units, so that the model becomes smaller."""
        return not {"unstructured", "semi-structured"} & set(self.granularity)


class Outcome(BaseModel):
    """The result of pruning: requested and achieved sparsity, and details from the method."""

    model_config = ConfigDict(frozen=True)

    requested: float
    achieved: float
    bits: float | None = None
    """Bits per weight of the blocks' linear layers, with overhead; None if it does not quantise."""
    unused: int = 0
    """Weights of the blocks' linear layers that stay in memory but are not used."""
    details: dict[str, Any] = {}
    course: Course | None = None
    """The course of the training, if the method trains."""
    warnings: list[str] = []


class Method(BaseModel, ABC):
    """A pruning method: its fields are the paper's hyper-parameters, `prune` is its algorithm."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    capabilities: ClassVar[Capabilities]
    """What it removes, which data it needs, what it changes, and which families it refuses."""
    revision: ClassVar[int] = 1
    """Version of the method's code; raise it when a change of that code changes values."""
    tiny_settings: ClassVar[dict[str, Any]] = {}
    """Settings that make it fast enough for the contract's tiny models, such as fewer steps."""
    missing: ClassVar[str] = ""
    """The part still to be written, in a new folder made from the template; else empty."""
    known_as: ClassVar[str] = ""
    """Name of a method outside the atlas; others are named after their folder."""
    external: ClassVar[External | None] = None
    """The origin of a method outside the atlas."""
    sparsity: Ratio = 0.5
    """Share of the weights in the decoder's linear layers to remove."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, field: ValidationInfo) -> Any:
        """Refuse booleans where pydantic would accept them as 1 and 0."""
        kind = str(cls.model_fields[field.field_name or ""].annotation)
        if isinstance(value, bool) and "bool" not in kind:
            raise ValueError(f"must not be a boolean, got {str(value).lower()}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _parse_number_choice(cls, value: Any, field: ValidationInfo) -> Any:
        """Convert the text of a number, as from the command line, for fields that list numbers."""
        choices = get_args(cls.model_fields[field.field_name or ""].annotation)
        numbers = {str(choice): choice for choice in choices if isinstance(choice, int)}
        return numbers.get(value, value) if isinstance(value, str) else value

    @abstractmethod
    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any] | None:
        """Prune `model` in place and return details to record, as for JSON.

        `apply` calls it with checked input, in evaluation mode, seeded, and with gradients
        disabled. Use weights only inside a walk or a `visit`. Three entries become fields of
        `Outcome`: `bits` of methods that quantise, `course` of methods that train, and `unused` of
        methods that act while the model runs.
        """

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        """Make `model` behave as pruned inside the `with` block, after `apply`.

        Methods that act while the model runs override this and restore the model at the end. Others
        have already edited the weights. `prompt` is the number of prompt tokens at the start of
        every text.
        """
        yield

    @property
    def prompted(self) -> bool:
        """Whether only the text after a prompt is measured."""
        return self.capabilities.prompted

    def counted(self, model: LanguageModel, outcome: Outcome) -> Outcome:
        """Return the outcome with what was counted while the model ran, after measuring it."""
        return outcome

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that it does not support (tasks, recover, save), with reasons."""
        if self.capabilities.quantises:
            return {"recover": "training would undo the quantisation"}
        return {}

    @property
    def target(self) -> float:
        """The requested sparsity."""
        return self.sparsity

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the maximum sparsity of the method for `model`."""
        return 1.0

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the number of weights of the largest unit; 0 if sparsities are met exactly."""
        return 0

    def added_weights(self, model: LanguageModel) -> int:
        """Return the number of weights that it adds to the blocks as further linear layers.

        The requested sparsity leaves them out, and the achieved one counts them.
        """
        return 0

    @classmethod
    def slug(cls) -> str:
        """The name by which the method is known everywhere; in the atlas, that of its folder."""
        folder = cls.__module__.rpartition(".")[0].rpartition(".")[2]
        return cls.known_as or folder or cls.__name__.lower()

    @classmethod
    def configure(cls, /, **parameters: Any) -> Method:
        """Create the method with `parameters`.

        Raises `BadInput` for an invalid parameter and for a method that is not written yet.
        """
        if cls.missing:
            raise BadInput(f"{cls.slug()} is not written yet: {cls.missing}")
        unknown = [name for name in parameters if name not in cls.model_fields]
        if "pattern" in unknown and cls.capabilities.structured:
            raise BadInput(
                f"{cls.slug()} has no `pattern`, because it removes "
                f"{', '.join(cls.capabilities.granularity)}; give a sparsity instead"
            )
        if unknown:
            known = list(cls.model_fields)
            raise BadInput(unknown_name(unknown[0], known, f"{cls.slug()} parameter"))
        try:
            return cls(**parameters)
        except ValidationError as error:
            raise BadInput(f"{cls.slug()}: {validation_problems(error)}") from error

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check model and calibration before any work; raises `BadInput` or `NumericsError`."""
        self.check_family(model)
        if any(rotated(block) for block in model.blocks):
            raise BadInput(
                f"{self.slug()} does not support {model.name}, because its residual stream was "
                "rotated by an earlier method; prune the dense model instead"
            )
        limit = self.max_sparsity(model)
        if self.target > limit:
            raise BadInput(
                f"sparsity {self.target:g} is too high for this model: {self.slug()} can remove at "
                f"most {math.floor(1e4 * limit) / 1e4:g} of its weights; use a lower sparsity"
            )
        if self.capabilities.trains or self.capabilities.prompted:
            require_whole_model(model, self.slug())
        if self.trains_weights:
            require_precise_weights(model, self.slug())
        count_weights(model, DAMAGED)
        self._check_calibration(model, calibration)

    @property
    def trains_weights(self) -> bool:
        """Whether these settings train the weights themselves, which needs a 32-bit model."""
        return self.capabilities.trains == "weights"

    def check_family(self, model: LanguageModel) -> None:
        """Raise `BadInput` with the reason if the method does not support the model's family."""
        reason = self.capabilities.refusal(model.family)
        if reason:
            raise BadInput(f"{self.slug()} does not support {model.family.name}: {reason}")

    def apply(
        self, model: LanguageModel, calibration: Tokens | None = None, seed: int = 0
    ) -> Outcome:
        """Check the input, prune in place and count; flags, hooks and generators are restored.

        Methods that train need a `Calibration`. `seed` seeds all random numbers. Warns if the
        achieved sparsity is far from the requested one. Raises `BadInput` for invalid input, before
        the model changes, and `NumericsError` for NaN or infinity.
        """
        self.check(model, calibration)
        return self.execute(model, calibration, seed)

    def execute(self, model: LanguageModel, calibration: Tokens | None, seed: int) -> Outcome:
        """Do the same as `apply` for input that `check` has accepted."""
        before = total_weights(model)
        unit, added = self.largest_unit(model), self.added_weights(model)
        with collected_warnings() as messages, preserved(model), seeded(seed), torch.no_grad():
            model.hf.eval()
            with _ends_refused(self.slug()):
                details = dict(self.prune(model, cast(Calibration, calibration)) or {})
            left = count_weights(
                model, f"{self.slug()} overflowed; load the model in a wider dtype"
            )
            refuse_emptied(model.blocks)
            self._check_details(details)
            unused = details.pop("unused", 0)
            most = 0 if self.capabilities.sets_weights else left.all
            if not (isinstance(unused, int) and 0 <= unused <= most):
                raise BadInput(
                    f"{self.slug()}: `prune` must return a whole number between 0 and {most} as "
                    f"`unused`, got {in_short(unused, 40)}; only methods that act while the model "
                    "runs leave weights unused, and not more than the blocks have"
                )
            used = left.all - unused if self.capabilities.structured else left.nonzero
            achieved = 1 - used / before
            if abs(achieved - self.target) > FAR:
                self.warn_of_miss(achieved, unit / before, added / before)
        return Outcome(
            requested=self.target,
            achieved=achieved,
            bits=details.pop("bits", None),
            unused=unused,
            course=details.pop("course", None),
            details=details,
            warnings=messages,
        )

    def warn_of_miss(self, achieved: float, unit: float = 0, added: float = 0) -> None:
        """Warn about a missed sparsity; `unit` and `added` are shares of all weights."""
        reason = f" (its largest unit holds {100 * unit:.2g} % of the weights)" if unit else ""
        reason = f" (it adds {100 * added:.2g} % more weights)" if added else reason
        warnings.warn(
            f"{self.slug()} achieved a sparsity of {achieved:.4g} where {self.target:g} was asked "
            f"for{reason}; compare it with other methods at the sparsity it achieved",
            AtlasWarning,
            stacklevel=3,
        )

    def _check_details(self, details: dict[str, Any]) -> None:
        try:
            json.dumps({name: details[name] for name in details if name != "course"})
        except TypeError as error:
            raise BadInput(
                f"{self.slug()}: `prune` must return plain numbers, texts, lists and dictionaries, "
                f"but {error}; convert tensors and NumPy values with .tolist()"
            ) from error

    def _check_calibration(self, model: LanguageModel, calibration: Tokens | None) -> None:
        need = self.capabilities.calibration
        if need == "none":
            return
        if calibration is None:
            raise BadInput(f"{self.slug()} needs a calibration set; give at least one sample")
        check_vocabulary(calibration, model.vocabulary_size)
        for name in self.capabilities.streams:
            if getattr(calibration, name, None) is None:
                raise BadInput(
                    f"{self.slug()} needs training text; give a Calibration with the stream "
                    f"`{name}`, or use a protocol that has one"
                )


@contextmanager
def _ends_refused(slug: str) -> Iterator[None]:
    """Raise `BadInput` if the method ends the process, which would look like success."""
    main, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        if os.getpid() != main:  # a child of this process
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    except SystemExit as error:
        raise BadInput(
            f"{slug} ended the process ({error.code!r}) instead of returning from `prune`; raise "
            "an exception, or return"
        ) from error
    finally:
        os._exit = leave


@contextmanager
def collected_warnings(*, shown: bool = True) -> Iterator[list[str]]:
    """Collect the harness's warnings of the `with` block.

    They are shown as well if `shown` or if the block raises; other warnings are always shown.
    """
    messages: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AtlasWarning)
            yield messages
    except BaseException:
        shown = True
        raise
    finally:
        for warning in caught:
            own = issubclass(warning.category, AtlasWarning)
            if own:
                messages.append(str(warning.message))
            if shown or not own:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )

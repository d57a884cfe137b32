"""The base classes of pruning methods: configuration, capabilities and `prune`.

`WeightMethod` is the base of methods that zero single weights, `UnitMethod` of those that remove
whole units. Tests, records and the site use the declared `capabilities`.
"""

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args

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
from torch import Tensor

from implementations.harness.data.seeds import seeded
from implementations.harness.data.stream import Calibration
from implementations.harness.data.tokens import Tokens, check_vocabulary
from implementations.harness.errors import AtlasWarning, BadInput, unknown_name
from implementations.harness.model.modeling_pruned import held_indices
from implementations.harness.model.surgery import refuse_emptied
from implementations.harness.model.units import Kind, count_weights, residual_widths, unit_costs
from implementations.harness.model.view import LanguageModel, preserved, require_whole_model
from implementations.harness.prune.allocation import apportion, cheapest, widths
from implementations.harness.prune.masks import Pattern, share_of, smallest, smallest_per_group
from implementations.harness.results.recovery import Course
from implementations.harness.results.strict_model import validation_problems

Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]

Granularity = Literal[
    "unstructured",
    "semi-structured",
    "hidden",
    "kv-groups",
    "query-heads",
    "value-dims",
    "rotary-pairs",
    "channels",
    "sublayers",
    "blocks",
]
Place = Literal["linears", "norms", "embedding", "head"]


DAMAGED = "the checkpoint is damaged or was loaded in too narrow a dtype"
"""The likely reason for NaN or infinity in an unpruned model."""


FAR = 0.01
"""Difference between requested and achieved sparsity above which a run warns."""


class Capabilities(BaseModel):
    """What a method removes, needs and changes, and which families it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    granularity: tuple[Granularity, ...]
    """What it removes: single weights, weights in N:M groups, or units."""
    calibration: Literal["none", "forward", "gradient", "training"]
    """The data it needs; `training` needs training text as well as the calibration set."""
    trains: Literal["gates", "scores", "weights"] | None = None
    """What it trains: gates; scores, with weight updates that are undone; or weights, which then
    also change where nothing is pruned."""
    texts: tuple[Literal["training", "domain"], ...] = ("training",)
    """The texts it trains on, if it trains: a general one, one of a single domain, or both."""
    when: Literal["static", "input-dependent"] = "static"
    """Whether it selects what to remove once or for each input."""
    prompted: bool = False
    """Whether it acts only after the prompt, so that only the continuation is measured."""
    changes: tuple[Place, ...] = ("linears",)
    """The parts of the model that it changes; all others stay the same bit for bit. Empty for
    methods that act while the model runs."""
    quantises: bool = False
    """Whether it also quantises the remaining weights of the blocks, and returns `bits`."""
    refuses: dict[str, str] = {}
    """Families that it does not support, each with the reason."""

    @model_validator(mode="after")
    def _training_needs_text(self) -> Self:
        if (self.calibration == "training") != (self.trains is not None):
            raise ValueError("`calibration` must be `training` exactly if `trains` is set")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The texts that it trains on; none if it does not train."""
        return self.texts if self.trains else ()

    @property
    def structured(self) -> bool:
        """Whether it removes units, so that the model becomes smaller."""
        return not {"unstructured", "semi-structured"} & set(self.granularity)


class Outcome(BaseModel):
    """The result of pruning: requested and achieved sparsity, and details from the method."""

    model_config = ConfigDict(frozen=True)

    asked: float
    achieved: float
    seconds: float
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
    small: ClassVar[dict[str, Any]] = {}
    """Settings that make it fast enough for the contract's tiny models, such as fewer steps."""
    missing: ClassVar[str] = ""
    """The part still to be written, in a new folder made from the template; else empty."""
    sparsity: Ratio = 0.5
    """Share of the weights in the decoder blocks' linear layers to remove."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, field: ValidationInfo) -> Any:
        """Refuse booleans where pydantic would accept them as 1 and 0."""
        kind = str(cls.model_fields[field.field_name or ""].annotation)
        if isinstance(value, bool) and "bool" not in kind:
            raise ValueError(f"expected a number, got {str(value).lower()}")
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
    def excluded(self) -> dict[str, str]:
        """Options of a run that it does not support (tasks, recover, save), with reasons."""
        if self.capabilities.quantises:
            return {"recover": "training would undo the quantisation"}
        return {}

    @property
    def target(self) -> float:
        """The requested sparsity."""
        return self.sparsity

    def reach(self, model: LanguageModel) -> float:
        """Return the maximum sparsity of the method for `model`."""
        return 1.0

    def unit(self, model: LanguageModel) -> int:
        """Return the number of weights of the largest unit; 0 if sparsities are met exactly."""
        return 0

    @classmethod
    def slug(cls) -> str:
        """The name of the method's folder, by which it is known everywhere."""
        return cls.__module__.rpartition(".")[0].rpartition(".")[2]

    @classmethod
    def configure(cls, /, **parameters: Any) -> Method:
        """Create the method with `parameters`.

        Raises `BadInput` for an invalid parameter and for a method that is not written yet.
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
            raise BadInput(f"{cls.slug()}: {validation_problems(error)}") from error

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check model and calibration before any work; raises `BadInput` or `NumericsError`."""
        reason = self.capabilities.refuses.get(model.family.name)
        if reason:
            raise BadInput(f"{self.slug()} does not support {model.family.name}: {reason}")
        if any(residual_widths(block) for block in model.blocks):
            raise BadInput(
                f"{self.slug()} does not support {model.name}, because its residual stream was "
                "rotated by an earlier method; prune the dense model instead"
            )
        reach = self.reach(model)
        if self.target > reach:
            raise BadInput(
                f"sparsity {self.target:g} would empty the model: {self.slug()} can remove at most "
                f"{reach:.4g} of its weights; use a lower sparsity"
            )
        if self.capabilities.trains:
            require_whole_model(model, self.slug())
        count_weights(model, DAMAGED)
        self._check_calibration(model, calibration)

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
        before, unit = _weights(model), self.unit(model)
        start = time.perf_counter()
        with collected_warnings() as messages, preserved(model), seeded(seed), torch.no_grad():
            model.hf.eval()
            details = dict(self.prune(model, cast(Calibration, calibration)) or {})
            left = count_weights(
                model, f"{self.slug()} overflowed; load the model in a wider dtype"
            )
            refuse_emptied(model.blocks)
            seconds = time.perf_counter() - start
            unused = details.pop("unused", 0)
            used = left.all - unused if self.capabilities.structured else left.nonzero
            achieved = 1 - used / (before if self.capabilities.structured else left.all)
            if abs(achieved - self.target) > FAR:
                self._warn_of_miss(achieved, unit / before)
        return Outcome(
            asked=self.target,
            achieved=achieved,
            seconds=seconds,
            bits=details.pop("bits", None),
            unused=unused,
            course=details.pop("course", None),
            details=details,
            warnings=messages,
        )

    def _warn_of_miss(self, achieved: float, unit: float) -> None:
        """Warn about a missed sparsity; `unit` is the share of the largest unit."""
        reason = f" (its largest unit holds {100 * unit:.2g} % of the weights)" if unit else ""
        warnings.warn(
            f"{self.slug()} achieved a sparsity of {achieved:.4g} where {self.target:g} was asked "
            f"for{reason}; compare it with other methods at the sparsity it achieved",
            AtlasWarning,
            stacklevel=3,
        )

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


class WeightMethod(Method):
    """A method that zeroes single weights, unstructured or in N:M patterns."""

    sparsity: Ratio = 0.5
    """Share of the weights to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    @model_validator(mode="after")
    def _sparsity_matches_pattern(self) -> WeightMethod:
        pattern, given = self.pattern, "sparsity" in self.model_fields_set
        if pattern and "semi-structured" not in self.capabilities.granularity:
            raise ValueError(
                f"pattern {pattern}: {self.slug()} does not support N:M patterns; leave it out"
            )
        if pattern and given and not math.isclose(self.sparsity, pattern.sparsity):
            raise ValueError(
                f"sparsity {self.sparsity} contradicts pattern {pattern}, which removes "
                f"{pattern.sparsity:g}; leave one of them out"
            )
        return self

    @property
    def target(self) -> float:
        """The requested sparsity, or that of the pattern."""
        return self.pattern.sparsity if self.pattern else self.sparsity

    @property
    def grouped(self) -> int:
        """Number of consecutive inputs of a row in a group; 1 without groups."""
        return self.pattern.group if self.pattern else 1

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the groups of a pattern divide all layers."""
        super().check(model, calibration)
        for block in model.blocks:
            for role, linear in block.linears().items():
                inputs = linear.weight.shape[1]
                if inputs % self.grouped:
                    raise BadInput(
                        f"pattern {self.pattern or f'N:{self.grouped}'} does not divide the "
                        f"{inputs} inputs of block {block.index}, {role}; choose a group that does"
                    )

    def choose(
        self,
        scores: Tensor,
        within: Literal["row", "matrix"] = "row",
        count: int | None = None,
    ) -> Tensor:
        """Mark the weights to remove: by the pattern, or else the lowest `scores [out, in]`.

        The result is boolean `[out, in]`. Scores are compared `within` a row or the whole matrix.
        The number of weights is rounded down, and ties go to the earlier position. `count` sets
        another number of weights for this layer; all rows then lose equally many, and the remainder
        is taken from the rows with the lowest next scores. Raises `NumericsError` for NaN.
        """
        if self.pattern:
            return smallest_per_group(scores, self.pattern)
        rows = scores if within == "row" else scores.reshape(1, -1)
        if count is None:
            return smallest(rows, share_of(self.sparsity, rows.shape[-1])).view_as(scores)
        each, over = divmod(count, len(rows))
        removed = smallest(rows, each)
        if over:
            following = rows.masked_fill(removed, math.inf).amin(dim=1)  # [rows]
            removed |= smallest(following, over)[:, None] & smallest(rows, each + 1)
        return removed.view_as(scores)

    def counts(self, model: LanguageModel, shares: Tensor) -> list[dict[str, int]]:
        """Return the number of weights that every linear layer loses, `[blocks]` by role.

        Blocks lose in proportion to `shares [blocks]`, and all layers of a block equally. In total
        the requested sparsity is met; see `allocation.apportion`.
        """
        linears = [block.linears() for block in model.blocks]
        sizes = torch.tensor([x.weight.numel() for block in linears for x in block.values()])
        each = torch.as_tensor(shares).repeat_interleave(torch.tensor([len(b) for b in linears]))
        lost = iter(apportion(each, sizes, share_of(self.sparsity, int(sizes.sum()))).tolist())
        return [{role: next(lost) for role in block} for block in linears]


class UnitMethod(Method):
    """A method that removes whole units, with a budget in weights of the blocks' linear layers."""

    least: ClassVar[int] = 0
    """Number of units of each kind that remain in every block."""
    sparsity: Ratio = 0.2
    """Share of the weights in the decoder blocks' linear layers to remove, as whole units."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the layers hold all of their rows and columns."""
        super().check(model, calibration)
        if self.capabilities.granularity == ("blocks",):
            return
        for block in model.blocks:
            for role, linear in block.linears().items():
                if held_indices(linear, 0) is not None or held_indices(linear, 1) is not None:
                    raise BadInput(
                        f"{self.slug()} needs whole layers, but block {block.index}, {role} holds "
                        "only some of its rows or columns; prune the dense model instead"
                    )

    def costs(self, model: LanguageModel) -> Tensor:
        """Return the number of weights of every removable unit, `[units]`, block by block."""
        return torch.cat([unit_costs(block, *self.kinds) for block in model.blocks])

    def together(self, model: LanguageModel) -> int:
        """Return the number of units that `widths` removes together."""
        return 1

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks from which `widths` may remove units, boolean `[blocks]`."""
        return torch.ones(len(model.blocks), dtype=torch.bool)

    def unit(self, model: LanguageModel) -> int:
        """Return the number of weights of the largest unit, or group of units removed together.

        The budget is met within half of it.
        """
        return _largest(self.costs(model)) * self.together(model)

    def rate(self, model: LanguageModel) -> float:
        """Return the budget as a share of the weights of all removable units.

        It is above `sparsity` if some weights cannot be removed, and above 1 if the budget cannot
        be met.
        """
        return self.sparsity * _weights(model) / max(int(self.costs(model).sum()), 1)

    def choose(self, model: LanguageModel, scores: Tensor) -> Tensor:
        """Mark the units to remove: those with the lowest `scores [units]`, up to the budget.

        `scores` has the order of `costs`. The budget is a share of all weights of the blocks'
        linear layers, including those that cannot be removed. The result is boolean `[units]`.
        """
        return cheapest(scores, self.costs(model), self.rate(model))

    def budget(self, model: LanguageModel) -> float:
        """Return the number of weights of the blocks' linear layers to remove."""
        return self.sparsity * _weights(model)

    def widths(
        self,
        model: LanguageModel,
        shares: Sequence[float] | Tensor,
        scores: Mapping[Kind, Sequence[Tensor]] | None = None,
        budget: float | None = None,
    ) -> list[list[int]]:
        """Return the number of units of each kind that every block loses, `[blocks][kinds]`.

        Blocks that are `taking_part` lose in proportion to `shares [blocks]`, and within a block
        every kind loses the same share. Each block keeps `least` units of a kind (times
        `together`). Rounding leaves some units over; the `scores` of a kind, `[units]` per block,
        choose the blocks that lose these: those whose next unit scores lowest relative to the
        block. Omit only kinds of which one unit is a small part of a block, such as channels. Pass
        the `budget` in weights if layers were added to the model after it was counted. See
        `allocation.widths`.
        """
        counts, costs = self._counted(model)
        budget = self.budget(model) if budget is None else budget
        group = self.together(model)
        given = scores or {}
        by_kind = [
            [_grouped(units, group) for units in given[kind]] if kind in given else None
            for kind in self.kinds
        ]
        lost = widths(counts, costs, torch.as_tensor(shares), budget, self.least, by_kind)
        return cast(list[list[int]], (lost.T * group).tolist())

    def reach(self, model: LanguageModel) -> float:
        """Return the maximum sparsity that leaves `least` units, and half of the largest unit."""
        counts, costs = self._counted(model)
        total = _weights(model)
        removable = int(((counts - self.least).clamp(min=0) * costs).sum())
        return min(removable, total - self.unit(model) / 2) / total

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of units that it removes."""
        return cast(tuple[Kind, ...], self.capabilities.granularity)

    def _counted(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return number and cost of the removable units of each kind, `[kinds, blocks]` each.

        Units removed together count as one.
        """
        costs = [[unit_costs(block, kind) for block in model.blocks] for kind in self.kinds]
        together = self.together(model)
        counts = torch.tensor([[len(units) // together for units in row] for row in costs])
        return (
            counts * self.taking_part(model),
            torch.tensor([[_largest(units) * together for units in row] for row in costs]),
        )


def _grouped(scores: Tensor, together: int) -> Tensor:
    """Sum the scores of units that are removed together, lowest first, `[groups]`."""
    if together == 1:
        return scores
    whole = len(scores) // together * together
    return scores.sort().values[:whole].view(-1, together).sum(dim=1)


def _largest(costs: Tensor) -> int:
    return int(costs.max()) if len(costs) else 0


def _weights(model: LanguageModel) -> int:
    return sum(int(unit_costs(block, "blocks")) for block in model.blocks)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the harness's warnings of the `with` block; all are still shown to the user."""
    messages: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AtlasWarning)

            yield messages
    finally:
        for warning in caught:
            if issubclass(warning.category, AtlasWarning):
                messages.append(str(warning.message))
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )

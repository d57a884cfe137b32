"""What a pruning method is: a validated configuration, declared capabilities and one `prune`.

`Method` is the base of all, `WeightMethod` of those that zero single weights, `UnitMethod` of those
that remove whole units. `capabilities` says what a method removes, needs and touches; tests,
records and site go by that.
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
from implementations.harness.model.modeling_pruned import places_held
from implementations.harness.model.surgery import refuse_emptied
from implementations.harness.model.units import Kind, count_weights, residual_widths, unit_costs
from implementations.harness.model.view import LanguageModel, preserved, refuse_block_by_block
from implementations.harness.prune.allocation import apportion, cheapest, widths
from implementations.harness.prune.masks import Pattern, share_of, smallest, smallest_per_group
from implementations.harness.results.part import problems
from implementations.harness.results.recovery import Course

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
"""The likely reason for NaN or infinity in a model that was not pruned yet."""


FAR = 0.01
"""Difference between the share asked for and achieved that a run warns of."""


class Capabilities(BaseModel):
    """What a method removes, needs and touches, and the families it refuses with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    granularity: tuple[Granularity, ...]
    """Single weights, N:M groups, or the units that are removed."""
    calibration: Literal["none", "forward", "gradient", "training"]
    """What it needs of data: with `training`, text to train on beside the samples of the walk."""
    trains: Literal["gates", "scores", "weights"] | None = None
    """What it trains: gates alone; scores, while weights move that are put back; or also weights,
    which then change where nothing is pruned."""
    texts: tuple[Literal["training", "domain"], ...] = ("training",)
    """What it trains on, where it does: a general text, one of a single kind, or both."""
    when: Literal["static", "input-dependent"] = "static"
    """Whether the method decides once what to remove, or for each input."""
    prompted: bool = False
    """Whether it acts only after the prompt of a text, so that only this part is measured."""
    changes: tuple[Place, ...] = ("linears",)
    """Where it writes: the blocks' linear layers, and what else; everything else stays bit for bit.
    Empty for a method that acts while the model runs."""
    quantises: bool = False
    """Whether what stays of the blocks' linear layers also gets fewer bits, told as `bits`."""
    refuses: dict[str, str] = {}
    """Families it cannot serve, each with the reason."""

    @model_validator(mode="after")
    def _text_to_train_on(self) -> Self:
        if (self.calibration == "training") != (self.trains is not None):
            raise ValueError("what trains needs text to train on, and nothing else does")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The texts that it trains on, none where it does not train."""
        return self.texts if self.trains else ()

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
    bits: float | None = None
    """Bits a weight of the blocks' linear layers, all included; None where it does not quantise."""
    unused: int = 0
    """Weights of the blocks' linear layers that stay in memory and take no part in computing."""
    details: dict[str, Any] = {}
    course: Course | None = None
    """How the training went, of a method that trains."""
    warnings: list[str] = []


class Method(BaseModel, ABC):
    """A pruning method: the fields are the paper's hyper-parameters, `prune` is its algorithm."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    capabilities: ClassVar[Capabilities]
    """What it removes, what it needs of data, what it touches, and which families it refuses."""
    small: ClassVar[dict[str, Any]] = {}
    """Settings that make it quick enough for the contract's tiny models: fewer steps or rounds."""
    missing: ClassVar[str] = ""
    """What is still to be written, in a folder fresh from its template."""
    sparsity: Ratio = 0.5
    """Share to remove of the weights of the decoder blocks' linear layers."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any, field: ValidationInfo) -> Any:
        """Refuse yes and no where they would be taken for 1 and 0."""
        kind = str(cls.model_fields[field.field_name or ""].annotation)
        if isinstance(value, bool) and "bool" not in kind:
            raise ValueError(f"{str(value).lower()} is no value of it")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _number_of_a_list(cls, value: Any, field: ValidationInfo) -> Any:
        """Read the text of a number, as a command line gives it, where a field lists numbers."""
        choices = get_args(cls.model_fields[field.field_name or ""].annotation)
        numbers = {str(choice): choice for choice in choices if isinstance(choice, int)}
        return numbers.get(value, value) if isinstance(value, str) else value

    @abstractmethod
    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any] | None:
        """Prune `model` in place and return what is worth recording, JSON-able.

        Called by `apply` with checked input, in evaluation mode, seeded, and without gradients:
        what needs them switches them on itself. Weights are touched in the walk or in a `visit`.
        Three entries go into fields of `Outcome` instead: `bits` of a method that quantises,
        `course` of one that trains, and `unused` of one that acts while the model runs.
        """

    @contextmanager
    def active(self, model: LanguageModel, prompt: int = 0, seed: int = 0) -> Iterator[None]:
        """Make `model` behave as pruned inside the `with` block, after `apply`.

        Most methods have edited the weights by then and need nothing more. A method that acts while
        the model runs installs itself here and restores the model at the end. `prompt` is the
        number of tokens at the start of every text that count as its prompt.
        """
        yield

    @property
    def excluded(self) -> dict[str, str]:
        """Options of a run that the method cannot serve, with reasons: tasks, recover, save."""
        if self.capabilities.quantises:
            return {"recover": "training would undo the quantisation"}
        return {}

    @property
    def target(self) -> float:
        """The share to remove."""
        return self.sparsity

    def reach(self, model: LanguageModel) -> float:
        """Return the largest share that the method can remove of `model`."""
        return 1.0

    def unit(self, model: LanguageModel) -> int:
        """Count the weights of the largest unit it removes at once; 0 where it meets any share."""
        return 0

    @classmethod
    def slug(cls) -> str:
        """The name of the method's folder, which is its name everywhere."""
        return cls.__module__.rpartition(".")[0].rpartition(".")[2]

    @classmethod
    def configure(cls, /, **parameters: Any) -> Method:
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
            raise BadInput(f"{cls.slug()}: {problems(error)}") from error

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse before any work what cannot be done; raises `BadInput` or `NumericsError`."""
        reason = self.capabilities.refuses.get(model.family.name)
        if reason:
            raise BadInput(f"{self.slug()} does not support {model.family.name}: {reason}")
        if any(residual_widths(block) for block in model.blocks):
            raise BadInput(
                f"{self.slug()} prunes models whose residual stream has one basis, and that of "
                f"{model.name} was rotated from block to block; prune the dense model instead"
            )
        reach = self.reach(model)
        if self.target > reach:
            raise BadInput(
                f"sparsity {self.target:g} would empty the model of what {self.slug()} can remove, "
                f"at most {reach:.4g} of its weights; ask for less"
            )
        if self.capabilities.trains:
            refuse_block_by_block(model, self.slug())
        count_weights(model, DAMAGED)
        self._check_calibration(model, calibration)

    def apply(
        self, model: LanguageModel, calibration: Tokens | None = None, seed: int = 0
    ) -> Outcome:
        """Check, prune in place and count; flags, hooks and generators are restored in any case.

        `calibration` is a `Calibration` for a method that trains. `seed` decides whatever the
        method draws. Warns where the share achieved is far from that asked for. Raises `BadInput`
        for what cannot be asked and `NumericsError` for NaN or infinity; the first kind leaves the
        model as it was.
        """
        self.check(model, calibration)
        return self.execute(model, calibration, seed)

    def execute(self, model: LanguageModel, calibration: Tokens | None, seed: int) -> Outcome:
        """Do what `apply` does for input that `check` has already accepted."""
        before, unit = _weights(model), self.unit(model)
        start = time.perf_counter()
        with warnings_told() as told, preserved(model), seeded(seed), torch.no_grad():
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
            warnings=told,
        )

    def _warn_of_miss(self, achieved: float, unit: float) -> None:
        """Warn that `achieved` is far from the share asked for; `unit` is that of the largest."""
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
            raise BadInput(
                f"{self.slug()} needs calibration text and got none; give at least one sample"
            )
        check_vocabulary(calibration, model.vocabulary_size)
        for name in self.capabilities.streams:
            if getattr(calibration, name, None) is None:
                raise BadInput(
                    f"{self.slug()} trains and got no text to train on; give a Calibration with a "
                    f"stream `{name}`, or a protocol that names one"
                )


class WeightMethod(Method):
    """A method that zeroes single weights: a share of them, or all but KEEP in every group."""

    sparsity: Ratio = 0.5
    """Share of the weights to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    @model_validator(mode="after")
    def _one_share(self) -> WeightMethod:
        pattern, given = self.pattern, "sparsity" in self.model_fields_set
        if pattern and "semi-structured" not in self.capabilities.granularity:
            raise ValueError(
                f"pattern {pattern}: {self.slug()} knows no N:M patterns; leave it out"
            )
        if pattern and given and not math.isclose(self.sparsity, pattern.sparsity):
            raise ValueError(
                f"sparsity {self.sparsity} contradicts pattern {pattern}, which removes "
                f"{pattern.sparsity:g}; leave one of them out"
            )
        return self

    @property
    def target(self) -> float:
        """The share to remove, by the pattern where there is one."""
        return self.pattern.sparsity if self.pattern else self.sparsity

    @property
    def grouped(self) -> int:
        """How many consecutive inputs of a row make a group; 1 where there are none."""
        return self.pattern.group if self.pattern else 1

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also groups, as those of a pattern, that do not divide a layer."""
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
        """Mark what goes of `scores [out, in]`: by the pattern, else the lowest of a row or of all.

        The result is boolean `[out, in]`. A share that is no whole number of weights is rounded
        down, and ties go to the earlier position. Where it is not the same for all layers, `count`
        says how many weights go; rows then lose as many each, and what is left over goes where it
        scores least. Raises `NumericsError` for NaN.
        """
        if self.pattern:
            return smallest_per_group(scores, self.pattern)
        rows = scores if within == "row" else scores.reshape(1, -1)
        if count is None:
            return smallest(rows, share_of(self.sparsity, rows.shape[-1])).view_as(scores)
        each, over = divmod(count, len(rows))
        gone = smallest(rows, each)
        if over:
            following = rows.masked_fill(gone, math.inf).amin(dim=1)  # [rows]
            gone |= smallest(following, over)[:, None] & smallest(rows, each + 1)
        return gone.view_as(scores)

    def counts(self, model: LanguageModel, shares: Tensor) -> list[dict[str, int]]:
        """Count what every linear layer loses, `[blocks]` by role, together the share asked for.

        Blocks lose in proportion to `shares [blocks]`, within a block every layer alike, no layer
        more than it has; see `allocation.apportion`.
        """
        linears = [block.linears() for block in model.blocks]
        sizes = torch.tensor([x.weight.numel() for block in linears for x in block.values()])
        each = torch.as_tensor(shares).repeat_interleave(torch.tensor([len(b) for b in linears]))
        lost = iter(apportion(each, sizes, share_of(self.sparsity, int(sizes.sum()))).tolist())
        return [{role: next(lost) for role in block} for block in linears]


class UnitMethod(Method):
    """A method that removes whole units, by a budget counted in weights of the blocks' linears."""

    least: ClassVar[int] = 0
    """Units of each kind that stay in every block."""
    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also to cut inside blocks whose layers hold only some of their rows or columns."""
        super().check(model, calibration)
        if self.capabilities.granularity == ("blocks",):
            return
        for block in model.blocks:
            for role, linear in block.linears().items():
                if places_held(linear, 0) is not None or places_held(linear, 1) is not None:
                    raise BadInput(
                        f"{self.slug()} scores whole layers, and block {block.index}, {role} holds "
                        "only some of its rows or columns; prune the dense model instead"
                    )

    def costs(self, model: LanguageModel) -> Tensor:
        """Count the weights of every unit that can go, `[units]`, block by block."""
        return torch.cat([unit_costs(block, *self.kinds) for block in model.blocks])

    def together(self, model: LanguageModel) -> int:
        """Count the units that `widths` takes at once, where widths are to stay multiples of it."""
        return 1

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that `widths` may take units from, boolean `[blocks]`."""
        return torch.ones(len(model.blocks), dtype=torch.bool)

    def unit(self, model: LanguageModel) -> int:
        """Count the weights of the largest unit, or of those that go together.

        The budget is met within half of it.
        """
        return _largest(self.costs(model)) * self.together(model)

    def rate(self, model: LanguageModel) -> float:
        """Return the share of all units that have to go: attention or depth may not be among them.

        Counted in weights; beyond 1 where the budget is beyond reach.
        """
        return self.sparsity * _weights(model) / max(int(self.costs(model).sum()), 1)

    def choose(self, model: LanguageModel, scores: Tensor) -> Tensor:
        """Mark what goes of `scores [units]`, ordered as `costs`: the lowest, up to the budget.

        The budget is a share of all weights of the blocks' linear layers, also where not all of
        them can go. The result is boolean `[units]`.
        """
        return cheapest(scores, self.costs(model), self.rate(model))

    def budget(self, model: LanguageModel) -> float:
        """Return how many weights of the blocks' linear layers to remove."""
        return self.sparsity * _weights(model)

    def widths(
        self,
        model: LanguageModel,
        shares: Sequence[float] | Tensor,
        scores: Mapping[Kind, Sequence[Tensor]] | None = None,
        budget: float | None = None,
    ) -> list[list[int]]:
        """Count the units that every block loses of each kind, `[blocks][kinds]`, by the budget.

        Blocks that take part lose in proportion to `shares [blocks]`, and within a block every kind
        loses the same share. Each block keeps `least` units of a kind, or times as many as are
        removed `together`. The `scores` of a kind, `[units]` per block, decide which blocks lose
        the units that rounding leaves over: those whose next unit costs least relative to its
        block. Leave a kind out only where one unit is a small part of a block, as a channel is.
        Give the `budget` in weights where layers have been added to the model since it was counted.
        See `allocation.widths`.
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
        """Return the largest share that leaves `least` units, and at least half of the largest."""
        counts, costs = self._counted(model)
        total = _weights(model)
        all_that_can = int(((counts - self.least).clamp(min=0) * costs).sum())
        return min(all_that_can, total - self.unit(model) / 2) / total

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of units that go."""
        return cast(tuple[Kind, ...], self.capabilities.granularity)

    def _counted(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return how many units of each kind a block may lose and their cost, `[kinds, blocks]`.

        Units that go together count as one.
        """
        costs = [[unit_costs(block, kind) for block in model.blocks] for kind in self.kinds]
        together = self.together(model)
        counts = torch.tensor([[len(units) // together for units in row] for row in costs])
        return (
            counts * self.taking_part(model),
            torch.tensor([[_largest(units) * together for units in row] for row in costs]),
        )


def _grouped(scores: Tensor, together: int) -> Tensor:
    """Add up the scores of units that are removed together, the lowest first, `[groups]`."""
    if together == 1:
        return scores
    whole = len(scores) // together * together
    return scores.sort().values[:whole].view(-1, together).sum(dim=1)


def _largest(costs: Tensor) -> int:
    return int(costs.max()) if len(costs) else 0


def _weights(model: LanguageModel) -> int:
    return sum(int(unit_costs(block, "blocks")) for block in model.blocks)


@contextmanager
def warnings_told() -> Iterator[list[str]]:
    """Collect the harness's warnings of the `with` block; however it ends, all reach the user."""
    told: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AtlasWarning)
            yield told
    finally:
        for warning in caught:
            if issubclass(warning.category, AtlasWarning):
                told.append(str(warning.message))
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )

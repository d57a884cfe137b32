"""Description of a run: method, settings, seed and fine-tuning (`Job`), model and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from implementations.harness.errors import BadInput, in_short
from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import Protocol, Recovery
from implementations.harness.results.reading import parse_json
from implementations.harness.results.record import DENSE, External


@dataclass(frozen=True)
class Setup:
    """Model, protocol and device of a run; small, so that it can be sent to workers."""

    model: str
    protocol: Protocol
    device: str = "cpu"
    dtype: str = "float32"
    accelerator: str | None = None
    tasks: tuple[str, ...] = ()
    task_folder: str | None = None
    """Folder with your own lm-eval task files."""
    stream: bool = False
    """Whether one block at a time is read from disk."""


class Job(NamedTuple):
    """One run: a configured method (None for the dense model), a seed and a fine-tuning."""

    method: Method | None
    seed: int = 0
    recovery: Recovery | None = None
    """Fine-tuning after pruning, or of the dense model."""

    @property
    def slug(self) -> str:
        """Name of the method, or `dense`."""
        return DENSE if self.method is None else self.method.slug()

    @property
    def external(self) -> External | None:
        """The origin of a method outside the atlas."""
        return None if self.method is None else self.method.external

    @property
    def edits(self) -> bool:
        """Whether the run changes the weights in memory, so that the next must reload the model."""
        prunes = self.method is not None and bool(self.method.capabilities.changes)
        return prunes or self.recovery is not None

    @property
    def prompted(self) -> bool:
        """Whether the method acts after a prompt and is measured only on the text after it."""
        return self.method is not None and self.method.prompted

    @property
    def streams(self) -> frozenset[str]:
        """The protocol's fields with the training texts that the run reads."""
        own = () if self.method is None else self.method.capabilities.streams
        return frozenset(own if self.recovery is None else {*own, "training"})

    @property
    def dense(self) -> Job:
        """The run of the dense model to compare with.

        It has the same fine-tuning. A teacher has none, because it would not change.
        """
        if self.recovery and not self.recovery.has_teacher:
            return Job(None, self.seed, self.recovery)
        return DENSE_JOB

    @property
    def configuration(self) -> dict[str, Any]:
        """All fields of the method with their values; a pattern determines the sparsity."""
        if self.method is None:
            return {}
        fields = self.method.model_dump(mode="json")
        return fields | {"sparsity": self.method.target}

    @property
    def changed(self) -> dict[str, Any]:
        """Fields other than sparsity and pattern that differ from their defaults."""
        if self.method is None:
            return {}
        default = type(self.method)().model_dump(mode="json")
        return {
            name: value
            for name, value in self.configuration.items()
            if name not in ("sparsity", "pattern") and value != default[name]
        }

    @property
    def share(self) -> str:
        """The requested pattern or sparsity: `2:4` or `50 %`."""
        if self.method is None:
            return ""
        return str(self.configuration.get("pattern") or f"{100 * self.method.target:g} %")

    def __str__(self) -> str:
        after = [] if self.recovery is None else [f"after {self.recovery}"]
        if self.method is None:
            return " ".join([DENSE, *after])
        changed = [f"{name}={value}" for name, value in self.changed.items()]
        return " ".join([self.slug, self.share, *changed, *after, f"seed {self.seed}"])


DENSE_JOB = Job(None)


def make_job(
    method: str, parameters: dict[str, Any], seed: int = 0, recovery: Recovery | None = None
) -> Job:
    """Configure one run of a method or of `dense`; raises `BadInput` for an invalid parameter."""
    if method != DENSE:
        chosen = get_method(method)
        fields = chosen.model_fields
        given = {n: v for n, v in parameters.items() if not _is_none(v, fields.get(n))}
        absent = dict.fromkeys(parameters.keys() - given.keys())
        return Job(chosen.configure(**given, **absent), seed, recovery)
    if parameters:
        names = in_short(", ".join(parameters))
        raise BadInput(f"{names}: the dense model has no parameters; remove them")
    if recovery is not None and recovery.has_teacher:
        raise BadInput(
            f"--recover {recovery.how}: the dense model is the teacher and cannot be trained by "
            "it; give a method instead of dense"
        )
    return Job(None, 0 if recovery is None else seed, recovery)


def _is_none(value: Any, field: FieldInfo | None) -> bool:
    """Whether `value` is the word `none` and the field accepts None."""
    is_word = isinstance(value, str) and value.lower() == "none"
    return is_word and field is not None and type(None) in get_args(field.annotation)


SHARE = ("sparsity", "pattern")
"""Parameters that have command-line options of their own."""


def read_settings(settings: Sequence[str], *, shared: bool = False) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; the method's fields convert and check the values.

    `shared` states that --sparsity or --pattern is given as well.

    Raises:
        BadInput: not a pair, a repeated name, or a second sparsity or pattern.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise BadInput(f"--set: expected NAME=VALUE, got {in_short(setting, 100)!r}")
        if name in parsed:
            raise BadInput(f"--set: {in_short(name, 100)!r} is given twice; keep one")
        if shared and name in SHARE:
            raise BadInput(
                f"--set {name} cannot be combined with --sparsity or --pattern; leave one of them "
                "out"
            )
        parsed[name] = _value(name, text)
    return parsed


def _value(name: str, text: str) -> Any:
    """Parse a list or object as JSON; leave other text to the type of the field."""
    if not text.startswith(("[", "{")):
        return text
    return parse_json(text, f"the JSON of --set {in_short(name, 100)}")

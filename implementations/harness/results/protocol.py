"""Protocols: the texts of a measurement under one name, and the settings of a fine-tuning.

Needs neither torch nor transformers; `data/samples.py` turns a protocol into tokens.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from implementations.harness.errors import BadInput, unknown_name
from implementations.harness.results.files import user_path
from implementations.harness.results.metric import PERPLEXITY
from implementations.harness.results.reading import (
    Count,
    Few,
    NonNegative,
    Place,
    Positive,
    StrictModel,
    Text,
    ValueName,
    read_yaml,
    validation_problems,
)

Length = Annotated[Few, Field(ge=2)]  # the second token is the first that is predicted
DType = Literal["float32", "bfloat16", "float16"]
ProtocolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]

MOST_TOKENS = 10**9  # of the calibration set, at eight bytes each in memory
PROMPT = "The history of the city begins with"


class CalibrationText(StrictModel):
    """Calibration set: `samples` random sequences of `length` tokens, drawn by the run's seed.

    With `windows`, the sequences start anywhere in one long text, except in its last `reserve`
    windows of `reserve_length` tokens, which are kept for evaluation. With `documents`, each
    sequence is a random crop of a random document, as in the papers.
    """

    text: Place
    samples: Few
    length: Length
    draw: Literal["windows", "documents"] = "windows"
    reserve: Count = 0
    reserve_length: Length = 1024

    @property
    def documents(self) -> bool:
        """Whether to draw documents instead of windows of one text."""
        return self.draw == "documents"

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if self.samples * self.length > MOST_TOKENS:
            raise ValueError(f"samples times length must be at most {MOST_TOKENS:,} tokens")
        return self


STREAMS = ("training", "domain")
"""Fields of a protocol that name training texts."""


class TrainingText(StrictModel):
    """Training text, read in a random order that the run's seed draws.

    Without `documents`, all full windows of `length` tokens of one long text, except those kept for
    evaluation as in `CalibrationText`. With `documents`, one random crop from each of that many
    random documents.
    """

    text: Place
    length: Length
    documents: Few | None = None
    reserve: Count = 0
    reserve_length: Length = 1024
    start: Count = Field(default=0, exclude_if=lambda start: start == 0)
    """Number of tokens at the start of the long text that are kept for evaluation."""

    @model_validator(mode="after")
    def _start_of_one_text(self) -> TrainingText:
        if self.start and self.documents:
            raise ValueError("start only applies to one long text; remove start or documents")
        return self


class EvaluationText(StrictModel):
    """Evaluation text: the first or last `windows` windows of `length` tokens, or all of them."""

    text: Place
    length: Length
    windows: Few | None = None
    take: Literal["first", "last"] = "first"

    @property
    def metric(self) -> str:
        """Name of the perplexity measured on this text, such as `ppl/wikipedia/1024`."""
        return f"{PERPLEXITY.kind}/{Path(self.text).stem}/{self.length}"


class Generation(StrictModel):
    """The prompt that every run continues greedily by `tokens` tokens."""

    prompt: Text = PROMPT
    tokens: Few = 64


class SpeedTest(StrictModel):
    """Speed test: each repeat reads `prompt` tokens (prefill) and writes `tokens` (decode)."""

    prompt: Few = 128
    tokens: Few = 32
    repeats: Few = 5
    batch: Few = 1


class OwnTexts(StrictModel):
    """The protocol whose texts were replaced by files of the user, and which of its texts."""

    protocol: ProtocolName
    calibration: bool
    evaluations: bool


MEASUREMENT = 1
"""Version of the code that measures; raise it when a change of that code changes values."""


class Protocol(StrictModel):
    """Everything that two comparable numbers share; `batch_size` only affects the speed."""

    name: ProtocolName
    about: Text = ""
    model: Text | None = None
    dtype: DType = "float32"
    calibration: CalibrationText
    training: TrainingText | None = None
    """Text for methods that train; part of their record's key, not of the fingerprint."""
    domain: TrainingText | None = None
    """Text of one domain, for methods that adapt the model to a domain."""
    evaluations: Annotated[tuple[EvaluationText, ...], Field(min_length=1)]
    generation: Generation = Generation()
    speed: SpeedTest = SpeedTest()
    batch_size: Few = 1
    own_texts: OwnTexts | None = Field(default=None, exclude_if=lambda own: own is None)
    """Written only if --calibrate-on or --evaluate-on replaced texts of another protocol."""

    @model_validator(mode="after")
    def _one_metric_a_name(self) -> Protocol:
        names = self.metrics
        if len(set(names)) != len(names):
            raise ValueError(f"evaluations must not have the same name: {', '.join(names)}")
        return self

    @model_serializer(mode="wrap")
    def _omit_missing_streams(self, serialize: SerializerFunctionWrapHandler) -> Any:
        content = serialize(self)
        for name in STREAMS:
            if content.get(name, ...) is None:
                del content[name]
        return content

    @property
    def metrics(self) -> list[str]:
        """Names of the perplexities in order; the leaderboard ranks by the first."""
        return [evaluation.metric for evaluation in self.evaluations]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that affects the numbers."""
        content = self.model_dump(mode="json", exclude={"about", "batch_size", *STREAMS})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="smol",
            about="SmolLM2-135M-Instruct on real text, minutes on a CPU",
            model="smollm2-135m",
            calibration=CalibrationText(text="c4", samples=32, length=1024, reserve=16),
            training=TrainingText(text="c4", length=1024, reserve=16),
            domain=TrainingText(text="code", length=1024),
            evaluations=(
                EvaluationText(text="wikipedia", length=1024, windows=32),
                EvaluationText(text="c4", length=1024, windows=16, take="last"),
            ),
        ),
        Protocol(
            name="quick",
            about="for demonstrations: as smol with an eighth of the text; noisy",
            model="smollm2-135m",
            calibration=CalibrationText(text="c4", samples=8, length=512, reserve=16),
            training=TrainingText(text="c4", length=512, reserve=16),
            domain=TrainingText(text="code", length=512),
            evaluations=(EvaluationText(text="wikipedia", length=512, windows=8),),
            generation=Generation(tokens=32),
            speed=SpeedTest(prompt=128, tokens=16, repeats=3),
        ),
        Protocol(
            name="paper",
            about="what the papers use: WikiText-2 raw test, 128 samples of 2,048 tokens of C4",
            calibration=CalibrationText(
                text="c4-train", samples=128, length=2048, draw="documents"
            ),
            training=TrainingText(text="c4-train", length=2048, documents=4096),
            domain=TrainingText(text="code", length=2048),
            evaluations=(EvaluationText(text="wikitext2", length=2048),),
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return the built-in protocol of that name, or read it from a .yaml file.

    Raises:
        BadInput: the name is unknown or the file is not a valid protocol.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name.endswith((".yaml", ".yml")):
        return read(user_path(name, "the protocol"))
    unknown = unknown_name(name, PROTOCOLS, "protocol")
    raise BadInput(f"{unknown} (or give the path of a .yaml file)")


def read(path: Path) -> Protocol:
    """Read a protocol from a YAML file; raises `BadInput` if it is invalid."""
    try:
        # `default=str`: YAML reads an unquoted date as a date object.
        protocol = Protocol.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        raise BadInput(f"{path} is not a valid protocol: {validation_problems(error)}") from error
    if protocol.own_texts is not None:
        raise BadInput(
            f"{path}: own_texts is only written in records; remove it and change the name, or use "
            "--calibrate-on and --evaluate-on"
        )
    known = PROTOCOLS.get(protocol.name, protocol)
    if any(getattr(known, name) != getattr(protocol, name) for name in ("fingerprint", *STREAMS)):
        raise BadInput(
            f"{path} has the name of the built-in protocol {known.name!r} but differs from it; "
            "change its name"
        )
    return protocol


How = Literal["lora", "full", "distill"]

WORDS: dict[str, str] = {"lora": "LoRA", "full": "full training", "distill": "distillation"}
POINTS = 100
"""Maximum number of losses in a record."""


class Recovery(StrictModel):
    """Settings of the fine-tuning after pruning, which uses AdamW and keeps pruned weights zero."""

    how: How
    """`lora` trains LoRA factors, merged at the end. `full` trains every parameter to predict the
    text, and `distill` every parameter to predict as the dense model does."""
    tokens: Annotated[Count, Field(ge=1)]
    """Training tokens, rounded up to whole steps."""
    step: Few = 1024
    """Tokens per step, rounded down to whole windows (at least one)."""
    rate: Positive
    """Peak learning rate: linear warm-up over a tenth of the steps, then cosine decay."""
    rank: Few | None = None
    """Rank of the LoRA factors."""
    scale: Positive | None = None
    """Scale of the product of the LoRA factors (alpha / r)."""

    @classmethod
    def by(cls, how: How, tokens: int) -> Self:
        """Return the default settings for a kind of fine-tuning."""
        if how == "lora":
            return cls(how=how, tokens=tokens, rate=5e-4, rank=8, scale=2.0)
        return cls(how=how, tokens=tokens, rate=1e-4 if how == "distill" else 5e-5)

    @property
    def has_teacher(self) -> bool:
        """Whether the dense model is the teacher."""
        return self.how == "distill"

    @model_validator(mode="after")
    def _rank_and_scale_for_lora_only(self) -> Self:
        given = {self.rank is not None, self.scale is not None}
        if given != {self.how == "lora"}:
            raise ValueError("rank and scale are required for lora and not allowed otherwise")
        return self

    def __str__(self) -> str:
        return f"{WORDS[self.how]} on {self.tokens:,} tokens"

    def windows(self, length: int) -> int:
        """Return the number of windows of `length` tokens per step."""
        return max(1, self.step // length)

    def steps(self, length: int) -> int:
        """Return the number of steps needed to read at least `tokens` tokens."""
        return -(-self.tokens // (self.windows(length) * length))

    def read(self, length: int) -> int:
        """Return the number of tokens that these steps read."""
        return self.steps(length) * self.windows(length) * length


class Course(StrictModel):
    """The course of a training."""

    steps: Count
    read: Count
    """Tokens read, counting repeated ones each time."""
    epochs: NonNegative
    """Number of passes over the text."""
    losses: Annotated[tuple[float, ...], Field(max_length=POINTS)]
    """Training loss in nats per token, including the penalties of the method, averaged over
    stretches of equally many steps."""


class Recovered(Course):
    """The course of a fine-tuning after pruning, with the values before it."""

    recovery: Recovery
    before: dict[ValueName, float]
    """Values of the pruned model before the fine-tuning."""

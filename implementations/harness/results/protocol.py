"""Protocols: what is calibrated on, what is measured and how, under one name.

Neither torch nor transformers is needed; `samples.py` makes the tokens that a protocol names.
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
from implementations.harness.results.bounds import Count, Few, Place, Text
from implementations.harness.results.metric import PERPLEXITY
from implementations.harness.results.part import Part, problems
from implementations.harness.results.reading import read_yaml

Length = Annotated[Few, Field(ge=2)]  # a window needs one token to see and one to predict
DType = Literal["float32", "bfloat16", "float16"]

MOST_TOKENS = 10**9  # of the calibration; in memory they take eight bytes each
PROMPT = "The history of the city begins with"


class CalibrationText(Part):
    """`samples` sequences of `length` tokens drawn at random by the seed of the run.

    `windows` draws starts in the one long text, before its last `reserve` full windows of
    `reserve_length` tokens, which are kept for evaluation; `documents` draws documents long
    enough and one start in each, as the papers do.
    """

    text: Place
    samples: Few
    length: Length
    draw: Literal["windows", "documents"] = "windows"
    reserve: Count = 0
    reserve_length: Length = 1024

    @property
    def documents(self) -> bool:
        """Whether documents are drawn, and not windows of one text."""
        return self.draw == "documents"

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if self.samples * self.length > MOST_TOKENS:
            raise ValueError(f"more than {MOST_TOKENS:,} tokens")
        return self


STREAMS = ("training", "domain")
"""The fields of a protocol that say what is trained on."""


class TrainingText(Part):
    """What a method that trains reads, in an order drawn by the seed of the run.

    All full windows of `length` tokens of the one long text but those that are kept for evaluation,
    as in `CalibrationText`; or one crop out of each of `documents` random documents, as many
    windows as asked.
    """

    text: Place
    length: Length
    documents: Few | None = None
    reserve: Count = 0
    reserve_length: Length = 1024
    start: Count = Field(default=0, exclude_if=lambda start: start == 0)
    """Tokens at the beginning of the one long text that are kept for evaluation."""

    @model_validator(mode="after")
    def _start_of_one_text(self) -> TrainingText:
        if self.start and self.documents:
            raise ValueError("start is a place in one long text; documents are drawn from many")
        return self


class EvaluationText(Part):
    """Adjoining windows of `length` tokens: the first or last `windows`, or all full ones."""

    text: Place
    length: Length
    windows: Few | None = None
    take: Literal["first", "last"] = "first"

    @property
    def metric(self) -> str:
        """The name of the perplexity measured on it, such as `ppl/wikipedia/1024`."""
        return f"{PERPLEXITY.kind}/{Path(self.text).stem}/{self.length}"


class Generation(Part):
    """The sample of greedy text that every run continues."""

    prompt: Text = PROMPT
    tokens: Few = 64


class SpeedTest(Part):
    """How dense and pruned are timed in turn: `prompt` tokens read and `tokens` made a repeat."""

    prompt: Few = 128
    tokens: Few = 32
    repeats: Few = 5
    batch: Few = 1


class Protocol(Part):
    """Everything two numbers must share to be compared; `batch_size` changes only the speed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)
    about: Text = ""
    model: Text | None = None
    dtype: DType = "float32"
    calibration: CalibrationText
    training: TrainingText | None = None
    """Only read by methods that train, and so no part of the fingerprint but of their key."""
    domain: TrainingText | None = None
    """A text of one kind, for methods that fit a model to that; read by them alone."""
    evaluations: Annotated[tuple[EvaluationText, ...], Field(min_length=1)]
    generation: Generation = Generation()
    speed: SpeedTest = SpeedTest()
    batch_size: Few = 1

    @model_validator(mode="after")
    def _one_metric_a_name(self) -> Protocol:
        names = self.metrics
        if len(set(names)) != len(names):
            raise ValueError(f"two evaluations have the same name: {', '.join(names)}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, serialize: SerializerFunctionWrapHandler) -> Any:
        content = serialize(self)
        for name in STREAMS:
            if content.get(name, ...) is None:
                del content[name]
        return content

    @property
    def metrics(self) -> list[str]:
        """Names of the perplexities, in order; the first one ranks."""
        return [evaluation.metric for evaluation in self.evaluations]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the numbers."""
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
            domain=TrainingText(text="wikipedia", length=1024, start=65536),
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
            domain=TrainingText(text="wikipedia", length=512, start=65536),
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
            domain=TrainingText(text="wikitext2-train", length=2048),
            evaluations=(EvaluationText(text="wikitext2", length=2048),),
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of that name, or the one in that YAML file.

    Raises:
        BadInput: unknown (the nearest name is suggested), or the file is not a valid protocol.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    unknown = unknown_name(name, PROTOCOLS, "protocol")
    raise BadInput(f"{unknown} (or give the path of a .yaml file)")


def read(path: Path) -> Protocol:
    """Read a protocol from a YAML file; raises `BadInput` with every problem found."""
    try:
        protocol = Protocol.model_validate_json(json.dumps(read_yaml(path), default=str))  # a date
    except ValidationError as error:
        raise BadInput(f"{path} is not a protocol: {problems(error)}") from error
    known = PROTOCOLS.get(protocol.name, protocol)
    if any(getattr(known, name) != getattr(protocol, name) for name in ("fingerprint", *STREAMS)):
        raise BadInput(f"{path} changes the protocol {known.name!r} but keeps its name; rename it")
    return protocol

"""The token samples of a protocol, cut from its texts reproducibly."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from implementations.harness.data.sources import (
    BETWEEN_DOCUMENTS,
    documents_sha256,
    read_documents,
    read_text,
)
from implementations.harness.data.tokens import (
    Calibration,
    Span,
    Stream,
    Tokens,
    check_disjoint,
    check_vocabulary,
    shared_run,
)
from implementations.harness.errors import BadInput
from implementations.harness.model.view import LanguageModel
from implementations.harness.results.protocol import (
    STREAMS,
    CalibrationText,
    EvaluationText,
    Protocol,
    TrainingText,
    get_protocol,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Samples(NamedTuple):
    """The token samples of one run; `disjoint` states in words how they were kept apart."""

    calibration: Calibration
    evaluations: dict[str, Tokens]
    disjoint: str


class Sampler:
    """Draws the samples of one protocol for one model; reads and tokenises each text once."""

    def __init__(self, protocol: Protocol, model: LanguageModel) -> None:
        self.protocol = protocol
        self.name = model.name
        self.tokenizer = model.tokenizer
        self.vocabulary_size = model.vocabulary_size
        self.positions: int | None = getattr(model.config, "max_position_embeddings", None)
        self._read: dict[str, tuple[Origin, torch.Tensor]] = {}
        self._documents_sha256: dict[str, str] = {}
        self._drawn: tuple[tuple[int, frozenset[str]], Samples] | None = None

    def samples(self, seed: int, streams: Collection[str] = ()) -> Samples:
        """Draw and check all samples of a run; the last result is cached.

        `streams` names the training texts that the method needs as well: `training`, `domain`.

        Raises:
            BadInput: a text is too short, a window is longer than the model can read, a token is
                outside the vocabulary, a text overlaps with evaluation, or the protocol does not
                name the training text.
        """
        request = seed, frozenset(streams)
        if self._drawn is None or self._drawn[0] != request:
            self._drawn = request, self._draw(*request)
        return self._drawn[1]

    def sources(self, streams: Collection[str] = ()) -> dict[str, str]:
        """Return the SHA-256 of every text of a run, by role; raises as `samples` does."""
        protocol = self.protocol
        calibration = protocol.calibration
        hashes = {"calibration": self._sha256(calibration.text, calibration.documents)}
        for role in STREAMS:
            text: TrainingText | None = getattr(protocol, role)
            if role in streams and text is not None:
                hashes[role] = self._sha256(text.text, text.documents)
        return hashes | {e.metric: self._sha256(e.text) for e in protocol.evaluations}

    def calibration(self, settings: CalibrationText, seed: int) -> Tokens:
        """Draw the calibration set of one seed."""
        if settings.documents:
            return self._documents(settings.text, settings.length, settings.samples, seed)
        text, ids = self._before_reserve(settings)
        own = self.protocol.own_texts
        if own is not None and own.calibration:  # `samples` was chosen for another text
            asked = f"{settings.samples} windows of {settings.length:,}"
            _check_enough(text, len(ids), settings.samples * settings.length, asked)
        tokens = random_windows(text, ids, settings.length, settings.samples, seed)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def stream(self, role: str, seed: int) -> Stream:
        """Cut the training windows of `role`; raises `BadInput` if the protocol has none."""
        settings: TrainingText | None = getattr(self.protocol, role)
        if settings is None:
            raise BadInput(
                f"the protocol {self.protocol.name} has no `{role}` text; add `{role}` with text "
                "and length to its file, or choose another protocol"
            )
        if settings.documents:
            crops = self._documents(settings.text, settings.length, settings.documents, seed)
            return Stream(crops, seed)
        text, ids = self._before_reserve(settings)
        return Stream(windows(text, ids, settings.length, start=settings.start), seed)

    def evaluation(self, settings: EvaluationText) -> Tokens:
        """Cut the windows of one evaluation."""
        text, ids = self._ids(settings.text)
        tokens = windows(text, ids, settings.length, settings.windows, settings.take)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def _draw(self, seed: int, streams: Collection[str]) -> Samples:
        evaluations = {e.metric: self.evaluation(e) for e in self.protocol.evaluations}
        calibration = self.calibration(self.protocol.calibration, seed)
        training = {role: self.stream(role, seed) for role in STREAMS if role in streams}
        seen = {"calibration": calibration}
        seen |= {role: stream.windows for role, stream in training.items()}
        for tokens in (*seen.values(), *evaluations.values()):
            check_vocabulary(tokens, self.vocabulary_size)
            self._check_length(tokens)
        for role, tokens in seen.items():
            for evaluation in evaluations.values():
                check_disjoint(tokens, evaluation, role)
        statements = [statement(role, tokens, evaluations) for role, tokens in seen.items()]
        return Samples(
            Calibration(
                **vars(calibration),
                training=training.get("training"),
                domain=training.get("domain"),
            ),
            evaluations,
            "; ".join(["checked before the run", *statements]),
        )

    def _documents(self, source: str, length: int, samples: int, seed: int) -> Tokens:
        documents = read_documents(source)
        if documents_sha256(source) != self._sha256(source, documents=True):
            raise BadInput(f"{source} has changed since it was first read; run again")
        tokens = random_documents(source, documents, self.tokenizer, length, samples, seed)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def _sha256(self, source: str, documents: object = False) -> str:
        if not documents:
            return self._ids(source)[0].sha256
        if source not in self._documents_sha256:
            self._documents_sha256[source] = documents_sha256(source)
        return self._documents_sha256[source]

    def _before_reserve(
        self, settings: CalibrationText | TrainingText
    ) -> tuple[Origin, torch.Tensor]:
        """Return a text and its ids up to the windows that are reserved for evaluation."""
        text, ids = self._ids(settings.text)
        if not settings.reserve:
            return text, ids
        windows_before = len(ids) // settings.reserve_length - settings.reserve
        before = ids[: max(windows_before * settings.reserve_length, 0)]
        if len(before) < settings.length:
            raise BadInput(
                f"{text.name} is too short: it has {len(ids):,} tokens, and its last "
                f"{settings.reserve:,} windows of {settings.reserve_length:,} are kept for "
                "evaluation; use a longer text, or a protocol with a smaller `reserve`"
            )
        return text, before

    def _ids(self, source: str) -> tuple[Origin, torch.Tensor]:
        if source not in self._read:
            text = load_text(source)
            ids = tokenize(text, self.tokenizer)
            self._read[source] = Origin(text.name, text.sha256), ids
        return self._read[source]

    def _check_length(self, tokens: Tokens) -> None:
        if self.positions is not None and tokens.ids.shape[1] > self.positions:
            raise BadInput(
                f"{self.name} reads at most {self.positions:,} tokens at a time, but the windows "
                f"of the protocol {self.protocol.name} have {tokens.ids.shape[1]:,}; choose "
                "another protocol"
            )


def prepare_samples(protocol: Protocol | str, model: LanguageModel, seed: int = 0) -> Samples:
    """Return the samples of one run; `protocol` may be a name as in `get_protocol`.

    Raises as `get_protocol` and `Sampler.samples` do. For several runs, `Sampler` reads each text
    only once.
    """
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    return Sampler(chosen, model).samples(seed)


def statement(role: str, seen: Tokens, evaluations: dict[str, Tokens]) -> str:
    """Describe the result of `check_disjoint` for the tokens `seen` in `role`, for records."""
    end = max(end for _, end in seen.spans)
    parts = []
    for metric, tokens in evaluations.items():
        if tokens.text_sha256 == seen.text_sha256:
            start = min(start for start, _ in tokens.spans)
            place = f"{role} ends at token {end:,}, evaluation starts at {start:,}"
            apart = place if end <= start else "their spans do not overlap"
            parts.append(f"{metric}: same text, {apart}")
        else:
            length = min(seen.ids.shape[1], tokens.ids.shape[1])
            run = shared_run(length)
            shared = "half a window" if run == length // 2 else f"{run} tokens"
            parts.append(f"{metric}: another text, no run of {shared} in common")
    return "; ".join(parts if role == "calibration" else [f"{role}: {part}" for part in parts])


@dataclass(frozen=True)
class Text:
    """A text and the name of its source."""

    name: str
    text: str

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8; records store it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Origin(NamedTuple):
    """Name and hash of a text, kept after it is tokenised."""

    name: str
    sha256: str


def load_text(source: str) -> Text:
    """Return the text named `source`; names and errors are those of `sources.read_text`."""
    return Text(source, read_text(source))


def tokenize(text: Text, tokenizer: PreTrainedTokenizerBase | None) -> torch.Tensor:
    """Return the ids `[tokens]` of the whole text, without special tokens (no BOS).

    Raises:
        BadInput: the text is empty, or the model has no tokenizer.
    """
    if tokenizer is None:
        raise BadInput(
            f"{text.name} cannot be tokenised because the model has no tokenizer; load it with one"
        )
    # verbose=False: a warning about the length misleads, because the windows are cut afterwards.
    encoded = tokenizer(text.text, add_special_tokens=False, verbose=False)
    ids = torch.tensor(encoded["input_ids"], dtype=torch.int64)
    if len(ids) == 0:
        raise BadInput(f"{text.name} is empty; use a text that is not")
    return ids


def windows(
    text: Text | Origin,
    ids: torch.Tensor,
    length: int,
    count: int | None = None,
    where: Literal["first", "last"] = "first",
    start: int = 0,
) -> Tokens:
    """Cut adjacent windows `[i * length, (i + 1) * length)` out of `ids` `[tokens]`, after `start`.

    Returns the first or last `count` full windows, or all; an incomplete window at the end is
    dropped.

    Raises:
        BadInput: the text has fewer windows than `count`, or none.
    """
    _check_counts(length=length, count=1 if count is None else count)
    available = max(len(ids) - start, 0) // length
    count = max(available, 1) if count is None else count
    _check_enough(text, len(ids), start + count * length, f"{count} windows of {length:,}")
    first = 0 if where == "first" else available - count
    return _cut(text, ids, [start + (first + i) * length for i in range(count)], length)


def random_windows(
    text: Text | Origin,
    ids: torch.Tensor,
    length: int,
    samples: int,
    seed: int,
) -> Tokens:
    """Cut `samples` windows at random starts in `[0, tokens - length]` of `ids` `[tokens]`.

    The starts come from a torch generator with `seed`; windows may overlap.

    Raises:
        BadInput: the text has fewer than `length` tokens.
    """
    _check_counts(length=length, samples=samples)
    _check_enough(text, len(ids), length, f"one window of {length:,}")
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(ids) - length + 1, (samples,), generator=generator)
    return _cut(text, ids, starts.tolist(), length)


def random_documents(
    name: str,
    documents: Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None,
    length: int,
    samples: int,
    seed: int,
) -> Tokens:
    """Cut one random crop out of each of `samples` random documents longer than `length` tokens.

    SparseGPT and its successors calibrate on such crops. No document is used twice. Spans and hash
    refer to the concatenation of the chosen documents, in the order they were drawn.

    Raises:
        BadInput: too few documents are long enough.
    """
    _check_counts(length=length, samples=samples)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(documents), generator=generator).tolist()
    texts = (Text(name, documents[index]) for index in order)  # one by one
    tokenised = ((text, tokenize(text, tokenizer)) for text in texts if text.text)
    long_enough = ((text, ids) for text, ids in tokenised if len(ids) > length)
    chosen: list[str] = []
    crops: list[torch.Tensor] = []
    spans: list[Span] = []
    offset = 0
    for text, ids in islice(long_enough, samples):
        start = int(torch.randint(0, len(ids) - length + 1, (1,), generator=generator))
        chosen.append(text.text)
        crops.append(ids[start : start + length])
        spans.append((offset + start, offset + start + length))
        offset += len(ids)
    if len(crops) < samples:
        raise BadInput(
            f"{name} has only {len(crops)} documents of more than {length:,} tokens, but {samples} "
            "are needed; use a larger file or fewer samples"
        )
    joined = Text(name, BETWEEN_DOCUMENTS.join(chosen))
    return Tokens(torch.stack(crops), name, tuple(spans), joined.sha256)


def _cut(text: Text | Origin, ids: torch.Tensor, starts: Sequence[int], length: int) -> Tokens:
    spans = tuple((start, start + length) for start in starts)
    samples = torch.stack([ids[start:end] for start, end in spans])  # [samples, length]
    return Tokens(samples, text.name, spans, text.sha256)


def _check_enough(text: Text | Origin, available: int, needed: int, purpose: str) -> None:
    if available < needed:
        raise BadInput(
            f"{text.name} is too short: it has {available:,} tokens, but {purpose} tokens need "
            f"{needed:,}; use a longer text, or a protocol with fewer or shorter windows"
        )


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise BadInput(f"{name} must be at least 1, got {count}")

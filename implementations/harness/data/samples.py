"""From a protocol to tokens: the calibration a seed draws, and the windows to measure on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import torch

from implementations.harness.data.sources import documents_sha256, read_documents
from implementations.harness.data.stream import Calibration, Stream
from implementations.harness.data.text import (
    Origin,
    Text,
    Tokens,
    check_disjoint,
    check_vocabulary,
    load_text,
    random_documents,
    random_windows,
    tokenize,
    windows,
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


class Samples(NamedTuple):
    """What a run sees: calibration, evaluation by metric, and in words that they are disjoint."""

    calibration: Calibration
    evaluations: dict[str, Tokens]
    disjoint: str


class Sampler:
    """Makes the samples of one protocol for one model, reading and tokenising each text once."""

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
        """Cut everything and check it, once as long as the same is asked for.

        `streams` names the texts to train on that there are as well: `training`, `domain`.

        Raises:
            BadInput: a text is too short, longer than the model can read, or not of its
                vocabulary; what is read overlaps with evaluation; or the protocol names no such
                text to train on.
        """
        asked = seed, frozenset(streams)
        if self._drawn is None or self._drawn[0] != asked:
            self._drawn = asked, self._draw(*asked)
        return self._drawn[1]

    def sources(self, streams: Collection[str] = ()) -> dict[str, str]:
        """Hash what the names of the texts stand for, by role; raises as `samples` does."""
        asked = self.protocol
        read = {"calibration": self._sha256(asked.calibration.text, asked.calibration.documents)}
        for role in STREAMS:
            text: TrainingText | None = getattr(asked, role)
            if role in streams and text is not None:
                read[role] = self._sha256(text.text, text.documents)
        return read | {e.metric: self._sha256(e.text) for e in asked.evaluations}

    def calibration(self, asked: CalibrationText, seed: int) -> Tokens:
        """Draw the calibration of one seed."""
        if asked.documents:
            return self._documents(asked.text, asked.length, asked.samples, seed)
        text, ids = self._before_reserve(asked)
        tokens = random_windows(text, ids, asked.length, asked.samples, seed)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def stream(self, role: str, seed: int) -> Stream:
        """Cut the windows to train on; raises `BadInput` where the protocol names no text."""
        asked: TrainingText | None = getattr(self.protocol, role)
        if asked is None:
            raise BadInput(
                f"the protocol {self.protocol.name} names no text to train on; add `{role}` with "
                "text and length to its file, or choose another one"
            )
        if asked.documents:
            crops = self._documents(asked.text, asked.length, asked.documents, seed)
            return Stream(crops, seed)
        text, ids = self._before_reserve(asked)
        return Stream(windows(text, ids, asked.length, start=asked.start), seed)

    def evaluation(self, asked: EvaluationText) -> Tokens:
        """Cut the windows of one evaluation."""
        text, ids = self._ids(asked.text)
        tokens = windows(text, ids, asked.length, asked.windows, asked.take)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def count(self, text: str) -> int:
        """The tokens that a short text has."""
        return len(tokenize(Text("the prompt", text), self.tokenizer))

    def _draw(self, seed: int, streams: Collection[str]) -> Samples:
        evaluations = {e.metric: self.evaluation(e) for e in self.protocol.evaluations}
        samples = self.calibration(self.protocol.calibration, seed)
        read = {role: self.stream(role, seed) for role in STREAMS if role in streams}
        seen = {"calibration": samples} | {role: stream.windows for role, stream in read.items()}
        for tokens in (*seen.values(), *evaluations.values()):
            check_vocabulary(tokens, self.vocabulary_size)
            self._check_length(tokens)
        for role, tokens in seen.items():
            for evaluation in evaluations.values():
                check_disjoint(tokens, evaluation, role)
        said = [statement(role, tokens, evaluations) for role, tokens in seen.items()]
        return Samples(
            Calibration(**vars(samples), training=read.get("training"), domain=read.get("domain")),
            evaluations,
            "; ".join(["checked before the run", *said]),
        )

    def _documents(self, source: str, length: int, samples: int, seed: int) -> Tokens:
        documents = read_documents(source)
        if documents_sha256(source) != self._sha256(source, documents=True):
            raise BadInput(f"{source} changed between two runs; run again")
        tokens = random_documents(source, documents, self.tokenizer, length, samples, seed)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def _sha256(self, source: str, documents: object = False) -> str:
        if not documents:
            return self._ids(source)[0].sha256
        if source not in self._documents_sha256:
            self._documents_sha256[source] = documents_sha256(source)
        return self._documents_sha256[source]

    def _before_reserve(self, asked: CalibrationText | TrainingText) -> tuple[Origin, torch.Tensor]:
        """Return a text and its ids up to the windows that are kept for evaluation."""
        text, ids = self._ids(asked.text)
        if not asked.reserve:
            return text, ids
        stop = (len(ids) // asked.reserve_length - asked.reserve) * asked.reserve_length
        return text, ids[: max(stop, 0)]

    def _ids(self, source: str) -> tuple[Origin, torch.Tensor]:
        if source not in self._read:
            text = load_text(source)
            ids = tokenize(text, self.tokenizer)
            self._read[source] = Origin(text.name, text.sha256), ids
        return self._read[source]

    def _check_length(self, tokens: Tokens) -> None:
        if self.positions is not None and tokens.ids.shape[1] > self.positions:
            raise BadInput(
                f"{self.name} reads at most {self.positions:,} tokens at a time, and the protocol "
                f"{self.protocol.name} has windows of {tokens.ids.shape[1]:,}; choose another one"
            )


def prepare(protocol: Protocol | str, model: LanguageModel, seed: int = 0) -> Samples:
    """The samples of one run, once; `Sampler` keeps the texts for more.

    `protocol` may be named, as in `get_protocol`. Raises what that and `Sampler` raise.
    """
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    return Sampler(chosen, model).samples(seed)


def statement(role: str, seen: Tokens, evaluations: dict[str, Tokens]) -> str:
    """Say what `check_disjoint` has shown of `seen`, in its `role`, and each evaluation."""
    end = max(end for _, end in seen.spans)
    parts = []
    for metric, tokens in evaluations.items():
        if tokens.text_sha256 == seen.text_sha256:
            start = min(start for start, _ in tokens.spans)
            place = f"{role} ends at token {end:,}, evaluation starts at {start:,}"
            apart = place if end <= start else "no span of the one overlaps a span of the other"
            parts.append(f"{metric}: same text, {apart}")
        else:
            parts.append(f"{metric}: another text, no run of half a window in common")
    return "; ".join(parts if role == "calibration" else [f"{role}: {part}" for part in parts])

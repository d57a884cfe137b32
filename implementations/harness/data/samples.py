"""From a protocol to tokens: the calibration a seed draws, and the windows to measure on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from implementations.harness.data.sources import read_documents
from implementations.harness.data.text import (
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
    CalibrationText,
    EvaluationText,
    Protocol,
    get_protocol,
)


class Samples(NamedTuple):
    """What a run sees: calibration, evaluation by metric, and in words that they are disjoint."""

    calibration: Tokens
    evaluations: dict[str, Tokens]
    disjoint: str


@dataclass
class Sampler:
    """Makes the samples of one protocol for one model, reading and tokenising each text once."""

    protocol: Protocol
    model: LanguageModel
    read: dict[str, tuple[Text, torch.Tensor]] = field(default_factory=dict)
    drawn: dict[int, Samples] = field(default_factory=dict)

    def samples(self, seed: int) -> Samples:
        """Cut everything and check it, once a seed; only the calibration depends on that.

        Raises:
            BadInput: a text is too short, longer than the model can read, or not of its
                vocabulary; or calibration and evaluation overlap.
        """
        if seed not in self.drawn:
            self.drawn[seed] = self._draw(seed)
        return self.drawn[seed]

    def calibration(self, asked: CalibrationText, seed: int) -> Tokens:
        """Draw the calibration of one seed."""
        if asked.draw == "documents":
            documents = read_documents(asked.text)
            tokens = random_documents(
                asked.text,
                documents,
                self.model.tokenizer,
                asked.length,
                asked.samples,
                seed,
            )
        else:
            text, ids = self._ids(asked.text)
            stop = len(ids)
            if asked.reserve:
                stop = (len(ids) // asked.reserve_length - asked.reserve) * asked.reserve_length
            tokens = random_windows(text, ids, asked.length, asked.samples, seed, max(stop, 0))
        return replace(tokens, batch_size=self.protocol.batch_size)

    def evaluation(self, asked: EvaluationText) -> Tokens:
        """Cut the windows of one evaluation."""
        text, ids = self._ids(asked.text)
        tokens = windows(text, ids, asked.length, asked.windows, asked.take)
        return replace(tokens, batch_size=self.protocol.batch_size)

    def count(self, text: str) -> int:
        """The tokens that a short text has."""
        return len(tokenize(Text("the prompt", text), self.model.tokenizer))

    def _draw(self, seed: int) -> Samples:
        evaluations = {e.metric: self.evaluation(e) for e in self.protocol.evaluations}
        calibration = self.calibration(self.protocol.calibration, seed)
        for tokens in (calibration, *evaluations.values()):
            check_vocabulary(tokens, self.model.vocabulary_size)
            self._check_length(tokens)
        for evaluation in evaluations.values():
            check_disjoint(calibration, evaluation)
        return Samples(calibration, evaluations, statement(calibration, evaluations))

    def _ids(self, source: str) -> tuple[Text, torch.Tensor]:
        if source not in self.read:
            text = load_text(source)
            self.read[source] = text, tokenize(text, self.model.tokenizer)
        return self.read[source]

    def _check_length(self, tokens: Tokens) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and tokens.ids.shape[1] > limit:
            raise BadInput(
                f"{self.model.name} reads at most {limit:,} tokens at a time, and the protocol "
                f"{self.protocol.name} has windows of {tokens.ids.shape[1]:,}; choose another one"
            )


def prepare(protocol: Protocol | str, model: LanguageModel, seed: int = 0) -> Samples:
    """The samples of one run, once; `Sampler` keeps the texts for more.

    `protocol` may be named, as in `get_protocol`. Raises what that and `Sampler` raise.
    """
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    return Sampler(chosen, model).samples(seed)


def statement(calibration: Tokens, evaluations: dict[str, Tokens]) -> str:
    """Say what `check_disjoint` has shown of each evaluation."""
    end = max(end for _, end in calibration.spans)
    parts = []
    for metric, tokens in evaluations.items():
        if tokens.text_sha256 == calibration.text_sha256:
            start = min(start for start, _ in tokens.spans)
            place = f"calibration ends at token {end:,}, evaluation starts at {start:,}"
            apart = place if end <= start else "no span of the one overlaps a span of the other"
            parts.append(f"{metric}: same text, {apart}")
        else:
            parts.append(f"{metric}: another text, no run of half a window in common")
    return "checked before the run; " + "; ".join(parts)

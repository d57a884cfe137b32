"""Token samples with their provenance, and what must be true of them before a run starts."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from implementations.harness.errors import BadInput

Span = tuple[int, int]

_SEPARATOR = b"\xff" * 8  # the id -1, which no window holds


@dataclass(frozen=True, eq=False)
class Tokens:
    """Samples of one length, with where in which text each was cut.

    Raises:
        BadInput: no sample, wrong shape or type, spans that do not fit the samples.
    """

    ids: torch.Tensor
    """int64 [samples, length]."""
    source: str
    """Name of the text: "wikipedia", "c4", "wikitext2" or a path."""
    spans: tuple[Span, ...]
    """Token offsets of each sample in the text, end exclusive."""
    text_sha256: str
    batch_size: int = 4
    """Samples that pass through a model together."""

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != torch.int64:
            raise BadInput(
                f"ids must be int64 [samples, length], not {self.ids.dtype} {list(self.ids.shape)}"
            )
        if self.ids.numel() == 0:
            raise BadInput(f"no tokens from {self.source}: {list(self.ids.shape)} samples x length")
        if [end - start for start, end in self.spans] != [self.ids.shape[1]] * len(self.ids):
            raise BadInput(f"{len(self.spans)} spans do not fit ids of {list(self.ids.shape)}")
        if self.batch_size < 1:
            raise BadInput(f"batch_size is {self.batch_size}: it must be at least 1")

    @classmethod
    def from_ids(cls, ids: torch.Tensor, source: str = "ids", batch_size: int = 4) -> "Tokens":
        """Samples that come from no text: their own ids [samples, length] stand for it."""
        length = ids.shape[-1]
        spans = tuple((start, start + length) for start in range(0, ids.numel(), length or 1))
        return cls(ids, source, spans, _sha256(ids), batch_size)

    @property
    def sha256(self) -> str:
        """SHA-256 of the ids and their shape."""
        return _sha256(self.ids)

    def batches(self, size: int | None = None) -> Iterator[torch.Tensor]:
        """Yield the samples in order, `size` (default: `batch_size`) at a time."""
        size = self.batch_size if size is None else size
        if size < 1:
            raise BadInput(f"batch size {size}: it must be at least 1")
        yield from torch.split(self.ids, size)  # [size or fewer, length]

    def chunks(self, size: int) -> Iterator[Self]:
        """Yield the samples in order, `size` at a time, each chunk with its provenance."""
        if size < 1:
            raise BadInput(f"chunks of {size} samples: it must be at least 1")
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            yield replace(self, ids=self.ids[part], spans=self.spans[part])

    def pick(self, samples: Sequence[int]) -> Self:
        """Return the samples of these numbers, in this order, with their provenance."""
        chosen = list(samples)
        return replace(self, ids=self.ids[chosen], spans=tuple(self.spans[i] for i in chosen))


def check_disjoint(seen: Tokens, evaluation: Tokens, role: str = "calibration") -> None:
    """Raise `BadInput` where a model would be evaluated on what it has seen in that role.

    That is: spans of one text that overlap, or, in texts that differ, a run of tokens in common of
    half a window (of a whole one up to 64 tokens). Half, because a sample lying anywhere in an
    evaluated stretch has its first or its second half inside one window.
    """
    if seen.text_sha256 == evaluation.text_sha256:
        overlap = _overlap(seen.spans, evaluation.spans)
        if overlap is None:
            return
        raise BadInput(
            f"{role} tokens [{overlap[0][0]}, {overlap[0][1]}) and evaluation tokens "
            f"[{overlap[1][0]}, {overlap[1][1]}) of {evaluation.source} overlap: take other windows"
        )
    short, long = sorted((seen, evaluation), key=lambda tokens: tokens.ids.shape[1])
    length = short.ids.shape[1]
    run = max(length // 2, min(length, 64))
    haystack = _SEPARATOR.join(_bytes(row) for row in long.ids)
    for row, span in zip(short.ids, short.spans, strict=True):
        if _bytes(row[:run]) in haystack or _bytes(row[-run:]) in haystack:
            raise BadInput(
                f"{role} ({seen.source}) and evaluation ({evaluation.source}) share "
                f"tokens of {short.source} [{span[0]}, {span[1]}): take different texts"
            )


def check_vocabulary(tokens: Tokens, vocabulary_size: int) -> None:
    """Raise `BadInput` unless every id lies in `[0, vocabulary_size)`."""
    outside = (tokens.ids < 0) | (tokens.ids >= vocabulary_size)
    if not outside.any():
        return
    sample, position = outside.nonzero()[0].tolist()
    raise BadInput(
        f"token id {int(tokens.ids[sample, position])} (sample {sample}, position {position} of "
        f"{tokens.source}) is outside the model's vocabulary of {vocabulary_size:,}: the tokenizer "
        "does not belong to this model"
    )


def _overlap(first: tuple[Span, ...], second: tuple[Span, ...]) -> tuple[Span, Span] | None:
    """A span of `first` and one of `second` that have a token in common."""
    pairs = ((a, b) for a in first for b in second)
    return next(((a, b) for a, b in pairs if a[0] < b[1] and b[0] < a[1]), None)


def _bytes(ids: torch.Tensor) -> bytes:
    """The ids as little-endian int64, the same on every machine."""
    return ids.cpu().numpy().astype("<i8").tobytes()


def _sha256(ids: torch.Tensor) -> str:
    """Hash of shape and ids: the same ids cut otherwise are other samples."""
    return hashlib.sha256(f"{list(ids.shape)}".encode() + _bytes(ids)).hexdigest()

"""Token samples with their provenance, training streams, and the checks samples must pass."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from implementations.harness.errors import BadInput

Span = tuple[int, int]

_BASE = 6_364_136_223_846_793_005  # of hashes modulo 2**64; odd, so it has an inverse
_INVERSE = pow(_BASE, -1, 2**64) - 2**64


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token samples of equal length, with the text and the position each was cut from.

    Raises:
        BadInput: no samples, wrong shape or dtype, or spans that do not match the samples.
    """

    ids: torch.Tensor
    """int64 [samples, length]."""
    source: str
    """Name of the text: "wikipedia", "c4", "wikitext2" or a path."""
    spans: tuple[Span, ...]
    """Token offsets of each sample in the text, end exclusive."""
    text_sha256: str
    batch_size: int = 4
    """Samples per forward pass."""

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != torch.int64:
            raise BadInput(
                "`ids` must be int64 of shape [samples, length], got "
                f"{self.ids.dtype} {list(self.ids.shape)}"
            )
        if self.ids.numel() == 0:
            raise BadInput(
                f"`ids` of {self.source} must not be empty, got shape {list(self.ids.shape)}"
            )
        if [end - start for start, end in self.spans] != [self.ids.shape[1]] * len(self.ids):
            raise BadInput(
                f"`spans` must have one span per sample and its length; {len(self.spans)} spans do "
                f"not match ids of shape {list(self.ids.shape)}"
            )
        if self.batch_size < 1:
            raise BadInput(f"`batch_size` must be at least 1, got {self.batch_size}")

    @classmethod
    def from_ids(cls, ids: torch.Tensor, source: str = "ids", batch_size: int = 4) -> "Tokens":
        """Make samples from ids `[samples, length]` without a text; the ids are the text."""
        length = ids.shape[-1]
        spans = tuple((start, start + length) for start in range(0, ids.numel(), length or 1))
        return cls(ids, source, spans, _sha256(ids), batch_size)

    @property
    def sha256(self) -> str:
        """SHA-256 of the ids and their shape, stored in records."""
        return _sha256(self.ids)

    def batches(self, size: int | None = None) -> Iterator[torch.Tensor]:
        """Yield the samples in order, `size` (default: `batch_size`) at a time."""
        size = self.batch_size if size is None else size
        if size < 1:
            raise BadInput(f"the batch size must be at least 1, got {size}")
        yield from torch.split(self.ids, size)  # [size or fewer, length]

    def chunks(self, size: int) -> Iterator[Self]:
        """Yield the samples in order, `size` at a time, with their provenance."""
        if size < 1:
            raise BadInput(f"the chunk size must be at least 1, got {size}")
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            yield replace(self, ids=self.ids[part], spans=self.spans[part])

    def pick(self, samples: Sequence[int]) -> Self:
        """Return the samples with these indices, in this order, with their provenance."""
        chosen = list(samples)
        return replace(self, ids=self.ids[chosen], spans=tuple(self.spans[i] for i in chosen))

    def draw(self, count: int) -> Self:
        """Return `count` samples drawn without replacement, in their order."""
        drawn = torch.randperm(len(self.ids))[:count].sort().values
        return self.pick(drawn.tolist())


def check_predictions(samples: Tokens | None, slug: str) -> None:
    """Raise `BadInput`, naming the method, for samples of one token, which predict nothing."""
    if samples is not None and samples.ids.shape[1] < 2:
        raise BadInput(
            f"{slug} needs samples of at least 2 tokens, one as input and one to predict"
        )


def check_disjoint(seen: Tokens, evaluation: Tokens, role: str = "calibration") -> None:
    """Raise `BadInput` if evaluation text overlaps with text that the model has seen as `role`.

    Within one text, spans must not overlap. Of different texts, no sample may share `shared_run`
    consecutive tokens with the other text. The samples are those of the text with shorter ones.
    """
    if seen.text_sha256 == evaluation.text_sha256:
        overlap = _overlap(seen.spans, evaluation.spans)
        if overlap is None:
            return
        raise BadInput(
            f"{role} tokens [{overlap[0][0]}, {overlap[0][1]}) of {seen.source} and evaluation "
            f"tokens [{overlap[1][0]}, {overlap[1][1]}) of {evaluation.source} overlap; use other "
            "windows or texts"
        )
    short, long = sorted((seen, evaluation), key=lambda tokens: tokens.ids.shape[1])
    run = shared_run(short.ids.shape[1])
    known = torch.cat([_run_hashes(ids, run) for ids in _stretches(long)])
    shared = torch.isin(_run_hashes(short.ids, run), known).any(dim=1)
    if shared.any():
        start, end = short.spans[int(shared.nonzero()[0])]
        raise BadInput(
            f"{role} ({seen.source}) and evaluation ({evaluation.source}) share "
            f"tokens of {short.source} [{start}, {end}); use different texts"
        )


def shared_run(length: int) -> int:
    """Return the number of tokens that different texts must not share, for windows of `length`."""
    return max(length // 2, min(length, 64))


def _stretches(tokens: Tokens) -> Iterator[Tensor]:
    """Yield the ids of samples that follow each other in the text, joined."""
    rows: list[Tensor] = []
    last_end = -1
    for row, (start, end) in zip(tokens.ids, tokens.spans, strict=True):
        if rows and start != last_end:
            yield torch.cat(rows)
            rows = []
        rows.append(row)
        last_end = end
    yield torch.cat(rows)


def _run_hashes(ids: Tensor, run: int) -> Tensor:
    """Return a hash of every run of `run` tokens in `ids [..., length]`.

    Each token is multiplied by a power of `_BASE` that grows with its position. The sum of a run is
    divided by the power of its first token, so that its position does not matter. int64 wraps
    around, so all of this is modulo 2**64.
    """
    powers, inverses = (torch.full_like(ids, base).cumprod(-1) for base in (_BASE, _INVERSE))
    sums = pad((ids * powers).cumsum(-1), (1, 0))  # [..., length + 1]
    return (sums[..., run:] - sums[..., :-run]) * inverses[..., : ids.shape[-1] - run + 1]


def check_vocabulary(tokens: Tokens, vocabulary_size: int) -> None:
    """Raise `BadInput` unless every id lies in `[0, vocabulary_size)`."""
    outside = (tokens.ids < 0) | (tokens.ids >= vocabulary_size)
    if not outside.any():
        return
    sample, position = outside.nonzero()[0].tolist()
    raise BadInput(
        f"token id {int(tokens.ids[sample, position])} (sample {sample}, position {position} of "
        f"{tokens.source}) is outside the model's vocabulary of {vocabulary_size:,}; use the "
        "tokenizer of this model"
    )


def _overlap(first: tuple[Span, ...], second: tuple[Span, ...]) -> tuple[Span, Span] | None:
    """Return a span of `first` and one of `second` that share a token, or None."""
    pairs = ((a, b) for a in first for b in second)
    return next(((a, b) for a, b in pairs if a[0] < b[1] and b[0] < a[1]), None)


def _bytes(ids: torch.Tensor) -> bytes:
    """Return the ids as little-endian int64, the same bytes on every machine."""
    return ids.cpu().numpy().astype("<i8").tobytes()


def _sha256(ids: torch.Tensor) -> str:
    """Return the hash of shape and ids, so that the same ids in another shape differ."""
    return hashlib.sha256(f"{list(ids.shape)}".encode() + _bytes(ids)).hexdigest()


@dataclass(frozen=True)
class Stream:
    """An endless stream of windows of one text; each epoch has every window once, reshuffled."""

    windows: Tokens
    seed: int = 0

    def batches(self, size: int, start: int = 0) -> Iterator[Tensor]:
        """Yield batches of ids `[size, length]` endlessly, beginning with batch number `start`.

        The order does not depend on `start`. A batch may contain the end of one epoch and the
        beginning of the next. Raises `BadInput` for a size below 1.
        """
        if size < 1:
            raise BadInput(f"the batch size must be at least 1, got {size}")
        order = islice(self._order(), start * size, None)
        while True:
            yield self.windows.ids[list(islice(order, size))]  # [size, length]

    def split(self, held: Sequence[int]) -> tuple[Self, Self]:
        """Return the stream of all windows but `held`, given by index, and the stream of these."""
        others = sorted(set(range(len(self.windows.ids))) - set(held))
        parts = (self.windows.pick(part) for part in (others, list(held)))
        rest, kept = (replace(self, windows=windows) for windows in parts)
        return rest, kept

    def epochs(self, windows: int) -> float:
        """Convert a number of windows to epochs."""
        return windows / len(self.windows.ids)

    def _order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(len(self.windows.ids), generator=generator).tolist()


@dataclass(frozen=True, eq=False)
class Calibration(Tokens):
    """The calibration set of a run, with the training texts that its method declares."""

    training: Stream | None = None
    domain: Stream | None = None
    """Text of one domain, for methods that specialise a model for it."""

"""Cut calibration and evaluation tokens from texts, reproducibly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from implementations.harness.data.sources import BETWEEN_DOCUMENTS, read_text
from implementations.harness.data.tokens import Span, Tokens, check_disjoint, check_vocabulary
from implementations.harness.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "Text",
    "Tokens",
    "check_disjoint",
    "check_vocabulary",
    "load_text",
    "random_documents",
    "random_windows",
    "tokenize",
    "windows",
]


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
    tokenised = ((text, tokenize(text, tokenizer)) for text in _texts(name, documents, order))
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


def _texts(name: str, documents: Sequence[str], order: Sequence[int]) -> Iterator[Text]:
    """Read the documents one by one in `order`, skipping empty ones."""
    texts = (Text(name, documents[index]) for index in order)
    return (text for text in texts if text.text)


def _cut(text: Text | Origin, ids: torch.Tensor, starts: Sequence[int], length: int) -> Tokens:
    spans = tuple((start, start + length) for start in starts)
    samples = torch.stack([ids[start:end] for start, end in spans])  # [samples, length]
    return Tokens(samples, text.name, spans, text.sha256)


def _check_enough(text: Text | Origin, available: int, needed: int, purpose: str) -> None:
    if available < needed:
        raise BadInput(
            f"{text.name} is too short: it has {available:,} tokens, but {purpose} tokens need "
            f"{needed:,}; use a longer text"
        )


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise BadInput(f"{name} must be at least 1, got {count}")

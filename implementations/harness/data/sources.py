"""Read texts from the embedded samples, from data sets of the hub, or from local files."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from implementations.harness.download.embedded import embedded_text
from implementations.harness.download.hub import hub_file
from implementations.harness.errors import BadInput, Unavailable, in_short
from implementations.harness.results import reading
from implementations.harness.results.files import file_sha256, user_path
from implementations.harness.results.own_texts import FORMATS

BETWEEN_DOCUMENTS = "\n\n"
LARGEST_TEXT = 2_000_000_000
"""Bytes of a local file. It is held in memory, and its tokens need about 40 times as much."""

_TEXT_SOURCES = (
    "wikipedia, c4, code, wikitext2, wikitext2-train, c4-validation or a .txt, .jsonl or "
    ".parquet file"
)
_DOCUMENT_SOURCES = "c4-train or a .jsonl or .parquet file"
_DOCUMENT_FORMATS = (".jsonl", ".parquet")
_STRINGS = ("string", "large_string")
_C4_VALIDATION_DOCUMENTS = 1100  # as SparseGPT and its successors evaluate


def read_text(source: str) -> str:
    """Return the text named `source`.

    `wikipedia`, `c4`, `code`: the embedded samples. `wikitext2`, `wikitext2-train`: the test and
    train splits of `wikitext-2-raw-v1`, joined by blank lines. `c4-validation`: the first 1,100
    documents of the first validation shard, joined by spaces. Otherwise the path of a UTF-8 `.txt`
    file, or of a `.jsonl` or `.parquet` file whose `text` fields are joined by blank lines.

    Raises:
        BadInput: the source is unknown, or the file is unreadable, over 2 GB, not UTF-8, or has a
            row without `text`.
        Unavailable: the network is unreachable, or the package `datasets` or `pyarrow` is missing.
    """
    match source:
        case "wikipedia":
            return BETWEEN_DOCUMENTS.join(articles(embedded_text("wikipedia")))
        case "c4" | "code":
            return embedded_text(source)
        case "wikitext2":
            return BETWEEN_DOCUMENTS.join(_rows("parquet", _wikitext2("test")))
        case "wikitext2-train":
            return BETWEEN_DOCUMENTS.join(_rows("parquet", _wikitext2("train")))
        case "c4-validation":
            rows = _rows("json", _c4("validation", "00000-of-00008"))
            return " ".join(rows[:_C4_VALIDATION_DOCUMENTS])
    path = _local(source, _TEXT_SOURCES)
    if path.suffix in _DOCUMENT_FORMATS:
        return BETWEEN_DOCUMENTS.join(_documents(path))
    return reading.read_text(path, LARGEST_TEXT)  # keeps line ends


def read_documents(source: str) -> Sequence[str]:
    """Return the documents of `c4-train` (first training shard), a `.jsonl` or `.parquet` file.

    Raises as `read_text` does.
    """
    path = _documents_file(source)
    return _rows("json", path) if source == "c4-train" else _documents(path)


def documents_sha256(source: str) -> str:
    """Return the SHA-256 of the file that `read_documents` reads; raises as that does."""
    path = _documents_file(source)
    try:
        return file_sha256(path)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


def articles(dump: str) -> list[str]:
    """Return the articles of a Wikipedia extract (`<doc ...>` to `</doc>`), with their titles."""
    return re.findall(r"<doc[^>]*>\n(.*?)</doc>", dump, re.S)


def _documents_file(source: str) -> Path:
    if source == "c4-train":
        return _c4("train", "00000-of-01024")
    path = _local(source, _DOCUMENT_SOURCES)
    if path.suffix not in _DOCUMENT_FORMATS:
        raise BadInput(f"{path} is a single text; to draw documents, use {_DOCUMENT_SOURCES}")
    return path


def _wikitext2(split: str) -> Path:
    return _hub("Salesforce/wikitext", f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet")


def _c4(split: str, shard: str) -> Path:
    return _hub("allenai/c4", f"en/c4-{split}.{shard}.json.gz")


def _hub(repository: str, path: str) -> Path:
    if importlib.util.find_spec("datasets") is None:
        raise Unavailable(
            f"reading {repository} needs the package `datasets`: pip install 'pruning-atlas[hub]'"
        )
    return hub_file(repository, path)


def _rows(layout: str, file: Path) -> Sequence[str]:
    """Return the column `text` of a hub file, read lazily because a C4 shard has 800 MB."""
    import datasets  # here, because the embedded texts do not need it

    blob = file.resolve()  # `file` is a link in the cache; deleting it would keep the content
    try:
        rows = datasets.load_dataset(layout, data_files={"train": [str(file)]}, split="train")
    except Exception as error:  # `datasets` wraps the cause: a damaged file, a full disk
        reason = in_short(error.__cause__ or error)
        raise Unavailable(
            f"{file.name} cannot be read: {reason}. Delete {blob} to download it again"
        ) from error
    column = rows.features.get("text")
    if getattr(column, "dtype", None) not in _STRINGS or rows.data.column("text").null_count:
        raise Unavailable(f"{file.name} has rows without text. Delete {blob} to download it again")
    return cast(Sequence[str], rows["text"])


def _local(source: str, choice: str) -> Path:
    path = user_path(source, "text source")
    if path.is_file():
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise BadInput(
                f"{path} has {size:,} bytes, more than {LARGEST_TEXT:,}; use a part of it, because "
                "a run reads only a few thousand windows"
            )
        return path
    if path.suffix in FORMATS:
        raise BadInput(f"{path} is not a file")
    raise BadInput(f"unknown text source {in_short(source, 100)!r}; use {choice}")


def _documents(path: Path) -> list[str]:
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_lines(path)


def _parquet_rows(path: Path) -> list[str]:
    """Return the column `text` of a local Parquet file."""
    if importlib.util.find_spec("pyarrow") is None:
        raise Unavailable(
            f"reading {path} needs the package `pyarrow`: pip install 'pruning-atlas[hub]'"
        )
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = file.schema_arrow
        if "text" not in columns.names or str(columns.field("text").type) not in _STRINGS:
            raise BadInput(
                f"{path}: the column `text` is missing or not a string; the columns are "
                f"{in_short(', '.join(f'{c.name} ({c.type})' for c in columns), 200)}"
            )
        rows: list[str | None] = file.read(columns=["text"])["text"].to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is damaged: {in_short(error)}") from error
    if None in rows:
        raise BadInput(f"{path}, row {rows.index(None) + 1}: the column `text` is empty")
    return [row for row in rows if row is not None]


def _json_lines(path: Path) -> list[str]:
    lines = enumerate(reading.read_text(path, LARGEST_TEXT).split("\n"), start=1)
    return [_text_field(line, f"{path}, line {number}") for number, line in lines if line.strip()]


def _text_field(line: str, place: str) -> str:
    row = reading.parse_json(line, place)
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise BadInput(f"{place}: the field `text` is missing or not a string")
    return text

"""Answers kept on disk by their address: sources change once a day, and asking twice is rude."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from pydantic import BaseModel

from implementations.harness.results.files import whole
from implementations.harness.results.reading import parse_json, read_bytes
from tools.sources.web.clock import Clock
from tools.sources.web.page import Page


class _Kept(BaseModel):
    """The first line of a file: what is kept in it, and since when."""

    key: str
    time: float
    source: str
    url: str
    status: int
    content_type: str


class Cache:
    """A folder of raw answers; one that cannot be read or written is the same as none."""

    def __init__(self, folder: Path, max_age: float, clock: Clock) -> None:
        self._folder = folder
        self._max_age = max_age
        self._clock = clock

    def get(self, key: str) -> Page | None:
        """Return the answer kept under a key, unless it is too old."""
        try:
            head, _, body = read_bytes(self._path(key)).partition(b"\n")
            kept = _Kept.model_validate(parse_json(head.decode(), "it"))
        except (OSError, ValueError):  # not there, or damaged
            return None
        if kept.key != key or not 0 <= self._clock.wall() - kept.time <= self._max_age:
            return None
        return Page(kept.source, kept.url, kept.status, kept.content_type, body)

    def put(self, key: str, page: Page) -> None:
        """Keep an answer under a key, whole or not at all."""
        kept = _Kept(
            key=key,
            time=self._clock.wall(),
            source=page.source,
            url=page.url,
            status=page.status,
            content_type=page.content_type,
        )
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole(self._path(key)) as file:
                file.write(kept.model_dump_json().encode() + b"\n" + page.body)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.answer"

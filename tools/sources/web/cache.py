"""Answers kept on disk by their address: sources change once a day, and asking twice is rude."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from tools.sources.web.clock import Clock
from tools.sources.web.page import Page


class Cache:
    """A folder of raw answers; one that cannot be read or written is the same as none."""

    def __init__(self, folder: Path, max_age: float, clock: Clock) -> None:
        self._folder = folder
        self._max_age = max_age
        self._clock = clock

    def get(self, key: str) -> Page | None:
        """Return the answer kept under a key, unless it is too old."""
        try:
            head, _, body = self._path(key).read_bytes().partition(b"\n")
            about = json.loads(head)
            age = self._clock.wall() - about.pop("time")
            if about.pop("key") != key or not 0 <= age <= self._max_age:
                return None
            return Page(**about, body=body)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, key: str, page: Page) -> None:
        """Keep an answer under a key, whole or not at all."""
        about = {
            "key": key,
            "time": self._clock.wall(),
            "source": page.source,
            "url": page.url,
            "status": page.status,
            "content_type": page.content_type,
        }
        path = self._path(key)
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(json.dumps(about).encode() + b"\n" + page.body)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.answer"

"""Turns at a host: a pause between two requests, also of two processes of one user."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from filelock import FileLock, Timeout

from implementations.harness.results.reading import read_text
from tools.sources.web.clock import Clock
from tools.sources.web.errors import SourceError

STAMP = 100
"""Bytes that a number has at most."""


class Pace:
    """Keeps the pauses; across processes where there is a folder to remember them in."""

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._last: dict[str, float] = {}

    def wait(self, host: str, pause: float, patience: float) -> None:
        """Sleep until it is this process's turn; raises `SourceError` where others queue long."""
        with self._queue(host, patience):
            last = max(self._last.get(host, 0.0), self._remembered(host))
            # A clock that was set back must not make anybody wait for longer than a pause.
            left = min(pause, last + pause - self._clock.wall())
            if left > 0:
                self._clock.sleep(left)
            self._last[host] = self._clock.wall()
            self._remember(host)

    def _queue(self, host: str, patience: float) -> contextlib.AbstractContextManager[object]:
        if self._folder is None:
            return contextlib.nullcontext()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return FileLock(self._stamp(host).with_suffix(".lock")).acquire(
                timeout=max(0, patience)
            )
        except Timeout:
            raise SourceError(
                f"another process has been asking {host} for {patience:.0f} s",
                "wait until it has finished and try again",
            ) from None
        except OSError:
            # A cache that cannot be written only costs the order between processes.
            return contextlib.nullcontext()

    def _stamp(self, host: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{re.sub(r'[^a-z0-9.-]', '_', host)}.turn"

    def _remembered(self, host: str) -> float:
        if self._folder is None:
            return 0.0
        try:
            return float(read_text(self._stamp(host), STAMP))
        except ValueError:  # unreadable, damaged
            return 0.0

    def _remember(self, host: str) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._stamp(host).write_text(str(self._last[host]), encoding="ascii")

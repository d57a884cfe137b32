"""A server of our own that answers as others do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

Answers = dict[str, Callable[["Handler"], None]]


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and keeps what it was asked for."""

    answers: ClassVar[Answers]
    asked: ClassVar[list[tuple[str, str, float]]]

    def do_HEAD(self) -> None:
        self.asked.append((self.command, self.path, time.monotonic()))
        self.answers.get(self.path, status(404))(self)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(code, **headers)


def in_turn(*answers: Callable[[Handler], None]) -> Callable[[Handler], None]:
    left = list(answers)

    def answer(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


class Server:
    """A server on a port of its own; `answers` can be changed while it runs."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, str, float]] = []
        handler = type("Here", (Handler,), {"answers": self.answers, "asked": self.asked})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def verbs(self) -> list[str]:
        return [f"{verb} {path}" for verb, path, _ in self.asked]

"""The sources, replayed: every HTTP request of the process gets a stored answer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_plus

import httpx
import pytest
import yaml

from tools.sources import client

DATA = Path(__file__).with_name("data")


class Answer(NamedTuple):
    """An answer, or the error of a request."""

    body: bytes | Exception = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012


class Request(NamedTuple):
    """A received request."""

    host: str
    path: str
    headers: httpx.Headers


UNREACHABLE = Answer(httpx.ConnectError("refused"))


class Replay:
    """The answers of the sources, and the requests and pauses of the client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Request] = []
        self.slept: list[float] = []
        self._said: dict[str, list[Answer]] = {}
        monkeypatch.setattr(
            httpx.HTTPTransport, "handle_request", lambda _, request: self._answer(request)
        )
        monkeypatch.setattr(client, "sleep", self.slept.append)

    def say(self, host: str, *answers: Answer) -> None:
        """Set the answers of a host, in order; the last one is repeated."""
        self._said[host] = list(answers)

    def refuse(self, *hosts: str) -> None:
        """Answer all requests to some hosts, or to all, with a server error."""
        for host in hosts or index():
            self.say(host, Answer(status=503))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = unquote_plus(request.url.raw_path.decode())
        self.requests.append(Request(request.url.host, path, request.headers))
        queue = self._said.get(request.url.host)
        if queue:
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
        else:
            files = index().get(request.url.host, {})
            name = files.get(path) or files.get("*")
            answer = stored(name) if name else Answer(status=404)
        if isinstance(answer.body, Exception):
            raise answer.body
        stream = httpx.ByteStream(answer.body)
        return httpx.Response(answer.status, headers=answer.headers, stream=stream)


@cache
def index() -> dict[str, dict[str, str]]:
    """Return the file that answers each request, by host."""
    return yaml.load((DATA / "index.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)


def stored(name: str) -> Answer:
    """Return a file of `data` as an answer."""
    return Answer((DATA / name).read_bytes())


def feed(**changes: str) -> Answer:
    """Return the answer of arXiv about SparseGPT, with some texts replaced."""
    text = (DATA / "arxiv" / "sparsegpt.xml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return Answer(text.encode())


def changed(name: str, *path: str | int, to: object) -> Answer:
    """Return a stored JSON answer with one value replaced; `...` removes it."""
    body = json.loads((DATA / name).read_text(encoding="utf-8"))
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return Answer(json.dumps(body).encode())

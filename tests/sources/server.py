"""A local server that replays answers of the sources."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_plus

import yaml

DATA = Path(__file__).with_name("data")
TYPES = {
    ".xml": "application/atom+xml; charset=utf-8",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".bib": "text/plain; charset=utf-8",
}


class Answer(NamedTuple):
    """An answer: a body, or a function that writes to the connection."""

    body: bytes | Callable[[BaseHTTPRequestHandler], None] = b""
    type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """A received request."""

    host: str
    path: str
    headers: dict[str, str]


MISSING = Answer(b"Resource not found.", "text/plain", 404)


@dataclass
class Replay:
    """A running server, its answers and the requests it received."""

    base: str
    requests: list[Request] = field(default_factory=list)
    _said: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)

    @property
    def hosts(self) -> dict[str, str]:
        """The base address of each host, for `Client`."""
        return {host: f"{self.base}/{host}" for host in (*index(), "arxiv.org")}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for a process that uses this server."""
        pairs = ",".join(f"{host}={base}" for host, base in self.hosts.items())
        return {"ATLAS_SOURCES": pairs, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def say(self, host: str, *answers: Answer, path: str = "*") -> None:
        """Set the answers to a path (`*` for all) of a host, in order; the last one is repeated."""
        self._said[host, path] = list(answers)

    def refuse(self, *hosts: str) -> None:
        """Answer all requests to some hosts, or to all, with a server error."""
        for host in hosts or self.hosts:
            self.say(host, Answer(b"out of order", "text/plain", 503))

    def asked(self, host: str) -> list[Request]:
        """The requests to one host."""
        return [request for request in self.requests if request.host == host]

    def answer(self, host: str, path: str) -> Answer:
        """Return the next answer to a request."""
        plain = unquote_plus(path)
        queue = self._said.get((host, plain)) or self._said.get((host, "*"))
        if queue:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        files = index().get(host, {})
        name = files.get(plain) or files.get("*")
        return stored(name) if name else MISSING


@cache
def index() -> dict[str, dict[str, str]]:
    """Return the file that answers each request, by host."""
    return yaml.load((DATA / "index.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)


def stored(name: str, **changes: object) -> Answer:
    """Return a file of `data` as an answer, with some parts replaced."""
    path = DATA / name
    return Answer(path.read_bytes(), TYPES[path.suffix])._replace(**changes)


def feed(**changes: str) -> Answer:
    """Return the answer of arXiv about SparseGPT, with some texts replaced."""
    text = (DATA / "arxiv" / "sparsegpt.xml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return Answer(text.encode(), "application/atom+xml")


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


def refusing() -> dict[str, str]:
    """Environment variables for a process that cannot connect to any source."""
    pairs = ",".join(f"{host}=http://127.0.0.1:1/{host}" for host in index())
    return {"ATLAS_SOURCES": pairs, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@contextmanager
def replaying(context: ssl.SSLContext | None = None) -> Iterator[Replay]:
    """Run a server on a free port, with TLS if a context is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _, host, path = self.path.split("/", 2)
            replay.requests.append(Request(host, unquote_plus(f"/{path}"), dict(self.headers)))
            body, kind, status, headers = replay.answer(host, f"/{path}")
            if callable(body):
                self.close_connection = True
                body(self)
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Log nothing; tests read `requests`."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """Ignore clients that disconnect, as many tests do."""

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    replay = Replay(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Never answer."""
    time.sleep(3)


def trickle_body(handler: BaseHTTPRequestHandler) -> None:
    """Send an endless body, one byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.03)


def flood(handler: BaseHTTPRequestHandler) -> None:
    """Send 100 MB without a length."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(1600):
        handler.wfile.write(b" " * 65536)


def break_off(handler: BaseHTTPRequestHandler) -> None:
    """Send less than the declared length."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    handler.wfile.write(head + b'{"message": ')

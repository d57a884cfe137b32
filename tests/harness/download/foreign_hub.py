"""A server that answers as the Hugging Face hub does for `org/tiny`, but for what it is told."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"not wanted"}

Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: bytes, or pieces that are sent one by one without a length."""


class ForeignHub:
    """What the server says: replace `list`, `head` or `get` to make it say something else."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.asked: list[str] = []
        self.list: Callable[[], Answer] = self.right_list
        self.head: Callable[[str], Answer] = self.right_file
        self.get: Callable[[str], Answer] = self.right_file

    def right_list(self) -> Answer:
        """Give what a true hub lists."""
        return 200, {}, json.dumps([entry(name, len(self.files[name])) for name in self.files])

    def right_file(self, name: str) -> Answer:
        """Give what a true hub says to a file, and its content."""
        if name not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        content = self.files[name]
        return (
            200,
            {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT},
            content,
        )

    def answer(self, method: str, path: str) -> Answer:
        """Give the answer to one request."""
        self.asked.append(path)
        path = path.partition("?")[0]
        if path == "/":
            return 200, {}, b""
        if "org/tiny" not in path:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if path.startswith("/api/"):
            return self.list()
        return (self.head if method == "HEAD" else self.get)(path.rpartition("/")[2])


def entry(path: object, size: object) -> dict[str, object]:
    """One file of a list."""
    return {"type": "file", "path": path, "size": size, "oid": "0" * 40}


@contextmanager
def serving(hub: ForeignHub) -> Iterator[str]:
    """Serve `hub` on a port of this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.command, self.path)
            if isinstance(body, str):
                body = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if isinstance(body, bytes) and "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.close_connection = True
            try:
                self.end_headers()
                if self.command != "HEAD":
                    for piece in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(piece)
            except OSError:  # the client has had enough
                pass

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def point_at(monkeypatch: Any, url: str) -> None:
    """Make `url` the hub of this process, and of those that it starts."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

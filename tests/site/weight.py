"""Page weight: the gzipped bytes that a browser loads on a first visit without interaction."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Response

from tests.site.visiting import OpenRequests

# Stop the browser from contacting its own update and sync services.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


LIMIT = 350_000
"""Maximum bytes of a first visit, with 500 papers, 50 methods and 2,500 records."""
LEVEL = 6
"""Compression level of gzip, the default of most servers."""
EMPTY_CHART = b'"atlas-chart--wide"></div>'
"""HTML of a page whose chart is drawn in the browser."""


# Wait until the script of the page has applied the query of the address. Until then the network
# may be idle although the page will load more.
WAIT_FOR_SCRIPT = """async () => {
  const asked = () => document.querySelector("script[type=module]")
    && document.documentElement.dataset.shows !== location.search;
  while (asked()) await new Promise(done => setTimeout(done, 20));
}"""


@dataclass
class Weight:
    """Bytes transferred for a page."""

    whole: int = 0
    """All responses."""
    texts: int = 0
    """Pages and data, which grow with the catalog."""


@contextmanager
def serve(site: Path) -> Iterator[str]:
    """Serve a folder with gzip compression, like a host of static pages; yield its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                self.send_error(404)
                return
            body = gzip.compress(path.read_bytes(), LEVEL)
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(str(path)))
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the output readable."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def heaviest(site: Path) -> dict[str, str]:
    """Return the address of the largest page of each kind, by kind, the largest first.

    Pages in one folder are of one kind; each page in the root is a kind of its own.
    """
    by_kind: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in site.rglob("*.html"):
        address, text = path.relative_to(site).as_posix(), path.read_bytes()
        folder, *rest = address.split("/")
        kind = "/".join((folder, *("*" for _ in rest)))
        kind += ", chart drawn by its script" * (EMPTY_CHART in text)
        by_kind[kind].append((len(gzip.compress(text, LEVEL)), address))
    largest = sorted(((max(pages), kind) for kind, pages in by_kind.items()), reverse=True)
    return {kind: address for (_, address), kind in largest}


def weigh(browser: Browser, address: str) -> Weight:
    """Measure the first visit of an address, with an empty cache."""
    weight = Weight()

    def take(response: Response) -> None:
        size = int(response.headers.get("content-length", 0))
        weight.whole += size
        if response.request.resource_type in ("document", "fetch"):
            weight.texts += size

    with browser.new_context() as context:
        page = context.new_page()
        page.on("response", take)
        open_requests = OpenRequests(page)
        page.goto(address)
        page.evaluate(WAIT_FOR_SCRIPT)
        open_requests.wait()
    return weight

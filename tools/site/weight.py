"""What pages weigh on a first visit: all that a browser takes, gzipped, before anybody acts."""

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

# Without these it looks for updates and its own services, which no page asks for.
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
"""Bytes that the first visit of no page may take, with 500 papers, 50 methods and 2,500 records."""
LEVEL = 6
"""How hard a server compresses, as most do by default."""
UNDRAWN = b'"atlas-chart--wide"></div>'
"""Stands in a page whose chart has no picture."""


# The script of a page says when it shows what the address asks for. A page that is busy before
# that asks for nothing, and would be taken for one that has all it needs.
SHOWN = """async () => {
  const asked = () => document.querySelector("script[type=module]")
    && document.documentElement.dataset.shows !== location.search;
  while (asked()) await new Promise(done => setTimeout(done, 20));
}"""


@dataclass
class Weight:
    """Bytes of all bodies as they are sent, and of them pages and data, which grow."""

    whole: int = 0
    texts: int = 0


@contextmanager
def serve(site: Path) -> Iterator[str]:
    """Serve a folder as a host of pages does: text compressed, so that weights can be taken."""

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
    """Return the page of each kind that has the most bytes, the largest first.

    Each page at the top is a kind of its own.
    """
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in site.rglob("*.html"):
        address, text = path.relative_to(site).as_posix(), path.read_bytes()
        folder, *rest = address.split("/")
        kind = "/".join((folder, *("*" for _ in rest)))
        drawn = ", chart drawn by its script" * (UNDRAWN in text)
        found[kind + drawn].append((len(gzip.compress(text, LEVEL)), address))
    largest = sorted(((max(pages), kind) for kind, pages in found.items()), reverse=True)
    return {kind: address for (_, address), kind in largest}


def weigh(browser: Browser, address: str) -> Weight:
    """Weigh all that the first visit of an address takes, nothing being kept from another."""
    weight = Weight()

    def take(response: Response) -> None:
        size = int(response.headers.get("content-length", 0))
        weight.whole += size
        if response.request.resource_type in ("document", "fetch"):
            weight.texts += size

    with browser.new_context() as context:
        page = context.new_page()
        page.on("response", take)
        page.goto(address)
        page.evaluate(SHOWN)
        page.wait_for_load_state("networkidle")
    return weight

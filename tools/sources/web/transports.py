"""HTTP transports: redirects below the cache, and mirrors."""

from __future__ import annotations

import ssl

import httpx


class ClientTransport(httpx.BaseTransport):
    """Sends requests through another client, which follows redirects."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and follow its redirects."""
        return self._client.send(request, stream=True)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class MirrorTransport(httpx.HTTPTransport):
    """Sends requests to the base address of a mirror."""

    def __init__(self, base: str, verify: ssl.SSLContext) -> None:
        super().__init__(verify=verify)
        self._base = base.rstrip("/")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the mirror."""
        url = httpx.URL(self._base + request.url.raw_path.decode("ascii"))
        headers = [pair for pair in request.headers.raw if pair[0].lower() != b"host"]
        mirrored = httpx.Request(
            request.method, url, headers=headers, extensions=request.extensions
        )
        return super().handle_request(mirrored)

"""What hub.py runs as a program of its own: it asks the hub, and says what came of it.

The last line that it prints is JSON: what was asked for, or the kind of trouble and words for it.
What the hub answers is looked at before `huggingface_hub` makes paths of it or holds it in memory.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, set_client_factory
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

_FILES = 10_000  # at the top of a repository, that are looked through
_IN_MEMORY = 20_000_000  # bytes of an answer that is no file or does not say its length
_ANSWER_WITHIN = 30.0  # seconds for the next bytes, where the library says nothing
_PIECE = 2**16  # bytes that are written together, so that who watches sees them come
_FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{,200}"
_ETAG = rf'(W/)?"?{_FILE_NAME}"?'
_COMMIT = "X-Repo-Commit"
_BECOME_PATHS = {"ETag": _ETAG, "X-Linked-ETag": _ETAG, _COMMIT: "[0-9a-f]{40}"}
_BECOME_PATHS |= {"X-Xet-Hash": "[0-9a-f]{64}"}

_plain = get_session()
_http: Any = importlib.import_module(type(_plain).__module__.partition(".")[0])  # httpx, or httpx2


def main(task: str, repository: str, kind: str, names: list[str]) -> dict[str, Any]:
    """List the files at the top of a repository with their sizes, or fetch some of them."""
    set_client_factory(_client)
    try:
        if task == "list":
            return {"files": _sizes(repository, kind)}
        paths = [hf_hub_download(repository, name, repo_type=kind) for name in names]
        return {"paths": paths}
    except GatedRepoError as error:
        return {"trouble": "gated", "words": str(error)}
    except RepositoryNotFoundError as error:
        return {"trouble": "unknown", "words": str(error)}
    except Exception as error:  # of dozens of unrelated types, whatever a wrong answer leads to
        return {"trouble": "refused", "words": str(error) or type(error).__name__}


def _sizes(repository: str, kind: str) -> dict[str, int]:
    entries = islice(HfApi().list_repo_tree(repository, repo_type=kind), _FILES)
    sizes = {entry.path: getattr(entry, "size", None) for entry in entries}
    return {
        path: size
        for path, size in sizes.items()
        if isinstance(size, int) and size >= 0 and re.fullmatch(_FILE_NAME, path)
    }


def _client() -> Any:
    """A client as the library makes it, of `httpx` or `httpx2`, that looks at answers."""
    asking = _plain.event_hooks["request"]
    return _http.Client(
        event_hooks={"request": asking, "response": [_look_at]},
        headers={"Accept-Encoding": "identity"},  # what is packed may be of any size
        follow_redirects=True,
        timeout=_ANSWER_WITHIN,
    )


def _look_at(response: Any) -> None:
    """Refuse an answer that would leave the folder of the cache or fill memory or disk."""
    headers = response.headers
    asked = response.request
    for name, shape in _BECOME_PATHS.items():
        if asked.method != "HEAD" and name != _COMMIT:
            continue  # a file may come from a host with other tags
        if name in headers and not re.fullmatch(shape, headers[name]):
            raise ValueError(f"it answers with the {name} {headers[name]!r}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("it answers packed, and was asked not to")
    said = max(int(headers.get(name, 0)) for name in ("Content-Length", "X-Linked-Size"))
    is_file = response.status_code < 400 and not asked.url.path.startswith("/api/")
    if is_file and said > shutil.disk_usage(constants.HF_HUB_CACHE).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    response.stream = _Bounded(response.stream, said if is_file and said else _IN_MEMORY)


class _Bounded(_http.SyncByteStream):
    """The body of an answer, of which at most so many bytes are read."""

    def __init__(self, body: Any, most: int) -> None:
        self.body = body
        self.most = most

    def __iter__(self) -> Iterator[bytes]:
        left = self.most
        for piece in self.body:
            left -= len(piece)
            if left < 0:
                raise ValueError(f"it answers with more than {self.most:,} bytes")
            yield piece

    def close(self) -> None:
        """Close the body."""
        self.body.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # removes what is half fetched
    constants.DOWNLOAD_CHUNK_SIZE = _PIECE
    answer = main(*json.loads(sys.argv[1]))
    sys.stdout.write(f"\n{json.dumps(answer)}\n")

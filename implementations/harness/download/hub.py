"""The Hugging Face hub: a quick answer whether it can be reached, and files out of it."""

import json
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import constants, get_session, try_to_load_from_cache

from implementations.harness.download.children import run_watched
from implementations.harness.errors import BadInput, Unavailable, in_short

Kind = Literal["model", "dataset"]

_ANSWER_WITHIN = 5.0  # seconds for each of connecting and answering
_GIVE_UP_AFTER = 8.0  # seconds for everything, name resolution included
_PATIENCE = 60.0  # seconds that a list, or the next 60 kB of a file, may take
_CHILD = Path(__file__).with_name("hub_child.py")


def require_hub(wanted: str) -> None:
    """Raise `Unavailable` within 10 seconds unless the hub answers; `wanted` is for the message.

    The libraries themselves would retry for minutes. The endpoint, the proxy and the offline
    switch are those of `huggingface_hub` (`HF_ENDPOINT`, `HTTPS_PROXY`, `HF_HUB_OFFLINE`).
    """
    if constants.HF_HUB_OFFLINE:
        raise Unavailable(
            f"{wanted} is not in the hub's local cache ({constants.HF_HUB_CACHE}) and "
            "HF_HUB_OFFLINE is set: unset it, or use a local file or folder."
        )
    outcome: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    # A thread of its own, because a dead name server holds its caller whatever timeout was asked.
    threading.Thread(target=lambda: outcome.put(_trouble()), daemon=True).start()
    try:
        trouble = outcome.get(timeout=_GIVE_UP_AFTER)
    except queue.Empty:
        trouble = f"no answer in {_GIVE_UP_AFTER:.0f} seconds"
    if trouble is not None:
        raise Unavailable(
            f"{wanted} cannot be fetched, {constants.ENDPOINT} is out of reach ({trouble}): check "
            "the network, name a mirror in HF_ENDPOINT, or use a local file or folder."
        )


def cached_file(repository: str, path: str, kind: Kind) -> Path | None:
    """Local path of one file of a repository, if the hub's cache has it.

    Raises:
        Unavailable: the cache cannot be read.
    """
    try:
        cached = try_to_load_from_cache(repository, path, repo_type=kind)
    except (OSError, ValueError) as error:  # ValueError: a reference that is not UTF-8
        folder = _cache_of(repository, kind)
        raise Unavailable(f"{folder} is damaged ({in_short(error)}): delete it.") from error
    return Path(cached) if isinstance(cached, str) else None


def hub_file(repository: str, path: str) -> Path:
    """Local path of one file of a dataset `repository`, from the hub's cache or else downloaded.

    Raises:
        Unavailable: it is not cached and the hub is out of reach or refuses.
    """
    cached = cached_file(repository, path, "dataset")
    if cached is not None:
        return cached
    require_hub(f"{repository}/{path}")
    return _fetch(repository, "dataset", [path])[0]


def hub_model(repository: str, choose: Callable[[list[str]], list[str]]) -> Path:
    """Download those files of a model that `choose` picks out of all, and return their folder.

    Raises:
        BadInput: the hub has no such model, or it has no file that is wanted.
        Unavailable: the hub is out of reach or refuses, or the disk is too small.
    """
    require_hub(repository)
    with tempfile.TemporaryDirectory() as nothing:
        sizes: dict[str, int] = _ask("list", repository, "model", [], Path(nothing))["files"]
    wanted = choose(list(sizes))
    if not wanted:
        raise BadInput(f"{repository} holds no model: there is {in_short(', '.join(sizes))}")
    paths = _fetch(repository, "model", wanted, sum(sizes[name] for name in wanted))
    folder = paths[0].parent
    if any(path.parent != folder for path in paths):
        raise Unavailable(f"{repository} was changed while it was fetched: run again.")
    return folder


def _fetch(
    repository: str, kind: Kind, names: Sequence[str], total: int | None = None
) -> list[Path]:
    folder = _cache_of(repository, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Unavailable(
            f"cannot write in {folder} ({error.strerror}): set HF_HUB_CACHE to a folder that you "
            "may write."
        ) from error
    if total is not None and total > free:
        raise Unavailable(
            f"no space left in {folder}: about {total / 1e6:,.0f} MB are needed. Free some space, "
            "or set HF_HUB_CACHE to a folder on a larger disk."
        )
    return [Path(path) for path in _ask("fetch", repository, kind, names, folder, total)["paths"]]


def _ask(
    task: str,
    repository: str,
    kind: Kind,
    names: Sequence[str],
    into: Path,
    total: int | None = None,
) -> dict[str, Any]:
    """Run hub_child.py, whose process can be stopped, and return its answer."""
    code, said = run_watched(
        [sys.executable, "-P", str(_CHILD), json.dumps([task, repository, kind, names])],
        repository,
        into,
        patience=_PATIENCE,
        total=total,
        variables={
            "HF_ENDPOINT": constants.ENDPOINT,
            "HF_HUB_CACHE": constants.HF_HUB_CACHE,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        },
    )
    last = said.rstrip().rpartition("\n")[2]
    try:
        answer: dict[str, Any] = json.loads(last)
    except ValueError:
        answer = {"trouble": "refused", "words": f"the download ended with code {code}: {last}"}
    match answer.get("trouble"):
        case None:
            return answer
        case "unknown":
            raise BadInput(f"{repository!r} is neither a folder here nor a {kind} on the hub")
        case "gated":
            raise Unavailable(
                f"{repository} is gated: accept its terms on the hub and log in with "
                "`hf auth login`"
            )
    words = in_short(answer["words"])
    raise Unavailable(f"{repository} could not be fetched from the hub: {words}")


def _cache_of(repository: str, kind: Kind) -> Path:
    return Path(constants.HF_HUB_CACHE, f"{kind}s--{repository.replace('/', '--')}").absolute()


def _trouble() -> str | None:
    """Why the hub cannot be used, or None when it answered."""
    try:
        status = get_session().head(constants.ENDPOINT, timeout=_ANSWER_WITHIN).status_code
    except Exception as error:  # whatever it is, it ends in another thread
        return in_short(error) or type(error).__name__
    return f"it answers {status}" if status >= 500 else None

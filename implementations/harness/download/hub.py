"""The Hugging Face hub: a quick answer whether it can be reached, and single files out of it."""

import queue
import threading
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache

from implementations.harness.errors import Unavailable

_ANSWER_WITHIN = 5.0  # seconds for each of connecting and answering
_GIVE_UP_AFTER = 8.0  # seconds for everything, name resolution included


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


def hub_file(repository: str, path: str) -> Path:
    """Local path of one file of a dataset `repository`, from the hub's cache or else downloaded.

    Raises:
        Unavailable: it is not cached and the hub is out of reach or refuses.
    """
    cached = try_to_load_from_cache(repository, path, repo_type="dataset")
    if isinstance(cached, str):
        return Path(cached)
    require_hub(f"{repository}/{path}")
    try:
        return Path(hf_hub_download(repository, path, repo_type="dataset"))
    except Exception as error:  # of half a dozen unrelated types: HTTP, file system, cache
        raise Unavailable(
            f"{repository}/{path} could not be fetched from the hub: {error}"
        ) from error


def _trouble() -> str | None:
    """Why the hub cannot be used, or None when it answered."""
    try:
        status = get_session().head(constants.ENDPOINT, timeout=_ANSWER_WITHIN).status_code
    except Exception as error:  # whatever it is, it ends in another thread
        return str(error) or type(error).__name__
    return f"it answers {status}" if status >= 500 else None

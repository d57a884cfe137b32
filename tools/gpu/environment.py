"""Create the environment of `make gpu` on top of one that has PyTorch, which it does not change.

It adds the packages that are missing there, from a folder of wheels if there is one. Uses only the
standard library, because nothing else may be installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ABSENT = {"torch", "scipy", "matplotlib"}
"""Packages that are not added: torch must be there, and no part of `make gpu` needs the others."""


def requirements() -> list[str]:
    """Return the requirements of the atlas, of methods that train, and of its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    tests = [line for line in extras["dev"] if name_of(line) in ("pytest", "hypothesis")]
    every = [*project["dependencies"], *extras["train"], *tests]
    return [line for line in every if name_of(line) not in ABSENT]


def name_of(requirement: str) -> str:
    """Return the name of the package."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def create(folder: Path, wheels: Path) -> None:
    """Create the environment, unless it exists for the same interpreter, torch and wheels.

    Exits with a message if torch is missing, or a package that neither side has.
    """
    if importlib.util.find_spec("torch") is None:
        sys.exit(f"{sys.executable} has no torch; name one that has: make gpu PYTHON=...")
    offline = wheels.is_dir()
    carried = sorted(path.name for path in wheels.glob("*.whl")) if offline else []
    content = "\n".join([sys.executable, version("torch"), *requirements(), *carried])
    stamp, state = folder / ".stamp", hashlib.sha256(content.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return
    with_pip = importlib.util.find_spec("pip") is None
    venv.create(folder, clear=True, with_pip=with_pip, symlinks=True)
    # `system_site_packages` would add the packages of the system, not those of another venv.
    below = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages,) = folder.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})\n" for path in below]
    (packages / "below.pth").write_text("".join(lines))
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip"] if with_pip else [sys.executable, "-m", "pip", "--python", python]
    if with_pip:  # an old setuptools, which would hide the one that torch was installed with
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "setuptools"], check=False)
    source = ["--no-index", "--find-links", str(wheels.resolve())] if offline else []
    command = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", *source]
    if subprocess.run([*command, *requirements()], check=False).returncode:
        sys.exit(
            f"packages are missing in {sys.executable}"
            f"{f' and in {wheels}' if offline else ''}. On a machine with a network, run `make "
            f"gpu-wheels PYTHON_VERSION={sys.version_info.major}.{sys.version_info.minor}`, copy "
            f"the folder here and name it: make gpu WHEELS=..."
        )
    stamp.write_text(state)


def main() -> None:
    """Create the environment that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=Path, required=True)
    given = parser.parse_args()
    create(given.folder, given.wheels)


if __name__ == "__main__":
    main()

"""Run the fuzz tests with new random input until the time is over: `make fuzz MINUTES=60`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CACHE = os.environ.get("PRUNING_ATLAS_CACHE", Path.home() / ".cache" / "pruning-atlas")
EXAMPLES = 200  # per test and round


def main() -> None:
    """Run rounds of all tests, each with another seed; exit with the code of the first failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("files", nargs="*", type=Path, default=[HERE])
    asked = parser.parse_args()
    end = time.monotonic() + 60 * asked.minutes
    for seed in count():
        code = run(asked.files, seed)
        if code or time.monotonic() > end:
            sys.exit(code)


def run(files: list[Path], seed: int) -> int:
    """Run one round with its own home and temporary folder; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"HOME": folder, "TMPDIR": folder, "FUZZ_EXAMPLES": str(EXAMPLES)}
        own |= {"PRUNING_ATLAS_CACHE": str(CACHE), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, f"--hypothesis-seed={seed}", *map(str, files)],
            cwd=REPOSITORY,
            env=os.environ | own,
            check=False,
        ).returncode


if __name__ == "__main__":
    main()
